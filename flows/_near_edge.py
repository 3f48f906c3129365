"""Eigenvectors near the edge as the directions in which the integrator solves decay exactly."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from flows.spectrum import Spectrum


class DirectionsNearEdge:
    """The first m eigenvectors as `ccpsolve.dvi.FastDirections`: coordinates ``VᵀP^{1/2}δw``.

    Guards are too rough: what couples them to the rest would be taken for a drive from outside.

    Parameters
    ----------
    spectrum : Spectrum
        The tracked eigenvectors V, shape (d, m + guards).
    m : int
        How many are taken.
    dim_nu : int
        Entries of ν, which follow the weights in the flat state and do not take part.
    """

    def __init__(self, spectrum: Spectrum, m: int, dim_nu: int) -> None:
        self.rates = spectrum.values[:m]
        self._root, self._dim_nu = spectrum.root, dim_nu
        # A weight on which the loss does not depend must not move by errors of the vectors.
        moves = (spectrum.AV[:, :m] != 0).any(1, keepdim=True)
        self._V = torch.where(moves, spectrum.V[:, :m], 0.0)

    def coordinates(self, change: Tensor) -> np.ndarray:
        """Return ``VᵀP^{1/2}δw`` of a change of the flat state, shape (m,)."""
        along = self._V.T @ (self._root * change[: len(self._V)])
        found: np.ndarray = along.double().cpu().numpy()
        return found

    def lift(self, coordinates: np.ndarray) -> Tensor:
        """Return the change ``(P^{-1/2}Va, 0)`` of the flat state."""
        w = (self._V @ torch.as_tensor(coordinates).to(self._V)) / self._root
        return torch.cat([w, w.new_zeros(self._dim_nu)])
