"""What a method hands to the certificate: a preconditioner and a factor of the dual matrix."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Candidate"]

Array = NDArray[np.float64]


@dataclass
class Candidate:
    """A point found by a method, good or not.

    Attributes
    ----------
    p : ndarray, shape (d,)
        The preconditioner, p ≥ 0.
    E : ndarray, shape (d, r)
        Factor of the dual matrix, Z = EEᵀ; D = (η/√2)·E.
    iterations : int
        Iterations used.
    factor : ndarray, shape (d, m), or None
        L of the part LLᵀ of H that matters, for a warm start.
    note : str
        How the method ended, for the message of the solution.
    rounding : bool
        Whether rounding, not a budget, ended it.
    """

    p: Array
    E: Array
    iterations: int = 0
    note: str = ""
    rounding: bool = False
    factor: Array | None = None
