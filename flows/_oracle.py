"""A scalar function of flat weights, and its derivatives up to order three."""

from __future__ import annotations

import torch
from torch import Tensor

from flows._derivative_check import DerivativeCheck, check_derivatives
from flows._derivatives import ColumnBatch
from flows._determinism import require_deterministic
from flows._differences import Differences, require_way
from flows._errors import InvalidArgumentError
from flows._evaluation import Arithmetic, Evaluation, Loss, Portion
from flows._preflight import require_function, warn_of_kinks


class Oracle:
    """A scalar function ``L(w)`` with its gradient, Hessian and third derivative.

    Parameters
    ----------
    loss : Loss
        The function.
    w0 : Tensor, shape (d,)
        Where to start.
    arithmetic : Arithmetic
        How torch computes.
    chunk : int or None
        How many examples are evaluated at once.
    derivatives : {"autodiff", "differences"}
        Where second and third derivatives come from.
    """

    def __init__(
        self,
        loss: Loss,
        w0: Tensor,
        arithmetic: Arithmetic,
        chunk: int | None = None,
        *,
        derivatives: str = "autodiff",
    ) -> None:
        by_differences = require_way(derivatives, w0.dtype)
        if not bool(torch.isfinite(w0).all()):
            raise InvalidArgumentError("the first weights must be finite, found NaN or infinity")
        if arithmetic.repeatable:
            require_deterministic(w0.device)
        self._w0 = w0
        self._counts = {"value": 0, "gradient": 0, "hvp": 0, "third": 0}
        first = Portion(chunk, ColumnBatch(1))
        self._evaluation = Evaluation(loss, arithmetic, first, first)
        kinks = self._evaluation.within_memory(
            lambda: require_function(loss.terms(first.examples)[0][1], w0)
        )
        self._has_kinks = bool(kinks)
        warn_of_kinks(kinks)
        limit = self._evaluation.within_memory(
            lambda: ColumnBatch.for_function(loss.terms(first.examples)[0][1], w0).limit
        )
        self._evaluation.second = Portion(first.examples, ColumnBatch(limit))
        self._evaluation.third = Portion(first.examples, ColumnBatch(limit))
        self.derivatives = derivatives
        self._differences = Differences(self._counted_gradient) if by_differences else None

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
        return self._evaluation.value(w)

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
        if self._differences is not None:
            return self._differences.value_and_gradient(w)
        return self._counted_gradient(w)

    def _counted_gradient(self, w: Tensor) -> tuple[float, Tensor]:
        self._counts["gradient"] += not self._evaluation.is_recorded(w)
        return self._evaluation.value_and_gradient(w)

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
        if self._differences is not None:
            return self._differences.hessian_columns(w, V)
        self._counts["hvp"] += V.shape[1]
        return self._evaluation.hessian_columns(w, V)

    def curvature(self, w: Tensor, U: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``∇²L(w) u_j`` and ``∇³L(w)[u_j, u_j]``, at the price of the latter.

        Only third derivatives are counted.

        Parameters
        ----------
        w : Tensor, shape (d,)
        U : Tensor, shape (d, m)

        Returns
        -------
        second, third : Tensor, shape (d, m)

        Raises
        ------
        InvalidArgumentError
            If the shape, dtype or device of an argument is not that of the objective.

        Examples
        --------
        >>> import torch, flows
        >>> w = torch.tensor([1.0, 2.0])
        >>> u = torch.tensor([[0.0], [1.0]])
        >>> flows.Objective.from_function(lambda w: w[0] * w[1] ** 2, w).curvature(w, u)
        (tensor([[4.],
                [2.]]), tensor([[2.],
                [0.]]))
        """
        self._require_point(w)
        self._require_columns("U", U)
        if not U.shape[1]:
            return U, U
        if self._differences is not None:
            both = self._differences.curvature_columns(w, U)
        else:
            self._counts["third"] += U.shape[1]
            both = self._evaluation.curvature_columns(w, U)
        return both[:, : U.shape[1]], both[:, U.shape[1] :]

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
        if self._differences is not None:
            return self._differences.third_columns(w, U, V)
        self._counts["third"] += V.shape[1]
        return self._evaluation.third_columns(w, U, V)

    def third_squares(self, w: Tensor, U: Tensor, HU: Tensor) -> Tensor:
        """Return the columns ``∇³L(w)[u_j, u_j]``, cheaper if they are differences.

        Where ``∇²L(w) u_j`` is known one-sided differences do, at half the price, with errors of up
        to 1e-3 of a column. Where third derivatives are too small for that they are not taken.

        Parameters
        ----------
        w : Tensor, shape (d,)
        U, HU : Tensor, shape (d, m)
            Directions, and ``∇²L(w) u_j``.

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
        >>> u = torch.tensor([[0.0], [1.0]])
        >>> objective.third_squares(w, u, objective.hvp(w, u))
        tensor([[2.],
                [0.]])
        """
        if self._differences is None or not U.shape[1]:
            return self.third(w, U, U)
        self._require_point(w)
        self._require_columns("U", U)
        self._require_images(HU, U)
        return self._differences.third_squares(w, U, HU)

    def third_pairs(self, w: Tensor, U: Tensor, HU: Tensor | None = None) -> Tensor:
        """Return ``∇³L(w)[u_i, u_j]`` for all i ≤ j.

        Parameters
        ----------
        w : Tensor, shape (d,)
        U : Tensor, shape (d, k)
        HU : Tensor, shape (d, k), optional
            ``∇²L(w) u_j``, if it is known; see :meth:`third_squares`.

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
        if HU is not None:
            self._require_images(HU, U)
        if self._differences is not None:
            return self._differences.third_pairs(w, U, HU)
        k = U.shape[1]
        self._counts["third"] += k * (k + 1) // 2
        return self._evaluation.third_pairs(w, U)

    def check(self, w: Tensor | None = None) -> DerivativeCheck:
        """Compare the derivatives at ``w`` (default ``w0``) with finite differences.

        Along two random directions of fixed seed, ``∇²L v`` is compared with a central difference
        of gradients and ``∇³L[u,v]`` with one of Hessian-vector products; blocks of columns are
        compared with single columns. Derivatives that are differences themselves are compared with
        those of torch. Nothing is added to the counts.

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
            exact = None if self._differences is None else self._evaluation
            return check_derivatives(self, w, has_kinks=self._has_kinks, exact=exact)
        finally:
            self._counts = counts

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

    def _require_images(self, HU: Tensor, U: Tensor) -> None:
        self._require_columns("HU", HU)
        if HU.shape != U.shape:
            raise InvalidArgumentError(
                f"HU must have the shape of U, {tuple(U.shape)}, found {tuple(HU.shape)}"
            )

    def _require(self, name: str, x: Tensor) -> None:
        if not isinstance(x, Tensor) or x.dtype != self.dtype or x.device != self.device:
            found = f"{x.dtype} on {x.device}" if isinstance(x, Tensor) else type(x).__name__
            raise InvalidArgumentError(
                f"{name} must be a tensor of {self.dtype} on {self.device}, found {found}"
            )
