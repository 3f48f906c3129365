"""The loss of a network as a function of flat weights, and its derivatives up to order three."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from flows import _derivatives
from flows._derivatives import ScalarFunction
from flows._errors import InvalidArgumentError, UnsupportedModelError
from flows._safe_derivatives import protected


class Objective:
    """First form: the loss of a network as a function of flat weights."""

    def __init__(
        self,
        model: nn.Module,
        loss: Callable[[Any, Any], Tensor],
        inputs: Tensor,
        targets: Tensor,
        *,
        chunk: int | None = None,
        protect: bool = True,
    ) -> None:
        trainable = {n: p for n, p in model.named_parameters() if p.requires_grad}
        if not trainable:
            raise UnsupportedModelError("model has no trainable parameter")
        self._model = model
        self._inputs = inputs
        self._names = list(trainable)
        self._shapes = [p.shape for p in trainable.values()]
        self._sizes = [p.numel() for p in trainable.values()]
        self._constants = {
            n: p.detach() for n, p in model.named_parameters() if not p.requires_grad
        }
        n = len(inputs)
        step = n if chunk is None else chunk
        self._terms: Sequence[tuple[float, ScalarFunction]] = [
            (len(x) / n, lambda w, x=x, y=y: loss(self._forward(w, x), y))
            for x, y in zip(inputs.split(step), targets.split(step), strict=True)
        ]
        self._start(torch.cat([p.detach().reshape(-1) for p in trainable.values()]), protect)

    @classmethod
    def from_function(cls, f: ScalarFunction, w0: Tensor, *, protect: bool = True) -> "Objective":
        """Wrap any scalar torch function of a flat vector."""
        self = cls.__new__(cls)
        self._names, self._shapes, self._sizes = ["w"], [w0.shape], [w0.numel()]
        self._terms = [(1.0, f)]
        self._start(w0.detach().clone(), protect)
        return self

    def _start(self, w0: Tensor, protect: bool) -> None:
        self._w0 = w0
        self._protect = protect
        self._counts = {"value": 0, "gradient": 0, "hvp": 0, "third": 0}

    w0 = property(lambda self: self._w0.clone(), doc="Starting weights, flat.")
    dim = property(lambda self: self._w0.numel(), doc="Number of weights d.")
    dtype = property(lambda self: self._w0.dtype)
    device = property(lambda self: self._w0.device)
    counts = property(lambda self: dict(self._counts), doc="Evaluations so far.")

    def unflatten(self, w: Tensor) -> dict[str, Tensor]:
        """Return the named parameter tensors (views) of flat weights."""
        parts = w.split(self._sizes)
        return {n: t.view(s) for n, t, s in zip(self._names, parts, self._shapes, strict=True)}

    def _forward(self, w: Tensor, inputs: Any) -> Any:
        state = {**self._constants, **self.unflatten(w)}
        state.update({n: b.clone() for n, b in self._model.named_buffers()})
        return functional_call(self._model, state, (inputs,))

    def outputs(self, w: Tensor, inputs: Any = None) -> Any:
        """Return the outputs of the network."""
        with torch.no_grad(), self._safely():
            return self._forward(w, self._inputs if inputs is None else inputs)

    def value(self, w: Tensor) -> float:
        """Return L(w)."""
        self._counts["value"] += 1
        with torch.no_grad(), self._safely():
            return float(sum(weight * f(w) for weight, f in self._terms))

    def gradient(self, w: Tensor) -> Tensor:
        """Return ∇L(w), shape (d,)."""
        return self.value_and_gradient(w)[1]

    def value_and_gradient(self, w: Tensor) -> tuple[float, Tensor]:
        """Return L(w) and ∇L(w)."""
        self._counts["gradient"] += 1
        value, gradient = 0.0, torch.zeros_like(self._w0)
        with torch.enable_grad(), self._safely():
            for weight, f in self._terms:
                term, slope = _derivatives.value_and_gradient(f, w)
                value += weight * float(term)
                gradient += weight * slope
        return value, gradient

    def hvp(self, w: Tensor, V: Tensor) -> Tensor:
        """Return ∇²L(w) V for columns V, shape (d, m)."""
        self._counts["hvp"] += self._columns("V", V)
        return self._mean(lambda f: _derivatives.hessian_columns(f, w, V))

    def third(self, w: Tensor, U: Tensor, V: Tensor) -> Tensor:
        """Return the columns ∇³L(w)[u_j, v_j], shape (d, m)."""
        self._columns("U", U)
        self._counts["third"] += self._columns("V", V)
        return self._mean(lambda f: _derivatives.third_columns(f, w, U, V))

    def third_pairs(self, w: Tensor, U: Tensor) -> Tensor:
        """Return ∇³L(w)[u_i, u_j] for i ≤ j in svec order, shape (d, k(k+1)/2)."""
        k = self._columns("U", U)
        self._counts["third"] += k * (k + 1) // 2
        return self._mean(lambda f: _derivatives.third_pairs(f, w, U))

    def check(self) -> None:
        """Compare derivatives with finite differences."""

    def _columns(self, name: str, V: Tensor) -> int:
        if V.ndim != 2 or V.shape[0] != self.dim:
            raise InvalidArgumentError(
                f"{name} must have shape ({self.dim}, m), found {tuple(V.shape)}"
            )
        return V.shape[1]

    def _mean(self, columns: Callable[[ScalarFunction], Tensor]) -> Tensor:
        """Average over the chunks, weighted by their numbers of examples."""
        with torch.enable_grad(), self._safely():
            total = 0
            for weight, f in self._terms:
                total = total + weight * columns(f)
            return total

    @contextmanager
    def _safely(self) -> Iterator[None]:
        if self._protect:
            with protected():
                yield
        else:
            yield
