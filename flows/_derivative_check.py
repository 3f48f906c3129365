"""Compare second and third derivatives with finite differences before they are trusted."""

import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from flows._differences import second_step, third_step
from flows._errors import DerivativeCheckError, KinkWarning, UnsupportedModelError

if TYPE_CHECKING:
    from flows._evaluation import Evaluation
    from flows._oracle import Oracle

logger = logging.getLogger(__name__)

TOLERANCE = {torch.float64: 1e-6, torch.float32: 5e-3}
"""Largest relative error; right derivatives were seen within 1e-8 and 5e-4, wrong ones at 0.1."""
DIFFERENCE_TOLERANCE = 1e-4
"""The same of derivatives by differences in float64; seen within 3e-6."""
STEPS = (1.0, 1 / 8, 8.0)
"""Finite-difference steps tried, in units of ``ε^(1/3) ‖w‖``; the best agreement counts."""
ROUNDINGS = 30.0
"""Rounding errors of a gradient, in units of ``ε`` times its norm (up to 5 were seen)."""
SEED = 0
_OF_PRODUCTS = "difference of Hessian-vector products"


@dataclass(frozen=True)
class DerivativeCheck:
    """Relative errors of derivatives along random directions.

    Attributes
    ----------
    hvp_error : float
        ``∇²L v`` against a central difference of gradients (of a difference: against torch).
    third_error : float
        ``∇³L[u,v]`` against a central difference of Hessian-vector products (or against torch).
    block_error : float
        Both in blocks of columns against single columns, u and v exchanged.
    tolerance : float
        What they had to stay below, but for rounding.
    """

    hvp_error: float
    third_error: float
    block_error: float
    tolerance: float


def check_derivatives(
    objective: "Oracle", w: Tensor, *, has_kinks: bool, exact: "Evaluation | None" = None
) -> DerivativeCheck:
    """Check the second and third derivatives of `objective` at ``w``.

    If they are differences, `exact` has those that torch computes.

    Raises
    ------
    DerivativeCheckError
        If a derivative is wrong. If the objective has kinks, which finite differences step
        across, this is a warning instead.
    UnsupportedModelError
        If torch cannot compute a derivative.

    Warns
    -----
    KinkWarning
        If the check fails and there are kinks.
    """
    try:
        if exact is None:
            report = _measure(objective, w)
        else:
            report = _measure_differences(objective, exact, w)
    except torch.OutOfMemoryError:
        raise
    except (NotImplementedError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UnsupportedModelError(f"torch cannot differentiate three times: {reason}") from error
    logger.info("derivative check: %s", report)
    if problem := _first_problem(report, by_differences=exact is not None):
        if not has_kinks:
            raise DerivativeCheckError(problem)
        warnings.warn(f"{problem}, perhaps because of kinks", KinkWarning, stacklevel=3)
    return report


def _measure(objective: "Oracle", w: Tensor) -> DerivativeCheck:
    u, v = _random_directions(w)
    both = torch.cat((u, v), dim=1)
    H, T = objective.hvp(w, both), objective.third_pairs(w, both)
    Hv, Tvu = objective.hvp(w, v), objective.third(w, v, u)
    for name, columns in (("∇²L v", H), ("∇³L[u,v]", T)):
        if not bool(torch.isfinite(columns).all()):
            raise DerivativeCheckError(f"{name} has NaN or infinite entries")
    g = objective.gradient(w)
    return DerivativeCheck(
        hvp_error=_finite_difference_error(Hv, lambda x: objective.gradient(x)[:, None], g, w, v),
        third_error=_finite_difference_error(Tvu, lambda x: objective.hvp(x, u), H[:, 0], w, v),
        block_error=max(
            _relative(H[:, 1:] - Hv, Hv, g, _length(w)),
            _relative(T[:, 1:2] - Tvu, Tvu, H[:, 0], _length(w)),
        ),
        tolerance=TOLERANCE[w.dtype],
    )


def _measure_differences(objective: "Oracle", exact: "Evaluation", w: Tensor) -> DerivativeCheck:
    u, v = _random_directions(w)
    both = torch.cat((u, v), dim=1)
    g = objective.gradient(w)
    H, T, Tvu = objective.hvp(w, both), objective.third_pairs(w, both), objective.third(w, v, u)
    second, third, tolerance = second_step(w), third_step(w) ** 2, DIFFERENCE_TOLERANCE
    exact_H, exact_T = exact.hessian_columns(w, both), exact.third_pairs(w, both)
    return DerivativeCheck(
        hvp_error=_relative(H - exact_H, exact_H, g, second, tolerance),
        third_error=_relative(T - exact_T, exact_T, g, third, tolerance),
        block_error=_relative(T[:, 1:2] - Tvu, Tvu, g, third, tolerance),
        tolerance=tolerance,
    )


def _random_directions(w: Tensor) -> tuple[Tensor, Tensor]:
    """Return two unit columns, the same on every device."""
    generator = torch.Generator().manual_seed(SEED)
    directions = torch.randn(len(w), 2, generator=generator, dtype=torch.float64)
    u, v = (directions / directions.norm(dim=0)).to(w).split(1, dim=1)
    return u, v


def _finite_difference_error(
    derivative: Tensor, function: Callable[[Tensor], Tensor], value: Tensor, w: Tensor, v: Tensor
) -> float:
    """Return the relative error of `derivative` = D function(w)[v].

    A wrong derivative disagrees at every step, a right one agrees at the best of them.
    """
    best = float("inf")
    for factor in STEPS:
        h = factor * torch.finfo(w.dtype).eps ** (1 / 3) * _length(w)
        step = h * v[:, 0]
        difference = (function(w + step) - function(w - step)) / (2 * h)
        best = min(best, _relative(difference - derivative, derivative, value, h))
        if best <= TOLERANCE[w.dtype]:
            break
    return best


def _length(w: Tensor) -> float:
    return float(w.norm()) or 1.0


def _relative(
    error: Tensor, derivative: Tensor, value: Tensor, h: float, tolerance: float | None = None
) -> float:
    """Return ``‖error‖ / (‖derivative‖ + ROUNDINGS ε ‖value‖ / (h tolerance))``.

    `value` is what changes by `derivative` over a unit of length, and h the length of the step.
    The second term is small unless the derivative nearly vanishes: then it keeps the rounding
    errors of `value` below the tolerance, by default that of the dtype.
    """
    tolerance = TOLERANCE[value.dtype] if tolerance is None else tolerance
    rounding = ROUNDINGS * torch.finfo(value.dtype).eps * float(value.norm()) / h
    scale = float(derivative.norm()) + rounding / tolerance
    return float(error.norm()) / scale if error.any() else 0.0


def _first_problem(report: DerivativeCheck, *, by_differences: bool) -> str | None:
    tolerance = report.tolerance
    of_third = "second difference of gradients" if by_differences else _OF_PRODUCTS
    comparisons = (
        ("∇²L v", "a difference of gradients", report.hvp_error),
        ("∇³L[u,v]", f"a {of_third}", report.third_error),
        ("a block of columns", "the same columns one by one", report.block_error),
    )
    for name, other, error in comparisons:
        if not error <= tolerance:
            return f"{name} and {other} differ by {error:.1e}, more than {tolerance:.0e} (relative)"
    return None
