"""Check the learning rates of the figures' small scale: ``python -m bench.small_scale``.

For every optimizer, network and loss, says at which step of its run the optimizer alone first has
an effective sharpness of at least 2, with the learning rate of :mod:`flows.figures.settings`.
Where that is not in the first half of the run, larger ones of 1, 2, 5 × 10^k are tried.
"""

from __future__ import annotations

import argparse
import itertools
import math

import numpy as np

import flows
from flows.figures.experiment import METHODS, Experiment
from flows.figures.reproduce import Conditions, make_objective
from flows.figures.scales import PAPER_SIZES

_EVERY = 10  # steps between measurements of the sharpness
_LOSSES = ("mse", "cross-entropy")
_ROUNDING = 1e-9


def meets_the_edge(experiment: Experiment, lr: float) -> int | None:
    """Return the first measured step at the edge in the first half of the run, if there is one."""
    how = experiment.settings("small")
    method = getattr(flows, METHODS[experiment.method])(**(how.optimizer() | {"lr": lr}))
    run = flows.run(
        make_objective(experiment, Conditions())[0],
        method,
        steps=how.steps // 2,
        warm_start=how.warm_start,
        processes="discrete",
        spectrum_every=_EVERY,
        check=False,
    )
    sharpness = run.dataset.effective_sharpness.values[0, :, 0]
    at_the_edge = np.flatnonzero(sharpness >= run.dataset.attrs["threshold"])
    return int(at_the_edge[0]) if at_the_edge.size else None


def next_lr(lr: float) -> float:
    """Return the next larger of 1, 2, 5 × 10^k."""
    exponent = math.floor(math.log10(lr) + _ROUNDING)
    digit = round(lr / 10.0**exponent)
    return {1: 2, 2: 5, 5: 10}[digit] * 10.0**exponent


def main() -> None:
    """Print a line for each optimizer, network and loss."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--models", nargs="+", default=list(PAPER_SIZES), choices=PAPER_SIZES)
    parser.add_argument("--losses", nargs="+", default=list(_LOSSES), choices=_LOSSES)
    chosen = parser.parse_args()
    for method, model, loss in itertools.product(chosen.methods, chosen.models, chosen.losses):
        experiment = Experiment(method, model, loss)
        lr = experiment.settings("small").lr
        while (step := meets_the_edge(experiment, lr)) is None:
            print(f"{experiment.name}: lr {lr:g}, not at the edge in time", flush=True)
            lr = next_lr(lr)
        print(f"{experiment.name}: lr {lr:g}, at the edge from step {step}", flush=True)


if __name__ == "__main__":
    main()
