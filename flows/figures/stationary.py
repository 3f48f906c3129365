"""What RMSProp's oscillation does for it: step sizes, curvature, the stationary preconditioner."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from flows import plots
from flows.figures.experiment import Experiment, Figure

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

    from flows.result import Run

_MODEL, _LOSS = "mlp", "mse"
# ν forgets within 20 steps, so that there is something stationary within the small scale's 400
_BETA2 = 0.95
_LATE = {"beta2": _BETA2, "warm_start": 200, "steps": 300}
NORM = Experiment(
    "rmsprop-norm",
    _MODEL,
    _LOSS,
    ("discrete", "central", "ablated"),
    overrides={"warm_start": 120, "steps": 400},
)
FOLLOWED = Experiment(
    "rmsprop",
    _MODEL,
    _LOSS,
    ("discrete", "central"),
    options={"stationarity_every": 10},
    overrides={"beta2": _BETA2},
)
FLOWS = Experiment(
    "rmsprop",
    _MODEL,
    _LOSS,
    ("discrete", "central", "stationary", "ablated"),
    options={"substeps": 2},
    overrides=_LATE,
)
_STYLES = {
    "discrete": ("optimizer", "0.7", "-"),
    "central": ("central flow", "#0072B2", "-"),
    "stationary": ("stationary flow", "#E69F00", "--"),
    "ablated": ("no curvature term", "#D55E00", "-"),
}
_RATES = {
    "current": ("RMSProp's preconditioner", "#000000", "-"),
    "stationary": ("stationary preconditioner", "#0072B2", "--"),
    "alternative": ("alternative: least trace", "#009E73", "-"),
    "stationary flow": ("stationary flow, closed by eq. 25", "#0072B2", "--"),
    "stationary flow, minimiser": ("closed by the minimiser's Σ*", "#E69F00", ":"),
    "stationary flow, simplified": ("with (η²/4)∇tr P", "#CC79A7", "-."),
}
_SHORT = 60  # steps of the first of the two figures on RMSProp-Norm
_SNAPSHOTS = 3


def figures() -> Iterator[Figure]:
    """Yield figures 5 and 7 to 11."""
    ablated = "the ablated flow −(2/S)∇L of RMSProp-Norm belongs to it"
    yield Figure(
        name="fig5",
        title="RMSProp-Norm at the edge: step sizes 2/S, with and without the curvature term",
        shows="Soon after the edge: the central flow and the flow with the same rule for the step "
        "size but without the curvature term, which goes down faster at first and sharpens.",
        experiments=(NORM,),
        draw=_grid(("relative_loss", "step_size"), steps=_SHORT),
        basis=ablated,
    )
    yield Figure(
        name="fig7",
        title="RMSProp-Norm over longer times: acceleration by regularisation",
        shows="The flow without the curvature term has to take smaller and smaller steps, while "
        "the central flow keeps its step sizes, and overtakes it.",
        experiments=(NORM,),
        draw=_grid(("loss", "step_size")),
        basis=ablated,
    )
    yield Figure(
        name="fig8",
        title="RMSProp's ν and its stationary value",
        shows="The cosine similarity of ν with the stationary value at the current weights rises; "
        "coordinates of both against each other, at the start, the middle and the end.",
        experiments=(FOLLOWED,),
        draw=_in_style(draw_cosine),
        basis="the cosine similarity of ν(t) and the stationary ν belongs to it",
    )
    yield Figure(
        name="fig9",
        title="RMSProp's preconditioner and one of least trace",
        shows="Rates of loss decrease gᵀP⁻¹g of RMSProp's own preconditioner, of its stationary "
        "value, and of the alternative that leaves the gradient out of the program.",
        experiments=(FOLLOWED,),
        draw=_rates(("current", "stationary", "alternative"), measured=False),
        basis="the alternative preconditioner, without the second term, belongs to it",
    )
    yield Figure(
        name="fig10",
        title="The stationary flow predicts the rate of loss decrease",
        shows="The rate at which the loss falls along the central flow, as measured and as the "
        "stationary flow gives it at the same weights; how far its curvature terms are apart.",
        experiments=(FOLLOWED,),
        draw=_rates(tuple(_RATES)[3:], measured=True),
        basis="predicted rates of loss decrease of the stationary flow belong to it",
    )
    yield Figure(
        name="fig11",
        title="RMSProp: the stationary flow, and the same without the curvature term",
        shows="Loss and mean step size of the optimizer, the central, the stationary and the "
        "ablated flow, and the loss over that of the central flow. Flows start at an iterate of "
        "the optimizer, which oscillates: within a step they fall to the floor of the valley, the "
        "gradient with them, and with it the preconditioner of the two flows that have no memory.",
        experiments=(FLOWS,),
        draw=_grid(("loss", "relative_loss", "step_size")),
        basis="the ablated flow of RMSProp belongs to it",
    )


_AXES = {
    "loss": ("Train loss", "loss"),
    "relative_loss": ("Train loss over that of the central flow", "ratio"),
    "step_size": ("Step size", "harmonic mean over the weights"),
}


def _grid(
    names: tuple[str, ...], *, steps: int | None = None
) -> Callable[[Figure, list[Run]], Drawing]:
    """Return a drawing of variables of all processes, a panel each, up to a step."""

    def draw(figure: Figure, runs: list[Run]) -> Drawing:
        dataset = runs[0].dataset.isel(step=slice(0, None if steps is None else steps + 1))
        dataset["relative_loss"] = dataset.loss / dataset.loss.sel(process="central")
        drawing, panels = _canvas(figure, len(names))
        for letter, axes, name in zip("abc", panels, names, strict=False):
            title, label = _AXES[name]
            axes.set(title=f"{letter}  {title}", ylabel=label, xlabel="step")
            for process in (str(each) for each in dataset.process.values):
                if (name, process) != ("relative_loss", "discrete"):
                    _curve(axes, dataset, name, process)
        panels[-1].legend()
        return drawing

    return _in_style(draw)


def _curve(axes: Axes, dataset: xr.Dataset, name: str, process: str) -> None:
    label, colour, style = _STYLES[process]
    values = dataset[name].sel(process=process).values
    if process == "discrete":
        axes.plot(dataset.step, values, color=colour, lw=0.9, label=label, zorder=1)
    else:
        axes.plot(dataset.step, values, color=colour, ls=style, label=label)


def draw_cosine(figure: Figure, runs: list[Run]) -> Drawing:
    """Draw cosine similarities over time, and coordinates of ν against their prediction."""
    dataset = runs[0].dataset
    drawing, (left, right) = _canvas(figure, 2)
    left.set(title="a  Cosine similarity with ν", xlabel="step", ylim=(0, 1.02))
    for followed, colour in (("discrete", "0.6"), ("central", "#0072B2")):
        chosen = dataset.sel(followed=followed)
        who = _STYLES[followed][0]
        for name, what, style in (
            ("nu_cosine", "stationary ν", "-"),
            ("nu_cosine_gradient", "g²", ":"),
        ):
            known = np.flatnonzero(np.isfinite(chosen[name].values))
            left.plot(
                known, chosen[name].values[known], style, color=colour, label=f"{what}, {who}"
            )
    left.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)
    chosen = dataset.sel(followed="central")
    known = np.flatnonzero(np.isfinite(chosen.nu_cosine.values))
    shown = known[np.linspace(0, len(known) - 1, _SNAPSHOTS).astype(int)]
    right.set(title="b  Coordinates", xlabel="stationary ν", ylabel="ν of the central flow")
    right.set(xscale="log", yscale="log")
    for step, colour in zip(shown, ("0.7", "#E69F00", "#0072B2"), strict=False):
        pair = (chosen[name].values[step] for name in ("nu_predicted", "nu_true"))
        right.plot(*pair, ".", ms=3, color=colour, label=f"step {step}")
    _draw_diagonal(right, chosen, shown)
    right.legend(loc="upper left")
    return drawing


def _draw_diagonal(axes: Axes, dataset: xr.Dataset, shown: np.ndarray) -> None:
    """Show the coordinates but the smallest, on equal axes, with the line of equality."""
    values = np.concatenate(
        [dataset[name].values[shown].ravel() for name in ("nu_predicted", "nu_true")]
    )
    low, high = np.nanquantile(values[values > 0], (0.01, 1.0))
    limits = (low, 2 * high)
    axes.plot(limits, limits, color="0.3", lw=0.8, zorder=0)
    axes.set(xlim=limits, ylim=limits)


def _rates(names: tuple[str, ...], *, measured: bool) -> Callable[[Figure, list[Run]], Drawing]:
    """Return a drawing of rates of loss decrease at the places of the central flow."""

    def draw(figure: Figure, runs: list[Run]) -> Drawing:
        dataset = runs[0].dataset.sel(followed="central")
        drawing, (left, right, *more) = _canvas(figure, 3 if measured else 2)
        left.set(title="a  Rate of loss decrease", xlabel="step", ylabel="loss per step")
        left.set_yscale("log")
        loss = dataset.loss.sel(process="central").values
        truth = -np.gradient(loss) if measured else dataset.loss_decrease.sel(rate=names[0]).values
        if measured:
            left.plot(dataset.step, truth, color="0.6", lw=1.2, label="central flow, measured")
            right.set(title="b  Error of the rate", xlabel="step", ylabel="relative")
        else:
            right.axhline(1, color="0.3", lw=0.8, zorder=0)
            right.set(title=f"b  Relative to: {_RATES[names[0]][0]}", xlabel="step", ylabel="ratio")
        right.set_yscale("log")
        for name in names:
            label, colour, style = _RATES[name]
            rate = dataset.loss_decrease.sel(rate=name).values
            known = np.flatnonzero(np.isfinite(rate))
            left.plot(known, rate[known], color=colour, ls=style, label=label)
            ratio = rate[known] / truth[known]
            right.plot(known, np.abs(ratio - 1) if measured else ratio, color=colour, ls=style)
        if not measured:
            ticks = (1, 2, 5, 10, 20, 50)
            right.set_yticks(ticks, map(str, ticks))
        for axes in more:
            _draw_differences(axes, dataset)
        left.legend()
        return drawing

    return _in_style(draw)


def _draw_differences(axes: Axes, dataset: xr.Dataset) -> None:
    """Draw how far the other curvature terms are from ½∇⟨Σ*, H⟩."""
    axes.set(
        title="c  Difference from ½∇⟨Σ*, H⟩", xlabel="step", ylabel="relative, in the norm of P⁻¹"
    )
    for term, name in (
        ("complementarity", "stationary flow"),
        ("simplified", "stationary flow, simplified"),
    ):
        label, colour, style = _RATES[name]
        values = dataset.curvature_difference.sel(term=term).values
        known = np.flatnonzero(np.isfinite(values))
        axes.plot(known, values[known], color=colour, ls=style, label=label)
    axes.set_yscale("log")


def _in_style(draw: Callable[[Figure, list[Run]], Drawing]) -> Callable[..., Drawing]:
    """Return the drawing, made in the style of all figures."""

    @functools.wraps(draw)
    def styled(figure: Figure, runs: list[Run]) -> Drawing:
        import matplotlib as mpl

        with mpl.rc_context(plots.STYLE):
            return draw(figure, runs)

    return styled


def _canvas(figure: Figure, panels: int) -> tuple[Drawing, np.ndarray]:
    from matplotlib.figure import Figure as Drawing

    drawing = Drawing(figsize=(4.6 * panels, 3.8), layout="constrained")
    drawing.suptitle(figure.title, x=0.01, ha="left", fontsize=12)
    return drawing, drawing.subplots(1, panels, squeeze=False)[0]
