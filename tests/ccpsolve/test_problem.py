"""Validation, accepted forms of β, and problems as files."""

import json

import numpy as np
import pytest
from hypothesis import given, settings

from ccpsolve import CCPError, ConeComplementarityProblem, InvalidProblemError, smat, svec
from ccpsolve._symmetric import svec_basis
from ccpsolve.testing import known_problem, known_problems


@pytest.fixture
def data():
    known = known_problem(np.random.default_rng(0), 3, 2)
    return known.problem.alpha, known.problem.beta


def with_entry(array, value):
    array = np.array(array)
    array.flat[1] = value
    return array


BAD_ALPHAS = {
    "nan": (lambda a: with_entry(a, np.nan), "alpha has 1 NaN or infinite"),
    "inf": (lambda a: a * np.inf, "alpha has 9 NaN or infinite"),
    "asymmetric": (lambda a: a + 1e-6 * np.triu(np.ones((3, 3))), "alpha is not symmetric"),
    "complex": (lambda a: a * 1j, "alpha has dtype complex128"),
    "text": (lambda a: np.array([["x"]]), "alpha has dtype <U1"),
    "vector": (lambda a: a[0], r"alpha has shape \(3,\)"),
    "rectangular": (lambda a: a[:2], r"alpha has shape \(2, 3\)"),
}


@pytest.mark.parametrize("case", BAD_ALPHAS)
def test_bad_alpha_is_named(case, data):
    spoil, message = BAD_ALPHAS[case]
    with pytest.raises(InvalidProblemError, match=message):
        ConeComplementarityProblem(spoil(data[0]), data[1])


BAD_BETAS = {
    "nan": (lambda b: with_entry(b, np.nan), "beta has 1 NaN or infinite"),
    "complex": (lambda b: b.astype(complex), "beta has dtype complex128"),
    "wrong order": (lambda b: b[:3, :3], r"beta has shape \(3, 3\); .* \(6, 6\)"),
    "four indices, wrong order": (
        lambda b: np.zeros((2, 2, 2, 2)),
        r"beta has shape \(2, 2, 2, 2\)",
    ),
    "four indices, not into Sym": (
        lambda b: np.arange(81.0).reshape(3, 3, 3, 3),
        "beta maps symmetric matrices to non-symmetric",
    ),
    "callable, not into Sym": (lambda b: lambda X: X @ np.diag([1.0, 2.0, 3.0]), "not symmetric"),
    "callable, NaN": (lambda b: lambda X: np.nan * X, r"beta\(X\) has"),
}


@pytest.mark.parametrize("case", BAD_BETAS)
def test_bad_beta_is_named(case, data):
    spoil, message = BAD_BETAS[case]
    with pytest.raises(InvalidProblemError, match=message):
        ConeComplementarityProblem(data[0], spoil(data[1]))


def test_errors_are_value_errors_and_one_line(data):
    with pytest.raises(ValueError, match="alpha") as caught:
        ConeComplementarityProblem(data[0][:2], data[1])
    assert isinstance(caught.value, CCPError)
    assert "\n" not in str(caught.value)


@given(known_problems(max_k=4))
@settings(max_examples=30)
def test_the_three_forms_of_beta_agree(known):
    problem = known.problem
    basis = svec_basis(problem.k)
    B = np.einsum("aij,ab,blm->ijlm", basis, problem.beta, basis)
    scale = np.sqrt(np.outer(*2 * [np.abs(problem.beta.diagonal())]))
    for form in (B, problem.apply):
        other = ConeComplementarityProblem(problem.alpha, form)
        assert (
            np.abs(other.beta - problem.beta) <= 1e-13 * np.maximum(scale, np.abs(problem.beta))
        ).all()


def test_apply_is_the_operator(data):
    problem = ConeComplementarityProblem(*data)
    X = np.diag([1.0, 2.0, 3.0])
    assert np.array_equal(svec(problem.apply(X)), svec(smat(problem.beta @ svec(X))))


