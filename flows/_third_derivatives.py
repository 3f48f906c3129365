"""Third derivatives along the critical directions, renewed no more often than the flow needs."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ccpsolve import dvi, svec
from flows._svec import scales
from flows.objective import Objective

Array = np.ndarray

# The error of a flow's force that is due to the age of third derivatives may be this multiple of
# what the flow may have of errors, relative to its velocity,
_AGED = 1.0
# and they may have changed by this fraction,
_OLD = 0.2
# of which this much is assumed of the last interval, even if they were found not to change.
_LEAST = 0.01
# Beyond this many held directions, a mixed derivative is renewed in every turn as well. Without it
# the mixed ones, never renewed, cut steps to a third at four held directions.
_FEW = 2
# Where β is ill-conditioned, columns that have hardly changed make it another one. An error of a
# sixth of β in any direction lets the multiplier swing from step to step, ever further: if the part
# known afresh has changed by more than this, all pairs are computed.
_SPOILT = 0.2


# One-sided differences, with errors of up to 7e-4 of a column, do where the flow may be this wrong.
_ONE_SIDED = 2e-3


class Third(NamedTuple):
    """The columns ``𝒯`` at one point, in svec coordinates of a frame, and how fresh they are.

    Attributes
    ----------
    columns : Tensor, shape (d, n)
    since : float
        When those along held directions were computed.
    rank : int
        How many held directions there were.
    """

    columns: Tensor
    since: float
    rank: int


class Upkeep:
    """Renews 𝒯 along the range of the multiplier, where its age matters.

    Parameters
    ----------
    objective : Objective
    accuracy : float
        Error of the flow's velocity that may be due to the age of 𝒯, relative to it.
    """

    def __init__(self, objective: Objective, accuracy: float) -> None:
        self._objective, self._accuracy = objective, accuracy
        self._rate = np.inf  # relative change per unit of time, as last seen
        self._turn = 0

    def computed(self, w: Tensor, U: Tensor, HU: Tensor, t: float, rank: int) -> Third:
        """Return all of 𝒯 for a frame U, shape (d, k), with the images ``∇²L U``."""
        k = U.shape[1]
        if k == 0:
            return Third(U, t, 0)
        images = HU if self._accuracy >= _ONE_SIDED else None
        return Third(self._objective.third_pairs(w, U, images) * _like(scales(k), w), t, rank)

    def is_due(self, stale: Third, t: float, rank: int, share: float) -> bool:
        """Whether 𝒯 is to be renewed for so many held directions; see :meth:`renewed`."""
        if np.isinf(share):
            return rank > 0
        aged = self._rate * (t - stale.since)
        fresh = rank <= stale.rank and aged < _OLD and aged * share <= _AGED * self._accuracy
        return rank > 0 and not fresh

    def renewed(
        self,
        stale: Third,
        w: Tensor,
        U: Tensor,
        HU: Tensor,
        t: float,
        held: Array,
        share: float,
        squares: Tensor | None = None,
    ) -> Third:
        """Return 𝒯 of an earlier point, given in the frame U, brought up to date.

        Parameters
        ----------
        stale, w, U, HU, t
            What is known, and where it is wanted, with the images ``∇²L U``.
        held : ndarray, shape (k, r)
            Orthonormal basis of the range of the multiplier.
        share : float
            Size of the force ½𝒯[X] relative to the velocity of the flow; infinity renews anyway.
        squares : Tensor, shape (d, r), optional
            ``∇³L[u, u]`` along the basis, if it is known already.
        """
        rank, columns = held.shape[1], stale.columns
        if rank == 0:
            return stale._replace(rank=0)
        if squares is None and not self.is_due(stale, t, rank, share):
            return stale
        axes = np.linalg.qr(held, mode="complete")[0]
        mixed = self._mixed(axes, rank)
        if squares is None:
            squares = self._squares(w, U, HU, axes[:, :rank])
        else:
            axes[:, :rank] = held
        directions = np.stack([*axes.T[:rank], *mixed], axis=1)
        fresh = torch.cat([squares, self._squares(w, U, HU, directions[:, rank:])], dim=1)
        units = np.stack([svec(np.outer(z, z)) for z in directions.T], axis=1)
        change = fresh - columns @ _like(units, w)
        if rank <= stale.rank and t > stale.since:
            held_now, held_change = fresh[:, :rank], change[:, :rank]
            relative = float(held_change.norm() / held_now.norm())
            self._rate = max(relative, _LEAST) / (t - stale.since)
            if rank > 1 and _change_of_form(held_now, held_change) > _SPOILT:
                return self.computed(w, U, HU, t, rank)
        # The smallest change of 𝒯 that agrees with what was computed.
        return Third(columns + change @ _like(np.linalg.pinv(units), w), t, rank)

    def _squares(self, w: Tensor, U: Tensor, HU: Tensor, directions: Array) -> Tensor:
        turn = _like(directions, w)
        along = U @ turn
        if self._accuracy >= _ONE_SIDED:
            return self._objective.third_squares(w, along, HU @ turn)
        return self._objective.third(w, along, along) if along.shape[1] else along

    def _mixed(self, axes: Array, rank: int) -> list[Array]:
        """Return directions between two axes, at least one of them held, in turns."""
        if rank <= _FEW:
            return []
        pairs = [(i, j) for j in range(len(axes)) for i in range(min(j, rank))]
        i, j = pairs[self._turn % len(pairs)]
        self._turn += 1
        return [(axes[:, i] + axes[:, j]) / np.sqrt(2)]


def _change_of_form(now: Tensor, change: Tensor) -> float:
    """Return the largest change of the form ``‖𝒯x‖²``, relative to itself."""
    values, vectors = torch.linalg.eigh((now.T @ now).double())
    least = max(torch.finfo(values.dtype).eps * float(values[-1]), torch.finfo(values.dtype).tiny)
    normal = vectors / values.clamp_min(least).sqrt()
    stretched = torch.linalg.svdvals((now - change).double() @ normal)
    return float((stretched**2 - 1).abs().max())


def carried(third: Third, map_: Array) -> Third:
    """Return 𝒯 in another frame ``U_new ≈ U map``, with ``map`` of shape (k_old, k_new)."""
    return third._replace(columns=third.columns @ _like(dvi.congruence(map_), third.columns))


def _like(x: Array, like: Tensor) -> Tensor:
    return torch.as_tensor(x).to(like)
