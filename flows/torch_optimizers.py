"""Methods from optimizers of ``torch.optim``."""

from __future__ import annotations

from typing import Any

import torch

from flows._errors import InvalidArgumentError
from flows.methods import GD, Method, RMSProp

# Options that change the dynamics, with the value that leaves them out.
_PLAIN = {
    torch.optim.SGD: {"momentum": 0, "dampening": 0, "weight_decay": 0, "nesterov": False},
    torch.optim.RMSprop: {"momentum": 0, "centered": False, "weight_decay": 0},
}


def from_torch(optimizer: torch.optim.Optimizer) -> Method:
    """Return the method of a ``torch.optim.SGD`` or ``torch.optim.RMSprop``.

    SGD on the full loss is gradient descent. torch's RMSprop is ``RMSProp`` with
    ``beta2 = alpha``, ε outside the root and no bias correction.

    Parameters
    ----------
    optimizer : torch.optim.SGD or torch.optim.RMSprop
        With one parameter group and no momentum, weight decay, Nesterov step or centering.

    Returns
    -------
    GD or RMSProp

    Raises
    ------
    InvalidArgumentError
        For another optimizer, or options whose central flow is not known here; the message
        names them.

    Examples
    --------
    >>> import flows, torch
    >>> model = torch.nn.Linear(2, 1)
    >>> flows.from_torch(torch.optim.SGD(model.parameters(), lr=0.1))
    GD(lr=0.1)
    """
    kind = type(optimizer)
    if kind not in _PLAIN:
        raise InvalidArgumentError(
            f"optimizer must be torch.optim.SGD or torch.optim.RMSprop, found {kind.__name__}"
        )
    if len(optimizer.param_groups) != 1:
        raise InvalidArgumentError(
            f"optimizer must have one parameter group, found {len(optimizer.param_groups)}"
        )
    options: dict[str, Any] = optimizer.param_groups[0]
    for name, plain in _PLAIN[kind].items():
        if options[name] != plain:
            raise InvalidArgumentError(
                f"optimizer: {name} must be {plain}, found {options[name]}; "
                "its central flow is not available"
            )
    if options.get("maximize"):
        raise InvalidArgumentError("optimizer: maximize must be False, found True")
    precisions = {parameter.dtype for parameter in options["params"]}
    if len(precisions) > 1 or not precisions <= {torch.float32, torch.float64}:
        found = ", ".join(sorted(str(dtype).removeprefix("torch.") for dtype in precisions))
        raise InvalidArgumentError(
            f"optimizer: the weights must be all float32 or all float64, found {found}; "
            "mixed and low precision are not available"
        )
    lr = float(options["lr"])
    if kind is torch.optim.SGD:
        return GD(lr)
    return RMSProp(lr, beta2=float(options["alpha"]), eps=float(options["eps"]))
