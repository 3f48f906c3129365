"""Data as trees of tensors whose first axis counts the examples."""

from collections.abc import Iterator
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from flows._errors import InvalidArgumentError

Data = Any
"""A tensor, or a tuple, list or dictionary of such; None stands for no data."""


def leaves(data: Data) -> Iterator[Tensor]:
    """Yield the tensors of `data`."""
    if isinstance(data, Tensor):
        yield data
    elif isinstance(data, dict):
        for part in data.values():
            yield from leaves(part)
    elif isinstance(data, (tuple, list)):
        for part in data:
            yield from leaves(part)


def rows(data: Data, start: int, stop: int) -> Data:
    """Return the examples ``start ≤ i < stop``."""
    if isinstance(data, Tensor):
        return data[start:stop]
    if isinstance(data, dict):
        return {key: rows(part, start, stop) for key, part in data.items()}
    if isinstance(data, (tuple, list)):
        return type(data)(rows(part, start, stop) for part in data)
    return data


def join(parts: list[Data]) -> Data:
    """Return the examples of all `parts`, one after the other."""
    first = parts[0]
    if isinstance(first, Tensor):
        return torch.cat(parts)
    if isinstance(first, dict):
        return {key: join([part[key] for part in parts]) for key in first}
    if isinstance(first, (tuple, list)):
        return type(first)(join(list(part)) for part in zip(*parts, strict=True))
    return first


def count(name: str, data: Data) -> int:
    """Return the number of examples; raise if the tensors disagree or there are none."""
    sizes = {leaf.shape[0] if leaf.ndim else 0 for leaf in leaves(data)}
    if len(sizes) != 1 or 0 in sizes:
        found = ", ".join(str(tuple(leaf.shape)) for leaf in leaves(data)) or type(data).__name__
        raise InvalidArgumentError(
            f"{name} must be tensors with one common number of examples first, found {found}"
        )
    return sizes.pop()


def require_valid(name: str, data: Data) -> None:
    """Raise unless `data` is a tree of tensors without NaN or infinite entries."""
    if data is None:
        return
    if isinstance(data, dict):
        data = tuple(data.values())
    if isinstance(data, (tuple, list)):
        for part in data:
            require_valid(name, part)
    elif not isinstance(data, Tensor):
        raise InvalidArgumentError(f"{name} must hold torch tensors, found {type(data).__name__}")
    elif not bool(torch.isfinite(data).all()):
        bad = int((~torch.isfinite(data)).sum())
        raise InvalidArgumentError(f"{name} must be finite, found {bad} NaN or infinite entries")


def require_chunk(chunk: int | None) -> None:
    """Raise unless `chunk` is a positive integer or None."""
    if chunk is None:
        return
    if isinstance(chunk, bool) or not isinstance(chunk, Integral) or chunk < 1:
        raise InvalidArgumentError(f"chunk must be a positive integer or None, found {chunk!r}")


def chunks(total: int, chunk: int) -> list[tuple[int, int]]:
    """Return the bounds of consecutive chunks of at most `chunk` of `total` examples."""
    return [(start, min(start + chunk, total)) for start in range(0, total, chunk)]
