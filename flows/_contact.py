"""The central flow as the adaptive integrator sees it: cheap data on the critical directions.

The state of the integrator is the flat vector ``z = (w, ν)``, its force ``(½𝒯[X], ℛ[X])``, which
gives the velocity ``(−P⁻¹ ½𝒯[X], ℛ[X])``; see :mod:`flows.central` for the formulas. Frames are
kept as orthonormal eigenvectors ``V = P^{1/2}U`` of ``P^{-1/2}HP^{-1/2}``, to stay comparable
while P moves.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import os
import torch
from torch import Tensor

from ccpsolve import dvi, smat, svec
from flows._relaxation import Relaxation, phi
from flows._svec import columns_of, scales, weighted_gram
from flows.methods import Method
from flows.objective import Objective
from flows.process import State
from flows.spectrum import CriticalSubspace, Spectrum

Array = np.ndarray

# Directions with θ > threshold − MARGIN are in the frame of the complementarity problem.
MARGIN = 0.1
# A direction of the new frame with less than this cosine to the old one is new.
_KNOWN = 0.8
# Up to this rank of X, third derivatives are renewed only along its eigenvectors.
_FEW = int(os.environ.get('FEW','3'))
ANGLE, AGED, OLD = 5.0, 1.0, 0.1
KRYLOV_SHARE = 0.03
PREDICT=int(os.environ.get('PREDICT','1'))
import os
EX=int(os.environ.get('EXTRA','0'))
def EXTRA(rank): return EX if rank>3 else 0


class CentralProblem:
    """The DVI of a central flow (the `ccpsolve.dvi.SmoothProblem` protocol).

    Parameters
    ----------
    objective, method
        The problem.
    first_update : int
        The update that time 0 corresponds to.
    shape : torch.Size
        Shape of ν.
    subspace : CriticalSubspace
        The eigen-solver, kept warm.
    mixed_term : bool
        See :class:`flows.central.Central`.
    """

    def __init__(
        self,
        objective: Objective,
        method: Method,
        first_update: int,
        shape: torch.Size,
        subspace: CriticalSubspace,
        *,
        accuracy: float = 1e-3,
        mixed_term: bool = False,
    ) -> None:
        self.objective, self.method, self.accuracy = objective, method, accuracy
        self.first_update, self.shape = first_update, shape
        self.subspace = subspace
        self.mixed_term = mixed_term
        self._speed = 0.0
        self.relaxation: Relaxation | None = None
        self.third_rate = np.inf
        self.turn = 0

    def join(self, state: State) -> Tensor:
        """Return the flat state ``z``."""
        return torch.cat([state.w, state.nu.reshape(-1)])

    def split(self, z: Tensor) -> State:
        """Return weights and optimizer state of a flat state."""
        d = self.objective.dim
        return State(z[:d], z[d:].reshape(self.shape))

    def preconditioner(self, t: float, nu: Tensor) -> Tensor:
        """Return ``P(ν, t)``; raise where it is not positive."""
        p = self.method.preconditioner(nu, self.first_update + t)
        if not bool((torch.isfinite(p) & (p > 0)).all()):
            raise dvi.IntegrationError(
                f"the preconditioner is not positive and finite at step {t:g} "
                "(a weight without any gradient so far needs eps > 0)"
            )
        return p

    def drift(self, t: float, z: Tensor) -> Tensor:
        """Return ``(−P⁻¹g, f(ν, g))``."""
        w, nu = self.split(z)
        gradient = self.objective.gradient(w)
        if not bool(torch.isfinite(gradient).all()):
            raise dvi.IntegrationError(f"the gradient is not finite at step {t:g}")
        velocity = -gradient / self.preconditioner(t, nu)
        self._speed = float(velocity.norm())
        return self.join(State(velocity, self.method.rate(nu, gradient, self.first_update + t)))

    def push(self, t: float, z: Tensor, force: Tensor) -> Tensor:
        """Return ``(−P⁻¹q, r)`` for a force ``(q, r)``."""
        q, r = self.split(force)
        return self.join(State(-q / self.preconditioner(t, self.split(z).nu), r))

    def combine(self, columns: Tensor, x: Array) -> Tensor:
        """Return ``columns @ x``."""
        return columns @ torch.as_tensor(x).to(columns)

    def norm(self, z: Tensor, difference: Tensor) -> float:
        """Return ``‖Δw‖``, or what the relative change of P by Δν is worth if that is more.

        A change of the effective eigenvalues by ε counts as the way that w goes in a time ε.
        """
        w, nu = self.split(difference)
        size = float(w.norm())
        if not nu.numel():
            return size
        state = self.split(z)
        relative = (nu / state.nu.abs().clamp_min(torch.finfo(nu.dtype).tiny)).abs()
        V = self.subspace.vectors
        if nu.ndim and V is not None:
            relative = relative.clamp_max(1.0) @ V.square()
        return max(size, self._speed * float(relative.max()))

    def contact(
        self, t: float, z: Tensor, previous: dvi.Contact | None, multiplier: Array
    ) -> CentralContact:
        """Look at the critical directions at ``z``."""
        state = self.split(z)
        p = self.preconditioner(t, state.nu)
        before = previous if isinstance(previous, CentralContact) else None
        share = 0.0 if before is None else before.share(t, state, multiplier)
        angle = ANGLE * self.accuracy / share if share else np.inf
        spectrum = self.subspace.update(lambda V: self.objective.hvp(state.w, V), p, angle=angle, start=None if before is None else before.predicted(t))
        return CentralContact(self, t, state, p, spectrum, before, multiplier, share)


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
    ) -> None:
        self._problem, self.t, self._state = problem, t, state
        self.p, self.spectrum = p, spectrum
        support = dvi.support(multiplier)
        self._share = share
        self.k = self._size(before, support)
        threshold, values = problem.method.threshold, spectrum.values
        self.slack = np.diag(threshold - values[: self.k])
        self.beyond = threshold - values[self.k :]
        self.transport = self._transport(before)
        self._held = self.transport @ support if before is not None else support
        self._multiplier = self.transport @ multiplier @ self.transport.T if before is not None else multiplier
        self._p_before = p if before is None else before.p
        self._before = before
        self._clock = problem.first_update + t
        self._fresh = t, 0
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
        """Return how fast the vectors near the edge turn, shape (d, m)."""
        if before is None or self.t <= before.t:
            return None
        level = self._problem.subspace.level
        m = min(self.spectrum.above(level), before.spectrum.above(level))
        if m == 0: return None
        now, then = self.spectrum.V[:, :m], before.spectrum.V[:, :m]
        left, cosines, right = torch.linalg.svd(then.T @ now)
        if float(cosines[-1]) < 0.8: return None
        return (now - then @ (left @ right)) / (self.t - before.t)

    def predicted(self, t: float) -> Tensor:
        """Return the tracked vectors at a later time, as far as they have turned steadily."""
        V = self.spectrum.V
        if self._turning is None or not PREDICT:
            return V
        change = self._turning * (t - self.t)
        largest = float(change.norm(dim=0).max())
        change = change * min(1.0, 0.5 / largest) if largest else change
        return torch.cat([V[:, : change.shape[1]] + change, V[:, change.shape[1] :]], 1)

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
        k = self.spectrum.above(self._problem.method.threshold - MARGIN)
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
        """Bound on the fastest decay rate."""
        return 1.05 * max(float(self.spectrum.values[0]), 0.1) + self._relaxation

    @cached_property
    def slack_rate(self) -> Array:
        """``2Uᵀ(∂P/∂t)U``."""
        nu = self._state.nu
        change = self._problem.method.preconditioner_rate(nu, torch.zeros_like(nu), self._clock)
        return smat(2 * _numpy(weighted_gram(self.U, change))) if self.k else np.zeros((0, 0))

    @cached_property
    def columns(self) -> Tensor:
        """``(½𝒯, ℛ)`` in svec coordinates, shape (d + |ν|, n)."""
        third = self._third()
        return torch.cat([0.5 * third, self._reaction(third)])

    @property
    def carried(self) -> Tensor:
        """The same at the previous contact, in this frame; of new directions, as here."""
        if self._before is None:
            return self.columns
        known = self.transport @ self.transport.T
        old = self._before.columns @ _like(congruence(self.transport.T), self.columns)
        here = np.eye(old.shape[1]) - congruence(known)
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

    def _root(self, h: float) -> Tensor:
        """Return ``P^{1/2}`` as a column, at the middle of a step that ends here."""
        root = (self.p if h == 0 else (self.p + self._p_before) / 2).sqrt()
        return root if root.ndim == 0 else root[:, None]

    def _relaxed(self, scaled: Tensor, h: float) -> Tensor:
        return scaled if h == 0 else self._relaxation_of_forces(scaled, h)

    @cached_property
    def _relaxation_of_forces(self) -> Relaxation:
        known = self._problem.relaxation
        known = known.near(self.spectrum) if known else Relaxation(self.spectrum, self.spectrum.V[:, :0], self.spectrum.V[:, :0])
        if self.k and self._share > KRYLOV_SHARE:
            X = self._multiplier if self._multiplier.any() else np.eye(self.k)
            d = self._problem.objective.dim
            force = self.columns[:d] @ _like(svec(X), self.columns)
            root = self.p.sqrt()
            known = known.covering(force / root, self._apply)
        self._problem.relaxation = known
        return known

    def _apply(self, W: Tensor) -> Tensor:
        root = self.p.sqrt() if self.p.ndim == 0 else self.p.sqrt()[:, None]
        return self._problem.objective.hvp(self._state.w, W / root) / root

    def _decayed(self, rates: Tensor, h: float) -> Tensor:
        return float(phi(np.array(h * self._relaxation))) * rates

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

    @property
    def _renewed(self) -> bool:
        """Whether too much is new for the third derivatives of the contact before."""
        new = np.linalg.norm(self.transport, axis=1) < _KNOWN
        return bool(new.any()) or self._held.shape[1] > _FEW

    def _third(self) -> Tensor:
        """Return 𝒯, shape (d, n): all pairs where much is new, else along held directions."""
        before, w, objective = self._before, self._state.w, self._problem.objective
        if self.k == 0:
            return self.U
        rank, problem = self._held.shape[1], self._problem
        if before is None or self._renewed:
            self._fresh = self.t, rank
            return objective.third_pairs(w, self.U) * _like(scales(self.k), w)
        stale = 2 * before.columns[: objective.dim] @ _like(congruence(self._map(before)), w)
        since, known = before._fresh
        aged = problem.third_rate * (self.t - since)
        if rank == 0 or (rank <= known and aged * self._share <= AGED * problem.accuracy and aged < OLD):
            self._fresh = since, known if rank else 0
            return stale
        self._fresh = self.t, rank
        turn = np.linalg.qr(self._held, mode="complete")[0]
        directions = [*turn.T[:rank], *self._mixed(turn, rank)]
        known_pairs = np.stack([svec(np.outer(z, z)) for z in directions], axis=1)
        axes = self.U @ _like(np.stack(directions, axis=1), w)
        new = objective.third(w, axes, axes)
        change = new - stale @ _like(known_pairs, w)
        if rank <= known:
            problem.third_rate = float(change[:, :rank].norm() / new[:, :rank].norm()) / (self.t - since)
        return stale + change @ _like(np.linalg.pinv(known_pairs), w)

    def _mixed(self, turn: Array, rank: int) -> list[Array]:
        pairs = [(i, j) for j in range(self.k) for i in range(min(j, rank))]
        problem, chosen = self._problem, []
        for _ in range(min(EXTRA(rank), len(pairs))):
            i, j = pairs[problem.turn % len(pairs)]
            problem.turn += 1
            chosen.append((turn[:, i] + turn[:, j]) / np.sqrt(2))
        return chosen

    def _map(self, before: CentralContact) -> Array:
        """Return M, shape (k0, k), with ``U ≈ U_before M`` in the least-squares sense of P."""
        old = (before.U * (self.p.sqrt() if self.p.ndim == 0 else self.p.sqrt()[:, None])).double()
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


def congruence(M: Array) -> Array:
    """Return the svec matrix of ``X ↦ M X Mᵀ``."""
    return dvi.congruence(M)


def _like(x: Array, like: Tensor) -> Tensor:
    return torch.as_tensor(x).to(like)


def _numpy(x: Tensor) -> Array:
    array: Array = x.double().cpu().numpy()
    return array
