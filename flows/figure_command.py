"""The command ``flows reproduce``: its options, and what it does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import FlagCreatePairsOff, Positional, arg

from flows._errors import InvalidArgumentError


@dataclass(frozen=True, kw_only=True)
class ReproduceCommand:
    """Make figures of the paper: run what they show, unless it has run already, and draw them."""

    figures: Annotated[Positional[tuple[str, ...]], arg(metavar="FIGURE ...")] = ()
    """Names of figures, such as fig8 or gd-cnn-mse; --list shows them all."""
    list: FlagCreatePairsOff[bool] = False
    """List the figures that there are."""
    explain: FlagCreatePairsOff[bool] = False
    """Say what the figures run, and which values are published where, instead of running."""
    scale: Annotated[str, arg(metavar="{small,paper}")] = "small"
    """Small networks and data, for minutes on two cores; or the sizes of the paper's code."""
    out: Annotated[Path | None, arg(metavar="FOLDER", help_behavior_hint="(runs/SCALE)")] = None
    """Folder for the figures, and for the runs, which several figures may share."""
    seed: int = 0
    """Seed of the initial weights, of label noise and of generated data."""
    overwrite: bool = False
    """Run again what the folder already holds."""
    progress: bool = True
    """Show a progress bar for each run, with loss, sharpness and remaining time."""
    path: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="(download)")] = None
    """Local copy of CIFAR-10, for the scale of the paper."""
    device: Annotated[str, arg(metavar="DEVICE")] = "cpu"
    """Device of the network, such as cpu, cuda or cuda:1."""
    chunk: Annotated[int | None, arg(metavar="INT", help_behavior_hint="(all at once)")] = None
    """Examples per pass through the network; fewer need less memory."""
    memory: Annotated[str | None, arg(metavar="SIZE", help_behavior_hint="(no limit)")] = None
    """What one evaluation may add to the memory in use, such as 4GiB; chunks are chosen to fit."""

    def execute(self) -> None:
        """List, explain or make the figures."""
        from flows.figures import Conditions, explain, find, listing, reproduce

        if self.list:
            print(listing())
            return
        if not self.figures:
            raise InvalidArgumentError("figure: give at least one name (flows reproduce --list)")
        chosen = [find(name) for name in self.figures]
        if self.explain:
            print("\n\n".join(explain(figure, self.scale) for figure in chosen))
            return
        conditions = Conditions(
            scale=self.scale,
            seed=self.seed,
            device=self.device,
            chunk=self.chunk,
            memory=self.memory,
            data=self.path,
        )
        folder = Path("runs") / self.scale if self.out is None else self.out
        for figure in chosen:
            reproduce(
                figure.name,
                folder,
                conditions,
                overwrite=self.overwrite,
                progress=self.progress,
            )
            print(f"figure: {folder / figure.name}.png")
