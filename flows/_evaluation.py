"""Sums over chunks of examples, in the memory there is."""

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from flows._derivatives import ColumnBatch, GradientGraph, ScalarFunction, value_and_gradient
from flows._determinism import deterministic
from flows._errors import NotEnoughMemoryError
from flows._memory import is_out_of_memory
from flows._safe_derivatives import protected

logger = logging.getLogger(__name__)

Result = TypeVar("Result")


@dataclass(frozen=True)
class Arithmetic:
    """How torch computes.

    Attributes
    ----------
    protect : bool
        Whether doubtful derivatives are computed by elementary operations.
    repeatable : bool
        Whether only deterministic algorithms are used.
    """

    protect: bool
    repeatable: bool

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Have torch compute so."""
        with ExitStack() as stack:
            if self.protect:
                stack.enter_context(protected())
            if self.repeatable:
                stack.enter_context(deterministic())
            yield


@dataclass
class Portion:
    """What is evaluated at once.

    Attributes
    ----------
    examples : int or None
        At most so many examples; None for all.
    batch : ColumnBatch
        At most so many columns.
    """

    examples: int | None
    batch: ColumnBatch


class Loss(Protocol):
    """A scalar function of flat weights that may be a sum over examples."""

    def terms(self, chunk: int | None) -> list[tuple[float, ScalarFunction]]:
        """Return weights and functions of chunks of so many examples."""

    def half_of(self, chunk: int | None) -> int | None:
        """Return half as many examples as the chunk has, or None if that cannot be."""


class Whole:
    """A function that is no sum over examples."""

    def __init__(self, f: ScalarFunction) -> None:
        self._f = f

    def terms(self, chunk: int | None) -> list[tuple[float, ScalarFunction]]:
        """Return the function."""
        return [(1.0, self._f)]

    def half_of(self, chunk: int | None) -> None:
        """Return None."""


class Evaluation:
    """Values and derivatives of a loss, summed over portions of examples and columns.

    The recorded gradient is kept until another point is asked for, if it holds all examples. When
    memory runs out, the portion is halved for good, columns first, and the evaluation repeated.

    Parameters
    ----------
    loss : Loss
    arithmetic : Arithmetic
    second, third : Portion
        For values, gradients and Hessian columns, and for third derivatives.
    """

    def __init__(self, loss: Loss, arithmetic: Arithmetic, second: Portion, third: Portion) -> None:
        self._loss = loss
        self._arithmetic = arithmetic
        self.second = second
        self.third = third
        self._record: GradientGraph | None = None

    def is_recorded(self, w: Tensor) -> bool:
        """Whether the gradient at ``w`` is known from the last columns."""
        return self._record is not None and self._record.is_at(w)

    def value(self, w: Tensor) -> float:
        """Return ``L(w)``."""
        if self._record is not None and self._record.is_at(w):
            return float(self._record.value)

        self._record = None  # its memory may be needed now

        def compute() -> float:
            with torch.no_grad():
                terms = self._loss.terms(self.second.examples)
                return sum(weight * float(f(w)) for weight, f in terms)

        return self.within_memory(compute)

    def value_and_gradient(self, w: Tensor) -> tuple[float, Tensor]:
        """Return ``L(w)`` and ``∇L(w)``, shape (d,)."""
        if self._record is not None and self._record.is_at(w):
            return float(self._record.value), self._record.gradient

        self._record = None

        def compute() -> tuple[float, Tensor]:
            value, gradient = 0.0, torch.zeros_like(w)
            for weight, f in self._loss.terms(self.second.examples):
                term, slope = value_and_gradient(f, w)
                value += weight * float(term)
                gradient.add_(slope, alpha=weight)
            return value, gradient

        return self.within_memory(compute)

    def hessian_columns(self, w: Tensor, V: Tensor) -> Tensor:
        """Return ``∇²L(w) V``, shape (d, m)."""
        batch = self.second.batch
        return self._columns(w, self.second, V.shape[1], lambda g: g.hessian_columns(V, batch))

    def curvature_columns(self, w: Tensor, U: Tensor) -> Tensor:
        """Return ``∇²L(w) u_j``, then ``∇³L(w)[u_j, u_j]``, shape (d, 2m)."""
        return self._columns(w, self.third, 1, lambda g: g.curvature_columns(U))

    def third_columns(self, w: Tensor, U: Tensor, V: Tensor) -> Tensor:
        """Return the columns ``∇³L(w)[u_j, v_j]``; a single column u goes with every v_j."""
        batch = self.third.batch
        return self._columns(w, self.third, V.shape[1], lambda g: g.third_columns(U, V, batch))

    def third_pairs(self, w: Tensor, U: Tensor) -> Tensor:
        """Return ``∇³L(w)[u_i, u_j]`` for i ≤ j, row after row, shape (d, k(k+1)/2)."""
        batch = self.third.batch
        return self._columns(w, self.third, U.shape[1], lambda g: g.third_pairs(U, batch))

    def _columns(
        self, w: Tensor, portion: Portion, m: int, columns: Callable[[GradientGraph], Tensor]
    ) -> Tensor:
        """Average columns over the chunks, weighted by their numbers of examples."""

        def compute() -> Tensor:
            terms = self._loss.terms(portion.examples)
            if len(terms) == 1:
                return columns(self._recorded(terms[0][1], w))
            self._record = None  # its memory is needed now
            weight, f = terms[0]
            total = columns(GradientGraph(f, w)).mul_(weight)
            for weight, f in terms[1:]:
                total.add_(columns(GradientGraph(f, w)), alpha=weight)
            return total

        return self.within_memory(compute, portion, m)

    def _recorded(self, f: ScalarFunction, w: Tensor) -> GradientGraph:
        """Return the recorded gradient at ``w``, recording it if it is not the last one."""
        if self._record is None or not self._record.is_at(w):
            self._record = None  # frees the old record before there is a new one
            self._record = GradientGraph(f, w)
        return self._record

    def within_memory(
        self, compute: Callable[[], Result], portion: Portion | None = None, columns: int = 1
    ) -> Result:
        """Return what `compute` does, repeated with a smaller portion while memory runs out."""
        portion = self.second if portion is None else portion
        while True:
            try:
                with torch.enable_grad(), self._arithmetic():
                    return compute()
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                reason = str(error).strip().partition("\n")[0]
            # Only here, after the error with its frames is gone, is their memory free again.
            self._record = None
            self._halve(portion, columns, reason)

    def _halve(self, portion: Portion, columns: int, reason: str) -> None:
        at_once = min(portion.batch.limit, columns)
        if at_once > 1:
            portion.batch.limit = at_once // 2
        else:
            portion.examples = self._loss.half_of(portion.examples)
            if portion.examples is None:
                raise NotEnoughMemoryError(f"out of memory, and nothing can be split: {reason}")
        logger.warning(
            "out of memory: from now on %s examples and %d columns at once (%s)",
            "all" if portion.examples is None else portion.examples,
            portion.batch.limit,
            reason,
        )
