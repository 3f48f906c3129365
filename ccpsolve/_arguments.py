"""Checks of options that are one number or a generator: a wrong one is refused by its name."""

from __future__ import annotations

import math
from numbers import Integral, Real

import numpy as np

from ccpsolve._errors import InvalidProblemError

__all__ = ["as_generator", "require_count", "require_fraction", "require_positive"]


def require_fraction(**options: float) -> None:
    """Raise `InvalidProblemError` unless each option is a number between 0 and 1, exclusively."""
    for name, value in options.items():
        if not (isinstance(value, Real) and 0.0 < value < 1.0):
            raise InvalidProblemError(f"{name} is {value!r}; allowed: a number between 0 and 1")


def require_positive(**options: float) -> None:
    """Raise `InvalidProblemError` unless each option is a positive finite number."""
    for name, value in options.items():
        if not (isinstance(value, Real) and 0.0 < value < math.inf):
            raise InvalidProblemError(f"{name} is {value!r}; allowed: a positive finite number")


def require_count(low: int = 1, **options: int | None) -> None:
    """Raise `InvalidProblemError` unless each option is a whole number ≥ ``low``, or None."""
    for name, value in options.items():
        whole = isinstance(value, Integral) and not isinstance(value, bool)
        if value is not None and not (whole and value >= low):
            raise InvalidProblemError(
                f"{name} is {value!r}; allowed: a whole number, at least {low}"
            )


def as_generator(
    rng: np.random.Generator | int | None, seed: int | None = None
) -> np.random.Generator:
    """Return the generator, one with that seed, or without an argument one with ``seed``."""
    if isinstance(rng, np.random.Generator):
        return rng
    if rng is not None and (not isinstance(rng, Integral) or isinstance(rng, bool) or rng < 0):
        raise InvalidProblemError(
            f"rng is {rng!r}; allowed: a numpy.random.Generator, or a seed, a whole number ≥ 0"
        )
    return np.random.default_rng(seed if rng is None else int(rng))
