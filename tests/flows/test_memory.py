"""A budget of memory: chunks that fit it, halved when memory runs out, and the same results."""

import json
import logging
import subprocess
import sys

import pytest
import torch
from torch import nn

import flows
from flows._memory import is_out_of_memory, parse_bytes, peak_bytes
from tests.flows import architectures

MIB = 2**20
EXAMPLES = 24


@pytest.mark.parametrize(
    ("amount", "size"),
    [
        (1, 1),
        ("4096", 4096),
        ("512MiB", 512 * MIB),
        ("512mib", 512 * MIB),
        ("1.5 GiB", 1536 * MIB),
        ("2kB", 2000),
        ("3 GB", 3 * 10**9),
    ],
)
def test_amounts(amount, size):
    assert parse_bytes("memory", amount) == size


@pytest.mark.parametrize(
    "amount", ["", "much", "5 MBit", "-1", "0", 0, -3, True, None, "1e9", 1.5e3j]
)
def test_amounts_that_are_none(amount):
    with pytest.raises(flows.InvalidArgumentError, match="memory must be"):
        parse_bytes("memory", amount)


def test_peak_is_of_living_tensors():
    def action():
        for _ in range(5):
            first = torch.zeros(MIB // 8, dtype=torch.float64)
            second = first + 1
            second[0] = first[1:].view(-1)[0]
            del first, second

    assert peak_bytes(action, torch.device("cpu")) == 2 * MIB


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), True),
        (MemoryError(), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 9 bytes"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling ..."), True),
        (RuntimeError("shapes cannot be multiplied"), False),
        (ValueError("not enough memory"), False),
    ],
)
def test_what_says_that_memory_ran_out(error, expected):
    assert is_out_of_memory(error) is expected


class Scarce:
    """A mean squared error that has memory to differentiate so many examples only."""

    def __init__(self, examples, error=torch.OutOfMemoryError):
        self.examples, self.error, self.refused = examples, error, 0

    def __call__(self, outputs, targets):
        if outputs.requires_grad and len(outputs) > self.examples:
            self.refused += 1
            raise self.error("can't allocate memory")
        return nn.functional.mse_loss(outputs, targets)


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 2)).double()


def data():
    generator = torch.Generator().manual_seed(1)
    return (
        torch.randn(EXAMPLES, 3, generator=generator, dtype=torch.float64),
        torch.randn(EXAMPLES, 2, generator=generator, dtype=torch.float64),
    )


def derivatives(objective):
    w = objective.w0
    U = architectures.directions(objective.dim, 3, w)
    return {
        "value": torch.tensor(objective.value(w)),
        "gradient": objective.gradient(w),
        "hvp": objective.hvp(w, U),
        "third_pairs": objective.third_pairs(w, U),
        "third": objective.third(w, U, U),
    }


def assert_same(ours, theirs, tolerance=1e-12):
    for name, expected in theirs.items():
        scale = float(expected.abs().max())
        torch.testing.assert_close(ours[name], expected, rtol=tolerance, atol=tolerance * scale)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, MemoryError, RuntimeError])
@pytest.mark.parametrize("examples", [1, 5, 12])
def test_examples_are_halved_when_memory_runs_out(examples, error, caplog):
    whole = flows.Objective(network(), nn.functional.mse_loss, *data())
    loss = Scarce(examples, error)
    with caplog.at_level(logging.WARNING, logger="flows"):
        scarce = flows.Objective(network(), loss, *data())
        results = derivatives(scarce)
    assert loss.refused > 0
    assert "out of memory: from now on" in caplog.text
    assert_same(results, derivatives(whole))
    refused = loss.refused
    derivatives(scarce)
    assert loss.refused == refused, "halved for good"


def test_columns_are_halved_before_examples(monkeypatch):
    from flows import _derivatives

    objective = flows.Objective(network(), nn.functional.mse_loss, *data())
    expected = derivatives(objective)
    genuine, widths = _derivatives._pull_back_columns, []

    def scarce(output, w, V):
        widths.append(V.shape[1])
        if V.shape[1] > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return genuine(output, w, V)

    monkeypatch.setattr(_derivatives, "_pull_back_columns", scarce)
    objective = flows.Objective(network(), nn.functional.mse_loss, *data())
    V = architectures.directions(objective.dim, 8, objective.w0)
    assert_same(derivatives(objective), expected)
    widths.clear()
    objective.hvp(objective.w0, V)
    assert max(widths) <= 2
    assert objective._evaluation.second.examples is None, "all examples, fewer columns"


