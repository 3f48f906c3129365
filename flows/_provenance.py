"""Where the figures of a run come from: method, machine, versions, command."""

from __future__ import annotations

import datetime
import json
import platform
import sys
from collections.abc import Mapping
from importlib import metadata

import torch

from flows.methods import Method
from flows.objective import Objective

_PACKAGES = ("ccpsolve", "torch", "numpy", "scipy", "numba", "xarray")


def attributes_of(
    method: Method,
    objective: Objective,
    provenance: Mapping[str, str | float | int],
    steps: int,
    warm_start: int,
) -> dict[str, str | float | int]:
    versions = {name: _version(name) for name in _PACKAGES} | {"python": platform.python_version()}
    now = datetime.datetime.now(datetime.UTC)
    return {
        "title": f"{method!r} and its flows",
        **method.describe(),
        "threshold": method.threshold,
        "steps": steps,
        "warm_start": warm_start,
        "weights": objective.dim,
        "dtype": str(objective.dtype).removeprefix("torch."),
        "derivatives": objective.derivatives,
        "device": _device_name(objective.device),
        "versions": json.dumps(versions),
        "command": " ".join(sys.argv),
        "created": now.isoformat(timespec="seconds"),
        **provenance,
    }


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
