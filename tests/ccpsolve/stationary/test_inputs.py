import dataclasses

import numpy as np
import pytest
import scipy.sparse
from scipy.sparse.linalg import aslinearoperator

from ccpsolve import InvalidProblemError, VerificationError
from ccpsolve.stationary import stationary_preconditioner
from tests.ccpsolve.stationary.problems import wishart

H = wishart(6, np.random.default_rng(0))
G = np.linspace(0.1, 1, 6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.ones((2, 3)), H, 1.0), "gradient has shape"),
        ((np.full(6, np.nan), H, 1.0), "gradient contains NaN"),
        ((G * 1j, H, 1.0), "gradient has dtype complex"),
        ((["a"] * 6, H, 1.0), "gradient has dtype <U1"),
        ((G, H[:5], 1.0), "hessian has shape"),
        ((G, H * 1j, 1.0), "hessian is complex"),
        ((G, np.where(np.eye(6) > 0, np.inf, H), 1.0), "hessian contains NaN or inf"),
        ((G, np.triu(H), 1.0), "hessian is not symmetric"),
        ((G, scipy.sparse.csr_array(np.triu(H)), 1.0), "hessian is not symmetric"),
        ((G, "matrix", 1.0), "hessian"),
        ((G, H, 0.0), "lr is 0.0; allowed"),
        ((G, H, -1.0), "lr is"),
        ((G, H, None), "lr is None"),
        ((G, H, 1e-320), "overflows"),
    ],
)
def test_bad_data_are_named(arguments, message):
    with pytest.raises(InvalidProblemError, match=message):
        stationary_preconditioner(*arguments)


@pytest.mark.parametrize(
    "options",
    [
        {"method": "magic"},
        {"tol": 0.0},
        {"rank": 0, "method": "fixed_point"},
        {"start": np.ones((5, 2)), "method": "fixed_point"},
        {"failure_probability": 2.0},
        {"failure_probability": None},
        {"tol": "small"},
        {"rank": 2.5},
        {"rank": 7, "method": "fixed_point"},
        {"start": "yesterday", "method": "subspace"},
        {"max_iterations": 0},
        {"max_iterations": 2.5},
        {"max_products": 0},
        {"max_products": "all"},
        {"rng": "random"},
        {"rng": -1},
    ],
)
def test_bad_options_are_named(options):
    name = next(iter(options))
    with pytest.raises(InvalidProblemError, match=f"{name} (is|has) .*allowed"):
        stationary_preconditioner(G, lambda block: H @ block, 1.0, **options)


def test_a_seed_stands_for_its_generator():
    first, second = (
        stationary_preconditioner(G, lambda block: H @ block, 1.0, method="subspace", rng=rng)
        for rng in (3, np.random.default_rng(3))
    )
    np.testing.assert_array_equal(first.D, second.D)


def test_operators_that_break_the_contract_are_named():
    with pytest.raises(InvalidProblemError, match="must keep the shape"):
        stationary_preconditioner(G, lambda block: block[:3], 1.0)
    with pytest.raises(InvalidProblemError, match="NaN or inf"):
        stationary_preconditioner(G, lambda block: block * np.nan, 1.0)


def test_every_form_of_the_hessian_gives_the_same_answer():
    expected = stationary_preconditioner(G, H, 1.0)
    for form in (scipy.sparse.csr_array(H), aslinearoperator(H), lambda block: H @ block):
        sp = stationary_preconditioner(G, form, 1.0, method="interior_point")
        np.testing.assert_allclose(sp.p, expected.p, rtol=1e-4)


def test_nothing_to_solve():
    sp = stationary_preconditioner(np.zeros(0), np.zeros((0, 0)), 1.0)
    assert sp.status.ok
    assert sp.p.shape == (0,)
    sp = stationary_preconditioner(np.zeros(3), np.zeros((3, 3)), 1.0)
    assert sp.primal == sp.dual == sp.gap == 0


@pytest.mark.parametrize("change", [{"p": 0.9}, {"D": 1.2}, {"primal": 0.99}, {"dual": 1.01}])
def test_verify_finds_tampering(change):
    sp = stationary_preconditioner(G, H, 1.0)
    assert sp.verify().gap <= 1e-8
    ((name, factor),) = change.items()
    values = {name: factor * getattr(sp, name)}
    if name == "p":
        values["nu"] = values["p"] ** 2
        values["primal"] = sp.problem.primal_value(values["p"])
    with pytest.raises(VerificationError):
        dataclasses.replace(sp, **values).verify()
