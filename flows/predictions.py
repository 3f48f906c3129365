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


def scores(dataset: xr.Dataset, sigma: float | None = None) -> dict[str, float]:
    """Say in a few numbers how well the flows follow the optimizer.

    Parameters
    ----------
    dataset : xarray.Dataset
        The result of a run.
    sigma : float, optional
        Width of the time average, in optimizer steps; by default :func:`averaging_width`.

    Returns
    -------
    dict
        ``distance_<flow>``: final distance to the optimizer; ``distance_ratio``:
        stable / central; ``predicted_loss_error`` and ``flow_loss_error``: median relative error
        of the predicted time-averaged loss, and of the central flow's own loss, against the
        Gaussian average of the optimizer's loss; ``effective_sharpness``: largest effective
        eigenvalue of the central flow at the end; ``critical``: number of critical directions
        at the end. Only what the run holds.
    """
    sigma = averaging_width(dataset.sizes["step"] - 1) if sigma is None else sigma
    result: dict[str, float] = {}
    present = [str(name) for name in dataset.process.values]
    for flow in present:
        if flow != "discrete" and "discrete" in present:
            result[f"distance_{flow}"] = _last(dataset.distance.sel(process=flow).values)
    if {"distance_central", "distance_stable"} <= result.keys():
        result["distance_ratio"] = result["distance_stable"] / result["distance_central"]
    if "central" in present:
        eigenvalues = dataset.effective_sharpness.sel(process="central").values
        result["effective_sharpness"] = _last(eigenvalues[:, 0])
        result["critical"] = _last(dataset.critical.values)
        if "discrete" in present:
            average = gaussian_average(dataset.loss.sel(process="discrete").values, sigma)
            flow_loss = dataset.loss.sel(process="central").values
            result["flow_loss_error"] = _relative_error(flow_loss, average)
            result["predicted_loss_error"] = _relative_error(dataset.predicted_loss.values, average)
    return result


def _last(x: np.ndarray) -> float:
    known = np.flatnonzero(np.isfinite(x))
    return float(x[known[-1]]) if len(known) else float("nan")


def _relative_error(x: np.ndarray, truth: np.ndarray) -> float:
    error = np.abs(x - truth) / np.abs(truth)
    return float(np.median(error[np.isfinite(error)])) if np.isfinite(error).any() else float("nan")
