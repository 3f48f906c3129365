"""One certifier a solve: chooses exact or probabilistic, keeps the best, shares out the risk."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ccpsolve.stationary._certificate import (
    Certificate,
    certify_exactly,
    certify_with_probability,
)
from ccpsolve.stationary._lanczos_bound import EigenvalueBound
from ccpsolve.stationary._problem import StationaryProblem

__all__ = ["Certifier"]

Array = NDArray[np.float64]


class Certifier:
    """Certifies the candidates of one solve and remembers the best certificate.

    The k-th Lanczos run may fail with probability ε/2^k, so that *all* runs of a solve together,
    among which it picks, fail with probability at most ε. Most solves need one or two, each of
    which may stop after any number of steps: see `largest_eigenvalue_bound`.

    Parameters
    ----------
    problem : StationaryProblem
        The data.
    tol : float
        Relative gap aimed at.
    exact : bool
        Factorise the dense 2P − H instead of running Lanczos.
    failure_probability : float
        ε.
    rng : numpy.random.Generator
        Source of the random starts.

    Attributes
    ----------
    best : Certificate or None
        The certificate with the smallest gap so far.
    """

    def __init__(
        self,
        problem: StationaryProblem,
        tol: float,
        *,
        exact: bool,
        failure_probability: float,
        rng: np.random.Generator,
    ) -> None:
        self.problem = problem
        self.tol = tol
        self.exact = exact
        self.best: Certificate | None = None
        self._failure_probability = failure_probability
        self._rng = rng
        self._attempts = 0

    @property
    def done(self) -> bool:
        """Whether some candidate reached the tolerance."""
        return self.best is not None and self.best.gap <= self.tol

    def certify(
        self,
        p: Array,
        E: Array,
        *,
        basis: Array | None = None,
        products: Array | None = None,
        max_steps: int = 20,
        dual: float | None = None,
        origin: Array | None = None,
        keep: int = 1,
        comfortable: float = -np.inf,
        complement: EigenvalueBound | None = None,
    ) -> Certificate:
        """Certificate of a candidate; arguments as for `certify_with_probability`."""
        if self.exact:
            certificate = certify_exactly(self.problem, p, E, self.tol)
        else:
            self._attempts += complement is None
            certificate = certify_with_probability(
                self.problem,
                p,
                E,
                self.tol,
                failure_probability=self._failure_probability * 0.5**self._attempts,
                rng=self._rng,
                max_steps=max_steps,
                basis=basis,
                products=products,
                dual=dual,
                origin=origin,
                keep=keep,
                comfortable=comfortable,
                complement=complement,
            )
        if self.best is None or certificate.gap < self.best.gap:
            bound = certificate.bound
            self.best = replace(certificate, bound=bound and bound.without_vectors())
        return certificate

    @property
    def failure_probability(self) -> float:
        """Bound on the probability that any certificate of this solve is wrong."""
        return 0.0 if self.exact else self._failure_probability
