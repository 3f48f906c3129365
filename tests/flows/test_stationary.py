"""The stationary and the ablated flows against finite differences and closed forms."""

import numpy as np
import pytest
import torch

import flows
from ccpsolve.stationary import stationary_preconditioner
from flows._stationary_terms import complementarity_term, exact_term, trace_term
from flows.ablated import Ablated
from flows.cli import main
from flows.discrete import Discrete
from flows.figures import find
from flows.process import Start
from flows.stationary import Stationary
from flows.stationary_solver import StationarySolver

LR = 0.4
DIM = 6
TIGHT = 1e-12
TILT = torch.tensor([0.1, -0.2, 0.3, 0.15, -0.1, 0.2])


def curved(w):
    """A loss whose Hessian turns and grows with w, with two critical directions at START."""
    mix = torch.sin(5.9 * torch.arange(1.0, DIM * DIM + 1, dtype=w.dtype) ** 2)
    y = mix.reshape(DIM, DIM) @ w
    weights = torch.tensor([3.0, 2.8, 2.6, 0.3, 0.2, 0.1], dtype=w.dtype)
    return (weights * (y.square() / 2 + y**3 / 9 + y**4 / 30)).sum() / 4 - w @ TILT.to(w)


@pytest.fixture
def objective():
    w0 = torch.tensor([0.3, -0.2, 0.25, 0.1, -0.15, 0.2], dtype=torch.float64)
    return flows.Objective.from_function(curved, w0)


def many_weights():
    """A loss of 200 weights, too many to ask for all entries of H, with turning curvature."""
    scale = torch.linspace(0.1, 1.0, 200, dtype=torch.float64)
    return flows.Objective.from_function(
        lambda w: (scale @ w).cos() + (scale.square() * w).sum().square() / 50 + 0.01 * w @ w,
        torch.sin(torch.arange(200.0, dtype=torch.float64)) + 0.02,
    )


def dense(objective, w):
    """The stationary preconditioner from the entries of H, to rounding."""
    H = objective.hvp(w, torch.eye(DIM, dtype=w.dtype)).numpy()
    return stationary_preconditioner(objective.gradient(w).numpy(), H, LR, tol=1e-12)


def differences(function, w, h=1e-4):
    """Central differences along every coordinate, one a row."""
    steps = h * torch.eye(DIM, dtype=w.dtype)
    return np.array([(function(w + e) - function(w - e)) / (2 * h) for e in steps])


def begin(w, method):
    return Start(w, method.initial_state(w))


class TestSolver:
    def test_agrees_with_the_entries(self, objective):
        w = objective.w0
        truth = dense(objective, w)
        solver = StationarySolver(objective, tol=TIGHT)
        found = solver.solve(w, objective.gradient(w), LR)
        assert truth.rank >= 2
        assert truth.dual * (1 - 1e-12) <= found.primal <= truth.primal * (1 + 2 * TIGHT)
        np.testing.assert_allclose(found.p, truth.p, rtol=1e-4)
        assert objective.counts["hvp"] == DIM + found.products
        assert solver.counts == {"stationary": 1, "stationary_hvp": found.products}

    def test_float32_network(self):
        w0 = torch.tensor([0.3, -0.2, 0.25, 0.1, -0.15, 0.2])
        single = flows.Objective.from_function(curved, w0)
        double = flows.Objective.from_function(curved, w0.double())
        found = StationarySolver(single).solve(w0, single.gradient(w0), LR)
        assert found.p.dtype == np.float64
        truth = dense(double, w0.double())
        assert found.primal == pytest.approx(truth.primal, rel=2e-4)

    def test_short_budget_is_an_error(self):
        objective = many_weights()
        solver = StationarySolver(objective, tol=1e-14, max_products=5)
        with pytest.raises(flows.FlowsError, match="relative gap of"):
            solver.solve(objective.w0, objective.gradient(objective.w0), LR)

    def test_wrong_shapes_are_named(self):
        objective = many_weights()
        solver = StationarySolver(objective)
        w = objective.w0
        with pytest.raises(flows.InvalidArgumentError, match="gradient must have shape"):
            solver.solve(w, w[:3], LR)
        with pytest.raises(flows.InvalidArgumentError, match="w must have shape"):
            solver.solve(w[:3], w, LR)
        with pytest.raises(flows.InvalidArgumentError, match="seed must be a whole number"):
            StationarySolver(objective, seed="random")

    def test_the_next_solve_starts_from_the_last(self):
        objective = many_weights()
        solver = StationarySolver(objective)
        first = solver.solve(objective.w0, objective.gradient(objective.w0), LR)
        w = 0.999 * objective.w0
        second = solver.solve(w, objective.gradient(w), LR)
        assert first.method == "subspace"
        assert second.products < first.products
        assert solver.solves == 2
        assert solver.products == first.products + second.products == objective.counts["hvp"]


