"""RMSProp's stationary preconditioner of a network: products with the Hessian in, p, ν̄, Σ out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ccpsolve.stationary import StationaryPreconditioner, stationary_preconditioner
from flows._arguments import check_instance, check_integer
from flows._errors import FlowsError, InvalidArgumentError
from flows.methods import Method, RMSProp
from flows.objective import Objective

# Certified relative gap that is asked for; a flow follows ν̄ more accurately than it predicts it.
TOLERANCE = 1e-4
_MAX_PRODUCTS = 1000


class StationarySolver:
    r"""Solves for the stationary preconditioner along a path of weights, each solve from the last.

    .. math::
        \bar P(w) = \arg\min_P\ \mathrm{tr}\,P + \|\nabla L(w)\|^2_{P^{-1}}/\eta^2
        \quad\text{s.t.}\quad \nabla^2 L(w) \preceq 2P,\ P \text{ diagonal}

    Blocks of Hessian-vector products are taken in the network's precision and on its device;
    everything else is NumPy in float64 (:func:`ccpsolve.stationary.stationary_preconditioner`).

    Parameters
    ----------
    objective : Objective
        The loss L.
    tol : float
        Certified relative gap to reach.
    gradient_term : bool
        ``False`` drops the second term (the alternative preconditioner of Fig. 9).
    failure_probability : float
        Of the certificate of one solve: the bound on λ_max comes from random starts.
    max_products : int
        Budget of Hessian-vector products of one solve.
    seed : int
        Of those random starts.

    Attributes
    ----------
    solves, products : int
        Number of solves so far, and of Hessian-vector products they took, certificates included.

    References
    ----------
    Cohen, Damian et al. (2024), eq. (12), Propositions 2 and 3.

    Examples
    --------
    The Hessian is diag(2, 1), and η so large that the gradient term does not count:

    >>> import flows, torch
    >>> from flows.stationary_solver import StationarySolver
    >>> w = torch.tensor([1e-9, 1e-9], dtype=torch.float64)
    >>> objective = flows.Objective.from_function(lambda w: w[0] ** 2 + w[1] ** 2 / 2, w)
    >>> found = StationarySolver(objective).solve(w, objective.gradient(w), lr=0.1)
    >>> found.p.round(3).tolist(), found.gap <= 1e-4
    ([1.0, 0.5], True)
    """

    def __init__(
        self,
        objective: Objective,
        *,
        tol: float = TOLERANCE,
        gradient_term: bool = True,
        failure_probability: float = 1e-6,
        max_products: int = _MAX_PRODUCTS,
        seed: int = 0,
    ) -> None:
        check_instance("objective", objective, Objective, "a flows.Objective")
        self.objective = objective
        self.tol = tol
        self.gradient_term = gradient_term
        self.failure_probability = failure_probability
        self.max_products = max_products
        self.solves = self.products = 0
        self._rng = np.random.default_rng(check_integer("seed", seed, 0))
        self._last: StationaryPreconditioner | None = None

    @property
    def counts(self) -> dict[str, int]:
        """Return solves and products by the names that a run records."""
        return {"stationary": self.solves, "stationary_hvp": self.products}

    def solve(self, w: Tensor, gradient: Tensor, lr: float) -> StationaryPreconditioner:
        """Return the certified stationary preconditioner at ``w``.

        Parameters
        ----------
        w : Tensor, shape (d,)
            Weights.
        gradient : Tensor, shape (d,)
            ``∇L(w)``.
        lr : float
            The learning rate η.

        Returns
        -------
        StationaryPreconditioner
            With NumPy arrays, float64.

        Raises
        ------
        InvalidArgumentError
            If a shape is another.
        FlowsError
            If the tolerance was not reached; the message says by how much.
        """
        for name, vector in (("w", w), ("gradient", gradient)):
            if vector.shape != (self.objective.dim,):
                raise InvalidArgumentError(
                    f"{name} must have shape ({self.objective.dim},), found {tuple(vector.shape)}"
                )
        found = stationary_preconditioner(
            _numpy(gradient),
            hessian_products(self.objective, w),
            lr,
            tol=self.tol,
            gradient_term=self.gradient_term,
            start=self._last,
            failure_probability=self.failure_probability,
            rng=self._rng,
            max_products=self.max_products,
        )
        self.solves += 1
        self.products += found.products
        if not found.status.ok:
            raise FlowsError(f"no stationary preconditioner: {found.message}")
        self._last = found
        return found


def hessian_products(objective: Objective, w: Tensor) -> Callable[[np.ndarray], np.ndarray]:
    """Return ``V ↦ ∇²L(w) V`` on float64 NumPy blocks of shape (d, m)."""

    def product(block: np.ndarray) -> np.ndarray:
        columns = torch.as_tensor(np.ascontiguousarray(block)).to(w)
        return _numpy(objective.hvp(w, columns))

    return product


def require_rmsprop(method: Method, what: str) -> None:
    """Refuse methods without a stationary preconditioner, with the reason.

    Raises
    ------
    InvalidArgumentError
        Unless the method is RMSProp.
    """
    if isinstance(method, RMSProp):
        return
    reason = {
        "gd": "gradient descent has no state ν, its preconditioner is constant",
        "rmsprop-norm": "one ν for all weights leaves Σ undetermined where several directions "
        "are critical",
    }.get(method.name, "eq. 12 is about its ν")
    raise InvalidArgumentError(f"{what} is defined for rmsprop, found {method.name}: {reason}")


def _numpy(x: Tensor) -> np.ndarray:
    array: np.ndarray = x.detach().double().cpu().numpy()
    return array
