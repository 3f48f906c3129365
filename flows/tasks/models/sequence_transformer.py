"""The transformer for sequences."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from flows.tasks._task import Task
from flows.tasks.models._activations import activation_maker
from flows.tasks.models._building import (
    initialised,
    require_kind,
    require_scale,
    scale_readout,
)
from flows.tasks.models._transformer import blocks, check_sizes, sinusoids

_HALVES = 2  # of the width: sine and cosine of the position


class SequenceTransformer(nn.Module):
    """Embedded tokens, transformer blocks, and a linear readout at every position.

    Parameters
    ----------
    alphabet : int
        Number of tokens.
    positions : Tensor, shape (T, width)
        Added to the embedded tokens; constant.
    transformer : nn.Module
    readout : nn.Linear
    """

    positions: Tensor

    def __init__(
        self, alphabet: int, positions: Tensor, transformer: nn.Module, readout: nn.Linear
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(alphabet, readout.in_features)
        self.register_buffer("positions", positions)
        self.transformer = transformer
        self.norm = nn.LayerNorm(readout.in_features)
        self.readout = readout

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the outputs at every position, shape (N, T, outputs), for tokens (N, T)."""
        x = self.embedding(tokens) + self.positions[: tokens.shape[1]]
        return self.readout(self.norm(self.transformer(x)))


def gpt(
    task: Task,
    *,
    width: int = 32,
    depth: int = 2,
    heads: int = 4,
    head_width: int | None = None,
    activation: str = "gelu",
    activation_beta: float | None = None,
    readout_scale: float = 0.0,
    seed: int = 0,
) -> nn.Module:
    """Return a transformer that predicts the next token, in the manner of GPT.

    Embedded tokens plus sines and cosines of their positions; ``depth`` blocks of causal
    self-attention and a perceptron with ``4·width`` neurons, with LayerNorm before each;
    LayerNorm and Linear at every position.

    Parameters
    ----------
    task : Task
        A task whose inputs are tokens.
    width : int
        Features of a token, a multiple of 2 and of ``heads``; 32 in the paper's code.
    depth : int
        Blocks; 4 in the paper's code.
    heads : int
        Heads of the attention; 4 in the paper's code.
    head_width : int, optional
        Features in a head; by default ``width / heads``.
    activation : {"gelu", "tanh", "silu", "softplus", "beta-gelu"}
        The nonlinearity of the perceptrons.
    activation_beta : float, optional
        The β of ``"beta-gelu"``, x Φ(βx).
    readout_scale : float
        The initial weights of the last layer are multiplied by it; 0 in the paper's code.
    seed : int
        Of the initial weights.

    Returns
    -------
    torch.nn.Module
        In the dtype and on the device of the task.

    Raises
    ------
    InvalidArgumentError
        If an option is out of range, or the task's inputs are no tokens.

    References
    ----------
    Vaswani et al., "Attention is all you need", arXiv:1706.03762; the layout is that of GPT-2.

    Examples
    --------
    >>> from flows import tasks
    >>> from flows.tasks.models import gpt
    >>> task = tasks.load("sorting", examples=10)
    >>> gpt(task, width=8, heads=2)(task.inputs).shape
    torch.Size([10, 15, 4])
    """
    require_kind("gpt", task, real=False)
    check_sizes(width, depth, heads, head_width, _HALVES)
    require_scale("readout_scale", readout_scale)
    make_activation = activation_maker(activation, activation_beta)
    alphabet = task.alphabet or task.outputs

    def build() -> nn.Module:
        readout = nn.Linear(width, task.outputs)
        scale_readout(readout, readout_scale)
        return SequenceTransformer(
            alphabet,
            sinusoids(torch.arange(task.input_shape[0]), width),
            blocks(width, depth, heads, head_width, make_activation, causal=True),
            readout,
        )

    return initialised(build, task, seed)