class TestCurvatureTerms:
    def test_envelope_theorem(self, objective):
        """∇V = ∇⟨Z, H⟩ + (2/η²)HP⁻¹g for V the minimal value, Z = (2/η²)Σ*."""
        w = objective.w0
        solution = dense(objective, w)
        g = objective.gradient(w)
        along = (g / torch.tensor(solution.p))[:, None]
        term = 2 * exact_term(objective, w, solution) + objective.hvp(w, along)[:, 0]
        slope = differences(lambda x: dense(objective, x).dual, w)
        np.testing.assert_allclose(2 / LR**2 * term.numpy(), slope, rtol=1e-5, atol=1e-7)

    def test_exact_term_is_the_weighted_gradient_of_p(self, objective):
        w = objective.w0
        solution = dense(objective, w)
        weights = 1 - objective.gradient(w).numpy() ** 2 / solution.nu
        slopes = differences(lambda x: dense(objective, x).p, w)
        expected = LR**2 / 4 * slopes @ weights
        found = exact_term(objective, w, solution).numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
        assert weights.min() < 0.9  # the weights matter here

    def test_simplified_term_is_the_gradient_of_the_trace(self, objective):
        w = objective.w0
        solution = dense(objective, w)
        slope = differences(lambda x: dense(objective, x).p.sum(), w)
        found = trace_term(objective, w, objective.gradient(w), solution).numpy()
        np.testing.assert_allclose(found, LR**2 / 4 * slope, rtol=1e-4, atol=1e-6)
        exact = exact_term(objective, w, solution).numpy()
        assert np.linalg.norm(found - exact) > 0.05 * np.linalg.norm(exact)

    def test_terms_agree_without_a_gradient(self):
        """With g = 0 the weights are 1, and both terms are the same."""
        objective = flows.Objective.from_function(
            lambda w: curved(w) + w @ TILT.to(w), torch.zeros(DIM, dtype=torch.float64)
        )
        w = objective.w0
        solution = dense(objective, w)
        exact = exact_term(objective, w, solution)
        found = trace_term(objective, w, objective.gradient(w), solution)
        torch.testing.assert_close(found, exact, rtol=1e-6, atol=1e-9)
        assert exact.norm() > 0.01

    def test_closures_agree_as_nu_gets_fast(self, objective):
        """Σ of eq. 25 tends to Σ* with β₂/(1 − β₂)."""
        w = objective.w0
        solution = dense(objective, w)
        exact = exact_term(objective, w, solution)
        error = []
        for beta2 in (0.02, 0.002):
            method = flows.RMSProp(LR, beta2)
            g = objective.gradient(w)
            term = complementarity_term(objective, method, w, g, solution, 1.0)
            error.append(float((term - exact).norm() / exact.norm()))
        assert 0 < error[0] < 0.2
        assert error[1] == pytest.approx(error[0] / 10, rel=0.2)

    @pytest.mark.parametrize("lr", [LR, lambda t: LR * (1 + 0.05 * (t - 1))])
    def test_complementarity_keeps_the_edge(self, objective, lr):
        """With ν' = c(g² + diag(HΣH) − ν) the critical directions stay critical, to first order.

        Σ is recovered from the term: with X unknown it is the one of rank(Σ*) that gives the term.
        """
        method = flows.RMSProp(lr, 0.2)
        w, c = objective.w0, 4.0
        solution = dense(objective, w)
        p, g = torch.tensor(solution.p), objective.gradient(w)
        term = complementarity_term(objective, method, w, g, solution, 1.0)
        V, lengths, _ = np.linalg.svd(solution.D, full_matrices=False)
        U = torch.tensor(V[:, lengths > 1e-6 * lengths[0]])
        k = U.shape[1]
        i, j = np.triu_indices(k)
        third = objective.third_pairs(w, U) * torch.tensor(np.where(i == j, 1.0, 2.0))
        x, residual, *_ = np.linalg.lstsq(third.numpy() / 2, term.numpy(), rcond=None)
        assert np.all(residual < 1e-18)
        X = torch.zeros(k, k, dtype=w.dtype)
        X[i, j] = X[j, i] = torch.tensor(x)
        HU = objective.hvp(w, U)
        rate = c * (g.square() + ((HU @ X) * HU).sum(dim=1) - torch.tensor(solution.nu))
        velocity = -(g + term) / p
        assert torch.linalg.eigvalsh(X)[0] > 0

        def slack(t):
            nu = torch.tensor(solution.nu) + t * rate
            A = 2 * torch.diag(nu.sqrt() / method.lr(1.0 + t))
            return U.T @ (A @ U - objective.hvp(w + t * velocity, U))

        h = 1e-4
        change = (slack(h) - slack(-h)) / (2 * h)
        assert change.norm() < 1e-6 * (slack(0.0) + HU.T @ U).norm()


