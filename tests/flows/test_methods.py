"""Methods: their derivatives, their limits, and the formulas of the paper."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, SubsetRandomSampler, TensorDataset

import ccpsolve
import flows
from ccpsolve import smat, svec
from flows.central import Central
from flows.discrete import Discrete
from flows.process import ProcessStopped, Start, State

BETA2, LR = 0.9, 0.05


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 2)).double()
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(12, 3, generator=generator, dtype=torch.float64)
    targets = torch.randn(12, 2, generator=generator, dtype=torch.float64)
    return flows.Objective(model, nn.functional.mse_loss, inputs, targets)


def generic(kind, beta2=BETA2, eps=1e-4):
    """RMSProp or RMSProp-Norm, with bias correction, by its functions alone."""
    square = torch.square if kind is flows.RMSProp else lambda g: g.square().sum()
    start = torch.zeros_like if kind is flows.RMSProp else lambda w: w.new_zeros(())
    return flows.Preconditioned(
        LR,
        initial_state=start,
        update=lambda nu, g, t: beta2 * nu + (1 - beta2) * square(g),
        rate=lambda nu, g, t: (1 - beta2) / beta2 * (square(g) - nu),
        scale=lambda nu, t: (nu / (1 - beta2**t)).sqrt() + eps,
    )


def linearized(objective, method, updates=3, **options):
    """The central flow near the start, with P scaled so that three directions are critical."""
    optimizer = Discrete(objective, method, Start(objective.w0, method.initial_state(objective.w0)))
    for _ in range(updates):
        optimizer.advance()
    start = Start(*optimizer.state, updates)
    flow = Central(objective, method, start, **options)
    flow.subspace.guards = 4
    flow.method.threshold = float(flow.linearize(0.0, flow.state).spectrum.values[2])
    return flow.linearize(0.0, flow.state)


@pytest.mark.parametrize("kind", [flows.RMSProp, flows.RMSPropNorm])
@pytest.mark.parametrize("mixed_term", [False, True])
def test_generic_method_agrees_with_the_named_one(network, kind, mixed_term):
    named = kind(LR, BETA2, eps=1e-4, bias_correction=True)
    a = linearized(network, named, mixed_term=mixed_term)
    b = linearized(network, generic(kind), mixed_term=mixed_term)
    assert a.k >= 3
    for name in ("slack", "alpha", "beta"):
        np.testing.assert_allclose(getattr(b, name), getattr(a, name), rtol=1e-10, atol=1e-12)
    X = np.eye(a.k)
    for ours, theirs in zip(a.advance(X, 0.1), b.advance(X, 0.1), strict=True):
        torch.testing.assert_close(theirs, ours, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("kind", [flows.RMSProp, flows.RMSPropNorm])
def test_reduced_data_are_the_derivative_of_the_slack(network, kind):
    # d/dt(UᵀAU) = −(α − β[X]) with A = threshold·P − H and U frozen, by central differences.
    method = kind(lambda t: LR / (1 + 0.1 * t), BETA2, eps=1e-4, bias_correction=True)
    optimizer = Discrete(network, method, Start(network.w0, method.initial_state(network.w0)))
    for _ in range(3):
        optimizer.advance()
    flow = Central(network, method, Start(*optimizer.state, 3))
    flow.subspace.guards, flow.subspace.tol = 4, 1e-8
    scale = float(flow.linearize(0.0, flow.state).spectrum.values[1]) / 2
    method._schedule = lambda t: LR / scale / (1 + 0.1 * t)
    point = flow.linearize(0.0, flow.state)
    U = point.spectrum.frame(point.k)
    clock, h = flow.first_update, 1e-5

    def slack(state, t):
        p = method.preconditioner(state.nu, t) * torch.ones_like(state.w)
        A = 2 * torch.diag(p) @ U - network.hvp(state.w, U)
        return (U.T @ A).numpy()

    def moved(X, dt):
        return slack(point.advance(X, dt), clock + dt)

    assert point.k >= 2
    zero = np.zeros((point.k, point.k))
    drift = (moved(zero, h) - moved(zero, -h)) / (2 * h)
    np.testing.assert_allclose(drift, -point.alpha, rtol=1e-5, atol=1e-6 * np.abs(drift).max())
    small = 1e-4  # the rate is linear in X, but ν is small and P its root
    exact = np.zeros_like(point.beta)
    for column, unit in enumerate(np.eye(len(exact))):
        X = small * smat(unit)
        gained = (moved(X, h) - moved(X, -h)) / (2 * h) - drift
        exact[:, column] = svec((gained + gained.T) / 2) / small
    # Where HU is not exactly 2PU the operator is not symmetric; its symmetric part is used.
    exact = (exact + exact.T) / 2
    np.testing.assert_allclose(point.beta, exact, rtol=1e-4, atol=1e-5 * np.abs(exact).max())


def critical_norm_flow(objective, beta2):
    """RMSProp-Norm exactly at the edge: ν = η²S²/4, and the exact S, ∇S, g."""
    w = objective.w0
    H = objective.hvp(w, torch.eye(objective.dim, dtype=w.dtype))
    values, vectors = torch.linalg.eigh(H)
    S, v = float(values[-1]), vectors[:, -1:]
    method = flows.RMSPropNorm(LR, beta2)
    flow = Central(objective, method, Start(w, w.new_zeros(())))
    flow.subspace.tol = 1e-10
    point = flow.linearize(0.0, State(w, torch.tensor((LR * S / 2) ** 2, dtype=w.dtype)))
    assert point.k == 1
    variance = point.alpha[0, 0] / point.beta[0, 0] * 2 / S  # Σ = X/P along v, P = S/2
    return variance, S, objective.third(w, v, v)[:, 0], objective.gradient(w)


@pytest.mark.parametrize("beta2", [0.5, 0.9, 0.99])
def test_equation_10(network, beta2):
    variance, S, dS, g = critical_norm_flow(network, beta2)
    top = beta2 * float(-g @ dS) + (1 - beta2) * (S**2 / 4 - float(g @ g) / LR**2)
    bottom = beta2 / 2 * float(dS @ dS) + (1 - beta2) * S**2 / LR**2
    assert variance == pytest.approx(top / bottom, rel=1e-8)


def test_limits_of_beta2(network):
    variance, S, dS, g = critical_norm_flow(network, 1 - 1e-12)
    assert variance == pytest.approx(2 * float(-g @ dS) / float(dS @ dS), rel=1e-6)
    variance, S, dS, g = critical_norm_flow(network, 1e-12)
    assert variance == pytest.approx(LR**2 / 4 - float(g @ g) / S**2, rel=1e-6)


@pytest.mark.parametrize("schedule", [False, True])
@pytest.mark.parametrize("kind", [flows.GD, flows.RMSProp, flows.RMSPropNorm])
def test_rate_of_the_preconditioner(kind, schedule):
    lr = (lambda t: 0.1 / (1 + 0.3 * t)) if schedule else 0.1
    method = kind(lr) if kind is flows.GD else kind(lr, BETA2, eps=0.01, bias_correction=True)
    nu = method.update(
        method.initial_state(torch.zeros(4).double()), torch.arange(1, 5.0).double(), 1
    )
    rate = torch.rand(nu.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    h = 1e-5
    ends = [method.preconditioner(nu + s * h * rate, 2 + s * h) for s in (1, -1)]
    exact = method.preconditioner_rate(nu, rate, 2.0)
    torch.testing.assert_close(exact, (ends[0] - ends[1]) / (2 * h), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["SGD", "RMSprop"])
def test_from_torch_follows_the_optimizer(name):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double()
    x, y = torch.randn(10, 3).double(), torch.randn(10, 1).double()
    objective = flows.Objective(model, nn.functional.mse_loss, x, y)
    optimizer = getattr(torch.optim, name)(model.parameters(), lr=0.01)
    method = flows.from_torch(optimizer)
    ours = Discrete(objective, method, Start(objective.w0, method.initial_state(objective.w0)))
    for _ in range(20):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(x), y).backward()
        optimizer.step()
        ours.advance()
    theirs = torch.cat([p.detach().flatten() for p in model.parameters()])
    torch.testing.assert_close(ours.w, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9), "momentum"),
        (lambda p: torch.optim.SGD(p, lr=0.1, weight_decay=0.1), "weight_decay"),
        (lambda p: torch.optim.SGD(p, lr=0.1, maximize=True), "maximize"),
        (lambda p: torch.optim.RMSprop(p, lr=0.1, centered=True), "centered"),
        (lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True), "momentum"),
        (lambda p: torch.optim.RMSprop(p, lr=0.1, momentum=0.5), "momentum"),
        (lambda p: torch.optim.RMSprop(p, lr=0.1, weight_decay=0.1), "weight_decay"),
        (lambda p: torch.optim.Adam(p, lr=0.1), "Adam"),
        (lambda p: torch.optim.SGD([p[0], nn.Parameter(p[1].bfloat16())], lr=0.1), "bfloat16"),
        (lambda p: torch.optim.SGD([p[0], nn.Parameter(p[1].double())], lr=0.1), "precision"),
        (lambda p: torch.optim.SGD([{"params": p[:1]}, {"params": p[1:]}], lr=0.1), "group"),
    ],
)
def test_from_torch_refuses_with_the_reason(make, reason):
    parameters = list(nn.Linear(2, 1).parameters())
    with pytest.raises(flows.InvalidArgumentError, match=reason):
        flows.from_torch(make(parameters))


def test_schedule_is_followed_as_well_as_a_constant_rate(network):
    # Distance to the optimizer relative to the path, with and without a schedule, through a
    # valley that steepens until the edge is met and crossed back as the rate falls.
    def distance(lr):
        w0 = torch.tensor([0.0, 0.02, 0.5], dtype=torch.float64)
        objective = flows.Objective.from_function(
            lambda w: 0.5 * (3.5 + w[0]) * w[1] ** 2 - 0.02 * w[0] + 0.05 * (w[2] ** 2 + w[0] ** 2),
            w0,
        )
        run = flows.run(
            objective, flows.GD(lr), steps=150, processes=["discrete", "central"], check=False
        )
        dataset = run.dataset
        assert (dataset.oscillation_variance > 0).any()
        slow = run.dataset.distance.sel(process="central").values[100:]
        return np.mean(slow)

    constant = distance(0.56)
    scheduled = distance(lambda t: 0.56 + 0.04 * np.sin(t / 20))
    assert scheduled < 1.5 * constant + 1e-3


@pytest.mark.parametrize("beta2", [0.5, 0.9])
def test_equation_11(network, beta2):
    # At the edge RMSProp-Norm's effective step η/√ν is 2/S, whatever η: ν = η²S²/4.
    w = network.w0
    H = network.hvp(w, torch.eye(network.dim, dtype=w.dtype))
    S = float(torch.linalg.eigvalsh(H)[-1])
    for lr in (0.01, 0.1):
        method = flows.RMSPropNorm(lr, beta2)
        nu = torch.tensor((lr * S / 2) ** 2, dtype=w.dtype)
        assert 1 / float(method.preconditioner(nu, 1)) == pytest.approx(2 / S, rel=1e-12)
        flow = Central(network, method, Start(w, nu))
        flow.subspace.tol = 1e-8
        assert flow.linearize(0.0, State(w, nu)).slack[0, 0] == pytest.approx(0.0, abs=1e-8)


def test_flow_is_the_projection_in_the_metric_of_the_preconditioner(network):
    # Lemma 2, frozen P: the central flow's velocity is the projection, in the P-metric, of the
    # stable flow's onto {v : 𝒯ᵀ[v] ⪯ 0}, computed here from the third derivatives alone.
    w = network.w0
    scale = torch.linspace(1.0, 2.0, network.dim, dtype=w.dtype)
    H = network.hvp(w, torch.eye(network.dim, dtype=w.dtype))
    root = scale.sqrt()
    values, vectors = torch.linalg.eigh(H / root[:, None] / root)
    k = 2
    threshold = float(values[-1])
    method = flows.Preconditioned(
        1.0,
        initial_state=lambda w: w.new_zeros(0),
        update=lambda nu, g, t: nu,
        rate=lambda nu, g, t: nu,
        scale=lambda nu, t: scale,
    )
    method.threshold = threshold
    flow = Central(network, method, Start(w, w.new_zeros(0)))
    flow.subspace.tol, flow.subspace.guards = 1e-10, 4
    method.threshold = threshold
    point = flow.linearize(0.0, flow.state)
    k = point.k
    U = (vectors / root[:, None])[:, -k:].flip(1)
    jacobian = torch.stack(
        [
            network.third(w, U[:, [i]], U[:, [j]])[:, 0] * (1.0 if i == j else 2**0.5)
            for i in range(k)
            for j in range(i, k)
        ]
    )
    stable = -network.gradient(w) / scale
    projected = ccpsolve.project_tangent_cone(
        stable.numpy(), jacobian.numpy(), metric=scale.numpy()
    )
    X = ccpsolve.solve_ccp(point.alpha, point.beta).X
    moved = point.advance(X, 1.0).w - w
    np.testing.assert_allclose(moved.numpy(), projected.v, rtol=1e-6, atol=1e-8)


def loader(dataset=None, **options):
    x = torch.arange(14.0).reshape(7, 2) / 14
    return DataLoader(dataset or TensorDataset(x, x.sum(1, keepdim=True)), **options)


def test_a_plain_loader_is_the_full_data_set_in_chunks():
    model = nn.Linear(2, 1)
    plain = loader(batch_size=3)
    x, y = plain.dataset.tensors
    whole = flows.Objective(model, nn.MSELoss(), x, y)
    objective = flows.Objective.from_loader(model, nn.MSELoss(), plain)
    assert objective._evaluation.second.examples == 3
    torch.testing.assert_close(objective.gradient(whole.w0), whole.gradient(whole.w0))
    flows.Objective.from_loader(model, nn.MSELoss(), loader(batch_size=7, drop_last=True))


class Stream(IterableDataset):
    def __iter__(self):
        yield torch.ones(2), torch.ones(1)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: loader(batch_size=3, shuffle=True), "shuffle"),
        (lambda: loader(batch_size=3, sampler=SubsetRandomSampler([1, 2])), "SubsetRandom"),
        (lambda: loader(batch_size=3, drop_last=True), "1 of 7 dropped"),
        (lambda: loader(batch_size=None), "batch_size"),
        (lambda: loader(Stream(), batch_size=1), "stream"),
        (lambda: loader(TensorDataset(torch.ones(3, 2)), batch_size=1), "pairs"),
        (lambda: [1, 2], "DataLoader"),
    ],
)
def test_loaders_that_are_refused(make, reason):
    with pytest.raises(flows.InvalidArgumentError, match=reason):
        flows.Objective.from_loader(nn.Linear(2, 1), nn.MSELoss(), make())


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"lr": 0.0, "beta2": 0.9}, "lr"),
        ({"lr": 0.1, "beta2": 1.0}, "beta2"),
        ({"lr": 0.1, "beta2": 0.0}, "beta2"),
        ({"lr": 0.1, "beta2": np.nan}, "beta2"),
        ({"lr": 0.1, "beta2": 0.9, "eps": -1.0}, "eps"),
    ],
)
def test_bad_hyperparameters(arguments, name):
    with pytest.raises(flows.InvalidArgumentError, match=name):
        flows.RMSProp(**arguments)


def test_schedule_that_is_not_positive():
    with pytest.raises(flows.InvalidArgumentError, match="lr"):
        flows.GD(lambda t: 1.0 - t).lr(2.0)


@pytest.mark.parametrize("bias_correction", [False, True])
def test_dead_weight_with_eps_is_no_nan(bias_correction):
    # √ν has no derivative at 0: the flow stopped for NaN where a weight had no gradient ever.
    w0 = torch.tensor([0.0, 1.0, 1.0], dtype=torch.float64)
    objective = flows.Objective.from_function(
        lambda w: (2 + w[0]) * w[1] ** 2 / 2 - w[0] + 0 * w[2], w0
    )
    method = flows.RMSProp(0.5, 0.9, eps=1e-3, bias_correction=bias_correction)
    nu = torch.tensor([0.3, 1.0, 0.0], dtype=torch.float64)
    run = flows.run(
        objective, method, steps=3, processes=["central"], start=Start(w0, nu, 50), save_weights=3
    )
    assert "stopped_central" not in run.dataset.attrs
    assert run.dataset.critical.max() > 0
    assert run.weights("central", 3)[2] == pytest.approx(1.0, abs=1e-15)
    assert run.state("central", 3)[2] == 0.0


def test_dead_weight_without_eps_is_named():
    objective = flows.Objective.from_function(
        lambda w: w[0] ** 2, torch.ones(2, dtype=torch.float64)
    )
    method = flows.RMSProp(0.1, 0.9)
    process = Discrete(objective, method, Start(objective.w0, torch.zeros(2).double()))
    with pytest.raises(ProcessStopped, match="eps"):
        process.observe(spectrum=False)
