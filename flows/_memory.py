"""Memory in bytes: said in words, measured at its peak, and found wanting."""

from __future__ import annotations

import math
import re
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from flows._errors import InvalidArgumentError

_UNITS = {
    "": 1,
    "b": 1,
    **{f"{prefix}b": 1000**power for power, prefix in enumerate("kmgt", start=1)},
    **{f"{prefix}ib": 1024**power for power, prefix in enumerate("kmgt", start=1)},
}
_AMOUNT = re.compile(r"\s*(\d+(?:\.\d*)?)\s*([a-z]*)\s*", re.IGNORECASE)

# What torch says where it raises a plain RuntimeError.
_OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "alloc_failed", "bad_alloc")


def parse_bytes(argument: str, amount: int | str) -> int:
    """Return an amount of memory such as ``536870912`` or ``"512MiB"`` in bytes.

    Units are B, kB, MB, GB, TB (powers of 1000) and KiB, MiB, GiB, TiB (powers of 1024), in small
    or large letters.

    Raises
    ------
    InvalidArgumentError
        If it is anything else, or not positive.

    Examples
    --------
    >>> parse_bytes("memory", "1.5 GiB") == 3 * 2**29
    True
    """
    found = _AMOUNT.fullmatch(str(amount))
    if isinstance(amount, bool) or not found or found[2].lower() not in _UNITS:
        raise InvalidArgumentError(
            f"{argument} must be a number of bytes or a text such as '512MiB', found {amount!r}"
        )
    size = math.floor(float(found[1]) * _UNITS[found[2].lower()])
    if size < 1:
        raise InvalidArgumentError(f"{argument} must be at least one byte, found {amount!r}")
    return size


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on any device."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    said = str(error).lower()
    return isinstance(error, RuntimeError) and any(words in said for words in _OUT_OF_MEMORY)


def peak_bytes(action: Callable[[], object], device: torch.device) -> int:
    """Return by how much the memory of tensors on the device rises at most during an action.

    Elsewhere than on CUDA this adds up the tensors that operations make, as long as they live. It
    misses the work space inside operations: at most 5 % were seen (convolutions in float64).
    """
    if device.type != "cuda":
        with _LivingStorages() as storages:
            action()
        return storages.peak
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    action()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before


class _LivingStorages(TorchDispatchMode):
    """Adds up the bytes of the storages that are made while this mode is on, and of their peak."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self._current = 0
        self._living: dict[int, weakref.ref[torch.UntypedStorage]] = {}

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        given = {storage._cdata for storage in _storages((args, kwargs))}
        for storage in _storages(result):
            if storage._cdata not in given:  # neither a view nor changed in place
                self._add(storage)
        return result

    def _add(self, storage: torch.UntypedStorage) -> None:
        address, size = storage._cdata, storage.nbytes()
        if address in self._living:  # one of several results in one storage
            return

        def remove(_: object) -> None:
            del self._living[address]
            self._current -= size

        self._living[address] = weakref.ref(storage, remove)
        self._current += size
        self.peak = max(self.peak, self._current)


def _storages(tree: Any) -> Iterator[torch.UntypedStorage]:
    for leaf in tree_leaves(tree):
        if isinstance(leaf, Tensor):
            yield leaf.untyped_storage()
