"""All figures by name.

The paper's figures are numbered; where a public source says what a number shows, the figure is
called by the number (``fig5``). The others are called by what they show: optimizer, network and
loss (``gd-cnn-mse``).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping

from flows._errors import InvalidArgumentError
from flows.figures import learning_rates, overviews, stationary, summaries
from flows.figures.experiment import Figure

_MODULES = (overviews, learning_rates, summaries, stationary)

#: Every figure by its name.
FIGURES: Mapping[str, Figure] = {
    figure.name: figure for module in _MODULES for figure in module.figures()
}
#: Numbers of the paper's figures that show experiments.
NUMBERS = range(2, 39)


def find(name: str) -> Figure:
    """Return the figure of that name.

    Raises
    ------
    InvalidArgumentError
        If there is none; the message says what comes near, or, for a number of the paper, that
        no public source was found that says what it shows.

    Examples
    --------
    >>> from flows.figures import find
    >>> len(find("gd-cnn-mse").experiments)
    1
    """
    if name in FIGURES:
        return FIGURES[name]
    number = re.fullmatch(r"fig(\d+)", name)
    if number and int(number[1]) in NUMBERS:
        known = ", ".join(sorted((n for n in FIGURES if re.fullmatch(r"fig\d+", n)), key=_order))
        raise InvalidArgumentError(
            f"figure: no public source was found that says what the paper's figure {number[1]} "
            f"shows; known by number: {known or 'none'}; the others are named by what they show, "
            "such as gd-cnn-mse (flows reproduce --list)"
        )
    near = [] if number else difflib.get_close_matches(name, FIGURES, n=3)
    hint = f"; near are {', '.join(near)}" if near else ""
    raise InvalidArgumentError(f"figure: unknown figure {name!r}{hint} (flows reproduce --list)")


def _order(name: str) -> int:
    return int(name.removeprefix("fig"))
