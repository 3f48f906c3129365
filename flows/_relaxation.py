"""How far a force moves the weights while the loss pulls them back.

Within a time h a constant force ``c`` moves the weights, in the metric of P, by ``h φ₁(hA)c`` with
``φ₁(z) = (1 − e^{−z})/z`` and ``A = P^{-1/2}HP^{-1/2}``. Few Ritz pairs of A say so well enough:
on the tracked eigenvectors, and on the Krylov vectors ``c, Ac, A²c`` of the force itself.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ccpsolve import dvi
from flows.spectrum import Spectrum

Apply = Callable[[Tensor], Tensor]

_KRYLOV = 3
# Krylov vectors are built anew once this part of the force lies outside.
_OUTSIDE = 0.3
# Shorter vectors, relative to what they were, are rounding.
_ROUNDING = 1e-6
# A vector that is this short outside the tracked ones is one of them.
_TRACKED = 0.1


class Relaxation:
    """``φ₁(hA)`` on the tracked eigenvectors and further vectors.

    Parameters
    ----------
    spectrum : Spectrum
        The tracked eigenvectors and their images.
    W, AW : Tensor, shape (d, m), optional
        Further vectors, and their images at a point nearby.
    """

    def __init__(
        self, spectrum: Spectrum, W: Tensor | None = None, AW: Tensor | None = None
    ) -> None:
        self._V, self._AV = spectrum.V, spectrum.AV
        self._W = self._AW = spectrum.V[:, :0]
        if W is not None and AW is not None and W.shape[1]:
            self._W, self._AW = self._outside(W, AW)
        self._diagonalize()

    def near(self, spectrum: Spectrum) -> Relaxation:
        """Return what is known of it where the spectrum is this."""
        return Relaxation(spectrum, self._W, self._AW)

    def cover(self, force: Tensor, apply: Apply) -> None:
        """Take in a force, shape (d,), by its Krylov vectors, unless most of it is held.

        Parameters
        ----------
        force : Tensor, shape (d,)
        apply : callable (d, m) -> (d, m)
            Products with A.
        """
        rest = force - self._V @ (self._V.T @ force)
        if float((rest - self._W @ (self._W.T @ rest)).norm()) <= _OUTSIDE * float(rest.norm()):
            return
        self._W = self._AW = self._V[:, :0]
        new = rest[:, None]
        for _ in range(_KRYLOV):
            size = float(new.norm())
            for _ in range(2):
                new = new - self._V @ (self._V.T @ new) - self._W @ (self._W.T @ new)
            left = float(new.norm())
            if left <= _ROUNDING * size:
                break
            image = apply(new / left)
            self._W = torch.cat([self._W, new / left], 1)
            self._AW = torch.cat([self._AW, image], 1)
            new = image
        self._diagonalize()

    def product(self, vector: Tensor) -> tuple[Tensor, Tensor]:
        """Return the product of A with the part of a vector inside the subspace, and the rest."""
        in_V = self._V.T @ vector
        rest = vector - self._V @ in_V
        in_W = self._W.T @ rest
        return self._AV @ in_V + self._AW @ in_W, rest - self._W @ in_W

    def __call__(self, columns: Tensor, h: float) -> Tensor:
        """Return ``φ₁(hA)`` of columns; what lies outside the subspace stays as it is."""
        lost = torch.as_tensor(1 - dvi.phi_functions(h * np.maximum(self._values, 0.0))[0]).to(
            columns
        )
        return columns - self._Z @ (lost[:, None] * (self._Z.T @ columns))

    def _outside(self, W: Tensor, AW: Tensor) -> tuple[Tensor, Tensor]:
        """Return an orthonormal basis of W outside the tracked vectors, and its images."""
        inside = self._V.T @ W
        W, AW = W - self._V @ inside, AW - self._AV @ inside
        values, vectors = torch.linalg.eigh((W.T @ W).double())
        kept = values > _TRACKED**2
        turn = (vectors[:, kept] / values[kept].sqrt()).to(W)
        return W @ turn, AW @ turn

    def _diagonalize(self) -> None:
        Z, AZ = torch.cat([self._V, self._W], 1), torch.cat([self._AV, self._AW], 1)
        projection = (Z.T @ AZ).double()
        values, vectors = torch.linalg.eigh((projection + projection.T) / 2)
        # A weight on which the loss does not depend is in no eigenvector that relaxes, and must not
        # be moved by errors of those that are known.
        Z = torch.where((AZ != 0).any(1, keepdim=True), Z, 0.0)
        self._values, self._Z = values.cpu().numpy(), Z @ vectors.to(Z)
