"""Derivatives up to order three of a scalar function of a flat vector, by repeated backward passes.

With ``g = ∇f(w)`` recorded as a graph, a Hessian column is one backward pass through ``g`` and a
column of the third derivative one backward pass through ``h = ∇²f(w) u``. Both graphs are shared
by all columns that can use them.
"""

from collections.abc import Callable

import torch
from torch import Tensor

ScalarFunction = Callable[[Tensor], Tensor]


def value_and_gradient(f: ScalarFunction, w: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``f(w)`` and ``∇f(w)``, shape (d,)."""
    w = w.detach().requires_grad_()
    value = f(w)
    return value.detach(), _pull_back(value, w, torch.ones_like(value)).detach()


def hessian_columns(f: ScalarFunction, w: Tensor, V: Tensor) -> Tensor:
    """Return ``∇²f(w) V``, shape (d, m)."""
    w = w.detach().requires_grad_()
    return _pull_back_columns(_gradient_graph(f, w), w, V)


def third_columns(f: ScalarFunction, w: Tensor, U: Tensor, V: Tensor) -> Tensor:
    """Return the columns ``∇³f(w)[u_j, v_j]``, shape (d, m)."""
    w = w.detach().requires_grad_()
    g = _gradient_graph(f, w)
    columns = []
    for u, v in zip(U.T, V.T, strict=True):
        h = _pull_back(g, w, u, record=True)
        columns.append(_pull_back(h, w, v))
    return torch.stack(columns).T if columns else torch.empty_like(U)


def third_pairs(f: ScalarFunction, w: Tensor, U: Tensor) -> Tensor:
    """Return ``∇³f(w)[u_i, u_j]`` for i ≤ j in svec order, shape (d, k(k+1)/2)."""
    w = w.detach().requires_grad_()
    g = _gradient_graph(f, w)
    blocks = [torch.empty_like(U[:, :0])]
    for i in range(U.shape[1]):
        h = _pull_back(g, w, U[:, i], record=True)
        blocks.append(_pull_back_columns(h, w, U[:, i:]))
    return torch.cat(blocks, dim=1)


def _gradient_graph(f: ScalarFunction, w: Tensor) -> Tensor:
    value = f(w)
    return _pull_back(value, w, torch.ones_like(value), record=True)


def _pull_back(output: Tensor, w: Tensor, v: Tensor, *, record: bool = False) -> Tensor:
    """Return ``(∂output/∂w)ᵀ v``; with `record` the result can be differentiated again."""
    if not output.requires_grad:  # output does not depend on w, e.g. a Hessian of a quadratic
        return torch.zeros_like(w)
    return torch.autograd.grad(
        output, w, v, retain_graph=True, create_graph=record, materialize_grads=True
    )[0]


def _pull_back_columns(output: Tensor, w: Tensor, V: Tensor) -> Tensor:
    """Return ``(∂output/∂w)ᵀ V`` for all columns of V."""
    if not output.requires_grad or V.shape[1] == 0:
        return torch.zeros_like(V)
    if V.shape[1] == 1:
        return _pull_back(output, w, V[:, 0]).unsqueeze(1)
    rows = torch.autograd.grad(
        output,
        w,
        V.T.contiguous(),
        retain_graph=True,
        is_grads_batched=True,
        materialize_grads=True,
    )[0]
    return rows.T
