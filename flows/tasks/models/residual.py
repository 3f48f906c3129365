"""The residual network."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise

from torch import Tensor, nn

from flows._arguments import check_integer
from flows.tasks._task import Task
from flows.tasks.models._activations import activation_maker
from flows.tasks.models._building import (
    initialised,
    require_images,
    require_scale,
    scale_readout,
)

_STAGES = 3
_SMALLEST_SIDE = 4  # it is halved at the start of every stage but the first
_POOL = 4

_convolution = partial(nn.Conv2d, kernel_size=3, padding=1, bias=False)


class ResidualBlock(nn.Module):
    """``x ↦ shortcut(x) + s·norm(conv(φ(norm(conv(x)))))``, with group normalisation.

    Parameters
    ----------
    before, after : int
        Channels of the input and of the output. If they differ, the sides are halved, and the
        shortcut is a normalised 3×3 convolution; otherwise it is the identity.
    groups : int
        Groups of channels that are normalised together, in every example by itself.
    scale : float
        The factor s.
    make_activation : callable
        Makes the nonlinearity φ.
    """

    def __init__(
        self,
        before: int,
        after: int,
        groups: int,
        scale: float,
        make_activation: Callable[[], nn.Module],
    ) -> None:
        super().__init__()
        stride = 1 if before == after else 2
        self.scale = scale
        self.branch = nn.Sequential(
            _convolution(before, after, stride=stride),
            nn.GroupNorm(groups, after),
            make_activation(),
            _convolution(after, after),
            _zero(nn.GroupNorm(groups, after)),
        )
        self.shortcut: nn.Module = nn.Identity()
        if before != after:
            self.shortcut = nn.Sequential(
                _convolution(before, after, stride=stride), nn.GroupNorm(groups, after)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Return the features, shape (N, after, H, W), of features (N, before, ·, ·)."""
        return self.shortcut(x) + self.scale * self.branch(x)


def resnet(
    task: Task,
    *,
    width: int = 8,
    depth: int = 1,
    activation: str = "gelu",
    activation_beta: float | None = None,
    readout_scale: float = 0.0,
    seed: int = 0,
) -> nn.Module:
    """Return a residual network in the manner of ResNet-20, smooth and without BatchNorm.

    A 3×3 convolution and the activation; three stages of ``depth`` residual blocks with
    ``width``, ``2·width`` and ``4·width`` channels, the sides halved before the last two; the
    average over squares of 4×4 pixels (or all, if they are fewer); Linear. As in the paper's
    code, the normalisation is by ``width`` groups of channels in each example, the shortcuts
    between stages are convolutions of 3×3 pixels, the residual branches are scaled by
    1/√(number of blocks) and start at zero, and so does the readout.

    Parameters
    ----------
    task : Task
        A task with images, of shape (channels, height, width) with sides of at least 4.
    width : int
        Channels of the first stage; 16 in the paper's code.
    depth : int
        Blocks in each of the three stages; 3 in the paper's code, which makes 20 layers.
    activation : {"gelu", "tanh", "silu", "softplus", "beta-gelu"}
        The nonlinearity.
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
        If an option is out of range, or the task's inputs are no images.

    References
    ----------
    He, Zhang, Ren, Sun, "Deep residual learning", doi:10.1109/CVPR.2016.90, section 4.2;
    Wu, He, "Group normalization", doi:10.1007/978-3-030-01261-8_1.

    Examples
    --------
    >>> from flows import tasks
    >>> from flows.tasks.models import resnet
    >>> task = tasks.load("digits", examples=30)
    >>> resnet(task, width=4)(task.inputs).shape
    torch.Size([30, 10])
    """
    channels, *sides = require_images("resnet", task, side=_SMALLEST_SIDE)
    check_integer("width", width, 1)
    check_integer("depth", depth, 1)
    require_scale("readout_scale", readout_scale)
    make_activation = activation_maker(activation, activation_beta)
    scale = (_STAGES * depth) ** -0.5
    # A stage that halves the side rounds up, the average rounds down.
    last = [-(-side // 2 ** (_STAGES - 1)) for side in sides]
    pool = [min(_POOL, side) for side in last]
    squares = math.prod(side // size for side, size in zip(last, pool, strict=True))
    widths = [width, *(width * 2**stage for stage in range(_STAGES) for _ in range(depth))]

    def build() -> nn.Module:
        blocks = [
            ResidualBlock(before, after, width, scale, make_activation)
            for before, after in pairwise(widths)
        ]
        readout = nn.Linear(widths[-1] * squares, task.outputs)
        scale_readout(readout, readout_scale)
        stem = (_convolution(channels, width), make_activation())
        average = nn.AvgPool2d((pool[0], pool[1]))
        model = nn.Sequential(*stem, *blocks, average, nn.Flatten(), readout)
        for module in model.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        return model

    return initialised(build, task, seed)


def _zero(norm: nn.GroupNorm) -> nn.GroupNorm:
    nn.init.zeros_(norm.weight)
    return norm
