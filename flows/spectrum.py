"""The top of the spectrum of the preconditioned Hessian, kept warm along a trajectory.

Notation: ``A = P^{-1/2} H P^{-1/2}`` is symmetric with the eigenvalues of ``P⁻¹H`` (the
*effective* eigenvalues); an orthonormal eigenvector ``v`` of ``A`` gives ``u = P^{-1/2} v`` with
``H u = λ P u`` and ``uᵀPu = 1``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from flows._errors import FlowsError, InvalidArgumentError

HVP = Callable[[Tensor], Tensor]

# Orthonormalisation drops a new unit vector whose remainder is shorter than this many epsilons.
_DEPENDENT = 1e3

# Residuals allowed to the guards, relative to their distance from the threshold.
_GUARD = 0.05
_FURTHER_GUARD = 0.15
# Far from the threshold, where that says little: relative to the largest eigenvalue.
_RELATIVE_GUARD = 0.1

# Eigenvectors can be asked for to an angle if their values are less than this from the threshold.
_AT_EDGE = 0.1
# Error of an eigenvalue that is further away, relative to the distance.
_FAR = 0.03

# At a cold start, relative to the largest eigenvalue: all of a block, where nothing is known yet.
_COLD_GUARD = 0.03
# Where the block has grown by a random vector, relative to its value, and at least relative to the
# largest eigenvalue: a random vector has a small value, a small residual, and guards nothing.
_NEW_GUARD, _LEAST_GUARD = 0.1, 0.01

# A Krylov space grown from b vectors sees at most b copies of a multiple eigenvalue, and clusters
# at the edge of stability are the rule: a cold start draws this many more than are to be tracked.
_SPARE = 1


class SpectrumError(FlowsError):
    """The eigen-solver did not reach its tolerance within its budget of products."""


@dataclass(frozen=True)
class Spectrum:
    """The largest effective eigenvalues at one point, descending.

    Attributes
    ----------
    values : ndarray, shape (m,)
        Ritz values of ``P⁻¹H``, float64, dimensionless (2 is the edge of stability).
    residuals : ndarray, shape (m,)
        ``‖A v_i − θ_i v_i‖``; an eigenvalue lies within this distance of each value.
    V, AV : Tensor, shape (d, m)
        Orthonormal Ritz vectors of ``A`` and their images.
    root : Tensor, shape () or (d,)
        ``P^{1/2}``.
    """

    values: np.ndarray
    residuals: np.ndarray
    V: Tensor
    AV: Tensor
    root: Tensor

    def above(self, level: float) -> int:
        """Return the number of values above ``level``."""
        return int(np.count_nonzero(self.values > level))

    def frame(self, k: int) -> Tensor:
        """Return ``U``, shape (d, k): the first k generalised eigenvectors, ``UᵀPU = I``."""
        return self.V[:, :k] / _column(self.root)

    def image(self, k: int) -> Tensor:
        """Return ``H U``, shape (d, k)."""
        return self.AV[:, :k] * _column(self.root)

    def dual_frame(self, k: int) -> Tensor:
        """Return ``P U``, shape (d, k), so that ``(PU)ᵀδ`` are the coordinates of ``δ``."""
        return self.V[:, :k] * _column(self.root)


class CriticalSubspace:
    """A warm-started block eigen-solver for the directions near the edge of stability.

    Each :meth:`update` applies ``H`` once to the directions kept from the last call and then only
    to new ones (residuals of Ritz pairs that are not yet accurate enough), with Rayleigh–Ritz in
    float64 on the whole basis. It tracks every eigenvalue above ``level`` and ``guards`` more, so
    the block grows when an eigenvalue nears the threshold and shrinks when one leaves.

    A pair above ``level``, and the top one always, is accurate when
    ``‖Hu − θPu‖_{P⁻¹} ≤ tol |θ|``; the next guard when its residual is below
    ``0.05 (threshold − θ)``, further ones below ``0.15 (threshold − θ)``: enough to see a
    direction coming before it arrives.

    Parameters
    ----------
    dim : int
        Number of weights d.
    threshold : float
        The edge of stability, 2 for every method here.
    level : float
        Eigenvalues above it are resolved to ``tol``.
    guards : int
        Number of pairs tracked below ``level``, ≥ 1.
    tol : float
        Relative residual tolerance, > 0. Eigenvalues are then accurate to about ``tol²``.
    eigenvalue_tol : float, optional
        Accept a pair above ``level`` instead as soon as the estimate ``‖r‖²/gap`` of the error of
        its eigenvalue is below this, with the gap to the eigenvalues below ``level``; and the top
        pair, if it is below, like a further guard.
    block : int
        Number of random vectors that a cold start begins with, and of pairs it resolves. More are
        drawn until there is one more than are tracked.
    max_tracked : int
        Largest number of eigenvalues above ``level``; the flow's complementarity problem grows
        with its square.
    max_products : int
        Budget of Hessian-vector products for one update.
    seed : int
        Seed of the random start block.

    References
    ----------
    Davidson, J. Comput. Phys. 17 (1975), doi:10.1016/0021-9991(75)90065-0;
    Stathopoulos and Wu, SIAM J. Sci. Comput. 23 (2002), doi:10.1137/S1064827500370883
    (orthonormalisation by the Gram matrix).

    Examples
    --------
    >>> import torch
    >>> from flows.spectrum import CriticalSubspace
    >>> H = torch.diag(torch.tensor([2.1, 1.9, 0.5, 0.1, 0.0], dtype=torch.float64))
    >>> subspace = CriticalSubspace(5, tol=1e-8)
    >>> spectrum = subspace.update(lambda V: H @ V, torch.tensor(1.0, dtype=torch.float64))
    >>> spectrum.values[:2].round(12).tolist()
    [2.1, 1.9]
    """

    def __init__(
        self,
        dim: int,
        *,
        threshold: float = 2.0,
        level: float = 1.7,
        guards: int = 2,
        tol: float = 1e-3,
        eigenvalue_tol: float | None = None,
        block: int = 8,
        max_tracked: int = 40,
        max_products: int = 1000,
        seed: int = 0,
    ) -> None:
        if dim < 1:
            raise InvalidArgumentError(f"dim must be at least 1, found {dim}")
        if guards < 1:
            raise InvalidArgumentError(f"guards must be at least 1, found {guards}")
        if not (math.isfinite(tol) and tol > 0):
            raise InvalidArgumentError(f"tol must be positive, found {tol}")
        self.dim = dim
        self.threshold = threshold
        self.level = level
        self.guards = guards
        self.tol = tol
        self.eigenvalue_tol = eigenvalue_tol
        self.block = block
        self.max_tracked = max_tracked
        self.max_products = max_products
        self._generator = torch.Generator().manual_seed(seed)
        self._basis: Tensor | None = None

    def update(
        self,
        hvp: HVP,
        p: Tensor,
        *,
        angle: float = math.inf,
        start: Tensor | None = None,
        known: tuple[Tensor, Tensor] | None = None,
        resting: Spectrum | None = None,
    ) -> Spectrum:
        """Return the top of the spectrum of ``P⁻¹H``, starting from the last call's vectors.

        Parameters
        ----------
        hvp : callable (d, m) -> (d, m)
            Columns ``H v_j``.
        p : Tensor, shape () or (d,)
            The diagonal of the preconditioner, > 0; its dtype and device are the vectors'.
        angle : float
            Largest error of the eigenvectors at the edge: of values above ``threshold − 0.1``.
        start : Tensor, shape (d, m), optional
            Vectors to start from instead of those of the last call.
        known : Tensor, Tensor, shape (d, r), optional
            Vectors in the span of ``start`` to which ``A`` need not be applied, and their images.
        resting : Spectrum, optional
            One from before whose last pair, a guard, is taken over unseen; ``start`` is without.

        Raises
        ------
        SpectrumError
            If the products are not finite, the tolerance is not reached, or there are more than
            ``max_tracked`` eigenvalues above ``level``.
        """
        root = p.sqrt()
        scale = _column(root)

        def apply(V: Tensor) -> Tensor:
            return hvp(V / scale) / scale

        cold, grown = self._basis is None, False
        basis = _Basis(apply, self._start(root) if start is None else start, known)
        drawn = basis.size
        while True:
            values, ritz = basis.rayleigh_ritz()
            tracked = self._tracked(values)
            if resting is not None and start is not None:
                tracked = max(tracked - 1, start.shape[1])
            goal = max(tracked + _SPARE, self.block) if cold else tracked
            wanted = min(goal, basis.size)
            residual = basis.residuals(values, ritz, wanted)
            norms = _norms(residual)
            guards = np.zeros(0) if resting is None else resting.values[-1:]
            allowed = self._allowed(np.append(values[:wanted], guards), cold, grown, angle)
            open_pairs = np.flatnonzero(norms > allowed[:wanted])
            short = min(goal, self.dim) - (drawn if cold else basis.size)
            if len(open_pairs) == 0 and short <= 0:
                break
            if basis.products >= self.max_products:
                raise SpectrumError(
                    f"eigenvalue {values[open_pairs[0]]:.4g} has residual "
                    f"{norms[open_pairs[0]]:.2g} after {basis.products} Hessian-vector products; "
                    "raise tol or max_products"
                )
            new = residual[:, torch.as_tensor(open_pairs, device=residual.device)]
            if short > 0:
                new = torch.cat([new, self._random(short, new)], dim=1)
                grown, drawn = True, drawn + short
            if basis.size + new.shape[1] > max(4 * wanted, 24):
                basis.restart(ritz, 2 * wanted)
            if not basis.expand(new):
                break  # the residuals lie in the span of the basis: rounding is all that is left
        tracked = min(tracked, basis.size)
        V, AV = basis.vectors(ritz, tracked)
        values, norms = values[:tracked], norms[:tracked]
        if resting is not None:
            guard = resting.V[:, -1:] - V @ (V.T @ resting.V[:, -1:])
            V = torch.cat([V, guard / guard.norm()], dim=1)
            AV = torch.cat([AV, resting.AV[:, -1:]], dim=1)
            values = np.append(values, resting.values[-1])
            norms = np.append(norms, resting.residuals[-1])
        self._basis = V
        return Spectrum(values, norms, V, AV, root)

    def _tracked(self, values: np.ndarray) -> int:
        near = int(np.count_nonzero(values > self.level))
        if near > self.max_tracked:
            raise SpectrumError(
                f"more than {self.max_tracked} effective eigenvalues above {self.level:g}: the "
                "learning rate is far beyond the edge of stability here (or raise max_tracked)"
            )
        return near + self.guards

    def _allowed(self, values: np.ndarray, cold: bool, grown: bool, angle: float) -> np.ndarray:
        near = int(np.count_nonzero(values > self.level))
        allowed = self.tol * np.abs(values)
        room = np.maximum(self.threshold - values, 0.0)
        allowed[near:] = np.maximum(allowed[near:], _GUARD * room[near:])
        allowed[near + 1 :] = np.maximum(allowed[near + 1 :], _FURTHER_GUARD * room[near + 1 :])
        new = np.maximum(_NEW_GUARD * np.abs(values[near:]), _LEAST_GUARD * abs(values[0]))
        if self.eigenvalue_tol is not None:
            gap = np.maximum(values[:near] - (values[near] if near < len(values) else 0.0), 0.0)
            needed = np.sqrt(np.maximum(self.eigenvalue_tol, _FAR * room[:near]) * gap)
            at_edge = values[:near] > self.threshold - _AT_EDGE
            needed[at_edge] = np.minimum(needed, angle * gap)[at_edge]
            allowed[:near] = np.maximum(allowed[:near], needed)
            visible = np.minimum(_FURTHER_GUARD * room[near:], _RELATIVE_GUARD * abs(values[0]))
            if cold:
                visible = np.full(len(visible), _COLD_GUARD * abs(values[0]))
            allowed[near:] = visible
        elif near == 0:
            allowed[0] = self.tol * abs(values[0])
        if grown and (cold or self.eigenvalue_tol is not None):
            allowed[near:] = np.minimum(allowed[near:], new)
        return allowed

    @property
    def vectors(self) -> Tensor | None:
        """The orthonormal vectors kept from the last update, shape (d, m)."""
        return self._basis

    def _start(self, like: Tensor) -> Tensor:
        if self._basis is not None:
            return self._basis
        return self._random(min(self.block, self.dim), like)

    def _random(self, columns: int, like: Tensor) -> Tensor:
        block = torch.randn(self.dim, columns, generator=self._generator, dtype=torch.float64)
        return block.to(dtype=like.dtype, device=like.device)

    def state(self) -> dict[str, Tensor]:
        """Return what the next update starts from, as plain tensors."""
        return {} if self._basis is None else {"basis": self._basis}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Continue from :meth:`state`."""
        self._basis = state.get("basis")


