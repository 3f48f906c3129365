"""Second and third derivatives by differences of gradients.

For unit vectors u and v, with the gradient g at w known,

* ``∇²L v ≈ (g(w + hv) − g(w))/h``: 1 gradient;
* ``∇³L[u,u] ≈ (g(w + hu) − 2g(w) + g(w − hu))/h²``: 2 gradients, which also tell
  ``∇²L u ≈ (g(w + hu) − g(w − hu))/2h``;
* ``∇³L[u,u] ≈ 2(g(w + hu) − g(w) − h∇²L u)/h²``, if ``∇²L u`` is known and not far larger: 1
  gradient;
* ``∇³L[u,v] = (∇³L[u+v,u+v] − ∇³L[u−v,u−v])/4``: 4 gradients, or
  ``(∇³L[u+v,u+v] − ∇³L[u,u] − ∇³L[v,v])/2``: 2 gradients where the squares are known (1 if the
  Hessian columns are as well).
"""

from collections.abc import Callable

import torch
from torch import Tensor

from flows._errors import InvalidArgumentError

WAYS = ("autodiff", "differences")
"""Where second and third derivatives come from."""

# Steps in units of ``ε^(1/2) ‖w‖`` and ``ε^(1/4) ‖w‖``: where truncation and rounding weigh about
# the same on perceptrons, convolutional and recurrent networks and transformers (measured).
_SECOND_STEP = 0.3
_THIRD_STEP = 0.2
# One-sided, in the same units as the latter: third derivatives to 4e-4 (perceptrons, convolutional
# and recurrent networks) and 7e-4 (transformers), where centred ones are good to 1e-6 and better.
_ONE_SIDED_STEP = 0.08
# They are if ``‖∇³L[u,u]‖`` is at least this multiple of ``‖∇²L u‖/‖w‖`` (found: 12 to 60, on
# networks); else rounding of the Hessian column is too much, and the other side is asked as well.
_ENOUGH = 3.0


def require_way(derivatives: object, dtype: torch.dtype) -> bool:
    """Return whether derivatives are to be differences; raise for a way that there is not."""
    if derivatives not in WAYS:
        raise InvalidArgumentError(
            f"derivatives must be one of {', '.join(WAYS)}, found {derivatives!r}"
        )
    if derivatives == "differences" and dtype != torch.float64:
        raise InvalidArgumentError(
            "derivatives='differences' needs weights of torch.float64, since in lower precision "
            f"rounding leaves errors of a per cent and more in third derivatives, found {dtype}"
        )
    return derivatives == "differences"


