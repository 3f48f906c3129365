"""The data of a stationary-preconditioner problem, validated once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ccpsolve._errors import InvalidProblemError
from ccpsolve.stationary._operator import HessianOperator

__all__ = ["StationaryProblem"]

Array = NDArray[np.float64]


class StationaryProblem:
    r"""Gradient, Hessian and learning rate of one stationary preconditioner.

    .. math::
        \min_p \sum_i p_i + c_i^2/p_i \quad\text{s.t.}\quad H \preceq 2\,\mathrm{diag}(p),\ p \ge 0,
        \qquad c = |g|/\eta

    with dual :math:`\max_Z \langle Z, H\rangle + 2\sum_i c_i\sqrt{1 - 2Z_{ii}}` over
    :math:`Z \succeq 0`, :math:`Z_{ii} \le 1/2`. The oscillation covariance is
    :math:`\Sigma = (\eta^2/2) Z`; factors are related by :math:`D = (\eta/\sqrt2)\,E`, Z = EEᵀ.

    Parameters
    ----------
    gradient : array_like, shape (d,)
        g.
    hessian : ndarray, scipy.sparse matrix, LinearOperator, or callable
        H, or a map of blocks ``(d, m) -> (d, m)``.
    lr : float
        The learning rate η > 0.
    gradient_term : bool
        With ``False`` c = 0: the alternative preconditioner, ``min tr P`` (a max-cut program).

    Attributes
    ----------
    c : ndarray, shape (d,)
        ``|g|/η``, in the units of H (zero without the gradient term).
    hessian : HessianOperator
        H with a count of its products.
    lr : float
        η.

    Raises
    ------
    InvalidProblemError
        Naming the argument, what was found and what is allowed.

    References
    ----------
    Cohen, Damian et al., arXiv:2410.24206, eq. (12) and Proposition 2.

    Examples
    --------
    >>> import numpy as np
    >>> problem = StationaryProblem([0.2, -0.1], np.eye(2), 0.1)
    >>> problem.c
    array([2., 1.])
    """

    def __init__(self, gradient: Any, hessian: Any, lr: float, gradient_term: bool = True) -> None:
        g = _vector(gradient, "gradient")
        self.lr = _positive(lr, "lr")
        with np.errstate(over="ignore"):
            self.c: Array = np.abs(g) / self.lr if gradient_term else np.zeros_like(g)
        if not np.isfinite(self.c).all():
            raise InvalidProblemError(
                f"lr is {lr!r}, so small that |gradient|/lr overflows; pass a larger lr"
            )
        self.hessian = HessianOperator(hessian, g.size)

    @property
    def d(self) -> int:
        """Number of coordinates."""
        return self.c.size

    def primal_value(self, p: Array) -> float:
        r"""Σ p_i + c_i²/p_i, with 0²/0 = 0; the feasibility of p is not looked at."""
        ratio = np.divide(self.c, p, out=np.where(self.c > 0, np.inf, 0.0), where=p > 0)
        return float(p.sum() + (self.c * ratio).sum())

    def dual_value(self, E: Array, HE: Array) -> float:
        """⟨Z, H⟩ + 2Σ c_i√(1 − 2Z_ii) at Z = EEᵀ, rows of which may not exceed ‖E_i‖² = ½."""
        return self.dual_value_from(E, float(np.einsum("ij,ij->", E, HE)))

    def dual_value_from(self, E: Array, form: float) -> float:
        """Return the same where ⟨Z, H⟩ is known."""
        z = np.einsum("ij,ij->i", E, E)
        return form + 2 * float(self.c @ np.sqrt(np.maximum(1 - 2 * z, 0)))


def _vector(value: Any, name: str) -> Array:
    array = np.asarray(value)
    if array.ndim != 1:
        raise InvalidProblemError(f"{name} has shape {array.shape}; allowed: a vector (d,)")
    if array.dtype.kind not in "biuf":
        raise InvalidProblemError(f"{name} has dtype {array.dtype}; allowed: real numbers")
    if not np.isfinite(array).all():
        raise InvalidProblemError(f"{name} contains NaN or inf; allowed: finite numbers")
    return array.astype(np.float64)


def _positive(value: float, name: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise InvalidProblemError(f"{name} is {value!r}; allowed: a positive number") from None
    if not 0 < number < np.inf:
        raise InvalidProblemError(f"{name} is {value!r}; allowed: a positive finite number")
    return number
