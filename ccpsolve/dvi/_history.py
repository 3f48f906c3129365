"""The multiplier and its force along the last steps, and their extrapolation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ccpsolve._symmetric import psd_part
from ccpsolve.dvi._smooth import Array, Vector

# Eigenvalues of a multiplier below this fraction of the largest are rounding.
RANK_TOLERANCE = 1e-7


@dataclass(frozen=True)
class Pull:
    """The reaction at one time: its force, and its multiplier in the current frame."""

    t: float
    force: Vector
    X: Array


class History:
    """The last two reactions; linear extrapolation, constant after an event."""

    def __init__(self, *pulls: Pull) -> None:
        self._pulls = pulls[-2:]

    def __bool__(self) -> bool:
        return bool(self._pulls)

    @property
    def is_constant(self) -> bool:
        """Whether there is a single reaction, as after an event."""
        return len(self._pulls) == 1

    @property
    def since(self) -> float:
        """Time of the first reaction."""
        return self._pulls[0].t

    def followed_by(self, pull: Pull) -> History:
        """Return the history with the reaction of a step, at its middle."""
        return History(*self._pulls, pull)

    def carried(self, transport: Array) -> History:
        """Return the history with the multipliers in a new frame."""
        return History(*(Pull(p.t, p.force, transport @ p.X @ transport.T) for p in self._pulls))

    def truncated(self, rank: int) -> History:
        """Return the history without the multipliers beyond a rank; their forces are left in it."""
        return History(*(Pull(p.t, p.force, _leading(p.X, rank)) for p in self._pulls))

    def force(self, t: float) -> Vector | None:
        """Return the extrapolated force; None if there is none."""
        if not self._pulls:
            return None
        first, last = self._pulls[0], self._pulls[-1]
        if first is last:
            return last.force
        s = (t - last.t) / (last.t - first.t)
        return last.force * (1 + s) - first.force * s

    def last(self, k: int) -> Array:
        """Return the last multiplier, shape (k, k)."""
        return self._pulls[-1].X if self._pulls else np.zeros((k, k))

    def multiplier(self, t: float, k: int) -> Array:
        """Return the extrapolated multiplier, positive semidefinite, shape (k, k)."""
        if not self._pulls:
            return np.zeros((k, k))
        first, last = self._pulls[0], self._pulls[-1]
        if first is last:
            return last.X
        s = (t - last.t) / (last.t - first.t)
        extrapolated: Array = psd_part((1 + s) * last.X - s * first.X)
        return extrapolated


def _leading(X: Array, rank: int) -> Array:
    """Return the part of a matrix in the eigenvectors of its largest eigenvalues."""
    values, vectors = np.linalg.eigh(X)
    kept = slice(len(X) - rank, None)
    part: Array = (vectors[:, kept] * values[kept]) @ vectors[:, kept].T
    return part


def support(X: Array) -> Array:
    """Return an orthonormal basis, shape (k, r), of the range of a multiplier."""
    if not len(X):
        return X
    values, vectors = np.linalg.eigh(X)
    kept: Array = vectors[:, values > RANK_TOLERANCE * max(values[-1], 0.0)]
    return kept if values[-1] > 0 else vectors[:, :0]
