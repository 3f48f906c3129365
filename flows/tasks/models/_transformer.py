"""What the transformers share: attention, blocks, and where a token stands."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flows._arguments import check_integer
from flows._errors import InvalidArgumentError

_EXPANSION = 4  # neurons per feature in the perceptrons between attentions
_LONGEST_PERIOD = 10_000.0


class Attention(nn.Module):
    """Multi-head self-attention, ``softmax(Q Kᵀ/√head_width) V`` in every head.

    Parameters
    ----------
    width, heads, head_width : int
        Features of a token, number of heads, and features in each.
    causal : bool
        Whether a token sees the tokens before it (and itself) alone.
    """

    def __init__(self, width: int, heads: int, head_width: int, *, causal: bool) -> None:
        super().__init__()
        self.heads = heads
        self.causal = causal
        self.inputs = nn.Linear(width, 3 * heads * head_width, bias=False)
        self.output = nn.Linear(heads * head_width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the new tokens, shape (N, T, width), for tokens (N, T, width)."""
        # (N, T, 3·heads·head_width) → 3 × (N, heads, T, head_width)
        query, key, value = self.inputs(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(query, key, value, is_causal=self.causal)
        return self.output(seen.transpose(1, 2).flatten(2))


class TransformerBlock(nn.Module):
    """Attention and a perceptron, each added to its layer-normalised input.

    ``x ← x + attention(norm(x))``, then ``x ← x + perceptron(norm(x))``.

    Parameters
    ----------
    attention : Attention
    width : int
        Features of a token.
    make_activation : callable
        Makes the nonlinearity of the perceptron.
    """

    def __init__(
        self, attention: Attention, width: int, make_activation: Callable[[], nn.Module]
    ) -> None:
        super().__init__()
        self.attention = nn.Sequential(nn.LayerNorm(width), attention)
        self.perceptron = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, _EXPANSION * width),
            make_activation(),
            nn.Linear(_EXPANSION * width, width),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the new tokens, shape (N, T, width), for tokens (N, T, width)."""
        x = x + self.attention(x)
        return x + self.perceptron(x)


def blocks(
    width: int,
    depth: int,
    heads: int,
    head_width: int | None,
    make_activation: Callable[[], nn.Module],
    *,
    causal: bool,
) -> nn.Sequential:
    """Return ``depth`` transformer blocks; the heads share the width unless told theirs."""
    each = head_width or width // heads
    return nn.Sequential(
        *(
            TransformerBlock(Attention(width, heads, each, causal=causal), width, make_activation)
            for _ in range(depth)
        )
    )


def check_sizes(width: int, depth: int, heads: int, head_width: int | None, even: int) -> None:
    """Raise `InvalidArgumentError` for sizes that do not fit together.

    ``even`` is what the width must be a multiple of, for the sines and cosines.
    """
    check_integer("width", width, 1)
    check_integer("depth", depth, 1)
    check_integer("heads", heads, 1)
    if head_width is not None:
        check_integer("head_width", head_width, 1)
    if width % even or (head_width is None and width % heads):
        shares = "" if head_width else f" and of heads = {heads}"
        raise InvalidArgumentError(f"width must be a multiple of {even}{shares}, found {width}")


def sinusoids(positions: Tensor, width: int) -> Tensor:
    """Return ``sin(ω_j t)`` and ``cos(ω_j t)`` for positions t, shape (T, width).

    The frequencies ω_j fall geometrically from 1 to 1/10,000. ``width`` is even.
    """
    frequencies = _LONGEST_PERIOD ** -torch.linspace(0.0, 1.0, width // 2)
    angles = positions.to(frequencies)[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1)
