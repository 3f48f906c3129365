"""The summary figure, on synthetic results whose curves are known."""

from __future__ import annotations

import io

import matplotlib.image
import numpy as np
import pytest
import xarray as xr

from flows import plots
from flows._errors import InvalidArgumentError

STEPS = 400
ENTRY = 120  # the step at which the synthetic run reaches the edge of stability


def synthetic_run(
    processes: tuple[str, ...] = ("discrete", "central", "stable"), *, edge: bool = True
) -> xr.Dataset:
    """Return results shaped like those of flows.run: a first, later a second critical direction."""
    rng = np.random.default_rng(0)
    t = np.arange(STEPS + 1.0)
    at_edge = np.stack([t > ENTRY, t > 2 * ENTRY], axis=1) & edge
    variance = np.where(at_edge, np.array([0.02, 0.008]) * (1 - np.exp(-t / 150))[:, None], 0.0)
    displacement = np.sqrt(variance) * rng.normal(size=variance.shape)
    smooth = {"discrete": 0.6, "central": 0.6, "stable": 0.75}
    loss = {name: smooth.get(name, 0.6) * np.exp(-t / 200) + 0.02 for name in processes}
    if "discrete" in processes:
        loss["discrete"] = loss["discrete"] + (displacement**2).sum(1)
    free = np.stack([2.5 * t / STEPS, 2.2 * t / STEPS - 0.2, 1.5 * t / STEPS], axis=1)
    sharp = {name: free + 6 * np.sqrt(t / ENTRY)[:, None] - 4 for name in processes}
    for name in set(processes) - {"stable"}:
        grown = 2.0 * np.sqrt(t / ENTRY)[:, None] - np.array([0.0, 0.7, 1.5])
        sharp[name] = np.minimum(np.maximum(grown, 0.1), 2.0 if edge else 1.5)
    measured_rarely = np.where(t[:, None] % 5 == 0, 0.0, np.nan)
    for name in set(processes) - {"central"}:
        sharp[name] = sharp[name] + measured_rarely
    distance = {name: np.zeros_like(t) for name in processes} | {
        "central": 0.002 * t**0.5,
        "stable": 0.01 * np.maximum(t - ENTRY / 2, 0),
    }
    data: dict[str, tuple[tuple[str, ...], np.ndarray]] = {
        "loss": (("process", "step"), np.stack([loss[p] for p in processes])),
        "distance": (("process", "step"), np.stack([distance[p] for p in processes])),
        "effective_sharpness": (
            ("process", "step", "eigenvalue"),
            np.stack([sharp[p] for p in processes]),
        ),
    }
    if "central" in processes:
        width = 2 if edge else 0
        data["predicted_loss"] = (("step",), loss["central"] + variance.sum(1))
        data["critical"] = (("step",), at_edge.sum(1).astype(float))
        known = np.where(at_edge, 0.0, np.nan)
        data["oscillation_variance"] = (("step", "direction"), (variance + known)[:, :width])
        data["displacement"] = (("step", "direction"), (displacement + known)[:, :width])
    coordinates = {"process": np.array(processes, dtype=object), "step": t.astype(int)}
    attributes = {"problem": "a synthetic problem", "method": "gd", "lr": 0.02, "threshold": 2.0}
    return xr.Dataset(data, coords=coordinates, attrs=attributes)


def labels(axes) -> list[str]:
    return axes.get_legend_handles_labels()[1]


def line(axes, label: str):
    (found,) = [each for each in axes.get_lines() if each.get_label() == label]
    return found


def test_panels_hold_the_recorded_curves():
    dataset = synthetic_run()
    loss, sharpness, distance, oscillation = plots.summary_figure(dataset, sigma=20).axes
    np.testing.assert_array_equal(
        line(loss, "central flow").get_ydata(), dataset.loss.sel(process="central")
    )
    np.testing.assert_array_equal(
        line(loss, "average predicted by the central flow").get_ydata(), dataset.predicted_loss
    )
    np.testing.assert_array_equal(
        line(distance, "stable flow").get_ydata(), dataset.distance.sel(process="stable")
    )
    np.testing.assert_array_equal(
        line(oscillation, "predicted, 2").get_ydata(), dataset.oscillation_variance[:, 1]
    )
    np.testing.assert_array_equal(line(sharpness, "edge of stability, 2").get_ydata(), [2.0, 2.0])


def test_measured_variance_is_the_average_of_the_squared_displacement():
    dataset = synthetic_run()
    dataset["displacement"] = xr.full_like(dataset.displacement, 3.0)
    axes = plots.summary_figure(dataset, sigma=20).axes[3]
    np.testing.assert_allclose(line(axes, "measured, 1").get_ydata(), 9.0)


