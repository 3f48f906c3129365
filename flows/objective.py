"""The loss of a network as a function of flat weights, and its derivatives up to order three."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from flows import _budget, _examples
from flows._derivatives import ScalarFunction
from flows._errors import InvalidArgumentError, UnsupportedModelError
from flows._evaluation import Arithmetic, Whole
from flows._examples import Data
from flows._loader import full_data
from flows._memory import parse_bytes
from flows._network_loss import NetworkLoss
from flows._oracle import Oracle


class Objective(Oracle):
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
    memory : int or str, optional
        What one evaluation may add at most to the memory in use, in bytes or as ``"512MiB"``.
        Numbers of examples and of columns that fit are found by measuring few of them. On a CPU,
        freed blocks are then given back to the system, which takes time.
    deterministic : bool, default False
        Use deterministic algorithms alone, so that the same evaluations on the same machine give
        bitwise the same results. Evaluating what has none raises RuntimeError.
    protect : bool, default True
        Compute what torch differentiates wrongly (LayerNorm, BatchNorm, InstanceNorm,
        weight_norm) or not at all (fused attention) by elementary operations. Without it the
        third derivatives of such models are wrong, which :meth:`check` finds.
    derivatives : {"autodiff", "differences"}
        Where second and third derivatives come from: repeated differentiation by torch, exact but
        for rounding, or differences of gradients, for which no gradient is recorded. These have
        relative errors of about 1e-7 and 1e-6, and are to be had in float64 alone.

    Attributes
    ----------
    w0 : Tensor, shape (d,)
        A copy of the trainable parameters, in the order of ``model.named_parameters()``. A tied
        weight occurs once; a parameter with ``requires_grad=False`` is a constant.
    dim : int
        The number of weights d.
    dtype : torch.dtype
    device : torch.device
    derivatives : str
    counts : dict of str to int
        What was asked for so far: "value", "gradient", "hvp" (columns) and "third" (columns).
        With ``derivatives="differences"`` every gradient that was evaluated counts, and nothing
        else but values: 1 for a Hessian column, 2 for ``∇³L[u,u]`` and for each of
        :meth:`third_pairs` (1 where ``∇²L u`` is known), 4 for ``∇³L[u,v]``, and 1 at a point not
        asked for before.

    Raises
    ------
    UnsupportedModelError
        If the model or the loss is random (active dropout), compiled, scripted, of mixed or of
        low precision, if the loss is no scalar, or no mean over examples where chunks need one.
    InvalidArgumentError
        If the data or the loss at ``w0`` is NaN or infinite, an argument has the wrong type, or
        ``memory`` does not suffice for one example.
    NotEnoughMemoryError
        Here or in any evaluation, if memory runs out although nothing can be split further.

    Warns
    -----
    KinkWarning
        If the model or the loss has kinks (ReLU, max-pooling, …).

    Notes
    -----
    The derivatives come from repeated backward passes through one recorded gradient. The record
    is kept until another point is asked for, so that all Hessian and third-derivative columns at
    one point share it; with several chunks every call makes its own records and frees them.

    Differences are taken along unit vectors v: ``(∇L(w+hv) − ∇L(w))/h`` with
    ``h = 0.3 ε^(1/2) ‖w‖``, and ``(∇L(w+hv) − 2∇L(w) + ∇L(w−hv))/h²`` with ``h = 0.2 ε^(1/4) ‖w‖``;
    ``∇³L[u,v]`` comes from u+v and u−v. The last gradient asked for is kept.

    When memory runs out, the number of columns, then that of examples (if the loss is a mean over
    them) is halved for good, with a warning in the log, and the evaluation repeated.

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
        memory: int | str | None = None,
        deterministic: bool = False,
        protect: bool = True,
        derivatives: str = "autodiff",
    ) -> None:
        _examples.require_chunk(chunk)
        budget = None if memory is None else parse_bytes("memory", memory)
        split = chunk is not None or budget is not None
        network_loss = NetworkLoss(model, loss, inputs, targets, split=split)
        arithmetic = Arithmetic(protect, deterministic)
        self._network_loss: NetworkLoss | None = network_loss
        super().__init__(
            network_loss,
            network_loss.network.w0,
            arithmetic,
            chunk if budget is None else 1,
            derivatives=derivatives,
        )
        evaluation = self._evaluation
        if budget is not None:
            evaluation.second, evaluation.third = _budget.portions(
                network_loss, budget, chunk, arithmetic
            )
        parts = evaluation.third.examples
        if split and parts is not None and parts < network_loss.total:
            evaluation.within_memory(lambda: network_loss.require_sum(parts))

    @classmethod
    def from_loader(
        cls,
        model: nn.Module,
        loss: Callable[[Any, Any], Tensor],
        loader: DataLoader[Any],
        **options: Any,
    ) -> Objective:
        """Make the objective of the full data set behind a data loader, in chunks of its batches.

        Parameters
        ----------
        model, loss
            As for the class.
        loader : torch.utils.data.DataLoader
            Of pairs of inputs and targets, in order and without leaving any out.
        **options
            As for the class; ``chunk`` is the loader's ``batch_size`` unless given.

        Returns
        -------
        Objective

        Raises
        ------
        InvalidArgumentError
            If the loader shuffles, samples or drops examples; otherwise as for the class.
        UnsupportedModelError
            As for the class.

        Examples
        --------
        >>> import torch, flows
        >>> from torch.utils.data import DataLoader, TensorDataset
        >>> loader = DataLoader(TensorDataset(torch.ones(5, 2), torch.ones(5, 1)), batch_size=2)
        >>> flows.Objective.from_loader(torch.nn.Linear(2, 1), torch.nn.MSELoss(), loader).dim
        3
        """
        inputs, targets, chunk = full_data(loader)
        return cls(model, loss, inputs, targets, **({"chunk": chunk} | options))

    @classmethod
    def from_function(
        cls,
        f: ScalarFunction,
        w0: Tensor,
        *,
        deterministic: bool = False,
        protect: bool = True,
        derivatives: str = "autodiff",
    ) -> Objective:
        """Make an objective of any scalar torch function of a flat vector.

        Parameters
        ----------
        f : callable
            Maps a tensor of shape (d,) to a scalar tensor.
        w0 : Tensor, shape (d,)
            Where to start, float32 or float64.
        deterministic, protect, derivatives
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
        arithmetic = Arithmetic(protect, deterministic)
        Oracle.__init__(self, Whole(f), w0.detach().clone(), arithmetic, derivatives=derivatives)
        return self

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
        network_loss, portion = self._network_loss, self._evaluation.second

        def compute() -> Any:
            with torch.no_grad():
                return network_loss.outputs(w, inputs, portion.examples)

        return self._evaluation.within_memory(compute)