class Differences:
    """Derivatives by differences of gradients; the last gradient asked for is kept.

    Parameters
    ----------
    evaluate : callable
        Maps ``w`` to ``(L(w), ∇L(w))``.
    """

    def __init__(self, evaluate: Callable[[Tensor], tuple[float, Tensor]]) -> None:
        self._evaluate = evaluate
        self._last: tuple[Tensor, float, Tensor] | None = None

    def value_and_gradient(self, w: Tensor) -> tuple[float, Tensor]:
        """Return ``L(w)`` and ``∇L(w)``, evaluated unless they were asked for last."""
        if self._last is None or not torch.equal(self._last[0], w):
            # Clones: the caller may change w or the gradient in place.
            self._last = w.detach().clone(), *self._evaluate(w)
        _, value, gradient = self._last
        return value, gradient.clone()

    def hessian_columns(self, w: Tensor, V: Tensor) -> Tensor:
        """Return ``∇²L(w) V``, shape (d, m), for m gradients and the one at w."""
        step = second_step(w)
        _, here = self.value_and_gradient(w)
        directions, lengths = _normalized(V)
        result = torch.empty_like(V)
        for j, v in enumerate(directions.T):
            result[:, j] = (self._evaluate(w + step * v)[1] - here) * (lengths[j] / step)
        return result

    def curvature_columns(self, w: Tensor, U: Tensor) -> Tensor:
        """Return ``∇²L(w) u_j``, then ``∇³L(w)[u_j, u_j]``, for two gradients each."""
        U, lengths = _normalized(U)
        columns = [self._curvature(w, u) for u in U.T]
        second, third = (torch.stack(side, 1) for side in zip(*columns, strict=True))
        return torch.cat([second * lengths, third * lengths**2], dim=1)

    def third_columns(self, w: Tensor, U: Tensor, V: Tensor) -> Tensor:
        """Return the columns ``∇³L(w)[u_j, v_j]``; a single column u goes with every v_j."""
        (U, sizes), (V, lengths) = _normalized(U.expand_as(V)), _normalized(V)
        result = torch.empty_like(V)
        for j, (u, v) in enumerate(zip(U.T, V.T, strict=True)):
            if torch.equal(u, v):
                result[:, j] = self._square(w, u)
            else:
                result[:, j] = (self._square(w, u + v) - self._square(w, u - v)) / 4
        return result * (sizes * lengths)

    def third_squares(self, w: Tensor, U: Tensor, HU: Tensor) -> Tensor:
        """Return ``∇³L(w)[u_j, u_j]`` where ``∇²L u_j`` is known, for 1 gradient each."""
        unit, lengths = _normalized(U)
        image = HU / torch.where(lengths > 0, lengths, 1.0)
        columns = [self._square(w, u, Hu) for u, Hu in zip(unit.T, image.T, strict=True)]
        return torch.stack(columns, 1) * lengths**2

    def third_pairs(self, w: Tensor, U: Tensor, HU: Tensor | None = None) -> Tensor:
        """Return ``∇³L(w)[u_i, u_j]`` for i ≤ j, row after row, for 2 gradients each.

        One-sided for 1 gradient each where ``∇²L u_j`` is known.
        """
        U, lengths = _normalized(U)
        HU = None if HU is None else HU / torch.where(lengths > 0, lengths, 1.0)

        def square(*places: int) -> Tensor:
            u = U[:, places].sum(1)
            return self._square(w, u, None if HU is None else HU[:, places].sum(1))

        k = U.shape[1]
        squares = [square(i) for i in range(k)]
        result = U.new_empty(len(U), k * (k + 1) // 2)
        rows, columns = torch.triu_indices(k, k).tolist()
        for place, (i, j) in enumerate(zip(rows, columns, strict=True)):
            pair = squares[i] if i == j else (square(i, j) - squares[i] - squares[j]) / 2
            result[:, place] = pair * (lengths[i] * lengths[j])
        return result

    def _square(self, w: Tensor, u: Tensor, Hu: Tensor | None = None) -> Tensor:
        """Return ``∇³L(w)[u, u]``; one-sided where ``∇²L(w) u`` is known, if that will do."""
        if Hu is None:
            return self._curvature(w, u)[1]
        step = _ONE_SIDED_STEP * _third_unit(w)
        _, here = self.value_and_gradient(w)
        ahead = self._evaluate(w + step * u)[1]
        third = (ahead - here - step * Hu) * (2 / step**2)
        if float(third.norm()) * _length(w) >= _ENOUGH * float(Hu.norm()):
            return third
        return (ahead - 2 * here + self._evaluate(w - step * u)[1]) / step**2

    def _curvature(self, w: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``∇²L(w) u`` and ``∇³L(w)[u, u]``."""
        step = third_step(w)
        _, here = self.value_and_gradient(w)
        ahead, behind = self._evaluate(w + step * u)[1], self._evaluate(w - step * u)[1]
        return (ahead - behind) / (2 * step), (ahead - 2 * here + behind) / step**2


def second_step(w: Tensor) -> float:
    """Return the step along a unit vector for second derivatives at ``w``."""
    return _SECOND_STEP * torch.finfo(w.dtype).eps ** (1 / 2) * _length(w)


def third_step(w: Tensor) -> float:
    """Return the step along a unit vector for third derivatives at ``w``."""
    return _THIRD_STEP * _third_unit(w)


def _third_unit(w: Tensor) -> float:
    return torch.finfo(w.dtype).eps ** (1 / 4) * _length(w)


def _length(w: Tensor) -> float:
    """Return the unit of length; the natural one of a network is that of its weights."""
    return float(w.norm()) or 1.0


def _normalized(V: Tensor) -> tuple[Tensor, Tensor]:
    """Return columns of length one, or zero, and their lengths."""
    lengths = V.norm(dim=0)
    return V / torch.where(lengths > 0, lengths, 1.0), lengths
