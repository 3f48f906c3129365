"""Find the learning rates of the figures' small scale: ``python -m bench.small_scale``.

For every optimizer, network and loss, the smallest of 1, 2, 5 × 10^k at which the optimizer alone
has an effective sharpness of at least 2 within the first half of the run. The table that it
prints is the one in :mod:`flows.figures.settings`.
"""

from __future__ import annotations

import argparse
import itertools

import numpy as np

import flows
from flows.figures.experiment import METHODS, Experiment
from flows.figures.reproduce import Conditions, make_objective
from flows.figures.scales import PAPER_SIZES

_SMALLEST = {"gd": -2, "rmsprop-norm": -3, "rmsprop": -4}
_EVERY = 10  # steps between measurements of the sharpness
_LOSSES = ("mse", "cross-entropy")


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


def main() -> None:
    """Print a line for each optimizer, network and loss."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--models", nargs="+", default=list(PAPER_SIZES), choices=PAPER_SIZES)
    chosen = parser.parse_args()
    for method, model, loss in itertools.product(chosen.methods, chosen.models, _LOSSES):
        experiment = Experiment(method, model, loss)
        for digit in itertools.count():
            lr = float(f"{(1, 2, 5)[digit % 3]}e{_SMALLEST[method] + digit // 3}")
            step = meets_the_edge(experiment, lr)
            if step is not None:
                print(f"{experiment.name}: lr {lr:g}, at the edge from step {step}", flush=True)
                break


if __name__ == "__main__":
    main()
