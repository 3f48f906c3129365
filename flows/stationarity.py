"""How near RMSProp's ν comes to its stationary value along a run, and what that predicts.

Every few steps the stationary preconditioner P̄(w) (eq. 12) and the alternative P̂(w), which
minimises tr P under the same constraint, are solved for at the weights of the optimizer and of the
central flow, and compared with the preconditioner that is there.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from ccpsolve import CCPError
from ccpsolve.stationary import StationaryPreconditioner
from flows._errors import FlowsError
from flows._stationary_terms import complementarity_term, exact_term, trace_term
from flows.methods import Method, RMSProp
from flows.objective import Objective
from flows.process import Process
from flows.quasistatic import divided
from flows.stationary_solver import StationarySolver, require_rmsprop

_logger = logging.getLogger(__name__)

FOLLOWED = ("discrete", "central")
#: What the recorded rates of loss decrease belong to; see :class:`Stationarity`.
RATES = (
    "current",
    "stationary",
    "alternative",
    "stationary flow",
    "stationary flow, minimiser",
    "stationary flow, simplified",
)
#: Terms whose difference from the exact curvature term of Σ* is recorded.
TERMS = ("complementarity", "simplified")
_COORDINATES = 256

Variables = dict[str, tuple[tuple[str, ...], np.ndarray, dict[str, str]]]


class Stationarity:
    """Measures every few steps of a run, and keeps what it measured for the data set.

    For each process followed (``"discrete"``, ``"central"``):

    ``nu_cosine``
        Cosine similarity of ν(t) and ν̄(w(t)) (Fig. 8); ``nu_cosine_gradient`` that of ν(t)
        and g², to compare.
    ``nu_true``, ``nu_predicted``
        256 coordinates of ν and ν̄, equally spaced.
    ``loss_decrease``
        Rates ``gᵀP⁻¹g`` for the current P, for P̄ and for P̂ (Fig. 9), and ``−dL/dt`` along the
        stationary flow, ``gᵀP̄⁻¹(g + ½∇⟨Σ, H⟩)``, for its two closures and with the simplified
        curvature term (Fig. 10).
    ``curvature_difference``
        ``‖x − x*‖/‖x*‖`` in the norm of P̄⁻¹, for the term x of the closure "complementarity" and
        the simplified one, where x* is the exact term ``½∇⟨Σ*, H⟩``.
    ``stationary_gap``
        The larger of the two certified relative gaps.

    ν stands for ``(ηp − ε)²`` here, with the bias correction if there is one.

    Parameters
    ----------
    objective : Objective
        The loss.
    method : RMSProp
        The optimizer.
    processes : iterable of str
        Processes of the run.
    steps, every : int
        Steps of the run, and from one measurement to the next.

    Raises
    ------
    InvalidArgumentError
        For other methods than RMSProp.
    """

    def __init__(
        self,
        objective: Objective,
        method: Method,
        processes: Iterable[str],
        steps: int,
        every: int,
    ) -> None:
        self.require(method)
        self._objective, self._method, self._every = objective, method, every
        self._names = tuple(name for name in FOLLOWED if name in processes)
        self._solvers = {
            name: {term: StationarySolver(objective, gradient_term=term) for term in (True, False)}
            for name in self._names
        }
        count = min(objective.dim, _COORDINATES)
        self._coordinates = np.linspace(0, objective.dim - 1, count).astype(int)
        shape = (len(self._names), steps + 1)
        self._scalars = {
            name: np.full(shape, np.nan)
            for name in ("nu_cosine", "nu_cosine_gradient", "stationary_gap")
        }
        self._nu = {name: np.full((*shape, count), np.nan) for name in ("nu_true", "nu_predicted")}
        self._rates = np.full((*shape, len(RATES)), np.nan)
        self._differences = np.full((*shape, len(TERMS)), np.nan)

    @staticmethod
    def require(method: Method) -> None:
        """Refuse methods other than RMSProp, with the reason."""
        require_rmsprop(method, "stationarity_every")

    def observe(self, step: int, active: dict[str, Process]) -> None:
        """Measure, if it is time. A failed solve leaves NaN and a warning in the log."""
        if step % self._every:
            return
        for row, name in enumerate(self._names):
            if name in active:
                try:
                    self._measure((row, step), active[name], self._solvers[name])
                except (FlowsError, CCPError) as error:
                    _logger.warning("stationarity of %s at step %d: %s", name, step, error)

    def _measure(
        self, at: tuple[int, int], process: Process, solvers: dict[bool, StationarySolver]
    ) -> None:
        method, w = self._method, process.w
        assert isinstance(method, RMSProp)
        g = self._objective.gradient(w)
        clock = process.first_update + process.t
        p, lr = method.preconditioner(process.nu, clock), method.lr(clock)
        current = _numpy((lr * p - method.eps).square())
        found, alternative = (solvers[term].solve(w, g, lr) for term in (True, False))
        self._scalars["nu_cosine"][at] = cosine(current, found.nu)
        self._scalars["nu_cosine_gradient"][at] = cosine(current, _numpy(g.square()))
        self._scalars["stationary_gap"][at] = max(found.gap, alternative.gap)
        for name, values in (("nu_true", current), ("nu_predicted", found.nu)):
            self._nu[name][at] = values[self._coordinates]
        stationary = torch.as_tensor(found.p).to(w)
        fast = divided(g, torch.as_tensor(alternative.p).to(w))
        slow = divided(g, stationary)
        terms = self._terms(w, g, found, clock)
        along = [slow @ (g + term) for term in terms]
        rates = (g @ divided(g, p), g @ slow, g @ fast, *along)
        self._rates[at] = [float(rate) for rate in rates]
        if found.rank:
            published, exact, simplified = terms
            size = float(exact @ divided(exact, stationary)) ** 0.5
            for column, term in enumerate((published, simplified)):
                away = term - exact
                distance = float(away @ divided(away, stationary)) ** 0.5
                self._differences[(*at, column)] = distance / size if size > 0 else np.nan

    def _terms(
        self, w: Tensor, g: Tensor, found: StationaryPreconditioner, clock: float
    ) -> list[Tensor]:
        """Return the curvature terms of the stationary flows of RATES."""
        method = self._method
        assert isinstance(method, RMSProp)
        if found.rank == 0:
            return [torch.zeros_like(w)] * 3
        return [
            complementarity_term(self._objective, method, w, g, found, clock),
            exact_term(self._objective, w, found),
            trace_term(self._objective, w, g, found),
        ]

    @property
    def counts(self) -> dict[str, int]:
        """Solves and products, of all processes and both preconditioners."""
        total = {"stationary": 0, "stationary_hvp": 0}
        for solver in (s for pair in self._solvers.values() for s in pair.values()):
            for name, count in solver.counts.items():
                total[name] += count
        return total

    def variables(self) -> tuple[Variables, dict[str, tuple[str, np.ndarray]]]:
        """Return what was recorded, as variables and coordinates of an xarray data set."""
        axes = ("followed", "step")
        said = {
            "nu_cosine": ("cosine similarity of ν and the stationary ν̄(w)", "1"),
            "nu_cosine_gradient": ("cosine similarity of ν and g²", "1"),
            "stationary_gap": ("certified relative gap of the preconditioners", "1"),
            "nu_true": ("coordinates of ν", "(loss/weight)²"),
            "nu_predicted": ("coordinates of ν̄(w)", "(loss/weight)²"),
            "loss_decrease": ("rates of loss decrease", "loss/step"),
            "curvature_difference": ("relative distance from the exact curvature term", "1"),
        }
        values: dict[str, tuple[tuple[str, ...], np.ndarray]] = {
            **{name: (axes, table) for name, table in self._scalars.items()},
            **{name: ((*axes, "coordinate"), table) for name, table in self._nu.items()},
            "loss_decrease": ((*axes, "rate"), self._rates),
            "curvature_difference": ((*axes, "term"), self._differences),
        }
        variables = {
            name: (dims, table, {"long_name": said[name][0], "units": said[name][1]})
            for name, (dims, table) in values.items()
        }
        coordinates = {
            "followed": ("followed", np.array(self._names, dtype=object)),
            "rate": ("rate", np.array(RATES, dtype=object)),
            "term": ("term", np.array(TERMS, dtype=object)),
            "coordinate": ("coordinate", self._coordinates),
        }
        return variables, coordinates


def cosine(x: np.ndarray, y: np.ndarray) -> float:
    """Return ``⟨x, y⟩/(‖x‖‖y‖)``, NaN where one of them is 0.

    Examples
    --------
    >>> import numpy as np
    >>> from flows.stationarity import cosine
    >>> round(cosine(np.array([1.0, 0.0]), np.array([1.0, 1.0])), 4)
    0.7071
    """
    size = float(np.linalg.norm(x) * np.linalg.norm(y))
    return float(x @ y) / size if size > 0 else float("nan")


def _numpy(x: Tensor) -> np.ndarray:
    array: np.ndarray = x.double().cpu().numpy()
    return array