class TestFlow:
    def test_diagonal_quadratic(self):
        """H = diag(h): p̄ᵢ = max(hᵢ/2, |gᵢ|/η), and H is constant, so the curvature term is 0."""
        h = torch.tensor([2.0, 1.0, 0.1], dtype=torch.float64)
        objective = flows.Objective.from_function(
            lambda w: (h * w.square()).sum() / 2, torch.tensor([0.05, 0.01, 2.0]).double()
        )
        method = flows.RMSProp(0.1, 0.9)
        for closure in ("complementarity", "minimiser"):
            flow = Stationary(
                objective, method, begin(objective.w0, method), closure=closure, tol=TIGHT
            )
            settled = flow.settle(objective.w0, 0.0)
            expected = torch.maximum(h / 2, (h * objective.w0).abs() / 0.1)
            torch.testing.assert_close(settled.p, expected, rtol=1e-5, atol=0)
            flow.observe(spectrum=False)
            flow.advance()
            # critical coordinates contract by (1 − 2/4) in each of four substeps
            torch.testing.assert_close(flow.w[:2], objective.w0[:2] / 16, rtol=1e-5, atol=0)
            torch.testing.assert_close(flow.w[2], objective.w0[2] - 0.1, rtol=1e-6, atol=0)

    def test_stable_regime_has_no_oscillation(self, objective):
        """Where |g|/η ≥ what the edge asks for, Σ = 0 exactly and the flow is sign descent."""
        method = flows.RMSProp(1e-3, 0.9)
        flow = Stationary(objective, method, begin(objective.w0, method))
        settled = flow.settle(objective.w0, 0.0)
        assert settled.solution.rank == 0
        velocity = -flow.force(objective.w0, settled, 0.0) / settled.p
        torch.testing.assert_close(velocity, -1e-3 * settled.gradient.sign(), rtol=1e-3, atol=0)

    def test_one_direction(self):
        """L = ½s(x)y² − fx with y = 0: p = (f/η, s/2), Σ_yy = η²/4, x' = −(η/f)(η²s'/8 − f)."""
        fall, lr = 0.3, 0.2
        w0 = torch.tensor([0.7, 0.0], dtype=torch.float64)
        objective = flows.Objective.from_function(
            lambda w: (2 + w[0] ** 2) * w[1] ** 2 / 2 - fall * w[0], w0
        )
        method = flows.RMSProp(lr, 0.9)
        slope, s = 1.4, 2.49
        flow = Stationary(objective, method, begin(w0, method), closure="minimiser", tol=TIGHT)
        settled = flow.settle(w0, 0.0)
        torch.testing.assert_close(
            settled.p, torch.tensor([fall / lr, s / 2]).double(), rtol=1e-6, atol=0
        )
        term = lr**2 / 8 * slope
        force = torch.tensor([term - fall, 0.0]).double()
        torch.testing.assert_close(flow.force(w0, settled, 0.0), force, rtol=1e-6, atol=1e-9)
        # eq. 25, k = 1: X = (α/β)₊ in the basis U = e_y/√p_y
        c, p = 1 / 9, s / 2
        alpha = -slope / p * (lr / fall) * (-fall) + c
        beta = 0.5 * (slope / p) ** 2 * lr / fall + 4 * c / lr**2 / p
        expected = 0.5 * slope / p * alpha / beta
        flow = Stationary(objective, method, begin(w0, method), tol=TIGHT)
        force = torch.tensor([expected - fall, 0.0]).double()
        torch.testing.assert_close(flow.force(w0, settled, 0.0), force, rtol=1e-6, atol=1e-9)

    def test_weights_without_effect_stay(self):
        w0 = torch.tensor([0.3, 7.0], dtype=torch.float64)
        objective = flows.Objective.from_function(lambda w: w[0] ** 2 + 0 * w[1], w0)
        method = flows.RMSProp(0.1, 0.9)
        result = flows.run(
            objective, method, steps=3, processes=["stationary"], save_weights=3, check=False
        )
        final = result.weights("stationary", 3)
        assert final[1] == 7.0
        assert abs(final[0]) < 0.3

    def test_smaller_substeps_give_the_same_path(self, objective):
        method = flows.RMSProp(LR / 10, 0.9)
        paths = {}
        for substeps in (4, 8, 16):
            result = flows.run(
                objective,
                method,
                steps=4,
                substeps=substeps,
                processes=["stationary"],
                save_weights=4,
                check=False,
            )
            assert "stopped_stationary" not in result.dataset.attrs
            paths[substeps] = result.weights("stationary", 4)
        coarse, fine = (np.linalg.norm(paths[n] - paths[2 * n]) for n in (4, 8))
        assert fine < 0.7 * coarse  # Euler is of first order