def test_nothing_left_to_split():
    def f(w):
        if w.requires_grad:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return w.dot(w)

    with pytest.raises(flows.NotEnoughMemoryError, match="nothing can be split"):
        flows.Objective.from_function(f, torch.ones(2)).gradient(torch.ones(2))


def test_other_errors_pass():
    fails = []

    def loss(outputs, targets):
        if fails:
            raise RuntimeError("something else")
        return nn.functional.mse_loss(outputs, targets)

    objective = flows.Objective(network(), loss, *data())
    fails.append(True)
    with pytest.raises(RuntimeError, match="something else"):
        objective.gradient(objective.w0)


@pytest.fixture(scope="module")
def images():
    task = architectures.task("cnn", examples=200)
    return task, architectures.objective("cnn", task, model={"width": 16})


@pytest.mark.parametrize("room", [12, 40, 400])
def test_a_budget_leaves_results_as_they_are(images, room):
    task, whole = images
    # 128 MiB are set aside for what torch loads when it first differentiates.
    budget = architectures.objective("cnn", task, model={"width": 16}, memory=f"{128 + room}MiB")
    third = budget._evaluation.third
    if room < 100:
        assert 1 <= third.examples < task.examples
    else:
        assert third.examples in (None, task.examples)
    assert_same(derivatives(budget), derivatives(whole), 1e-11)


def test_the_peak_of_tensors_stays_below_the_budget(images):
    task, whole = images
    room = 40 * MIB
    budget = architectures.objective("cnn", task, model={"width": 16}, memory=128 * MIB + room)
    w = whole.w0
    U = architectures.directions(whole.dim, 3, w)
    unlimited = peak_bytes(lambda: whole.third_pairs(w * 1.01, U), w.device)
    limited = peak_bytes(lambda: budget.third_pairs(w * 1.01, U), w.device)
    assert limited < room < unlimited


def test_a_budget_that_is_too_small_is_refused():
    with pytest.raises(flows.InvalidArgumentError, match="memory must be at least"):
        flows.Objective(network(), nn.functional.mse_loss, *data(), memory="1MiB")


def test_chunk_bounds_what_a_budget_allows():
    objective = flows.Objective(network(), nn.functional.mse_loss, *data(), memory="1GiB", chunk=7)
    assert objective._evaluation.third.examples <= 7
    assert objective._evaluation.second.examples <= 7


def test_deterministic_algorithms_are_asked_for_inside_evaluations():
    asked = []

    def loss(outputs, targets):
        asked.append(torch.are_deterministic_algorithms_enabled())
        return nn.functional.mse_loss(outputs, targets)

    objective = flows.Objective(network(), loss, *data(), deterministic=True)
    asked.clear()
    first = derivatives(objective)
    assert asked
    assert all(asked)
    assert not torch.are_deterministic_algorithms_enabled()
    second = derivatives(flows.Objective(network(), loss, *data(), deterministic=True))
    for name, result in first.items():
        assert torch.equal(result, second[name])


MEASURE = """
import json, sys
import torch, flows
from flows import tasks

memory = sys.argv[1] if sys.argv[1] != "none" else None
torch.manual_seed(0)
side, classes = 32, 4
inputs = torch.randn(400, 3, side, side)
targets = torch.randn(400, classes)
loss = tasks.load("digits").loss
task = tasks.Task("noise", "noise", inputs, targets, loss, classes, inputs.dtype)
model = tasks.build_model("cnn", task, width=16)

def resident(entry):
    # not getrusage, whose maximum is that of the process that started this one, if that is larger
    with open("/proc/self/status") as file:
        return next(1024 * int(line.split()[1]) for line in file if line.startswith(entry))

before = resident("VmRSS")
objective = flows.Objective(model, task.loss, inputs, targets, memory=memory)
w = objective.w0
U = torch.nn.functional.normalize(torch.randn(objective.dim, 2), dim=0)
for _ in range(2):
    third = objective.third_pairs(w, U)
    hvp = objective.hvp(w, U)
    w = w + 0
peak = resident("VmHWM")
print(json.dumps({"rise": peak - before, "third": third[:200].tolist(), "hvp": hvp[:200].tolist()}))
"""


def measured(memory):
    result = subprocess.run(
        [sys.executable, "-c", MEASURE, memory], capture_output=True, text=True, check=True
    )
    return json.loads(result.stdout)


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_resident_memory_rises_less_than_the_budget():
    unlimited, limited = measured("none"), measured("512MiB")
    assert limited["rise"] < 512 * MIB < unlimited["rise"]
    for name in ("third", "hvp"):
        ours, theirs = torch.tensor(limited[name]), torch.tensor(unlimited[name])
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5 * float(theirs.abs().max()))
