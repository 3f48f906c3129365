"""Memory in bytes: said in words, measured at its peak, and found wanting."""

from __future__ import annotations

import ctypes
import gc
import logging
import math
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from flows._errors import InvalidArgumentError

logger = logging.getLogger(__name__)

_UNITS = {
    "": 1,
    "b": 1,
    **{f"{prefix}b": 1000**power for power, prefix in enumerate("kmgt", start=1)},
    **{f"{prefix}ib": 1024**power for power, prefix in enumerate("kmgt", start=1)},
}
_AMOUNT = re.compile(r"\s*(\d+(?:\.\d*)?)\s*([a-z]*)\s*", re.IGNORECASE)

# What torch says where it raises a plain RuntimeError.
_OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "alloc_failed", "bad_alloc")

_MALLOPT_MMAP_THRESHOLD = -3
_RETURNED_BLOCK = 2**20
_PROFILER_LOG_LEVEL = "KINETO_LOG_LEVEL"
_SILENT = "99"


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

    On a CPU every allocation of torch is recorded, the work space inside its functions too; other
    accelerators than CUDA are not known.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        action()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    gc.collect()  # not in the middle of the action
    with _silent_profiler(), profile(**_MEMORY_EVENTS) as record:
        action()
    # The public tables sum over the events of an operation; the peak needs them one by one.
    events = [e for e in record.profiler.kineto_results.events() if e.name() == "[memory]"]
    current = peak = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        current += event.nbytes()
        peak = max(peak, current)
    return peak


_MEMORY_EVENTS: dict[str, Any] = {"activities": [ProfilerActivity.CPU], "profile_memory": True, "acc_events": True}


@contextmanager
def _silent_profiler() -> Iterator[None]:
    """Keep the profiler, which reads this variable when it starts, from writing to stderr."""
    before = os.environ.get(_PROFILER_LOG_LEVEL)
    os.environ[_PROFILER_LOG_LEVEL] = _SILENT
    try:
        yield
    finally:
        if before is None:
            del os.environ[_PROFILER_LOG_LEVEL]
        else:
            os.environ[_PROFILER_LOG_LEVEL] = before


@cache
def return_freed_blocks() -> None:
    """Have large blocks of memory given back to the system as soon as they are freed.

    Left alone, the allocator of glibc keeps freed tensors for later, in holes that the next ones
    may not fit: the process was seen to hold up to twice its tensors. This concerns the whole
    process and costs time, up to a third of that of derivatives on a CPU. Without glibc nothing
    happens.
    """
    if sys.platform != "linux":
        return
    try:
        changed = ctypes.CDLL(None).mallopt(_MALLOPT_MMAP_THRESHOLD, _RETURNED_BLOCK)
    except (OSError, AttributeError):
        return
    if changed:
        logger.info("freed blocks above %d bytes go back to the system", _RETURNED_BLOCK)
