"""From a flow to the optimizer: time averages, and how close a flow comes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy.ndimage import correlate1d

from flows._errors import InvalidArgumentError

# Width of time averages in steps, and the largest fraction of a run that it may be.
_SIGMA = 50.0
_SIGMA_OF_RUN = 0.05


def averaging_width(steps: int) -> float:
    """Return the width σ of time averages of a run: 50 steps, or 1/20 of a run under 1000 steps.

    Parameters
    ----------
    steps : int
        Length of the run.

    Returns
    -------
    float
        At least 1.
    """
    return min(_SIGMA, max(1.0, _SIGMA_OF_RUN * steps))


def gaussian_average(x: npt.ArrayLike, sigma: float = _SIGMA) -> np.ndarray:
    """Average along the last axis with Gaussian weights, renormalised at the ends.

    ``y_t = Σ_s w(s−t) x_s / Σ_s w(s−t)``, ``w(s) = exp(−s²/2σ²)`` cut off at 4σ; the sums run
    over the entries of ``x`` that are not NaN. Where ``x_t`` itself is NaN, so is ``y_t``.

    Parameters
    ----------
    x : array_like, shape (..., T)
        One value per optimizer step.
    sigma : float
        Width in steps, > 0.

    Returns
    -------
    ndarray, shape (..., T), float64

    References
    ----------
    Cohen, Damian et al. (2024), Appendix B (σ = 50 steps).

    Examples
    --------
    >>> from flows.predictions import gaussian_average
    >>> gaussian_average([1.0, 1.0, 1.0], sigma=2.0).tolist()
    [1.0, 1.0, 1.0]
    """
    if not (np.isfinite(sigma) and sigma > 0):
        raise InvalidArgumentError(f"sigma must be a positive finite number, found {sigma}")
    x = np.asarray(x, dtype=float)
    radius = max(1, int(np.ceil(4 * sigma)))
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    known = np.isfinite(x)
    total = correlate1d(np.where(known, x, 0.0), weights, axis=-1, mode="constant")
    weight = correlate1d(known.astype(float), weights, axis=-1, mode="constant")
    return np.divide(total, weight, out=np.full_like(x, np.nan), where=known)


#: Scores in the order of :func:`score_table`, and what they say; <flow> stands for its name.
_MEANING = {
    "distance_<flow>": "distance to the optimizer at the end",
    "distance_ratio": "stable / central, at the last step that both reached",
    "flow_loss_error": "relative error of the central flow's own loss (median over steps)",
    "predicted_loss_error": "the same of the predicted time-average",
    "flow_squared_gradient_error": "relative error of the central flow's own ‖g‖²",
    "squared_gradient_error": "the same of the predicted time-average",
    "squared_gradient_correlation": "correlation of the predicted time-average of ‖g‖²",
    "variance_error": "relative error of the largest variance, along its direction",
    "variance_correlation": "correlation of predicted and measured variances, all directions",
    "entries_similarity": "cosine of predicted and measured entries of g², all steps",
    "outputs_error_<flow>": "relative error of the outputs on the test inputs",
    "effective_sharpness": "largest effective eigenvalue of the central flow at the end",
    "critical": "number of critical directions at the end",
}


def scores(dataset: xr.Dataset, sigma: float | None = None) -> dict[str, float]:
    """Say in a few numbers how well the flows follow the optimizer.

    Errors and correlations are against Gaussian averages over time of the optimizer's own
    quantities; see :func:`score_table` for what each score says.

    Parameters
    ----------
    dataset : xarray.Dataset
        The result of a run.
    sigma : float, optional
        Width of the time average, in optimizer steps; by default :func:`averaging_width`.

    Returns
    -------
    dict
        Only what the run holds: :func:`score_table` lists the names.

    Examples
    --------
    >>> import flows, torch
    >>> w0 = torch.tensor([1.0, 1.5], dtype=torch.float64)
    >>> objective = flows.Objective.from_function(lambda w: (w[0] * w[1] - 1) ** 2 / 2, w0)
    >>> run = flows.run(objective, flows.GD(0.5), steps=20)
    >>> sorted(flows.predictions.scores(run.dataset))[:3]
    ['critical', 'distance_central', 'distance_ratio']
    """
    sigma = averaging_width(dataset.sizes["step"] - 1) if sigma is None else sigma
    present = [str(name) for name in dataset.process.values]
    result: dict[str, float] = {}
    if "discrete" in present:
        result |= _distances(dataset, [flow for flow in present if flow != "discrete"])
        if "outputs" in dataset:
            result |= _output_errors(dataset, present, sigma)
    if "central" in present:
        eigenvalues = dataset.effective_sharpness.sel(process="central").values
        result["effective_sharpness"] = _last(eigenvalues[:, 0])
        result["critical"] = _last(dataset.critical.values)
        if "discrete" in present:
            result |= _central_scores(dataset, sigma)
    return result


def score_table(dataset: xr.Dataset, sigma: float | None = None) -> str:
    """Return :func:`scores` as a table in Markdown, each with what it says.

    Parameters
    ----------
    dataset : xarray.Dataset
        The result of a run.
    sigma : float, optional
        Width of the time average, in optimizer steps; by default :func:`averaging_width`.

    Returns
    -------
    str

    Examples
    --------
    >>> import flows, torch
    >>> w0 = torch.tensor([1.0, 1.5], dtype=torch.float64)
    >>> objective = flows.Objective.from_function(lambda w: (w[0] * w[1] - 1) ** 2 / 2, w0)
    >>> run = flows.run(objective, flows.GD(0.5), steps=20, processes=["central"])
    >>> print(flows.predictions.score_table(run.dataset).splitlines()[-1])
    | critical | 0 | number of critical directions at the end |
    """
    found = scores(dataset, sigma)
    lines = ["| score | value | what it says |", "| --- | --- | --- |"]
    for pattern, meaning in _MEANING.items():
        start = pattern.removesuffix("<flow>")
        names = [n for n in found if n == pattern or (start != pattern and n.startswith(start))]
        names = [n for n in names if n == pattern or n not in _MEANING]
        lines += [f"| {name} | {found[name]:.4g} | {meaning} |" for name in names]
    return "\n".join(lines)


def _distances(dataset: xr.Dataset, flows: list[str]) -> dict[str, float]:
    distance = {flow: dataset.distance.sel(process=flow).values for flow in flows}
    result = {f"distance_{flow}": _last(values) for flow, values in distance.items()}
    if {"central", "stable"} <= distance.keys():
        ratio = distance["stable"] / np.where(distance["central"] > 0, distance["central"], np.nan)
        result["distance_ratio"] = _last(ratio)
    return result


def _output_errors(dataset: xr.Dataset, present: list[str], sigma: float) -> dict[str, float]:
    average = gaussian_average(dataset.outputs.sel(process="discrete").values.T, sigma).T
    result = {}
    for flow in present:
        if flow != "discrete":
            error = dataset.outputs.sel(process=flow).values - average
            known = np.isfinite(error)
            size = np.linalg.norm(average[known])
            result[f"outputs_error_{flow}"] = float(np.linalg.norm(error[known]) / size)
    return result


def _central_scores(dataset: xr.Dataset, sigma: float) -> dict[str, float]:
    discrete, central = (dataset.sel(process=name) for name in ("discrete", "central"))
    average = gaussian_average(discrete.loss.values, sigma)
    result = {
        "flow_loss_error": _relative_error(central.loss.values, average),
        "predicted_loss_error": _relative_error(dataset.predicted_loss.values, average),
    }
    if "predicted_squared_gradient" in dataset:
        square = gaussian_average(discrete.gradient_norm.values**2, sigma)
        own, predicted = central.gradient_norm.values**2, dataset.predicted_squared_gradient.values
        result["flow_squared_gradient_error"] = _relative_error(own, square)
        result["squared_gradient_error"] = _relative_error(predicted, square)
        result["squared_gradient_correlation"] = _correlation(predicted, square)
    if dataset.sizes.get("direction"):
        at_edge = dataset.oscillation_variance.values > 0
        measured = gaussian_average(dataset.displacement.values.T**2, sigma).T
        measured = np.where(at_edge, measured, np.nan)
        variance = np.where(at_edge, dataset.oscillation_variance.values, np.nan)
        result["variance_error"] = _relative_error(variance[:, 0], measured[:, 0])
        result["variance_correlation"] = _correlation(variance, measured)
    if "predicted_squared_gradient_entries" in dataset:
        entries = gaussian_average(discrete.squared_gradient_entries.values.T, sigma).T
        expected = dataset.predicted_squared_gradient_entries.values
        result["entries_similarity"] = _cosine(entries, expected)
    return {name: value for name, value in result.items() if np.isfinite(value)}


def _cosine(x: np.ndarray, y: np.ndarray) -> float:
    known = np.isfinite(x) & np.isfinite(y)
    sizes = np.linalg.norm(x[known]) * np.linalg.norm(y[known])
    return float((x[known] * y[known]).sum() / sizes) if sizes > 0 else float("nan")


def _last(x: np.ndarray) -> float:
    known = np.flatnonzero(np.isfinite(x))
    return float(x[known[-1]]) if len(known) else float("nan")


def _relative_error(x: np.ndarray, truth: np.ndarray) -> float:
    known = np.isfinite(x) & np.isfinite(truth) & (truth != 0)
    if not known.any():
        return float("nan")
    return float(np.median(np.abs(x[known] - truth[known]) / np.abs(truth[known])))


def _correlation(x: np.ndarray, y: np.ndarray) -> float:
    known = np.isfinite(x) & np.isfinite(y)
    x, y = x[known], y[known]
    if len(x) < 2 or not (np.ptp(x) > 0 and np.ptp(y) > 0):
        return float("nan")
    return float(np.corrcoef(x, y)[0, 1])
