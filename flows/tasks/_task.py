"""What a training problem is, apart from the network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flows._errors import InvalidArgumentError

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class Task:
    """Data, a loss, and what a network must know of them.

    Parameters
    ----------
    name : str
        Name of the task, such as ``"digits"``.
    description : str
        One line for titles and results: how many examples, which options.
    inputs : Tensor, shape (N, ...)
        Standardised real numbers, or, for a task on sequences, integer tokens of shape (N, T).
    targets : Tensor, shape (N, ...)
        What ``loss`` compares the outputs of the network with.
    loss : callable
        ``loss(outputs, targets)`` is the mean over the examples, a scalar tensor.
    outputs : int
        Number of outputs of the network (per position, for sequences).
    dtype : torch.dtype
        Of the real numbers of the task, and of the networks built for it.
    alphabet : int, optional
        Number of different tokens, when the inputs are tokens.

    Raises
    ------
    InvalidArgumentError
        If the data are empty, unequal in number, or hold NaN or infinity, or if ``dtype`` is
        not a real floating-point type.
    """

    name: str
    description: str
    inputs: Tensor
    targets: Tensor
    loss: Callable[[Tensor, Tensor], Tensor]
    outputs: int
    dtype: torch.dtype
    alphabet: int | None = None

    def __post_init__(self) -> None:
        if len(self.inputs) == 0 or len(self.inputs) != len(self.targets):
            raise InvalidArgumentError(
                f"inputs and targets must be equally many and not empty, found "
                f"{len(self.inputs)} inputs and {len(self.targets)} targets"
            )
        if not self.dtype.is_floating_point:
            raise InvalidArgumentError(
                f"dtype must be a real floating-point type, found {self.dtype}"
            )
        for argument in ("inputs", "targets"):
            _require_finite(argument, getattr(self, argument))

    @property
    def examples(self) -> int:
        """Number of examples, N."""
        return len(self.inputs)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input, without the axis over examples."""
        return tuple(self.inputs.shape[1:])


def _require_finite(argument: str, data: Tensor) -> None:
    bad = int((~data.isfinite()).reshape(len(data), -1).any(1).sum())
    if bad:
        raise InvalidArgumentError(
            f"{argument} must be finite, found NaN or infinity in {bad} of {len(data)} examples"
        )
