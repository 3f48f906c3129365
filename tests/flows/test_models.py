"""Networks for the tasks."""

from __future__ import annotations

import dataclasses
import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from flows import tasks
from flows._errors import InvalidArgumentError
from flows.tasks.models import ACTIVATIONS
from flows.tasks.models._activations import BetaGELU
from flows.tasks.models._transformer import sinusoids
from tests.flows.architectures import FOR_SEQUENCES, LOSSES, SMALL, task


@pytest.fixture(scope="module")
def images() -> tasks.Task:
    return tasks.load("digits", examples=20, classes=5, dtype=torch.float64)


@pytest.fixture(scope="module")
def sequences() -> tasks.Task:
    return tasks.load("sorting", examples=20, loss="cross-entropy", dtype=torch.float64)


def shapes(model: nn.Module) -> list[tuple[int, ...]]:
    return [tuple(weight.shape) for weight in model.parameters()]


def size(model: nn.Module) -> int:
    return sum(weight.numel() for weight in model.parameters())


class TestLayers:
    def test_mlp_is_that_of_the_golden_runs(self, images: tasks.Task) -> None:
        model = tasks.build_model("mlp", images, width=7)
        named = {name: tuple(weight.shape) for name, weight in model.named_parameters()}
        assert named == {
            "1.weight": (7, 64),
            "1.bias": (7,),
            "3.weight": (7, 7),
            "3.bias": (7,),
            "5.weight": (5, 7),
            "5.bias": (5,),
        }

    def test_mlp_depth(self, images: tasks.Task) -> None:
        model = tasks.build_model("mlp", images, width=7, depth=4)
        assert sum(isinstance(layer, nn.Linear) for layer in model.modules()) == 5

    def test_cnn(self, images: tasks.Task) -> None:
        model = tasks.build_model("cnn", images, width=3)
        # Two 3×3 convolutions, then 8×8 pixels halved twice leave 2×2 of 6 channels.
        assert shapes(model) == [(3, 1, 3, 3), (6, 3, 3, 3), (12, 24), (5, 12), (5,)]

    def test_resnet_of_the_paper_has_twenty_layers(self, images: tasks.Task) -> None:
        model = tasks.build_model("resnet", images, width=16, depth=3)
        layers = [
            name
            for name, module in model.named_modules()
            if isinstance(module, (nn.Conv2d, nn.Linear)) and "shortcut" not in name
        ]
        assert len(layers) == 20
        assert not any("BatchNorm" in type(m).__name__ for m in model.modules())

    def test_resnet_halves_the_sides_twice(self, images: tasks.Task) -> None:
        features = tasks.build_model("resnet", images, width=3)[:-3](images.inputs)
        assert features.shape == (20, 12, 2, 2)

    def test_resnet_begins_with_its_shortcuts(self, images: tasks.Task) -> None:
        block = tasks.build_model("resnet", images, width=3)[2]
        x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
        assert torch.equal(block(x), x)

    def test_transformers_of_the_paper(self, images: tasks.Task, sequences: tasks.Task) -> None:
        vit = tasks.build_model("vit", images, width=64, depth=4, heads=8, head_width=64)
        attention = 64 * 3 * 512 + 512 * 64
        perceptron = 64 * 256 + 256 + 256 * 64 + 64
        embedding = 16 * 2 + 16 * 64 + 64 + 64 * 2
        rest = 64 * 2 + 64 * 5 + 5
        assert size(vit) == embedding + 4 * (attention + perceptron + 4 * 64) + rest
        gpt = tasks.build_model("gpt", sequences, width=32, depth=4)
        block = 32 * 96 + 32 * 32 + 32 * 128 + 128 + 128 * 32 + 32 + 4 * 32
        assert size(gpt) == 4 * 32 + 4 * block + 2 * 32 + 32 * 4 + 4

    def test_vit_cuts_images_into_squares(self, images: tasks.Task) -> None:
        embedding = tasks.build_model("vit", images, width=8).embedding
        image = torch.arange(64.0).view(1, 1, 8, 8)
        squares = embedding[0](image)
        assert squares.shape == (1, 4, 16)
        torch.testing.assert_close(squares[0, 1], image[0, 0, :4, 4:].flatten())

    @pytest.mark.parametrize("name", ["resnet", "vit", "gpt"])
    def test_the_readout_begins_at_zero_unless_told(
        self, name: str, images: tasks.Task, sequences: tasks.Task
    ) -> None:
        problem = sequences if name in FOR_SEQUENCES else images
        inputs = problem.inputs
        assert not tasks.build_model(name, problem)(inputs).any()
        whole = tasks.build_model(name, problem, readout_scale=1.0)(inputs)
        half = tasks.build_model(name, problem, readout_scale=0.5)(inputs)
        assert whole.any()
        torch.testing.assert_close(half, whole / 2)

    def test_defaults_are_small(self, images: tasks.Task, sequences: tasks.Task) -> None:
        for name in SMALL:
            model = tasks.build_model(name, sequences if name in FOR_SEQUENCES else images)
            assert 1_000 < size(model) < 100_000, name


