"""Hessians and gradients for the benchmark and the tests of the stationary preconditioner."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.fft
from numpy.typing import NDArray

__all__ = ["network", "spikes_and_bulk", "wishart"]

Array = NDArray[np.float64]
Product = Callable[[Array], Array]


def wishart(d: int, rng: np.random.Generator) -> Array:
    """Return AAᵀ/d with A Gaussian of shape (d, 2d)."""
    factor = rng.standard_normal((d, 2 * d))
    return factor @ factor.T / d


def spikes_and_bulk(d: int, seed: int = 0) -> tuple[Product, Array]:
    """Return products with rescaled spikes plus bulk, O(d log d) a column, and a gradient.

    A diagonal between cosine transforms; a column at a time, for the sake of memory.
    """
    rng = np.random.default_rng(seed)
    eigenvalues = 0.1 * rng.random(d)
    eigenvalues[rng.choice(d, 3, replace=False)] = [50.0, 40.0, 30.0]
    scale = rng.choice([-1.0, 1.0], d) * np.exp(0.5 * rng.standard_normal(d))

    def hessian(block: Array) -> Array:
        product = np.empty_like(block)
        for column, image in zip(block.T, product.T, strict=True):
            v = scipy.fft.dct(scale * column, norm="ortho")
            v *= eigenvalues
            v = scipy.fft.idct(v, norm="ortho", overwrite_x=True)
            v *= scale
            image[:] = v
        return product

    return hessian, 0.1 * rng.standard_normal(d)


def network(seed: int = 0, move: float = 0.0) -> tuple[Product, Array]:
    """Return products with the Gauss–Newton matrix of a perceptron, d = 1792, and a gradient.

    Two hidden layers of tanh, six outputs, squared loss, 300 examples in six clusters: six spikes
    over a bulk without a gap, as in trained networks. ``move`` changes weights and errors by that
    part of their size. A learning rate of 0.01 puts six directions at the edge of stability.
    """
    rng, other = np.random.default_rng(seed), np.random.default_rng(seed + 1000)
    examples, inputs, width, outputs = 300, 30, 28, 6
    weights = [
        1.5 / np.sqrt(shape[1]) * rng.standard_normal(shape)
        for shape in ((width, inputs), (width, width), (outputs, width))
    ]
    centres = rng.standard_normal((outputs, inputs))[np.arange(examples) % outputs]
    x = (centres + rng.standard_normal((examples, inputs))) * np.exp(-np.arange(inputs) / 10)
    errors = 0.3 * rng.standard_normal((examples, outputs))
    W1, W2, W3 = (w * (1 + move * other.standard_normal(w.shape)) for w in weights)
    errors += 3 * move * other.standard_normal(errors.shape)

    first = np.tanh(x @ W1.T)
    second = np.tanh(first @ W2.T)
    slope2 = W3 * (1 - second**2)[:, None, :]
    slope1 = (slope2 @ W2) * (1 - first**2)[:, None, :]
    parts = (
        np.einsum("noi,nj->noij", slope1, x),
        np.einsum("noi,nj->noij", slope2, first),
        np.einsum("op,nj->nopj", np.eye(outputs), second),
    )
    rows = examples * outputs
    jacobian = np.hstack([part.reshape(rows, -1) for part in parts]) / np.sqrt(examples)
    gradient = jacobian.T @ errors.ravel() / np.sqrt(examples)
    return lambda block: jacobian.T @ (jacobian @ block), gradient