def test_time_average_smooths_the_loss_of_the_optimizer_alone():
    dataset = synthetic_run()
    axes = plots.summary_figure(dataset, sigma=20).axes[0]
    raw = dataset.loss.sel(process="discrete").values[200:]
    smooth = line(axes, "its average over 20 steps").get_ydata()[200:]
    assert np.abs(np.diff(smooth)).max() < 0.2 * np.abs(np.diff(raw)).max()


@pytest.mark.parametrize(("steps", "label"), [(400, "20 steps"), (100, "5 steps")])
def test_short_runs_are_averaged_over_a_part_of_their_length(steps, label):
    axes = plots.summary_figure(synthetic_run().isel(step=slice(steps + 1))).axes[0]
    assert f"its average over {label}" in labels(axes)


def test_rarely_measured_eigenvalues_are_drawn_where_they_were_measured():
    axes = plots.summary_figure(synthetic_run()).axes[1]
    np.testing.assert_array_equal(line(axes, "optimizer").get_xdata(), np.arange(0, STEPS + 1, 5))


def test_a_sharpness_far_beyond_the_edge_is_cut_off_and_told():
    dataset = synthetic_run()
    dataset["effective_sharpness"] = dataset.effective_sharpness * xr.where(
        dataset.process == "stable", 10.0, 1.0
    )
    axes = plots.summary_figure(dataset).axes[1]
    assert axes.get_ylim()[1] < 7
    top = float(dataset.effective_sharpness.sel(process="stable").max())
    assert f"stable flow (up to {top:.3g})" in labels(axes)


@pytest.mark.parametrize(
    "processes", [("discrete",), ("central",), ("discrete", "stable"), ("central", "stable")]
)
def test_missing_processes(processes):
    figure = plots.summary_figure(synthetic_run(processes))
    figure.savefig(io.BytesIO())
    shown = labels(figure.axes[0])
    assert ("stable flow" in shown) == ("stable" in processes)
    assert ("central flow" in shown) == ("central" in processes)


def test_unknown_processes_get_their_own_colour():
    dataset = synthetic_run(("discrete", "midpoint", "ablated"))
    axes = plots.summary_figure(dataset).axes[0]
    assert line(axes, "midpoint flow").get_color() != line(axes, "ablated flow").get_color()


def test_a_run_never_at_the_edge_says_so():
    figure = plots.summary_figure(synthetic_run(edge=False))
    assert [text.get_text() for text in figure.axes[3].texts] == ["never at the edge of stability"]


def test_a_stopped_process_is_marked_where_it_stopped():
    dataset = synthetic_run()
    gone = (dataset.process == "discrete") & (dataset.step > 57)
    for name in ("loss", "distance", "effective_sharpness"):
        dataset[name] = dataset[name].where(~gone)
    texts = [text.get_text() for text in plots.summary_figure(dataset).axes[0].texts]
    assert texts == ["stopped at 57"]


def test_nothing_but_nan_still_gives_a_figure():
    dataset = synthetic_run()
    empty = dataset.where(dataset.step < 0).assign_attrs(dataset.attrs)
    plots.summary_figure(empty).savefig(io.BytesIO())


def test_losses_over_decades_get_a_logarithmic_axis():
    dataset = synthetic_run()
    assert plots.summary_figure(dataset).axes[0].get_yscale() == "linear"
    dataset["loss"] = np.exp(-dataset.step / 40) * xr.ones_like(dataset.loss)
    assert plots.summary_figure(dataset).axes[0].get_yscale() == "log"


def test_title_names_problem_and_method():
    title = plots.summary_figure(synthetic_run()).get_suptitle()
    assert title == "a synthetic problem\nGradient descent, learning rate 0.02"


@pytest.mark.parametrize("kind", ["png", "pdf"])
def test_saves_as_picture_and_as_vector_graphics(kind):
    buffer = io.BytesIO()
    plots.summary_figure(synthetic_run()).savefig(buffer, format=kind)
    if kind == "pdf":
        assert buffer.getvalue().startswith(b"%PDF")
    else:
        buffer.seek(0)
        picture = matplotlib.image.imread(buffer)
        assert picture[..., :3].std() > 0.01  # something is drawn


def test_a_senseless_width_is_refused():
    with pytest.raises(InvalidArgumentError, match="sigma"):
        plots.summary_figure(synthetic_run(), sigma=0)