class TestAblated:
    def test_steps_of_two_over_sharpness(self):
        h = torch.tensor([4.0, 1.0], dtype=torch.float64)
        w0 = torch.tensor([0.01, 0.02], dtype=torch.float64)
        objective = flows.Objective.from_function(lambda w: (h * w.square()).sum() / 2, w0)
        method = flows.RMSPropNorm(0.1, 0.9)
        result = flows.run(
            objective, method, steps=1, processes=["ablated"], save_weights=1, check=False
        )
        np.testing.assert_allclose(
            result.weights("ablated", 1), w0 * (1 - 2 / 4.0 * h / 4) ** 4, rtol=1e-6
        )
        assert result.dataset.effective_sharpness.values[0, 0, 0] == pytest.approx(2)

    def test_normalised_where_stable(self):
        w0 = torch.tensor([3.0, 4.0], dtype=torch.float64)
        objective = flows.Objective.from_function(lambda w: w.square().sum() / 2, w0)
        method = flows.RMSPropNorm(0.1, 0.9)
        flow = Ablated(objective, method, begin(w0, method))
        assert float(flow.settle(w0, 0.0).p) == pytest.approx(5 / 0.1)

    def test_rmsprop_follows_the_gradient(self, objective):
        method = flows.RMSProp(LR, 0.9)
        flow = Ablated(objective, method, begin(objective.w0, method))
        settled = flow.settle(objective.w0, 0.0)
        torch.testing.assert_close(
            flow.force(objective.w0, settled, 0.0), objective.gradient(objective.w0)
        )
        assert settled.solution.gap <= 1e-4
        assert flow.own_counts["stationary"] == 1


