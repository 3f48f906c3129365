"""The mean loss of a network over its examples, as a weighted sum of losses of chunks."""

from collections.abc import Callable
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor, nn

from flows import _examples
from flows._derivatives import ScalarFunction
from flows._errors import FlowsError
from flows._examples import Data
from flows._network import Network
from flows._preflight import require_mean, require_supported

Terms = list[tuple[float, ScalarFunction]]
"""Weights that sum to one, and scalar functions of flat weights."""


class NetworkLoss:
    """The functions of flat weights whose weighted sum is the loss of a network on all examples.

    Parameters
    ----------
    model, loss, inputs, targets
        As for `flows.Objective`.
    split : bool
        Whether the loss will be evaluated in chunks of examples.

    Attributes
    ----------
    network : Network
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Callable[[Any, Any], Tensor],
        inputs: Data,
        targets: Data,
        *,
        split: bool,
    ) -> None:
        require_supported(model, chunked=split)
        _examples.require_valid("inputs", inputs)
        _examples.require_valid("targets", targets)
        self.network = Network(model)
        self._loss = loss
        self._inputs = inputs
        self._targets = targets

    @cached_property
    def total(self) -> int:
        """The number of examples."""
        return _examples.count("inputs and targets", (self._inputs, self._targets))

    def terms(self, chunk: int | None) -> Terms:
        """Return the functions of chunks of at most so many examples (None: of all)."""
        if chunk is None or chunk >= self.total:
            return [(1.0, partial(self._loss_of, None))]
        return [
            ((stop - start) / self.total, partial(self._loss_of, (start, stop)))
            for start, stop in _examples.chunks(self.total, chunk)
        ]

    def of_first(self, examples: int) -> ScalarFunction:
        """Return the mean loss of the first so many examples."""
        return partial(self._loss_of, (0, examples))

    def _loss_of(self, bounds: tuple[int, int] | None, w: Tensor) -> Tensor:
        """Return the mean loss of the examples within `bounds` (None: of all)."""
        inputs, targets = self._inputs, self._targets
        if bounds is not None:
            inputs = _examples.rows(inputs, *bounds)
            targets = _examples.rows(targets, *bounds)
        return self._loss(self.network(w, inputs), targets)

    def outputs(self, w: Tensor, inputs: Data, chunk: int | None) -> Any:
        """Return the outputs on the given inputs (None: its own), chunk by chunk."""
        inputs = self._inputs if inputs is None else inputs
        if chunk is None:
            return self.network(w, inputs)
        bounds = _examples.chunks(_examples.count("inputs", inputs), chunk)
        return _examples.join([self.network(w, _examples.rows(inputs, *b)) for b in bounds])

    def require_sum(self, chunk: int) -> None:
        """Raise unless the loss of some examples is the mean of the losses of their parts.

        This finds losses that are sums or weighted means, and networks that mix examples.
        """
        stop = min(self.total, max(chunk, 3))
        cut = -(-stop // 3)  # unequal parts: a sum of equal ones is also twice their mean
        if cut == stop:
            return
        w0 = self.network.w0
        with torch.no_grad():
            whole = float(self._loss_of((0, stop), w0))
            parts = [float(self._loss_of(bounds, w0)) for bounds in ((0, cut), (cut, stop))]
        require_mean(whole, parts, [cut, stop - cut], w0.dtype)

    def half_of(self, chunk: int | None) -> int | None:
        """Return half as many examples as the chunk has, or None if that cannot be."""
        try:
            self.require_sum(2)
            whole = self.total if chunk is None else min(chunk, self.total)
        except (FlowsError, ValueError):  # no mean over examples, or they cannot be told apart
            return None
        return whole // 2 or None
