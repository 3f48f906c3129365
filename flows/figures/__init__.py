"""Figures of the paper, and others of their kind, each made by one command.

A :class:`Figure` is a drawing and the :class:`Experiment` s that it shows; :data:`FIGURES` names
them all. :func:`reproduce` runs what has not run yet and draws the figure, at the sizes of the
paper or at small ones by one rule (:mod:`flows.figures.scales`). :func:`explain` says of every
value whether it stands in a public source, and in which; all others are choices of this project.

Examples
--------
>>> from flows.figures import FIGURES
>>> FIGURES["gd-cnn-mse"].title
'Gradient descent, CNN, MSE'
"""

from flows.figures.description import explain, listing
from flows.figures.experiment import Experiment, Figure
from flows.figures.registry import FIGURES, find
from flows.figures.reproduce import Conditions, reproduce

__all__ = [
    "FIGURES",
    "Conditions",
    "Experiment",
    "Figure",
    "explain",
    "find",
    "listing",
    "reproduce",
]
