"""Bitwise the same results every time, on request."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from flows._errors import InvalidArgumentError

CUBLAS_VARIABLE = "CUBLAS_WORKSPACE_CONFIG"
CUBLAS_SETTING = ":4096:8"


def require_deterministic(device: torch.device) -> None:
    """Raise unless deterministic results are possible on the device.

    Raises
    ------
    InvalidArgumentError
        On CUDA without the environment variable that cuBLAS wants.
    """
    if device.type == "cuda" and CUBLAS_VARIABLE not in os.environ:
        raise InvalidArgumentError(
            f"deterministic=True on CUDA needs the environment variable {CUBLAS_VARIABLE}, such as "
            f"{CUBLAS_SETTING}, set before Python starts, found none"
        )


@contextmanager
def deterministic() -> Iterator[None]:
    """Have torch use deterministic algorithms, and refuse operations that have none.

    Examples
    --------
    >>> import torch
    >>> with deterministic():
    ...     torch.are_deterministic_algorithms_enabled()
    True
    >>> torch.are_deterministic_algorithms_enabled()
    False
    """
    enabled = torch.are_deterministic_algorithms_enabled()
    only_warns = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(enabled, warn_only=only_warns)
