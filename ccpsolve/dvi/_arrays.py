"""DVIs given by functions of NumPy arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ccpsolve._symmetric import smat, svec, svec_basis
from ccpsolve.dvi._history import support
from ccpsolve.dvi._problem import Linearization
from ccpsolve.dvi._smooth import Array, Contact


@dataclass(frozen=True)
class ArrayProblem:
    """A DVI ``z' = f(t, z) + B(t, z)X``, ``0 ⪯ X ⟂ A(t, z) ⪰ 0``, with ``A`` of order m.

    It can be integrated by every method.

    Parameters
    ----------
    f : callable (t, z) -> ndarray, shape (d,)
        The drift.
    A : callable (t, z) -> ndarray, shape (m, m)
        The slack, symmetric.
    B : callable (t, z, X) -> ndarray, shape (d,)
        The reaction, linear in the symmetric m×m matrix X.
    dA : callable (t, z, v) -> ndarray, shape (m, m)
        The derivative of the slack along a velocity v of the state.
    dA_dt : callable (t, z) -> ndarray, shape (m, m), optional
        The derivative of the slack in time at a fixed state, by default 0.
    stiffness : float
        Bound on the fastest decay rate of the drift.
    margin : float
        Only eigenvectors of A with eigenvalues below it enter the complementarity problems.

    Examples
    --------
    A point drifts to the right at unit speed and is held by the wall ``1 − z ≥ 0``.

    >>> import numpy as np
    >>> from ccpsolve import dvi
    >>> wall = dvi.ArrayProblem(
    ...     f=lambda t, z: np.ones(1),
    ...     A=lambda t, z: np.array([[1.0 - z[0]]]),
    ...     B=lambda t, z, X: -X[0],
    ...     dA=lambda t, z, v: np.array([[-v[0]]]),
    ... )
    >>> path = dvi.integrate(wall, np.zeros(1), (0.0, 2.0), method="adaptive")
    >>> path.states[-1].round(6), path.events[0].t.__round__(6)
    (array([1.]), 1.0)
    """

    f: Callable[[float, Array], Array]
    A: Callable[[float, Array], Array]
    B: Callable[[float, Array, Array], Array]
    dA: Callable[[float, Array, Array], Array]
    dA_dt: Callable[[float, Array], Array] | None = None
    stiffness: float = 1.0
    margin: float = np.inf

    def drift(self, t: float, z: Array) -> Array:
        """Return ``f(t, z)``."""
        return self.f(t, z)

    def push(self, t: float, z: Array, force: Array) -> Array:
        """Return the force, which is a velocity here."""
        return force

    def combine(self, columns: Array, x: Array) -> Array:
        """Return ``columns @ x``."""
        product: Array = columns @ x
        return product

    def norm(self, z: Array, difference: Array) -> float:
        """Return the Euclidean norm."""
        return float(np.linalg.norm(difference))

    def contact(
        self, t: float, z: Array, previous: Contact | None, multiplier: Array
    ) -> ArrayContact:
        """Look at the constraint in a frame of eigenvectors that moves with them."""
        values, vectors = np.linalg.eigh(self.A(t, z))
        before = previous if isinstance(previous, ArrayContact) else None
        held = 0 if before is None else support(multiplier).shape[1]
        k = max(int(np.count_nonzero(values < self.margin)), held)
        U = vectors[:, :k]
        transport = np.zeros((k, 0))
        if before is not None:
            U = _aligned(U, before.U)
            transport = U.T @ before.U
        return ArrayContact(self, t, z, U, transport, values[k:], before)

    def linearize(self, t: float, z: Array) -> Linearization[Array]:
        """Return the data of an Euler step."""
        contact = self.contact(t, z, None, np.zeros((0, 0)))
        drift = self.f(t, z)
        loss = contact.differentiate(drift[:, None])[:, 0]
        return Linearization(
            slack=contact.slack,
            alpha=-smat(loss) - contact.slack_rate,
            beta=contact.differentiate(contact.columns),
            advance=lambda X, dt: z + dt * (drift + contact.columns @ svec(X)),
        )


class ArrayContact:
    """The constraint of an :class:`ArrayProblem` at one point (the `Contact` protocol)."""

    def __init__(
        self,
        problem: ArrayProblem,
        t: float,
        z: Array,
        U: Array,
        transport: Array,
        beyond: Array,
        previous: ArrayContact | None,
    ) -> None:
        self._problem, self._t, self._z = problem, t, z
        self.U, self.transport, self.beyond = U, transport, beyond
        self.stiffness = problem.stiffness
        self.slack = U.T @ problem.A(t, z) @ U
        rate = 0.0 * self.slack if problem.dA_dt is None else U.T @ problem.dA_dt(t, z) @ U
        self.slack_rate = rate
        self._before = None if previous is None else (previous._t, previous._z)

    @cached_property
    def columns(self) -> Array:
        """Reactions of unit multipliers, shape (d, n)."""
        return self._reactions(self._t, self._z)

    @cached_property
    def carried(self) -> Array:
        """The same at the previous contact."""
        return self.columns if self._before is None else self._reactions(*self._before)

    def velocity(self, forces: Array, h: float) -> Array:
        """Return the forces, which are velocities here."""
        return forces

    def relax(self, displacements: Array, h: float) -> Array:
        """Return the displacements."""
        return displacements

    def differentiate(self, velocities: Array) -> Array:
        """Return ``svec(Uᵀ (dA·v) U)`` for each column v."""
        U, dA = self.U, self._problem.dA
        changes = [svec(U.T @ dA(self._t, self._z, v) @ U) for v in velocities.T]
        k = U.shape[1]
        return np.array(changes).reshape(-1, k * (k + 1) // 2).T

    def _reactions(self, t: float, z: Array) -> Array:
        U = self.U
        columns = [self._problem.B(t, z, U @ E @ U.T) for E in svec_basis(U.shape[1])]
        return np.array(columns).reshape(-1, len(z)).T


def _aligned(U: Array, before: Array) -> Array:
    """Return the basis of span(U) closest to the previous one (polar factor), the rest after it."""
    if not before.shape[1]:
        return U
    left, _, right = np.linalg.svd(U.T @ before)
    rotation = left[:, : len(right)] @ right[: U.shape[1]]
    if rotation.shape[1] < U.shape[1]:
        rotation = np.hstack([rotation, left[:, len(right) :]])
    aligned: Array = U @ rotation
    return aligned
