"""The mean loss of a network over its examples, as a weighted sum of losses of chunks."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from flows import _examples
from flows._derivatives import ScalarFunction
from flows._examples import Data
from flows._network import Network
from flows._preflight import require_mean, require_supported


class NetworkLoss:
    """The functions of flat weights whose weighted sum is the loss of a network on all examples.

    Parameters
    ----------
    model, loss, inputs, targets, chunk
        As for `flows.Objective`.

    Attributes
    ----------
    network : Network
    terms : list of (float, callable)
        Weights that sum to one, and scalar functions of flat weights.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Callable[[Any, Any], Tensor],
        inputs: Data,
        targets: Data,
        chunk: int | None,
    ) -> None:
        require_supported(model, chunked=chunk is not None)
        _examples.require_valid("inputs", inputs)
        _examples.require_valid("targets", targets)
        self.network = Network(model)
        self._loss = loss
        self._inputs = inputs
        self._targets = targets
        self._chunk = chunk
        self.terms: list[tuple[float, ScalarFunction]] = [(1.0, partial(self._loss_of, None))]
        if chunk is not None:
            total = _examples.count("inputs and targets", (inputs, targets))
            self.terms = [
                ((stop - start) / total, partial(self._loss_of, (start, stop)))
                for start, stop in _examples.chunks(total, chunk)
            ]

    def _loss_of(self, bounds: tuple[int, int] | None, w: Tensor) -> Tensor:
        """Return the mean loss of the examples within `bounds` (None: of all)."""
        inputs, targets = self._inputs, self._targets
        if bounds is not None:
            inputs = _examples.rows(inputs, *bounds)
            targets = _examples.rows(targets, *bounds)
        return self._loss(self.network(w, inputs), targets)

    def outputs(self, w: Tensor, inputs: Data) -> Any:
        """Return the outputs on the given inputs (None: its own), chunk by chunk."""
        inputs = self._inputs if inputs is None else inputs
        if self._chunk is None:
            return self.network(w, inputs)
        bounds = _examples.chunks(_examples.count("inputs", inputs), self._chunk)
        return _examples.join([self.network(w, _examples.rows(inputs, *b)) for b in bounds])

    def require_sum(self) -> None:
        """Raise unless the loss of some examples is the mean of the losses of their parts.

        This finds losses that are sums or weighted means, and networks that mix examples.
        """
        if len(self.terms) == 1:
            return
        total = _examples.count("inputs", self._inputs)
        stop = min(total, max(self._chunk or 0, 3))
        cut = -(-stop // 3)  # unequal parts: a sum of equal ones is also twice their mean
        w0 = self.network.w0
        with torch.no_grad():
            whole = float(self._loss_of((0, stop), w0))
            parts = [float(self._loss_of(bounds, w0)) for bounds in ((0, cut), (cut, stop))]
        require_mean(whole, parts, [cut, stop - cut], w0.dtype)