@pytest.mark.parametrize("name", FOR_SEQUENCES)
def test_networks_for_sequences_see_the_past_alone(name: str, sequences: tasks.Task) -> None:
    options = {"readout_scale": 1.0} if name == "gpt" else {"depth": 2}
    model = tasks.build_model(name, sequences, **SMALL[name], **options)
    outputs = model(sequences.inputs)
    assert outputs.shape == (20, 15, 4)
    changed = sequences.inputs.clone()
    changed[:, 9] = (changed[:, 9] + 1) % 4
    moved = (model(changed) - outputs).abs().amax(dim=(0, 2)) > 1e-12
    assert moved.tolist() == [False] * 9 + [True] * 6


@pytest.mark.parametrize("name", ["vit", "gpt"])
def test_transformers_know_where_a_token_is(
    name: str, images: tasks.Task, sequences: tasks.Task
) -> None:
    problem = sequences if name == "gpt" else images
    model = tasks.build_model(name, problem, **SMALL[name], readout_scale=1.0)
    if name == "vit":  # the upper and the lower half change places
        swapped = problem.inputs.roll(4, dims=2)
    else:  # the first two letters change places; the last output sees both
        swapped = problem.inputs[:, [1, 0, *range(2, 15)]]
    changed = (swapped != problem.inputs).flatten(1).any(1)
    moved = (model(swapped) - model(problem.inputs))[changed].flatten(1)
    assert bool((moved.abs().amax(1) > 1e-6).all())


def test_positions_are_told_apart() -> None:
    table = sinusoids(torch.arange(100), 8)
    assert table.shape == (100, 8)
    assert float(table.abs().max()) <= 1
    torch.testing.assert_close(table[:, 0], torch.arange(100.0).sin())
    distances = torch.cdist(table, table) + 10 * torch.eye(100)
    assert float(distances.min()) > 0.05


class TestActivations:
    @pytest.mark.parametrize("name", ["mlp", "cnn", "resnet", "vit", "gpt"])
    @pytest.mark.parametrize("activation", ACTIVATIONS)
    def test_every_network_takes_every_activation(self, name: str, activation: str) -> None:
        beta = {"activation_beta": 2.0} if activation == "beta-gelu" else {}
        problem = task(name)
        model = tasks.build_model(name, problem, **SMALL[name], activation=activation, **beta)
        kinds = {type(module).__name__.lower() for module in model.modules()}
        assert activation.replace("-", "") in kinds
        assert problem.loss(model(problem.inputs), problem.targets).isfinite()

    def test_beta_gelu(self) -> None:
        x = torch.linspace(-3, 3, 31, dtype=torch.float64)
        expected = x * torch.special.ndtr(1.7 * x)
        torch.testing.assert_close(BetaGELU(1.7)(x), expected)
        torch.testing.assert_close(BetaGELU(1.0)(x), nn.functional.gelu(x))

    def test_beta_gelu_is_sharper_the_larger_beta(self) -> None:
        x = torch.zeros((), dtype=torch.float64, requires_grad=True)
        (slope,) = torch.autograd.grad(BetaGELU(3.0)(x), x, create_graph=True)
        (curvature,) = torch.autograd.grad(slope, x)
        assert float(curvature) == pytest.approx(3.0 * math.sqrt(2 / math.pi), rel=1e-12)


