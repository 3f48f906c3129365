"""Second and third derivatives of every architecture and loss of the paper."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import flows
from tests.flows.architectures import LOSSES, SMALL, directions, objective, somewhere, task


def central_difference(
    function: Callable[[Tensor], Tensor], w: Tensor, v: Tensor, h: float = 1e-3
) -> Tensor:
    """Return ``D function(w)[v]`` up to O(h⁴)."""

    def slope(step: float) -> Tensor:
        return (function(w + step * v) - function(w - step * v)) / (2 * step)

    return (4 * slope(h / 2) - slope(h)) / 3


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("loss", LOSSES)
def test_derivatives_are_those_of_finite_differences(name: str, loss: str) -> None:
    L = objective(name, task(name, loss))
    w = somewhere(L)
    u, v = directions(L.dim, 2, w).split(1, dim=1)
    hessian = central_difference(L.gradient, w, u[:, 0])
    assert (L.hvp(w, u)[:, 0] - hessian).norm() < 1e-6 * hessian.norm()
    third = central_difference(lambda x: L.hvp(x, u), w, v[:, 0])
    assert float(third.norm()) > 1e-4
    assert (L.third(w, u, v) - third).norm() < 1e-6 * third.norm()


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_preflight_passes(name: str, loss: str, dtype: torch.dtype) -> None:
    L = objective(name, task(name, loss, dtype))
    for w in (L.w0, somewhere(L)):
        report = L.check(w)
        assert report.tolerance == {torch.float64: 1e-6, torch.float32: 5e-3}[dtype]


@pytest.mark.parametrize("name", ["mlp", "cnn", "resnet", "vit", "gpt"])
def test_preflight_passes_with_beta_gelu(name: str) -> None:
    """The activation of the paper that torch does not have."""
    beta_gelu = {"activation": "beta-gelu", "activation_beta": 2.0}
    L = objective(name, task(name), model=beta_gelu)
    assert L.check(somewhere(L)).tolerance == 1e-6


@pytest.mark.parametrize("name", SMALL)
def test_float32_agrees_with_float64(name: str) -> None:
    double = objective(name, task(name))
    single = objective(name, task(name, dtype=torch.float32))
    w = somewhere(single)
    U = directions(single.dim, 2, w)
    for result, expected in (
        (single.gradient(w), double.gradient(w.double())),
        (single.hvp(w, U), double.hvp(w.double(), U.double())),
        (single.third_pairs(w, U), double.third_pairs(w.double(), U.double())),
    ):
        assert result.dtype == torch.float32
        assert (result - expected).norm() < 1e-4 * expected.norm()


@pytest.mark.parametrize("name", SMALL)
def test_chunks_make_no_difference_but_rounding(name: str) -> None:
    problem = task(name)
    whole, parts = objective(name, problem), objective(name, problem, chunk=5)
    w = somewhere(whole)
    U = directions(whole.dim, 2, w)
    torch.testing.assert_close(parts.hvp(w, U), whole.hvp(w, U))
    torch.testing.assert_close(parts.third_pairs(w, U), whole.third_pairs(w, U))


@pytest.mark.parametrize("name", SMALL)
def test_the_flows_run_in_float32(name: str) -> None:
    L = objective(name, task(name, dtype=torch.float32))
    dataset = flows.run(L, flows.GD(0.05), steps=2).dataset
    assert not [key for key in dataset.attrs if key.startswith("stopped")]
    loss = dataset.loss.sel(process="central").values
    assert loss[-1] < loss[0]