class _Basis:
    """An orthonormal basis ``S``, its image ``AS``, and their float64 projection ``SᵀAS``."""

    def __init__(
        self, apply: HVP, start: Tensor, known: tuple[Tensor, Tensor] | None = None
    ) -> None:
        self._apply = apply
        self.products = 0
        self.S = self.AS = start[:, :0]
        if known is not None and known[0].shape[1]:
            V, AV = known
            lengths, turn = np.linalg.eigh(_gram(V, V))
            orthonormal = _like(turn / np.sqrt(lengths), V)
            self.S, self.AS = V @ orthonormal, AV @ orthonormal
            # Of as many columns as are left: the others would be nothing but rounding.
            start = start - self.S @ (self.S.T @ start)
            start = start @ _like(np.linalg.eigh(_gram(start, start))[1][:, V.shape[1] :], V)
        projection = _gram(self.S, self.AS)
        self._projection = (projection + projection.T) / 2
        self.expand(start)

    @property
    def size(self) -> int:
        return self.S.shape[1]

    def expand(self, new: Tensor) -> bool:
        """Add the part of ``new`` outside the span; False when there is none."""
        new = _orthonormalize(new, self.S)
        if new.shape[1] == 0:
            return False
        image = self._apply(new)
        if not bool(torch.isfinite(image).all()):
            raise SpectrumError("a Hessian-vector product is not finite")
        self.products += new.shape[1]
        self.S = torch.cat([self.S, new], dim=1)
        self.AS = torch.cat([self.AS, image], dim=1)
        column = _gram(self.S, image)
        grown = np.zeros((self.size, self.size))
        grown[: -new.shape[1], : -new.shape[1]] = self._projection
        grown[:, -new.shape[1] :] = column
        grown[-new.shape[1] :, :] = column.T
        tail = grown[-new.shape[1] :, -new.shape[1] :]
        grown[-new.shape[1] :, -new.shape[1] :] = (tail + tail.T) / 2
        self._projection = grown
        return True

    def rayleigh_ritz(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the Ritz values, descending, and the coefficients of the Ritz vectors."""
        values, ritz = np.linalg.eigh(self._projection)
        return values[::-1].copy(), ritz[:, ::-1].copy()

    def vectors(self, ritz: np.ndarray, count: int) -> tuple[Tensor, Tensor]:
        """Return the first ``count`` Ritz vectors and their images."""
        coefficients = _like(ritz[:, :count], self.S)
        return self.S @ coefficients, self.AS @ coefficients

    def residuals(self, values: np.ndarray, ritz: np.ndarray, count: int) -> Tensor:
        V, AV = self.vectors(ritz, count)
        return AV - V * _like(values[:count], V)

    def restart(self, ritz: np.ndarray, keep: int) -> None:
        """Compress the basis to its best Ritz vectors; costs no product."""
        keep = min(keep, self.size)
        self.S, self.AS = self.vectors(ritz, keep)
        self._projection = ritz[:, :keep].T @ self._projection @ ritz[:, :keep]


def _orthonormalize(new: Tensor, basis: Tensor) -> Tensor:
    """Orthonormal columns spanning ``new`` outside ``basis`` (twice is enough)."""
    new = new / torch.linalg.vector_norm(new, dim=0).clamp_min(torch.finfo(new.dtype).tiny)
    smallest = (_DEPENDENT * torch.finfo(new.dtype).eps) ** 2
    for _ in range(2):
        new = new - basis @ (basis.T @ new)
        values, vectors = np.linalg.eigh(_gram(new, new))
        kept = values > smallest
        if not kept.any():
            return new[:, :0]
        new = new @ _like(vectors[:, kept] / np.sqrt(values[kept]), new)
    return new


def _gram(X: Tensor, Y: Tensor) -> np.ndarray:
    return (X.double().T @ Y.double()).cpu().numpy()


def _norms(X: Tensor) -> np.ndarray:
    return torch.linalg.vector_norm(X, dim=0, dtype=torch.float64).cpu().numpy()


def _like(x: np.ndarray, like: Tensor) -> Tensor:
    return torch.as_tensor(x, dtype=like.dtype, device=like.device)


def _column(root: Tensor) -> Tensor:
    return root if root.ndim == 0 else root[:, None]