def flat(model: nn.Module) -> Tensor:
    return torch.cat([weight.detach().flatten() for weight in model.parameters()])


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("loss", LOSSES)
def test_gradient_descent_trains_it(name: str, loss: str) -> None:
    problem = task(name, loss)
    model = tasks.build_model(name, problem, **SMALL[name])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    losses = []
    for _ in range(8):
        optimizer.zero_grad()
        value = problem.loss(model(problem.inputs), problem.targets)
        value.backward()
        optimizer.step()
        losses.append(float(value.detach()))
    assert all(later < earlier for earlier, later in pairwise(losses))
    assert losses[-1] < 0.998 * losses[0]


@pytest.mark.parametrize("name", SMALL)
def test_the_seed_decides_the_weights_and_nothing_else(name: str) -> None:
    problem = task(name)
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)

    def weights(seed: int) -> Tensor:
        return flat(tasks.build_model(name, problem, **SMALL[name], seed=seed))

    first = weights(5)
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(first, weights(5))
    assert not torch.equal(first, weights(6))
    assert first.dtype == torch.float64


@pytest.mark.parametrize("name", SMALL)
def test_no_network_mixes_examples(name: str) -> None:
    problem = task(name)
    model = tasks.build_model(name, problem, **SMALL[name])
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
        whole = model(problem.inputs)
        parts = torch.cat([model(part) for part in problem.inputs.split(5)])
    torch.testing.assert_close(parts, whole)


class TestRefusals:
    @pytest.mark.parametrize(
        ("name", "options", "message"),
        [
            ("abacus", {}, r"model must be one of mlp, cnn, .*, found 'abacus'"),
            ("mlp", {"width": 0}, r"width must be a whole number at least 1, found 0"),
            ("mlp", {"activation": "relu"}, r"activation must be one of gelu, .*, found 'relu'"),
            ("mlp", {"activation": "beta-gelu"}, r"activation_beta must be positive .* found None"),
            (
                "mlp",
                {"activation": "beta-gelu", "activation_beta": 0.0},
                r"activation_beta must be positive for activation 'beta-gelu', found 0.0",
            ),
            ("mlp", {"activation_beta": 2.0}, r"for activation 'beta-gelu' alone, found 'gelu'"),
            ("cnn", {"depth": 3}, r"model 'cnn' has no option depth; allowed are width, activat"),
            ("resnet", {"depth": 0}, r"depth must be a whole number at least 1, found 0"),
            ("resnet", {"readout_scale": -1.0}, r"readout_scale must be a number at least 0"),
            ("vit", {"patch": 3}, r"patch must divide the sides of the images, 8x8, found 3"),
            ("vit", {"patch": 16}, r"needs images of at least 16x16 pixels"),
            ("vit", {"width": 10}, r"width must be a multiple of 4 and of heads = 4, found 10"),
            ("vit", {"width": 10, "head_width": 3}, r"width must be a multiple of 4, found 10"),
            ("vit", {"heads": 0}, r"heads must be a whole number at least 1, found 0"),
            ("vit", {"head_width": 0}, r"head_width must be a whole number at least 1, found 0"),
            ("gpt", {}, r"model 'gpt' takes tokens as inputs, found real numbers"),
            ("rnn", {}, r"model 'rnn' takes tokens as inputs, found real numbers"),
            ("lstm", {}, r"model 'lstm' takes tokens as inputs, found real numbers"),
        ],
    )
    def test_name_the_argument(
        self, images: tasks.Task, name: str, options: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(InvalidArgumentError, match=message):
            tasks.build_model(name, images, **options)

    @pytest.mark.parametrize("name", ["mlp", "cnn", "resnet", "vit"])
    def test_networks_for_images_refuse_tokens(self, sequences: tasks.Task, name: str) -> None:
        with pytest.raises(InvalidArgumentError, match="takes real numbers as inputs"):
            tasks.build_model(name, sequences)

    def test_a_sequence_transformer_needs_an_even_width(self, sequences: tasks.Task) -> None:
        with pytest.raises(InvalidArgumentError, match="width must be a multiple of 2 and of"):
            tasks.build_model("gpt", sequences, width=9, heads=3)

    @pytest.mark.parametrize("name", ["cnn", "resnet"])
    def test_images_too_small_to_halve_twice(self, images: tasks.Task, name: str) -> None:
        small = dataclasses.replace(images, inputs=images.inputs[..., :3])
        with pytest.raises(InvalidArgumentError, match="at least 4x4 pixels"):
            tasks.build_model(name, small)
