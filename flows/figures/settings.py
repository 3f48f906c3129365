"""Learning rates, numbers of steps and the like, and where each of them is published.

Three public sources were found, and are named below; what a source says is marked with it, value
by value, and the values without a mark are this project's choice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

CODE = "README of the paper's public code"
MINIMAL = "docs/minimal.md of the paper's public code"
SITE_GD = "part I of the paper's web site"


@dataclass(frozen=True)
class Settings:
    """How an optimizer runs.

    Attributes
    ----------
    lr : float
        Learning rate.
    steps, warm_start : int
        Steps, and steps before the flows start.
    beta2, eps : float
        Of RMSProp and RMSProp-Norm.
    bias_correction : bool
        Of RMSProp and RMSProp-Norm.
    adaptive : bool
        Whether ``beta2`` and what follows it apply.
    published : mapping
        Where a value is published, for each that is.
    """

    lr: float
    steps: int
    warm_start: int = 0
    adaptive: bool = False
    beta2: float = 0.99
    eps: float = 0.0
    bias_correction: bool = False
    published: Mapping[str, str] = field(default_factory=dict)

    def optimizer(self) -> dict[str, Any]:
        """Return the options of the optimizer."""
        if not self.adaptive:
            return {"lr": self.lr}
        return {
            "lr": self.lr,
            "beta2": self.beta2,
            "eps": self.eps,
            "bias_correction": self.bias_correction,
        }


_ADAPTIVE: dict[str, Any] = {
    "adaptive": True,
    "beta2": 0.99,
    "eps": 1e-7,
    "bias_correction": True,
    "warm_start": 5,
}

_SMALL_STEPS = 400
#: Learning rates of the small scale, for MSE and for cross-entropy, by the rule of
#: :mod:`flows.figures.scales`.
_SMALL_LR: dict[str, dict[str, tuple[float, float]]] = {
    "gd": {
        "mlp": (0.1, 0.2),
        "cnn": (0.5, 0.5),
        "resnet": (0.2, 0.2),
        "vit": (0.2, 0.1),
        "gpt": (0.2, 0.1),
        "rnn": (0.1, 0.1),
        "lstm": (0.5, 0.5),
    },
    "rmsprop-norm": {
        "mlp": (0.05, 0.05),
        "cnn": (0.05, 0.02),
        "resnet": (0.05, 0.05),
        "vit": (0.05, 0.05),
        "gpt": (0.05, 0.05),
        "rnn": (0.05, 0.05),
        "lstm": (0.05, 0.05),
    },
    "rmsprop": {
        "mlp": (5e-4, 5e-4),
        "cnn": (5e-4, 5e-4),
        "resnet": (5e-4, 5e-4),
        "vit": (5e-4, 5e-4),
        "gpt": (5e-4, 5e-4),
        "rnn": (1e-3, 1e-3),
        "lstm": (1e-3, 1e-3),
    },
}


def settings(method: str, model: str, loss: str, scale: str) -> Settings:
    """Return how an optimizer runs on a network and a loss at a scale.

    Parameters
    ----------
    method, model, loss, scale : str
        As in :class:`flows.figures.Experiment`.

    Returns
    -------
    Settings

    Examples
    --------
    >>> from flows.figures.settings import settings
    >>> how = settings("gd", "vit", "mse", "paper")
    >>> how.lr, how.published["lr"]
    (0.02, "part I of the paper's web site")
    """
    adaptive = {} if method == "gd" else _ADAPTIVE
    if scale == "small":
        lr = _SMALL_LR[method][model][loss != "mse"]
        return Settings(lr=lr, steps=_SMALL_STEPS, **adaptive)
    return Settings(**(_PAPER_DEFAULTS[method] | adaptive | _PAPER.get((method, model, loss), {})))


_PAPER_DEFAULTS: dict[str, dict[str, Any]] = {
    "gd": {"lr": 0.02, "steps": 2000},
    "rmsprop-norm": {"lr": 0.005, "steps": 2000},
    "rmsprop": {"lr": 2e-5, "steps": 2000},
}
_PAPER: dict[tuple[str, str, str], dict[str, Any]] = {
    ("gd", "mlp", "mse"): {"steps": 1000, "published": {"lr": CODE, "steps": CODE}},
    ("gd", "cnn", "mse"): {"steps": 400, "published": {"lr": MINIMAL, "steps": MINIMAL}},
    ("gd", "vit", "mse"): {"steps": 4000, "published": {"lr": SITE_GD}},
    ("rmsprop", "mlp", "mse"): {
        "steps": 500,
        "published": dict.fromkeys(
            ("lr", "beta2", "eps", "bias_correction", "warm_start", "steps"), CODE
        ),
    },
}
