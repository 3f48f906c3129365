"""The upkeep of third derivatives along held directions."""

import numpy as np
import pytest
import torch

import flows
from ccpsolve import svec
from flows._svec import scales
from flows._third_derivatives import Upkeep, _change_of_form

D, K = 6, 4
A = torch.as_tensor(np.random.default_rng(3).standard_normal((D, D)))
U = torch.as_tensor(np.linalg.qr(np.random.default_rng(4).standard_normal((D, K)))[0])


def point(t):
    return torch.linspace(0.2, 1.0, D, dtype=torch.float64) * (1 + t)


@pytest.fixture
def objective():
    return flows.Objective.from_function(lambda w: torch.sin(A @ w).sum(), point(0.0))


def exact(objective, t):
    return objective.third_pairs(point(t), U) * torch.as_tensor(scales(K))


def image(objective, t):
    return objective.hvp(point(t), U)


def held(rank, seed=0):
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((K, rank)))[0]


@pytest.mark.parametrize("rank", [1, 2, 3, 4])
def test_along_the_held_directions_they_are_as_computed(objective, rank):
    upkeep = Upkeep(objective, 1e-3)
    first = upkeep.computed(point(0.0), U, image(objective, 0.0), 0.0, rank)
    before = objective.counts["third"]
    renewed = upkeep.renewed(
        first, point(0.01), U, image(objective, 0.01), 0.01, held(rank), share=1.0
    )
    assert objective.counts["third"] - before == rank + (rank > 2)  # and a mixed one
    truth = exact(objective, 0.01)
    for z in held(rank).T:
        along = torch.as_tensor(svec(np.outer(z, z)))
        torch.testing.assert_close(renewed.columns @ along, truth @ along)
    assert float((renewed.columns - truth).norm()) < float((first.columns - truth).norm())


def test_the_force_is_exact_whatever_the_multiplier_in_the_range(objective):
    upkeep, Z = Upkeep(objective, 1e-3), held(2)
    first = upkeep.computed(point(0.0), U, image(objective, 0.0), 0.0, 2)
    renewed = upkeep.renewed(first, point(0.3), U, image(objective, 0.3), 0.3, Z, share=1.0)
    X = Z @ np.diag([3.0, 1.0]) @ Z.T
    force = renewed.columns @ torch.as_tensor(svec(X))
    torch.testing.assert_close(force, exact(objective, 0.3) @ torch.as_tensor(svec(X)))


def test_all_pairs_are_computed_where_the_form_has_changed(objective):
    upkeep = Upkeep(objective, 1e-3)
    first = upkeep.computed(point(0.0), U, image(objective, 0.0), 0.0, 2)
    renewed = upkeep.renewed(first, point(0.3), U, image(objective, 0.3), 0.3, held(2), share=1.0)
    torch.testing.assert_close(renewed.columns, exact(objective, 0.3))


def test_a_small_change_of_nearly_parallel_columns_is_a_large_one_of_the_form():
    now = torch.tensor([[1.0, 1.0], [0.0, 1e-2]], dtype=torch.float64)
    change = torch.tensor([[0.0, 0.0], [0.0, 1e-3]], dtype=torch.float64)
    assert _change_of_form(now, change) == pytest.approx(1 - 0.9**2)
    assert _change_of_form(now, 0.1 * now) == pytest.approx(1 - 0.9**2)
    assert _change_of_form(0 * now, 0 * now) == pytest.approx(1.0)


def test_they_are_renewed_when_their_age_matters(objective):
    upkeep, Z = Upkeep(objective, 1e-2), held(1)
    third = upkeep.computed(point(0.0), U, image(objective, 0.0), 0.0, 1)
    third = upkeep.renewed(
        third, point(1e-3), U, image(objective, 1e-3), 1e-3, Z, share=1.0
    )  # measures the rate
    before = objective.counts["third"]
    assert (
        upkeep.renewed(third, point(2e-3), U, image(objective, 2e-3), 2e-3, Z, share=1e-3) is third
    )
    assert objective.counts["third"] == before
    assert (
        upkeep.renewed(third, point(0.1), U, image(objective, 0.1), 0.1, Z, share=1.0) is not third
    )
    assert (
        upkeep.renewed(third, point(5.0), U, image(objective, 5.0), 5.0, Z, share=1e-9) is not third
    )


def test_a_direction_more_is_computed(objective):
    upkeep = Upkeep(objective, 1e-2)
    third = upkeep.computed(point(0.0), U, image(objective, 0.0), 0.0, 1)
    third = upkeep.renewed(third, point(1e-3), U, image(objective, 1e-3), 1e-3, held(1), share=0.0)
    renewed = upkeep.renewed(
        third, point(2e-3), U, image(objective, 2e-3), 2e-3, held(2), share=0.0
    )
    assert renewed.rank == 2
    assert (
        upkeep.renewed(
            renewed, point(3e-3), U, image(objective, 3e-3), 3e-3, held(2)[:, :0], share=0.0
        ).rank
        == 0
    )


def test_mixed_ones_come_in_turns(objective):
    """Four held directions at a fixed point: after all six turns everything is known."""
    upkeep = Upkeep(objective, 1e-3)
    third = upkeep.computed(point(0.0), U, image(objective, 0.0), 0.0, K)
    for turn in range(1, 7):
        third = upkeep.renewed(
            third, point(0.5), U, image(objective, 0.5), float(turn), np.eye(K), share=1.0
        )
    torch.testing.assert_close(third.columns, exact(objective, 0.5))
