"""Golden trajectories: computed by an independent implementation of the published scheme."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import flows
from flows.process import Start

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "data" / "golden"


@dataclass
class Golden:
    """One file: its arrays, its metadata, and the objective rebuilt from them."""

    arrays: dict[str, np.ndarray]
    meta: dict
    objective: flows.Objective

    @property
    def w0(self):
        return torch.tensor(self.arrays["w0"])

    @property
    def path_length(self):
        """Length of the discrete run, from its snapshots (a lower bound, so a strict ruler)."""
        snapshots = self.arrays["discrete_W"].astype(float)
        return np.linalg.norm(np.diff(snapshots, axis=0), axis=1).sum()

    @property
    def method(self):
        m = self.meta
        if m["optimizer"] == "gd":
            return flows.GD(m["lr"])
        kind = flows.RMSProp if m["optimizer"] == "rmsprop" else flows.RMSPropNorm
        return kind(m["lr"], m["beta2"], eps=m["eps"], bias_correction=True)

    @property
    def start(self):
        updates, *nu = self.arrays["state0"]
        nu = torch.tensor(nu, dtype=torch.float64)
        return Start(self.w0, nu[0] if len(nu) == 1 else nu, int(updates))

    def snapshots(self, process):
        return dict(zip(self.arrays["W_steps"].tolist(), self.arrays[f"{process}_W"], strict=True))


def load(name, **options):
    path = FOLDER / f"{name}.npz"
    if not path.is_file():
        pytest.skip(f"the golden data set {name} is not on this machine")
    with np.load(path) as file:
        arrays = {key: file[key] for key in file.files if key != "meta"}
        meta = json.loads(str(file["meta"]))
    sizes = [shape for _, shape in meta["param_shapes"]]
    layers = [nn.Flatten()]
    for (rows, columns), _ in zip(sizes[::2], sizes[1::2], strict=True):
        layers += [nn.Linear(columns, rows, dtype=torch.float64), nn.GELU()]
    model = nn.Sequential(*layers[:-1])
    offset, w0 = 0, torch.tensor(arrays["w0"])
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(w0[offset : offset + parameter.numel()].view(parameter.shape))
            offset += parameter.numel()
    inputs = torch.tensor(arrays["x_train"], dtype=torch.float64)
    objective = flows.Objective(model, squared_error, inputs, targets(arrays, meta), **options)
    return Golden(arrays, meta, objective)


def targets(arrays, meta):
    labels = torch.tensor(arrays["y_train"])
    outputs = meta["param_shapes"][-1][1][0]
    if outputs == 1:
        return (2.0 * labels - 1.0).double()[:, None]
    return nn.functional.one_hot(labels, outputs).double()


def squared_error(outputs, expected):
    return 0.5 * (outputs - expected).square().sum(dim=1).mean()
