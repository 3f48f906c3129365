"""The loss of a network as a function of flat weights, and its derivatives up to order three."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from flows._derivative_check import DerivativeCheck, check_derivatives
from flows._derivatives import ColumnBatch, GradientGraph, ScalarFunction, value_and_gradient
from flows._errors import InvalidArgumentError, UnsupportedModelError
from flows._examples import Data
from flows._network_loss import NetworkLoss
from flows._preflight import require_function
from flows._safe_derivatives import protected


class Objective:
    """A loss ``L(w)`` of flat weights with its gradient, Hessian and third derivative.

    Parameters
    ----------
    model : nn.Module
        Any module. It is copied: neither the model nor its buffers are ever changed, and what is
        done to it later has no effect. Training-mode BatchNorm uses the statistics of the batch.
    loss : callable
        ``loss(outputs, targets)``, a scalar: the mean over examples.
    inputs, targets : Tensor, or tuple, list or dictionary of tensors
        The examples, on the device of the model. A tuple of inputs is passed to the model by
        position, a dictionary by name. Targets may be None.
    chunk : int, optional
        Evaluate at most this many examples at a time, to save memory. The objective is then the
        mean of the losses of the chunks, weighted by their numbers of examples.
    protect : bool, default True
        Compute what torch differentiates wrongly (LayerNorm, BatchNorm, InstanceNorm,
        weight_norm) or not at all (fused attention) by elementary operations. Without it the
        third derivatives of such models are wrong, which :meth:`check` finds.

    Attributes
    ----------
    w0 : Tensor, shape (d,)
        A copy of the trainable parameters, in the order of ``model.named_parameters()``. A tied
        weight occurs once; a parameter with ``requires_grad=False`` is a constant.
    dim : int
        The number of weights d.
    dtype : torch.dtype
    device : torch.device
    counts : dict of str to int
        What was asked for so far: "value", "gradient", "hvp" (columns) and "third" (columns).

    Raises
    ------
    UnsupportedModelError
        If the model or the loss is random (active dropout), compiled, scripted, of mixed or of
        low precision, if the loss is no scalar, or no mean over examples where chunks need one.
    InvalidArgumentError
        If the data or the loss at ``w0`` is NaN or infinite, or an argument has the wrong type.

    Warns
    -----
    KinkWarning
        If the model or the loss has kinks (ReLU, max-pooling, …).

    Notes
    -----
    The derivatives come from repeated backward passes through one recorded gradient. The record
    is kept until another point is asked for, so that all Hessian and third-derivative columns at
    one point share it; with several chunks every call makes its own records and frees them.

    Examples
    --------
    >>> import torch, flows
    >>> _ = torch.manual_seed(0)
    >>> model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))
    >>> x = torch.randn(20, 3)
    >>> objective = flows.Objective(model, torch.nn.MSELoss(), x, x.sum(1, keepdim=True))
    >>> w = objective.w0
    >>> objective.gradient(w).shape, objective.hvp(w, torch.eye(21)).shape
    (torch.Size([21]), torch.Size([21, 21]))
    >>> objective.counts
    {'value': 0, 'gradient': 1, 'hvp': 21, 'third': 0}
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Callable[[Any, Any], Tensor],
        inputs: Data,
        targets: Data,
        *,
        chunk: int | None = None,
        protect: bool = True,
    ) -> None:
        self._network_loss: NetworkLoss | None = NetworkLoss(model, loss, inputs, targets, chunk)
        self._start(self._network_loss.terms, self._network_loss.network.w0, protect)
        with self._safely():
            self._network_loss.require_sum()

    @classmethod
    def from_function(cls, f: ScalarFunction, w0: Tensor, *, protect: bool = True) -> "Objective":
        """Make an objective of any scalar torch function of a flat vector.

        Parameters
        ----------
        f : callable
            Maps a tensor of shape (d,) to a scalar tensor.
        w0 : Tensor, shape (d,)
            Where to start, float32 or float64.
        protect : bool, default True
            As for the class.

        Returns
        -------
        Objective

        Raises
        ------
        InvalidArgumentError, UnsupportedModelError
            As for the class.

        Examples
        --------
        The third derivative of ``‖w‖⁴/4`` is ``2(⟨u,v⟩w + ⟨v,w⟩u + ⟨w,u⟩v)``:

        >>> import torch, flows
        >>> w = torch.tensor([1.0, 2.0])
        >>> objective = flows.Objective.from_function(lambda w: w.dot(w) ** 2 / 4, w)
        >>> e = torch.eye(2)
        >>> objective.third_pairs(w, e)
        tensor([[ 6.,  4.,  2.],
                [ 4.,  2., 12.]])
        """
        if not isinstance(w0, Tensor) or w0.ndim != 1 or w0.numel() == 0:
            found = tuple(w0.shape) if isinstance(w0, Tensor) else type(w0).__name__
            raise InvalidArgumentError(f"w0 must be a tensor of shape (d,), found {found}")
        if w0.dtype not in (torch.float32, torch.float64):
            raise InvalidArgumentError(f"w0 must be float32 or float64, found {w0.dtype}")
        self = cls.__new__(cls)
        self._network_loss = None
        self._start([(1.0, f)], w0.detach().clone(), protect)
        return self

    def _start(
        self, terms: Sequence[tuple[float, ScalarFunction]], w0: Tensor, protect: bool
    ) -> None:
        if not bool(torch.isfinite(w0).all()):
            raise InvalidArgumentError("the first weights must be finite, found NaN or infinity")
        self._terms = terms
        self._w0 = w0
        self._protect = protect
        self._counts = {"value": 0, "gradient": 0, "hvp": 0, "third": 0}
        self._record: GradientGraph | None = None
        first = terms[0][1]
        with self._safely():
            self._has_kinks = require_function(first, w0)
            self._batch = ColumnBatch.for_function(first, w0)

    @property
    def w0(self) -> Tensor:
        """A copy of the first weights."""
        return self._w0.clone()

    @property
    def dim(self) -> int:
        """The number of weights d."""
        return self._w0.numel()

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of weights and derivatives."""
        return self._w0.dtype

    @property
    def device(self) -> torch.device:
        """The device of weights and derivatives."""
        return self._w0.device

    @property
    def counts(self) -> dict[str, int]:
        """A copy of the counts of everything asked for so far, :meth:`check` left out."""
        return dict(self._counts)

    def value(self, w: Tensor) -> float:
        """Return ``L(w)``.

        Parameters
        ----------
        w : Tensor, shape (d,)

        Returns
        -------
        float

        Raises
        ------
        InvalidArgumentError
            If the shape, dtype or device of ``w`` is not that of the objective.

        Examples
        --------
        >>> import torch, flows
        >>> w = torch.tensor([1.0, 2.0])
        >>> flows.Objective.from_function(lambda w: w.dot(w), w).value(w)
        5.0
        """
        self._require_point(w)
        self._counts["value"] += 1
        with torch.no_grad(), self._safely():
            return sum(weight * float(f(w)) for weight, f in self._terms)

    def gradient(self, w: Tensor) -> Tensor:
        """Return ``∇L(w)``, shape (d,).

        Parameters
        ----------
        w : Tensor, shape (d,)

        Returns
        -------
        Tensor, shape (d,)

        Raises
        ------
        InvalidArgumentError
            If the shape, dtype or device of ``w`` is not that of the objective.

        Examples
        --------
        >>> import torch, flows
        >>> w = torch.tensor([1.0, 2.0])
        >>> flows.Objective.from_function(lambda w: w.dot(w), w).gradient(w)
        tensor([2., 4.])
        """
        return self.value_and_gradient(w)[1]

    def value_and_gradient(self, w: Tensor) -> tuple[float, Tensor]:
        """Return ``L(w)`` and ``∇L(w)`` for the price of the gradient.

        Parameters
        ----------
        w : Tensor, shape (d,)

        Returns
        -------
        value : float
        gradient : Tensor, shape (d,)

        Raises
        ------
        InvalidArgumentError
            If the shape, dtype or device of ``w`` is not that of the objective.

        Examples
        --------
        >>> import torch, flows
        >>> w = torch.tensor([1.0, 2.0])
        >>> flows.Objective.from_function(lambda w: w.dot(w), w).value_and_gradient(w)
        (5.0, tensor([2., 4.]))
        """
        self._require_point(w)
        self._counts["gradient"] += 1
        if self._record is not None and self._record.is_at(w):
            return float(self._record.value), self._record.gradient
        self._record = None  # its memory may be needed now
        value, gradient = 0.0, torch.zeros_like(self._w0)
        with torch.enable_grad(), self._safely():
            for weight, f in self._terms:
                term, slope = value_and_gradient(f, w)
                value += weight * float(term)
                gradient.add_(slope, alpha=weight)
        return value, gradient

    def hvp(self, w: Tensor, V: Tensor) -> Tensor:
        """Return the Hessian-vector products ``∇²L(w) V``.

        Parameters
        ----------
        w : Tensor, shape (d,)
        V : Tensor, shape (d, m)
            Directions, one a column.

        Returns
        -------
        Tensor, shape (d, m)

        Raises
        ------
        InvalidArgumentError
            If the shape, dtype or device of an argument is not that of the objective.

        Examples
        --------
        >>> import torch, flows
        >>> w = torch.tensor([1.0, 2.0])
        >>> flows.Objective.from_function(lambda w: w[0] * w[1] ** 2, w).hvp(w, torch.eye(2))
        tensor([[0., 4.],
                [4., 2.]])
        """
        self._require_point(w)
        self._require_columns("V", V)
        self._counts["hvp"] += V.shape[1]
        return self._mean(w, lambda graph: graph.hessian_columns(V))

    def third(self, w: Tensor, U: Tensor, V: Tensor) -> Tensor:
        """Return the columns ``∇³L(w)[u_j, v_j]``.

        The result is symmetric and linear in ``u_j`` and ``v_j``. If one of U and V has a single
        column, it goes with every column of the other, which saves work.

        Parameters
        ----------
        w : Tensor, shape (d,)
        U, V : Tensor, shape (d, m) or (d, 1)

        Returns
        -------
        Tensor, shape (d, m)

        Raises
        ------
        InvalidArgumentError
            If the shape, dtype or device of an argument is not that of the objective.

        Examples
        --------
        >>> import torch, flows
        >>> w = torch.tensor([1.0, 2.0])
        >>> objective = flows.Objective.from_function(lambda w: w[0] * w[1] ** 2, w)
        >>> objective.third(w, torch.tensor([[0.0], [1.0]]), torch.eye(2))
        tensor([[0., 2.],
                [2., 0.]])
        """
        self._require_point(w)
        self._require_columns("U", U)
        self._require_columns("V", V)
        if V.shape[1] == 1:
            U, V = V, U  # the derivative is symmetric: the shared direction comes first
        if U.shape[1] not in (1, V.shape[1]):
            raise InvalidArgumentError(
                f"U and V must have as many columns, or one of them a single one, "
                f"found {U.shape[1]} and {V.shape[1]}"
            )
        self._counts["third"] += V.shape[1]
        return self._mean(w, lambda graph: graph.third_columns(U, V))

    def third_pairs(self, w: Tensor, U: Tensor) -> Tensor:
        """Return ``∇³L(w)[u_i, u_j]`` for all i ≤ j.

        Parameters
        ----------
        w : Tensor, shape (d,)
        U : Tensor, shape (d, k)

        Returns
        -------
        Tensor, shape (d, k(k+1)/2)
            Pairs in the order (0,0), (0,1), …, (0,k-1), (1,1), …: that of ``svec``, without its √2.

        Raises
        ------
        InvalidArgumentError
            If the shape, dtype or device of an argument is not that of the objective.

        Examples
        --------
        >>> import torch, flows
        >>> w = torch.tensor([1.0, 2.0])
        >>> objective = flows.Objective.from_function(lambda w: w[0] * w[1] ** 2, w)
        >>> objective.third_pairs(w, torch.eye(2))
        tensor([[0., 0., 2.],
                [0., 2., 0.]])
        """
        self._require_point(w)
        self._require_columns("U", U)
        k = U.shape[1]
        self._counts["third"] += k * (k + 1) // 2
        return self._mean(w, lambda graph: graph.third_pairs(U))

    def check(self, w: Tensor | None = None) -> DerivativeCheck:
        """Compare the derivatives at ``w`` (default ``w0``) with finite differences.

        Along two random directions of fixed seed, ``∇²L v`` is compared with a central difference
        of gradients and ``∇³L[u,v]`` with one of Hessian-vector products; blocks of columns are
        compared with single columns. Nothing is added to the counts.

        Parameters
        ----------
        w : Tensor, shape (d,), optional

        Returns
        -------
        DerivativeCheck
            The relative errors found.

        Raises
        ------
        DerivativeCheckError
            If one of them is above the tolerance of the dtype.
        UnsupportedModelError
            If torch has no such derivative of the model or the loss.

        Examples
        --------
        >>> import torch, flows
        >>> w = torch.tensor([1.0, 2.0], dtype=torch.float64)
        >>> flows.Objective.from_function(lambda w: w.sin().prod(), w).check().third_error < 1e-6
        True
        """
        w = self._w0 if w is None else w
        self._require_point(w)
        counts = self.counts
        try:
            return check_derivatives(self, w, has_kinks=self._has_kinks)
        finally:
            self._counts = counts

    def unflatten(self, w: Tensor) -> dict[str, Tensor]:
        """Return the parameter tensors at ``w`` by name, as views of ``w``.

        Parameters
        ----------
        w : Tensor, shape (d,)

        Returns
        -------
        dict of str to Tensor
            ``{"w": w}`` for an objective made by :meth:`from_function`.

        Examples
        --------
        >>> import torch, flows
        >>> x = torch.ones(5, 2)
        >>> model = torch.nn.Linear(2, 1)
        >>> objective = flows.Objective(model, torch.nn.MSELoss(), x, x.sum(1, keepdim=True))
        >>> {name: tuple(p.shape) for name, p in objective.unflatten(objective.w0).items()}
        {'weight': (1, 2), 'bias': (1,)}
        """
        self._require_point(w)
        return {"w": w} if self._network_loss is None else self._network_loss.network.unflatten(w)

    def outputs(self, w: Tensor, inputs: Data = None) -> Any:
        """Return the outputs of the network at ``w``.

        Parameters
        ----------
        w : Tensor, shape (d,)
        inputs : Tensor, or tuple, list or dictionary of tensors, optional
            By default the inputs of the objective.

        Returns
        -------
        Tensor
            Or whatever the network returns.

        Raises
        ------
        UnsupportedModelError
            If the objective was made by :meth:`from_function`.

        Examples
        --------
        >>> import torch, flows
        >>> x = torch.ones(5, 2)
        >>> model = torch.nn.Linear(2, 1)
        >>> objective = flows.Objective(model, torch.nn.MSELoss(), x, x.sum(1, keepdim=True))
        >>> objective.outputs(objective.w0).shape
        torch.Size([5, 1])
        """
        self._require_point(w)
        if self._network_loss is None:
            raise UnsupportedModelError("an objective made from a function has no outputs")
        with torch.no_grad(), self._safely():
            return self._network_loss.outputs(w, inputs)

    def _mean(self, w: Tensor, columns: Callable[[GradientGraph], Tensor]) -> Tensor:
        """Average over the chunks, weighted by their numbers of examples."""
        with torch.enable_grad(), self._safely():
            if len(self._terms) == 1:
                return columns(self._graph(w))
            weight, f = self._terms[0]
            total = weight * columns(GradientGraph(f, w, self._batch))
            for weight, f in self._terms[1:]:
                total.add_(columns(GradientGraph(f, w, self._batch)), alpha=weight)
            return total

    def _graph(self, w: Tensor) -> GradientGraph:
        """Return the recorded gradient at ``w``, recording it if it is not the last one."""
        if self._record is None or not self._record.is_at(w):
            self._record = None  # frees the old record before there is a new one
            self._record = GradientGraph(self._terms[0][1], w, self._batch)
        return self._record

    @contextmanager
    def _safely(self) -> Iterator[None]:
        if self._protect:
            with protected():
                yield
        else:
            yield

    def _require_point(self, w: Tensor) -> None:
        self._require("w", w)
        if w.shape != self._w0.shape:
            raise InvalidArgumentError(f"w must have shape ({self.dim},), found {tuple(w.shape)}")

    def _require_columns(self, name: str, V: Tensor) -> None:
        self._require(name, V)
        if V.ndim != 2 or V.shape[0] != self.dim:
            raise InvalidArgumentError(
                f"{name} must have shape ({self.dim}, m), found {tuple(V.shape)}"
            )

    def _require(self, name: str, x: Tensor) -> None:
        if not isinstance(x, Tensor) or x.dtype != self.dtype or x.device != self.device:
            found = f"{x.dtype} on {x.device}" if isinstance(x, Tensor) else type(x).__name__
            raise InvalidArgumentError(
                f"{name} must be a tensor of {self.dtype} on {self.device}, found {found}"
            )
