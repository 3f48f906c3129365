"""The networks and data at the sizes of the paper's public code: weights counted by hand.

The sums follow the published layers one by one, not ours, so that a layer that is missing, of
another size, or has a bias that it should not have, shows.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import flows
from flows import tasks
from flows.figures.scales import PAPER_SIZES, problem

CIFAR = Path(__file__).parents[3] / "shared" / "data" / "cifar10_subset.npz"


def _norm(features: int) -> int:
    return 2 * features


def _mlp() -> int:
    return (3072 + 1) * 256 + (256 + 1) * 256 + (256 + 1) * 4


def _cnn() -> int:
    return 9 * 3 * 32 + 9 * 32 * 64 + 64 * 8 * 8 * 128 + (128 + 1) * 4


def _resnet() -> int:
    stem = 9 * 3 * 16
    blocks = 0
    for before, after in [(16, 16)] * 3 + [(16, 32)] + [(32, 32)] * 2 + [(32, 64)] + [(64, 64)] * 2:
        blocks += 9 * before * after + 9 * after * after + 2 * _norm(after)
        if before != after:
            blocks += 9 * before * after + _norm(after)
    return stem + blocks + (64 * 2 * 2 + 1) * 4


def _vit() -> int:
    embedding = _norm(48) + (48 + 1) * 64 + _norm(64)
    attention = _norm(64) + 64 * 3 * 512 + 512 * 64
    perceptron = _norm(64) + (64 + 1) * 256 + (256 + 1) * 64
    return embedding + 4 * (attention + perceptron) + _norm(64) + (64 + 1) * 4


def _lstm() -> int:
    return 4 * 48 + 2 * (48 * 192 + 48 * 192 + 2 * 192) + (48 + 1) * 4


SIZES = {"mlp": _mlp(), "cnn": _cnn(), "resnet": _resnet(), "vit": _vit(), "lstm": _lstm()}


def paper_task(model: str, loss: str = "mse", **options: Any) -> tasks.Task:
    """Return the data of the paper, or a part of them."""
    given = {**problem(model, loss, "paper").task, **options}
    if given["task"] == "cifar10":
        if not CIFAR.is_file():
            pytest.skip(f"needs {CIFAR.name}, a part of CIFAR-10, in the folder of shared data")
        given["path"] = CIFAR
    return tasks.load(given.pop("task"), **given)


def paper_model(model: str, task: tasks.Task) -> nn.Module:
    """Return the network in the paper's size."""
    return tasks.build_model(model, task, **PAPER_SIZES[model])


def weights(model: nn.Module) -> dict[str, np.ndarray]:
    return {name: w.detach().numpy() for name, w in model.named_parameters()}


@pytest.mark.parametrize("name", SIZES)
def test_sizes(name):
    model = paper_model(name, paper_task(name, examples=4))
    assert sum(w.size for w in weights(model).values()) == SIZES[name]


@pytest.mark.parametrize("name", ["resnet", "vit", "gpt"])
def test_the_readout_starts_at_zero(name):
    task = paper_task(name, examples=4)
    outputs = paper_model(name, task)(task.inputs)
    assert not outputs.any()


class TestInitialWeights:
    def test_resnet(self):
        """Kaiming-normal convolutions by fan-out; the last norm of every branch is zero."""
        model = paper_model("resnet", paper_task("resnet", examples=4))
        convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
        assert len(convolutions) == 1 + 2 * 9 + 2
        for layer in convolutions:
            deviation = (2 / (layer.out_channels * 9)) ** 0.5
            assert float(layer.weight.detach().std()) == pytest.approx(deviation, rel=0.15)
            assert layer.bias is None
        norms = [m for m in model.modules() if isinstance(m, nn.GroupNorm)]
        assert {norm.num_groups for norm in norms} == {16}
        assert sum(not norm.weight.any() for norm in norms) == 9

    def test_lstm_is_uniform_with_unit_embeddings(self):
        model = paper_model("lstm", paper_task("lstm", examples=4))
        bound = 48**-0.5
        for name, values in weights(model).items():
            if "embedding" in name:
                assert values.std() == pytest.approx(1, rel=0.2)
            else:
                assert 0.7 * bound < np.abs(values).max() <= bound

    @pytest.mark.parametrize("name", ["mlp", "cnn"])
    def test_layers_are_those_of_torch(self, name):
        """Uniform, with bounds 1/√(fan-in), as torch makes linear layers and convolutions."""
        model = paper_model(name, paper_task(name, examples=4))
        for layer in model:
            if isinstance(layer, nn.Linear | nn.Conv2d):
                bound = layer.weight[0].numel() ** -0.5
                largest = float(layer.weight.detach().abs().max())
                assert 0.95 * bound < largest <= bound


class TestData:
    def test_images(self):
        """250 images of each of the first four classes, pixels of mean about 0 and deviation 1."""
        task = paper_task("cnn")
        assert task.inputs.shape == (1000, 3, 32, 32)
        assert task.targets.sum(0).tolist() == [250.0] * 4
        assert float(task.inputs.mean()) == pytest.approx(0, abs=0.15)
        assert float(task.inputs.std()) == pytest.approx(1, abs=0.15)

    def test_sequences(self):
        """The first thousand rows of a table of eight letters, drawn from seed 0."""
        task = paper_task("gpt", "cross-entropy")
        table = np.random.default_rng(0).integers(0, 4, size=(2000, 8))[:1000]
        assert task.inputs.shape == (1000, 15)
        np.testing.assert_array_equal(task.inputs[:, :8], table)
        np.testing.assert_array_equal(task.targets, np.sort(table, axis=1))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cnn", "resnet", "vit", "gpt", "rnn", "mlp"])
@pytest.mark.parametrize("loss", ["mse", "cross-entropy"])
def test_preflight_passes_in_the_paper_size(name, loss):
    task = paper_task(name, loss, examples=4, dtype=torch.float64)
    objective = flows.Objective(paper_model(name, task), task.loss, task.inputs, task.targets)
    generator = torch.Generator().manual_seed(3)
    noise = torch.randn(objective.dim, generator=generator, dtype=torch.float64)
    report = objective.check(objective.w0 + 2 * noise / noise.norm())
    assert report.tolerance == 1e-6
