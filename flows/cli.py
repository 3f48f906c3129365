"""The command line: ``flows demo``, ``flows run``, ``flows plot``, ``flows reproduce``."""

from __future__ import annotations

import contextlib
import io
import re
import sys
from collections.abc import Callable, Sequence

import tyro

import ccpsolve
from flows._errors import FlowsError
from flows.commands import DemoCommand, PlotCommand, RunCommand
from flows.figure_command import ReproduceCommand

Command = DemoCommand | RunCommand | PlotCommand | ReproduceCommand

_COMMANDS: dict[str, Callable[..., Command]] = {
    "demo": DemoCommand,
    "run": RunCommand,
    "plot": PlotCommand,
    "reproduce": ReproduceCommand,
}
_DESCRIPTION = """Follow a neural-network optimizer by its central flow, the differential equation
of its time average, at the edge of stability. Begin with `flows demo`."""
_HINT = " (see flows --help)"
_NO_BORDER = str.maketrans("│╭╮╰╯", "     ")
_ANSI_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        Arguments after the program's name; by default those of the process.

    Returns
    -------
    int
        Exit status: 0 on success, 1 when a command failed, 2 for arguments that are not
        understood, 130 when interrupted. An error is one line on standard error.

    Examples
    --------
    >>> from flows.cli import main
    >>> main(["plot", "no_such_folder", "--out", "figure.txt"])
    1
    """
    given = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if given == ["--version"]:
        print(ccpsolve.__version__)
        return 0
    try:
        parse(given).execute()
    except _UsageError as error:
        return _fail(str(error), 2)
    except (FlowsError, OSError) as error:
        return _fail(str(error), 1)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    return 0


class _UsageError(Exception):
    """The arguments are not understood; the message says why in one line."""


def parse(arguments: list[str]) -> Command:
    """Return the command that the arguments ask for, with its options."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.extras.subcommand_cli_from_dict(
                _COMMANDS, prog="flows", description=_DESCRIPTION, args=arguments
            )
    except SystemExit as stop:
        if not stop.code:  # --help
            raise
        raise _UsageError(_in_one_line(said.getvalue())) from None


def _in_one_line(box: str) -> str:
    """Return what tyro says in a box of many lines, without the help it adds.

    Below the title, the first part of the box, up to a rule or a gap, says what is wrong. Where
    arguments are missing, it lists them, each with its help indented below it. (Boxes are drawn
    with plain characters where the terminal has no others.)
    """
    lines = [_ANSI_COLOUR.sub("", line).translate(_NO_BORDER) for line in box.split("\n")]
    said: list[str] = []
    for line in (each[2:].rstrip() for each in lines[1:]):
        if line.strip("─- "):
            said.append(line)
        elif said:
            break
    return " ".join(each.strip() for each in said if not each.startswith(" " * 6)) + _HINT


def _fail(message: str, status: int) -> int:
    print("flows: error: " + " ".join(message.split()), file=sys.stderr)
    return status
