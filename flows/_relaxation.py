"""How forces displace the weights while the loss pulls them back: ``φ₁(hA)`` on a small subspace.

A constant force ``c`` moves the weights, in the metric of P, by ``h φ₁(hA) c`` within a time h, with
``φ₁(z) = (1 − e^{−z})/z`` and ``A = P^{-1/2}HP^{-1/2}``. Of A few Ritz pairs suffice: the tracked
eigenvectors, and the Krylov vectors ``c, Ac, …`` of the force itself.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from flows.spectrum import Spectrum

Apply = Callable[[Tensor], Tensor]

# Krylov vectors of the force beside the tracked eigenvectors.
_KRYLOV = 3
# They are built anew once this part of the force lies outside.
_OUTSIDE = 0.3
# Shorter vectors, relative to what they were, are rounding.
_ROUNDING = 1e-6


class Relaxation:
    """Ritz pairs of A on the tracked eigenvectors and Krylov vectors of the force.

    Parameters
    ----------
    spectrum : Spectrum
        The tracked eigenvectors and their images.
    W, AW : Tensor, shape (d, m)
        Further vectors and their images, where known from a point nearby.
    """

    def __init__(self, spectrum: Spectrum, W: Tensor, AW: Tensor) -> None:
        self._V, self._AV = spectrum.V, spectrum.AV
        self._W, self._AW = self._outside(W, AW)
        self._diagonalize()

    def covering(self, force: Tensor, apply: Apply) -> Relaxation:
        """Return the same, built anew if it does not hold the force, shape (d,), well enough."""
        rest = force - self._V @ (self._V.T @ force)
        if float((rest - self._W @ (self._W.T @ rest)).norm()) <= _OUTSIDE * float(rest.norm()):
            return self
        self._W, self._AW = self._V[:, :0], self._V[:, :0]
        new = rest[:, None]
        for _ in range(_KRYLOV):
            size = float(new.norm())
            for _ in range(2):
                new = new - self._V @ (self._V.T @ new) - self._W @ (self._W.T @ new)
            left = float(new.norm())
            if left <= _ROUNDING * size:
                break
            new = new / left
            image = apply(new)
            self._W, self._AW = torch.cat([self._W, new], 1), torch.cat([self._AW, image], 1)
            new = image
        self._diagonalize()
        return self

    def near(self, spectrum: Spectrum) -> Relaxation:
        """Return what is known of it where the spectrum is this."""
        return Relaxation(spectrum, self._W, self._AW)

    def __call__(self, columns: Tensor, h: float) -> Tensor:
        """Return ``φ₁(hA)`` of columns; what lies outside the subspace stays as it is."""
        lost = torch.as_tensor(1 - phi(h * np.maximum(self._values, 0.0))).to(columns)
        return columns - self._Z @ (lost[:, None] * (self._Z.T @ columns))

    def _outside(self, W: Tensor, AW: Tensor) -> tuple[Tensor, Tensor]:
        """Return an orthonormal basis of W outside the tracked vectors, and its images."""
        if not W.shape[1]:
            return W, AW
        inside = self._V.T @ W
        W, AW = W - self._V @ inside, AW - self._AV @ inside
        values, vectors = torch.linalg.eigh(W.T @ W)
        kept = values > 0.01
        turn = vectors[:, kept] / values[kept].sqrt()
        return W @ turn, AW @ turn

    def _diagonalize(self) -> None:
        Z, AZ = torch.cat([self._V, self._W], 1), torch.cat([self._AV, self._AW], 1)
        projection = (Z.T @ AZ).double()
        values, vectors = torch.linalg.eigh((projection + projection.T) / 2)
        self._values, self._Z = values.cpu().numpy(), Z @ vectors.to(Z)


def phi(z: np.ndarray) -> np.ndarray:
    """Return ``(1 − e^{−z})/z``."""
    small = np.abs(z) < 1e-8
    safe = np.where(small, 1.0, z)
    values: np.ndarray = np.where(small, 1.0, -np.expm1(-safe) / safe)
    return values
