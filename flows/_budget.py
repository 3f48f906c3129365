"""How many examples and columns fit a budget of memory, found by measuring small ones."""

import logging
from collections.abc import Callable

import torch
from torch import Tensor

from flows._derivatives import ColumnBatch, GradientGraph, ScalarFunction
from flows._errors import InvalidArgumentError
from flows._evaluation import Arithmetic, Portion
from flows._memory import peak_bytes
from flows._network_loss import NetworkLoss

logger = logging.getLogger(__name__)

_OVERHEAD = {"cpu": 128 * 2**20}
"""What torch loads into memory when it first differentiates (115 MiB were seen)."""
_HELD = {"cpu": 1.75}
"""What an allocator holds for the tensors in use (glibc 2.36 was seen at up to 1.7 of them)."""
_HELD_ELSEWHERE = 1.25
_RESULTS = 16
"""Columns of results that are set aside, twice: a sum and the next term."""
_GROWTH = 4
"""Factor between the numbers of examples measured."""

Order = Callable[[GradientGraph, Tensor, ColumnBatch], Tensor]


def portions(
    loss: NetworkLoss, memory: int, chunk: int | None, arithmetic: Arithmetic
) -> tuple[Portion, Portion]:
    """Return what to evaluate at once of second and of third derivatives.

    The peak of memory is measured for 1, 4, 16, … examples, as long as the line through the last
    two peaks says that more fit, and then read off that line. The peak is the largest of several
    sums that grow in proportion to the examples, so that the line is a lower bound that becomes
    exact; hence the small steps.

    Parameters
    ----------
    loss : NetworkLoss
    memory : int
        Bytes that one evaluation may take.
    chunk : int or None
        The most examples at once.
    arithmetic : Arithmetic
        How derivatives are computed.

    Returns
    -------
    second, third : Portion

    Raises
    ------
    InvalidArgumentError
        If one example and one column do not fit.
    """
    w = loss.network.w0
    held = _HELD.get(w.device.type, _HELD_ELSEWHERE)
    overhead = _OVERHEAD.get(w.device.type, 0)
    most = loss.total if chunk is None else min(chunk, loss.total)
    results = 2 * _RESULTS * w.numel() * w.element_size()
    free = int((memory - overhead) / held) - results

    def portion(order: Order) -> Portion:
        def peak(examples: int, columns: int = 1) -> int:
            return peak_bytes(lambda: _probe(loss.of_first(examples), w, order, columns), w.device)

        if (least := peak(1)) > free:
            needed = overhead + held * (least + results)
            raise InvalidArgumentError(
                f"memory must be at least {needed / 2**20:.0f} MiB for this network, one example "
                f"at a time, found {memory / 2**20:.0f} MiB"
            )
        examples, expected = _most_examples(peak, least, most, free)
        # Equal parts need less memory than full ones and a rest.
        examples = -(-most // -(-most // examples))
        batch = ColumnBatch.for_function(loss.of_first(examples), w)
        if batch.limit > 1:
            measured = -(-examples // 2)
            per_column = 2 * (peak(measured, 2) - peak(measured, 1))
            batch.limit = min(batch.limit, 1 + max(0, free - expected) // max(1, per_column))
        return Portion(examples, batch)

    with torch.enable_grad(), arithmetic():
        third = portion(_third)
        second = third if third.examples == most else portion(_second)
    logger.info(
        "of %d examples, %s at once for second and %s for third derivatives",
        loss.total,
        second.examples,
        third.examples,
    )
    return Portion(second.examples, ColumnBatch(second.batch.limit)), third


def _most_examples(peak: Callable[[int], int], least: int, most: int, free: int) -> tuple[int, int]:
    """Return how many examples fit, and the peak expected of them; `least` is that of one."""
    examples, bytes_ = 1, least
    slope = least  # as long as nothing is known of the part that does not grow
    while True:
        fitting = min(most, examples + (free - bytes_) // slope)
        following = min(fitting, _GROWTH * examples)
        if following < 2 * examples:
            return max(1, fitting), bytes_ + slope * (fitting - examples)
        grown = peak(following)
        slope = max(1, -(-(grown - bytes_) // (following - examples)))
        examples, bytes_ = following, grown


def _probe(f: ScalarFunction, w: Tensor, order: Order, columns: int) -> None:
    V = torch.ones(len(w), columns, dtype=w.dtype, device=w.device)
    order(GradientGraph(f, w), V, ColumnBatch(columns))


def _second(graph: GradientGraph, V: Tensor, batch: ColumnBatch) -> Tensor:
    return graph.hessian_columns(V, batch)


def _third(graph: GradientGraph, V: Tensor, batch: ColumnBatch) -> Tensor:
    return graph.third_columns(V[:, :1], V, batch)
