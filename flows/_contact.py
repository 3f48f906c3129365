"""Cheap data on the critical directions of a central flow at one point.

Frames are kept as orthonormal eigenvectors ``V = P^{1/2}U`` of ``P^{-1/2}HP^{-1/2}``, to stay
comparable while P moves.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ccpsolve import dvi, smat, svec
from flows._near_edge import DirectionsNearEdge
from flows._relaxation import Relaxation
from flows._svec import columns_of, scales, weighted_gram
from flows._third_derivatives import Third, carried
from flows.process import State
from flows.spectrum import Spectrum

if TYPE_CHECKING:
    from flows._central_problem import CentralProblem

Array = np.ndarray

# Directions with θ > threshold − MARGIN enter the frame of the complementarity problem; they leave
# it below threshold − _LEAVING: one that comes and goes costs its third derivatives every time.
MARGIN, _LEAVING = 0.1, 0.15
# A direction of the new frame with less than this cosine to the old one is new.
_KNOWN = 0.8
# Vectors are predicted to turn by at most this (about 27°).
_FARTHEST = 0.5
# A power step with what is known anyway takes errors out of the vectors, which lie mostly at small
# eigenvalues: hence a little more than that.
_POWER = 1.25
# A guard that goes unseen is taken to change this many times as fast as it did.
_FASTER = 4.0
# A force with less than this share in the velocity may be taken not to be pulled back.
_WORTH_RELAXING = 0.1


class Foreseen(NamedTuple):
    """Orthonormal vectors expected to be held, with what was computed for them together.

    Attributes
    ----------
    V, AV : Tensor, shape (d, r)
        The vectors, and their images under ``P^{-1/2}HP^{-1/2}``.
    squares : Tensor, shape (d, r)
        ``∇³L[u, u]`` along ``u = P^{-1/2}v``.
    """

    V: Tensor
    AV: Tensor
    squares: Tensor


class CentralContact:
    """The critical directions at one point (the `ccpsolve.dvi.Contact` protocol)."""

    def __init__(
        self,
        problem: CentralProblem,
        t: float,
        state: State,
        p: Tensor,
        spectrum: Spectrum,
        before: CentralContact | None,
        multiplier: Array,
        share: float,
        foreseen: Foreseen | None = None,
        guarded: bool = True,
    ) -> None:
        self._problem, self.t, self._state = problem, t, state
        self.p, self.spectrum = p, spectrum
        support = dvi.support(multiplier)
        self._share, self._foreseen, self._guarded = share, foreseen, guarded
        self.k = self._size(before, support)
        threshold, values = problem.method.threshold, spectrum.values
        self.slack = np.diag(threshold - values[: self.k])
        self.beyond = threshold - values[self.k :]
        self.transport = self._transport(before)
        Q = self.transport if before is not None else np.eye(len(multiplier))
        self._held, self._multiplier = Q @ support, Q @ multiplier @ Q.T
        self._p_before = p if before is None else before.p
        self._before = before
        self.repeated = before is not None and t == before.t
        self._clock = problem.first_update + t
        self._turning = self._turn_rate(before)
        if before is not None and before._before is not None:
            before._before._settle()

    def _settle(self) -> None:
        """Let go of the contact before, so that a long run does not keep all of them.

        What is not computed by now is taken over from it if that is cheap, and else computed
        afresh if it is ever asked for.
        """
        before = self._before
        if before is not None and "columns" in before.__dict__ and not self._renewed:
            _ = self.columns
        self._before = None

    def _turn_rate(self, before: CentralContact | None) -> Tensor | None:
        """Return how fast the vectors near the edge turn, shape (d, m), where they are the same."""
        if before is None:
            return None
        level = self._problem.subspace.level
        m = min(self.spectrum.above(level), before.spectrum.above(level))
        now, then = self.spectrum.V[:, :m], before.spectrum.V[:, :m]
        left, cosines, right = torch.linalg.svd(then.T @ now)
        if m == 0 or float(cosines[-1]) < _KNOWN:
            return None
        if self.t > before.t:
            return (now - then @ (left @ right)) / (self.t - before.t)
        known = before._turning  # another look at the same time
        return None if known is None or known.shape[1] != m else known @ (left @ right)

    def predicted(self, t: float) -> Tensor:
        """Return the tracked vectors at a later time, if they go on turning as they do."""
        values = _like(self.spectrum.values, self.spectrum.V)
        V = self.spectrum.V + _POWER * (self.spectrum.AV / values - self.spectrum.V)
        if self._turning is None:
            return V
        change = self._turning * (t - self.t)
        farthest = float(change.norm(dim=0).max())
        change = change * min(1.0, _FARTHEST / farthest) if farthest else change
        m = change.shape[1]
        return torch.cat([V[:, :m] + change, V[:, m:]], dim=1)

    def foreseen(
        self, t: float, state: State, p: Tensor, multiplier: Array, share: float
    ) -> Foreseen | None:
        """Return the vectors held at a later point, where their 𝒯 is to be renewed.

        𝒯 gives their images as well, so that the look there has less to do.
        """
        support = dvi.support(multiplier)
        if "third" not in self.__dict__ or not self._problem.upkeep.is_due(
            self.third, t, support.shape[1], share
        ):
            return None
        V = self.predicted(t)[:, : self.k] @ _like(support, self.V)
        V = torch.linalg.qr(V)[0]
        root = p.sqrt() if p.ndim == 0 else p.sqrt()[:, None]
        HU, squares = self._problem.objective.curvature(state.w, V / root)
        return Foreseen(V, HU / root, squares)

    def guard_rests(self, t: float) -> bool:
        """Whether the vector below those near the edge may go unseen at a later time.

        That is at the same time, and else in every other look at most, and only if its value,
        changing several times as fast as it did, stays out of what is tracked.
        """
        before, level = self._before, self._problem.subspace.level
        values, near = self.spectrum.values, self.spectrum.above(level)
        if t == self.t:
            return 0 < near == len(values) - 1 and bool(values[-1] <= level - MARGIN)
        if before is None or not self._guarded or not 0 < near == len(values) - 1:
            return False
        then = before.spectrum.values
        if self.t <= before.t or len(then) != len(values):
            return False
        rate = abs(values[-1] - then[-1]) / (self.t - before.t)
        return bool(values[-1] + _FASTER * rate * (t - self.t) <= level - MARGIN)

    def share(self, t: float, state: State, multiplier: Array) -> float:
        """Return the size of the force over that of the velocity on the way to a state."""
        d = self._problem.objective.dim
        if not multiplier.any() or t <= self.t:
            return 0.0
        force = (self.columns[:d] @ _like(svec(multiplier), self.columns)) / self.p
        speed = float((state.w - self._state.w).norm()) / (t - self.t)
        return float(force.norm()) / speed if speed else np.inf

    def _size(self, before: CentralContact | None, support: Array) -> int:
        """Return the number of directions in the frame."""
        threshold = self._problem.method.threshold
        k = self.spectrum.above(threshold - MARGIN)
        if before is not None:
            k = max(k, min(before.k, self.spectrum.above(threshold - _LEAVING)))
        if before is None or not support.shape[1]:
            return k
        held = before.V @ torch.as_tensor(support).to(before.V)
        inside = _numpy(self.spectrum.V.T @ held)
        k = max(k, support.shape[1])
        while k < len(inside) and np.linalg.svd(inside[:k], compute_uv=False)[-1] < _KNOWN:
            k += 1
        return min(k, len(inside))

    def _transport(self, before: CentralContact | None) -> Array:
        """Return the partial isometry nearest to ``VᵀV_before``."""
        if before is None:
            return np.zeros((self.k, 0))
        overlap = _numpy(self.V.T @ before.V)
        left, cosines, right = np.linalg.svd(overlap, full_matrices=False)
        isometry: Array = (left * (cosines > 0.5)) @ right
        return isometry

    @property
    def V(self) -> Tensor:
        """The orthonormal frame, shape (d, k)."""
        return self.spectrum.V[:, : self.k]

    @cached_property
    def U(self) -> Tensor:
        """The frame with ``UᵀPU = I``, shape (d, k)."""
        return self.spectrum.frame(self.k)

    @cached_property
    def _relaxation(self) -> float:
        nu = self._state.nu
        return self._problem.method.relaxation(nu, torch.ones_like(nu), self._clock)

    @property
    def stiffness(self) -> float:
        """Bound on the decay rates outside the vectors near the edge; the last one is a guard."""
        last = float(self.spectrum.values[-1] + self.spectrum.residuals[-1])
        return 1.05 * max(last, 0.1) + self._relaxation

    @cached_property
    def fast(self) -> DirectionsNearEdge:
        """The eigenvectors near the edge, along which the loss pulls weights back fastest."""
        near = self.spectrum.above(self._problem.subspace.level)
        return DirectionsNearEdge(self.spectrum, near, self._state.nu.numel())

    @cached_property
    def slack_rate(self) -> Array:
        """``2Uᵀ(∂P/∂t)U``."""
        nu = self._state.nu
        change = self._problem.method.preconditioner_rate(nu, torch.zeros_like(nu), self._clock)
        return smat(2 * _numpy(weighted_gram(self.U, change))) if self.k else np.zeros((0, 0))

    @cached_property
    def columns(self) -> Tensor:
        """``(½𝒯, ℛ)`` in svec coordinates, shape (d + |ν|, n)."""
        third = self.third.columns
        return torch.cat([0.5 * third, self._reaction(third)])

    @property
    def carried(self) -> Tensor:
        """The same at the previous contact, in this frame; of new directions, as here."""
        if self._before is None or "third" not in self._before.__dict__:
            return self.columns
        known = self.transport @ self.transport.T
        old = self._before.columns @ _like(dvi.congruence(self.transport.T), self.columns)
        here = np.eye(old.shape[1]) - dvi.congruence(known)
        return old + self.columns @ _like(here, old)

    def velocity(self, forces: Tensor, h: float) -> Tensor:
        """Return ``(−P^{-1/2}ΦP^{-1/2}q, φ₁(ch)r)``, with P at the middle of the step."""
        d = self._problem.objective.dim
        root = self._root(h)
        return torch.cat(
            [-self._relaxed(forces[:d] / root, h) / root, self._decayed(forces[d:], h)]
        )

    def relax(self, displacements: Tensor, h: float) -> Tensor:
        """Return ``(P^{-1/2}ΦP^{1/2}δw, φ₁(ch)δν)``, with P at the middle of the step."""
        d = self._problem.objective.dim
        root = self._root(h)
        relaxed = self._relaxed(displacements[:d] * root, h) / root
        return torch.cat([relaxed, self._decayed(displacements[d:], h)])

    def drift_near(self, t: float, z: Tensor, error: float) -> Tensor | None:
        """Return the drift at a state close by, from the gradient here and what is known of H.

        None where the products with H that are not known may amount to more than ``error``.
        """
        root = self._root(0.0).squeeze()
        change = (self._problem.split(z).w - self._state.w) * root
        known, rest = self._loss_relaxation.product(change)
        if float(self.spectrum.values[-1]) * float((rest / root).norm()) > error:
            return None
        gradient = self._problem.objective.gradient(self._state.w)
        return self._problem.drift_at(t, z, gradient + root * known)

    def _root(self, h: float) -> Tensor:
        """Return ``P^{1/2}`` as a column, at the middle of a step that ends here."""
        root = (self.p if h == 0 else (self.p + self._p_before) / 2).sqrt()
        return root if root.ndim == 0 else root[:, None]

    def _relaxed(self, scaled: Tensor, h: float) -> Tensor:
        return scaled if h == 0 else self._loss_relaxation(scaled, h)

    @cached_property
    def _loss_relaxation(self) -> Relaxation:
        """``φ₁`` of the preconditioned Hessian, as far as the force makes it worth knowing."""
        known = self._problem.relaxation
        relaxation = Relaxation(self.spectrum) if known is None else known.near(self.spectrum)
        if self.k and self._share > _WORTH_RELAXING:
            X = self._multiplier if self._multiplier.any() else np.eye(self.k)
            force = self.columns[: self._problem.objective.dim] @ _like(svec(X), self.columns)
            relaxation.cover(force / self.p.sqrt(), self._apply)
        self._problem.relaxation = relaxation
        return relaxation

    def _apply(self, W: Tensor) -> Tensor:
        """Return the product with ``P^{-1/2}HP^{-1/2}``."""
        root = self._root(0.0)
        return self._problem.objective.hvp(self._state.w, W / root) / root

    def _decayed(self, rates: Tensor, h: float) -> Tensor:
        return float(dvi.phi_functions(np.array(h * self._relaxation))[0]) * rates

    def differentiate(self, velocities: Tensor) -> Array:
        """Return ``−𝒯ᵀ[v] + 2Uᵀ(∂P/∂ν v_ν)U`` in svec coordinates, for each column."""
        d, nu = self._problem.objective.dim, self._state.nu
        changes = -2 * (self.columns[:d].double().T @ velocities[:d].double())
        if nu.numel():
            method = self._problem.method
            grams = [
                weighted_gram(
                    self.U, method.preconditioner_change(nu, v.reshape(nu.shape), self._clock)
                )
                for v in velocities[d:].T
            ]
            changes = changes + 2 * columns_of(grams, changes)
        return _numpy(changes)

    def bend(self, displacement: Tensor) -> Array:
        """Return the change of the slack beyond its linear part, as far as that costs nothing.

        Nearly all of it with RMSProp, where the force acts on ν and changes small entries, and with
        them ``D = (P(ν + δ) − P(ν))/P``, by much. In the frame that is ``2Vᵀ(D − D')V``, with the
        linear part D'; and the eigenvectors turn out of it, which takes ``2‖(I − VVᵀ)DV‖²`` if the
        eigenvalues there are small.
        """
        problem, nu = self._problem, self._state.nu
        if not nu.numel():
            return np.zeros((self.k, self.k))
        method, change = problem.method, problem.split(displacement).nu
        there = torch.maximum(nu + change, torch.finfo(nu.dtype).tiny * torch.ones_like(nu))
        exact = method.preconditioner(there, self._clock) - self.p
        linear = method.preconditioner_change(nu, change, self._clock)
        turned = self.V * (exact / self.p).reshape(-1, 1)
        outside = (turned - self.V @ (self.V.T @ turned)).double()
        inside = smat(2 * _numpy(weighted_gram(self.U, exact - linear)))
        bend: Array = inside - 2 * _numpy(outside.T @ outside)
        return bend

    @property
    def _renewed(self) -> bool:
        """Whether directions are new to the third derivatives of the contact before."""
        return bool((np.linalg.norm(self.transport, axis=1) < _KNOWN).any())

    @cached_property
    def third(self) -> Third:
        """``𝒯``: all pairs where directions are new, else renewed along the held ones."""
        before, upkeep, w = self._before, self._problem.upkeep, self._state.w
        images = self.spectrum.image(self.k)
        held, squares = self._held, None
        if self._foreseen is not None:
            held, squares = _numpy(self.V.T @ self._foreseen.V), self._foreseen.squares
            held = held / np.linalg.norm(held, axis=0)
        lost = held.shape[1] > self.k  # an impulse can throw directions far below the edge
        if before is None or "third" not in before.__dict__ or self._renewed or not self.k or lost:
            return upkeep.computed(w, self.U, images, self.t, min(self._held.shape[1], self.k))
        stale = carried(before.third, self._map(before))
        return upkeep.renewed(stale, w, self.U, images, self.t, held, self._share, squares)

    def _map(self, before: CentralContact) -> Array:
        """Return M, shape (k0, k), with ``U ≈ U_before M`` in the least-squares sense of P."""
        old = (before.U * self._root(0.0)).double()
        return _numpy(torch.linalg.solve(old.T @ old, old.T @ self.V.double()))

    def _reaction(self, third: Tensor) -> Tensor:
        """Return ℛ, shape (|ν|, n)."""
        problem, nu = self._problem, self._state.nu
        if not nu.numel():
            return third[:0]
        gradient = torch.zeros_like(self._state.w)
        if problem.mixed_term or problem.method.reaction_needs_gradient:
            gradient = problem.objective.gradient(self._state.w)
        HU, pulls = self.spectrum.image(self.k), []
        pairs = zip(*np.triu_indices(self.k), scales(self.k), strict=True)
        for column, (i, j, scale) in enumerate(pairs):
            a, b = HU[:, i], HU[:, j]
            pull = problem.method.reaction(nu, gradient, self._clock, a, b) * scale
            if problem.mixed_term:
                shift = 0.5 * third[:, column]
                pull = pull + problem.method.rate_change(nu, gradient, self._clock, shift)
            pulls.append(pull.reshape(-1))
        return columns_of(pulls, third[:0].new_zeros(nu.numel(), 0))


def _like(x: Array, like: Tensor) -> Tensor:
    return torch.as_tensor(x).to(like)


def _numpy(x: Tensor) -> Array:
    array: Array = x.double().cpu().numpy()
    return array