class TestRun:
    @pytest.mark.parametrize(
        ("method", "process", "reason"),
        [
            (flows.GD(0.1), "stationary", "gradient descent has no state"),
            (flows.GD(0.1), "ablated", "stable flow"),
            (flows.RMSPropNorm(0.1, 0.9), "stationary", "one ν for all weights"),
        ],
    )
    def test_processes_that_a_method_lacks_are_refused(self, objective, method, process, reason):
        with pytest.raises(flows.InvalidArgumentError, match=reason):
            flows.run(objective, method, steps=1, processes=[process])

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"closure": "none"}, "closure must be one of complementarity, minimiser"),
            ({"curvature": "none"}, "curvature must be one of exact, simplified"),
            ({"curvature": "simplified"}, "belongs to the closure 'minimiser'"),
        ],
    )
    def test_terms_that_do_not_exist_are_refused(self, objective, options, message):
        with pytest.raises(flows.InvalidArgumentError, match=message):
            flows.run(objective, flows.RMSProp(0.1, 0.9), steps=1, **options)

    def test_products_are_counted(self, objective):
        result = flows.run(
            objective,
            flows.RMSProp(LR, 0.9),
            steps=2,
            processes=["stationary", "ablated"],
            spectrum_every=10,
            check=False,
        )
        for name in ("stationary", "ablated"):
            counts = result.counts[name]
            assert counts["stationary"] == 2 * 4 + 1
            assert 0 < counts["stationary_hvp"] <= counts["hvp"]
        assert result.counts["stationary"]["third"] > result.counts["ablated"]["third"] == 0

    def test_a_failed_solve_stops_the_flow(self):
        objective, method = many_weights(), flows.RMSProp(LR, 0.9)
        flow = Stationary(objective, method, begin(objective.w0, method))
        flow.solver.max_products, flow.solver.tol = 5, 1e-14
        with pytest.raises(flows.FlowsError, match="at step 0: no stationary preconditioner"):
            flow.observe(spectrum=False)

    def test_command_line_refuses_in_one_line(self, tmp_path, capsys):
        arguments = ["run", "--lr", "0.1", "--processes", "stationary", "--steps", "1"]
        options = ["--examples", "20", "--model", "mlp", "--width", "4", "--out", str(tmp_path)]
        assert main([*arguments, *options]) == 1
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert "'stationary' is defined for rmsprop, found gd" in error

    @pytest.mark.parametrize("name", ["fig5", "fig7", "fig11"])
    def test_figures_draw_the_flows(self, objective, name):
        figure = find(name)
        processes = figure.experiments[0].processes
        method = flows.RMSProp(LR / 10, 0.9)
        result = flows.run(objective, method, steps=2, processes=processes, check=False)
        drawing = figure.draw(figure, [result])
        assert len(drawing.axes) == (3 if name == "fig11" else 2)
        assert all(axes.lines for axes in drawing.axes)
        drawing.canvas.draw()


@pytest.mark.parametrize("loss", ["mse", "cross-entropy"])
def test_products_on_a_network_at_the_edge(loss):
    """Certified within 120 products from nothing, and within 50 after 10 optimizer steps."""
    task = flows.tasks.load("digits", loss=loss, examples=100, dtype=torch.float64)
    network = flows.tasks.build_model("mlp", task, width=12)
    objective = flows.Objective(network, task.loss, task.inputs, task.targets)
    method = flows.RMSProp(2e-3, 0.99, bias_correction=True)
    optimizer = Discrete(objective, method, begin(objective.w0, method))
    solver = StationarySolver(objective)
    solutions = []
    for steps in (100, 10):
        for _ in range(steps):
            optimizer.advance()
        w = optimizer.w
        solutions.append(solver.solve(w, objective.gradient(w), 2e-3))
    cold, warm = solutions
    assert cold.rank > 0
    assert max(cold.gap, warm.gap) <= 1e-4
    assert cold.products <= 120
    assert warm.products <= 50
