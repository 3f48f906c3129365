"""Networks for the tasks."""

from __future__ import annotations

import pytest
import torch

from flows import tasks
from flows._errors import InvalidArgumentError


@pytest.fixture(scope="module")
def images():
    return tasks.load("digits", examples=20, classes=5, dtype=torch.float64)


@pytest.fixture(scope="module")
def sequences():
    return tasks.load("sorting", examples=20, loss="cross-entropy", dtype=torch.float64)


def test_mlp_is_that_of_the_golden_runs(images):
    model = tasks.build_model("mlp", images, width=7)
    shapes = {name: tuple(weight.shape) for name, weight in model.named_parameters()}
    assert shapes == {
        "1.weight": (7, 64),
        "1.bias": (7,),
        "3.weight": (7, 7),
        "3.bias": (7,),
        "5.weight": (5, 7),
        "5.bias": (5,),
    }


def test_mlp_depth(images):
    model = tasks.build_model("mlp", images, width=7, depth=4)
    assert sum(isinstance(layer, torch.nn.Linear) for layer in model) == 5


def test_cnn_layers(images):
    model = tasks.build_model("cnn", images, width=3)
    shapes = [tuple(weight.shape) for weight in model.parameters()]
    # Two 3×3 convolutions, then 8×8 pixels halved twice leave 2×2 of 6 channels.
    assert shapes == [(3, 1, 3, 3), (6, 3, 3, 3), (12, 24), (5, 12), (5,)]


def test_lstm_predicts_from_the_past_alone(sequences):
    model = tasks.build_model("lstm", sequences, width=6, depth=2)
    outputs = model(sequences.inputs)
    assert outputs.shape == (20, 15, 4)
    changed = sequences.inputs.clone()
    changed[:, 9] = (changed[:, 9] + 1) % 4
    moved = (model(changed) - outputs).abs().amax(dim=(0, 2)) > 1e-12
    assert moved.tolist() == [False] * 9 + [True] * 6


@pytest.mark.parametrize("name", ["mlp", "cnn"])
@pytest.mark.parametrize("activation", ["gelu", "tanh", "silu", "softplus"])
def test_loss_is_smooth_to_third_order(images, name, activation):
    model = tasks.build_model(name, images, width=2, activation=activation)
    weights = list(model.parameters())
    value = images.loss(model(images.inputs), images.targets)
    for _ in range(3):
        gradients = torch.autograd.grad(value, weights, create_graph=True)
        value = sum(g.square().sum() for g in gradients)
    assert value.isfinite()
    assert value > 0


@pytest.mark.parametrize("name", ["mlp", "cnn", "lstm"])
def test_the_seed_decides_the_weights_and_nothing_else(name, images, sequences):
    task = sequences if name == "lstm" else images
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)

    def weights(seed):
        model = tasks.build_model(name, task, width=4, seed=seed)
        return torch.cat([w.detach().flatten() for w in model.parameters()])

    first = weights(5)
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(first, weights(5))
    assert not torch.equal(first, weights(6))
    assert first.dtype == torch.float64


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("abacus", {}, r"model must be one of mlp, cnn, .*, found 'abacus'"),
        ("mlp", {"width": 0}, r"width must be a whole number at least 1, found 0"),
        ("mlp", {"activation": "relu"}, r"activation must be one of gelu, .*, found 'relu'"),
        ("cnn", {"depth": 3}, r"model 'cnn' has no option depth; allowed are width, activation"),
        ("lstm", {}, r"model 'lstm' takes tokens as inputs, found real numbers"),
    ],
)
def test_refusals_name_the_argument(images, name, options, message):
    with pytest.raises(InvalidArgumentError, match=message):
        tasks.build_model(name, images, **options)


def test_networks_for_images_refuse_tokens(sequences):
    for name in ("mlp", "cnn"):
        with pytest.raises(InvalidArgumentError, match="takes real numbers as inputs"):
            tasks.build_model(name, sequences)


def test_cnn_refuses_images_too_small_to_halve_twice(images):
    import dataclasses

    small = dataclasses.replace(images, inputs=images.inputs[..., :3])
    with pytest.raises(InvalidArgumentError, match="at least 4x4 pixels"):
        tasks.build_model("cnn", small)