def test_rounding_asymmetry_is_averaged_and_real_asymmetry_kept(data):
    alpha, beta = data
    noise = np.random.default_rng(1).standard_normal((6, 6))
    rounded = ConeComplementarityProblem(alpha + 1e-14 * noise[:3, :3], beta + 1e-15 * noise)
    assert rounded.symmetric
    assert np.array_equal(rounded.beta, rounded.beta.T)
    assert np.array_equal(rounded.alpha, rounded.alpha.T)
    skew = ConeComplementarityProblem(alpha, beta + 1e-9 * (noise - noise.T))
    assert not skew.symmetric
    assert np.array_equal(skew.beta, beta + 1e-9 * (noise - noise.T))


def test_asymmetry_among_small_entries_of_a_badly_scaled_beta_is_seen():
    beta = np.diag([1e12, 1.0, 1e-12])
    beta[1, 2] = 1e-8  # far below rounding of the largest entry, far above that of its own row
    assert not ConeComplementarityProblem(np.eye(2), beta).symmetric


def test_data_are_copied(data):
    alpha, beta = (np.array(part) for part in data)
    problem = ConeComplementarityProblem(alpha, beta)
    alpha[:], beta[:] = 0.0, 0.0
    assert problem.alpha.any()
    assert problem.beta.any()


def test_integers_and_lists_are_accepted():
    problem = ConeComplementarityProblem([[1]], [[2]])
    assert problem.alpha.dtype == problem.beta.dtype == np.float64


def test_order_zero():
    problem = ConeComplementarityProblem(np.zeros((0, 0)), np.zeros((0, 0)))
    assert (problem.k, problem.n, problem.symmetric) == (0, 0, True)


def test_entries_near_the_largest_double_do_not_overflow():
    problem = ConeComplementarityProblem([[1e308, 1e308], [1e308 * (1 + 1e-15), 0.0]], np.eye(3))
    assert np.isfinite(problem.alpha).all()


@pytest.mark.parametrize("ending", ["npz", "json"])
@pytest.mark.parametrize("k", [0, 1, 3])
def test_files_keep_every_bit(tmp_path, ending, k):
    rng = np.random.default_rng(k)
    n = k * (k + 1) // 2
    A = rng.standard_normal((k, k)) * 10.0 ** rng.uniform(-60, 60)
    problem = ConeComplementarityProblem(A + A.T, rng.standard_normal((n, n)))
    path = tmp_path / f"case.{ending}"
    problem.save(path)
    loaded = ConeComplementarityProblem.load(path)
    assert np.array_equal(loaded.alpha, problem.alpha)
    assert np.array_equal(loaded.beta, problem.beta)
    assert loaded.symmetric == problem.symmetric
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_unknown_ending_is_refused_and_nothing_written(tmp_path, data):
    with pytest.raises(InvalidProblemError, match=r"'\.pkl'"):
        ConeComplementarityProblem(*data).save(tmp_path / "case.pkl")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", b"{"),
        ("b.json", b"[1, 2]"),
        ("c.json", json.dumps({"format": "other", "alpha": [], "beta": []}).encode()),
        ("d.npz", b"not a zip file"),
        ("e.json", b"\xff\xfe"),
    ],
)
def test_other_files_are_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidProblemError, match=name):
        ConeComplementarityProblem.load(tmp_path / name)


def test_a_pickle_in_an_npz_is_never_loaded(tmp_path):
    path = tmp_path / "case.npz"
    np.savez(path, format="x", alpha=np.array([{}], dtype=object), beta=np.eye(1))
    with pytest.raises(InvalidProblemError, match=r"case\.npz"):
        ConeComplementarityProblem.load(path)


def test_edited_files_are_validated(tmp_path, data):
    path = tmp_path / "case.json"
    ConeComplementarityProblem(*data).save(path)
    content = json.loads(path.read_text())
    content["alpha"][0][1] += 1.0
    path.write_text(json.dumps(content))
    with pytest.raises(InvalidProblemError, match="alpha is not symmetric"):
        ConeComplementarityProblem.load(path)


def test_a_failed_write_leaves_the_old_file(tmp_path, data, monkeypatch):
    path = tmp_path / "case.npz"
    problem = ConeComplementarityProblem(*data)
    problem.save(path)
    before = path.read_bytes()

    def fail(*_args, **_kwargs):
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez", fail)
    with pytest.raises(OSError, match="disk full"):
        problem.save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
