"""The certificate of the subspace method, and the products that complete it.

A Lanczos run from a random start bounds λ_max on the complement of the span.
Its vectors come with their products, so they join the span, for a warm start even where all is
proved. The bound stays valid while p does not change: if it is below 2 but not low enough,
residuals are added to the span until the two together prove the gap (`open_combinations`), which
takes a few products where a longer Lanczos run or a new one takes dozens.
"""

from __future__ import annotations

import logging

import numpy as np
from numpy.typing import NDArray

from ccpsolve.stationary._certificate import positive
from ccpsolve.stationary._certifier import Certifier
from ccpsolve.stationary._expansion import OPEN, open_combinations, residual_block
from ccpsolve.stationary._image import image, image_value
from ccpsolve.stationary._lanczos_bound import EigenvalueBound
from ccpsolve.stationary._span import Span

__all__ = ["LANCZOS_STEPS", "LARGE", "close"]

_logger = logging.getLogger(__name__)

Array = NDArray[np.float64]

LANCZOS_STEPS = 26  # of the first certificate
LARGE = 200_000  # from this d on few vectors are kept
_KEPT = 0.8  # of a span of long vectors only Ritz vectors with values above this stay
_KEPT_LARGE = 2  # Lanczos vectors that join a span of long vectors
_COMFORTABLE = 1.7  # complement bounds below this are better completed than lowered
_USEFUL = 1.98  # above this a bound on the complement proves nothing
_ROUNDS = 10


def close(certifier: Certifier, span: Span, p: Array, steps: int, extra: int) -> None:
    """Certify p and E = V·C; the verdict is ``certifier.done``.

    Parameters
    ----------
    certifier : Certifier
        Judge.
    span : Span
        Rotated, and enlarged by all that has been seen.
    p : ndarray, shape (d,)
        Candidate.
    steps : int
        Lanczos steps allowed.
    extra : int
        Columns that a round of completion may add.
    """
    problem, tol = span.problem, certifier.tol
    p = positive(problem, p, tol)
    large = problem.d > LARGE
    capacity = span.capacity
    _to_ritz_vectors(span, p, few=large)
    E, dual, origin = _dual_candidate(span, p)
    certificate = certifier.certify(
        p,
        E,
        dual=dual,
        origin=origin,
        basis=span.V,
        products=span.W,
        max_steps=steps,
        comfortable=_COMFORTABLE if extra else -np.inf,
        keep=_KEPT_LARGE if large else steps,
    )
    bound = certificate.bound
    if bound is None or bound.steps == 0 or (certifier.done and large):
        return
    dual = certificate.dual
    del certificate
    span.extend(bound.vectors, bound.products)
    bound = bound.without_vectors()
    if not certifier.done:
        _complete(certifier, span, p, E, dual, bound, extra)
    if span.capacity < capacity:
        span.resize(capacity)


def _complete(
    certifier: Certifier,
    span: Span,
    p: Array,
    E: Array,
    dual: float,
    bound: EigenvalueBound,
    extra: int,
) -> None:
    """Add residuals until the span and the bound on its complement prove the gap."""
    tol = certifier.tol
    for _ in range(_ROUNDS):
        certifier.certify(p, E, dual=dual, basis=span.V, products=span.W, complement=bound)
        ritz, _ = span.ritz(p)
        critical = ritz.values[0] > 2 * (1 + tol)  # the span had missed it: p must change
        if certifier.done or critical or bound.value > _USEFUL or not extra:
            return
        axes = open_combinations(ritz, span.residual_gram(ritz, p), bound.value, 2 * OPEN * tol)
        added, _ = span.append(residual_block(span, p, ritz, axes[:, :extra], span.C[:, :0]), p)
        _logger.debug("closing: %d columns, complement %.4g", added, bound.value)
        if not added:
            return


def _dual_candidate(span: Span, p: Array) -> tuple[Array, float, Array | None]:
    """Return E or its image or nothing, the value, and what the image is of."""
    C, dual = span.dual_point()
    nothing = 2 * float(span.problem.c.sum())
    of_image = image_value(span, p)
    if of_image > max(dual, nothing):
        return image(p, span.W, span.C), of_image, span.C
    if dual < nothing:
        return span.V[:, :0], nothing, None
    return span.V @ C, dual, None


def _to_ritz_vectors(span: Span, p: Array, *, few: bool) -> None:
    """Rotate the span to Ritz vectors; of ``few`` only the large ones stay."""
    if few:
        ritz, _ = span.ritz(p)
        span.restart(p, max(int((ritz.values >= _KEPT).sum()), span.C.shape[1], 1))
    ritz, gram = span.ritz(p)
    span.keep(ritz.T, gram)
    if few:
        span.resize(span.columns)
