"""The vision transformer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from flows._arguments import check_integer
from flows._errors import InvalidArgumentError
from flows.tasks._task import Task
from flows.tasks.models._activations import activation_maker
from flows.tasks.models._building import (
    initialised,
    require_images,
    require_scale,
    scale_readout,
)
from flows.tasks.models._transformer import blocks, check_sizes, sinusoids

_HALVES = 4  # of the width: sine and cosine of row and column


class Patches(nn.Module):
    """Cut images into squares, each a token of all its pixels.

    Parameters
    ----------
    side : int
        Pixels along a side of a square.
    """

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, x: Tensor) -> Tensor:
        """Return the squares row by row, shape (N, T, C·side²), of images (N, C, H, W)."""
        side = self.side
        squares = x.unfold(2, side, side).unfold(3, side, side)  # (N, C, rows, columns, side, side)
        return squares.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)


class VisionTransformer(nn.Module):
    """Embedded patches, transformer blocks, the mean over patches, and a linear readout.

    Parameters
    ----------
    embedding : nn.Module
        Images to tokens, (N, C, H, W) to (N, T, width).
    positions : Tensor, shape (T, width)
        Added to the tokens; constant.
    transformer : nn.Module
    readout : nn.Linear
    """

    positions: Tensor

    def __init__(
        self, embedding: nn.Module, positions: Tensor, transformer: nn.Module, readout: nn.Linear
    ) -> None:
        super().__init__()
        self.embedding = embedding
        self.register_buffer("positions", positions)
        self.transformer = transformer
        self.norm = nn.LayerNorm(readout.in_features)
        self.readout = readout

    def forward(self, images: Tensor) -> Tensor:
        """Return the outputs, shape (N, outputs), for images (N, C, H, W)."""
        x = self.transformer(self.embedding(images) + self.positions)
        return self.readout(self.norm(x).mean(1))


def vit(
    task: Task,
    *,
    patch: int = 4,
    width: int = 32,
    depth: int = 2,
    heads: int = 4,
    head_width: int | None = None,
    activation: str = "gelu",
    activation_beta: float | None = None,
    readout_scale: float = 0.0,
    seed: int = 0,
) -> nn.Module:
    """Return a vision transformer, in the manner of SimpleViT, which the paper's code uses.

    Squares of pixels, normalised, linearly embedded and normalised again; plus sines and cosines
    of their rows and columns; ``depth`` blocks of self-attention and a perceptron with
    ``4·width`` neurons, with LayerNorm before each; LayerNorm, the mean over the squares, Linear.

    Parameters
    ----------
    task : Task
        A task with images, of shape (channels, height, width) with sides that are multiples of
        ``patch``.
    patch : int
        Side of a square in pixels; 4 in the paper's code.
    width : int
        Features of a token, a multiple of 4 and of ``heads``; 64 in the paper's code.
    depth : int
        Blocks; 4 in the paper's code.
    heads : int
        Heads of the attention; 8 in the paper's code.
    head_width : int, optional
        Features in a head; by default ``width / heads``. 64 in the paper's code.
    activation : {"gelu", "tanh", "silu", "softplus", "beta-gelu"}
        The nonlinearity of the perceptrons.
    activation_beta : float, optional
        The β of ``"beta-gelu"``, x Φ(βx).
    readout_scale : float
        The initial weights of the last layer are multiplied by it; 0 in the paper's code.
        A positive value begins at higher sharpness.
    seed : int
        Of the initial weights.

    Returns
    -------
    torch.nn.Module
        In the dtype and on the device of the task.

    Raises
    ------
    InvalidArgumentError
        If an option is out of range, or the task's inputs are no images of a fitting size.

    References
    ----------
    Dosovitskiy et al., arXiv:2010.11929; Beyer, Zhai, Kolesnikov, "Better plain ViT baselines",
    arXiv:2205.01580.

    Examples
    --------
    >>> from flows import tasks
    >>> from flows.tasks.models import vit
    >>> task = tasks.load("digits", examples=30)
    >>> vit(task, width=8, heads=2)(task.inputs).shape
    torch.Size([30, 10])
    """
    check_integer("patch", patch, 1)
    channels, height, breadth = require_images("vit", task, side=patch)
    if height % patch or breadth % patch:
        raise InvalidArgumentError(
            f"patch must divide the sides of the images, {height}x{breadth}, found {patch}"
        )
    check_sizes(width, depth, heads, head_width, _HALVES)
    require_scale("readout_scale", readout_scale)
    make_activation = activation_maker(activation, activation_beta)

    def build() -> nn.Module:
        readout = nn.Linear(width, task.outputs)
        scale_readout(readout, readout_scale)
        return VisionTransformer(
            _embedding(patch, channels, width),
            _grid(height // patch, breadth // patch, width),
            blocks(width, depth, heads, head_width, make_activation, causal=False),
            readout,
        )

    return initialised(build, task, seed)


def _embedding(patch: int, channels: int, width: int) -> nn.Module:
    pixels = channels * patch**2
    return nn.Sequential(
        Patches(patch), nn.LayerNorm(pixels), nn.Linear(pixels, width), nn.LayerNorm(width)
    )


def _grid(rows: int, columns: int, width: int) -> Tensor:
    """Return the sines and cosines of the places in a grid, row by row."""
    places = torch.cartesian_prod(torch.arange(rows), torch.arange(columns))
    return torch.cat([sinusoids(axis, width // 2) for axis in places.T], dim=1)
