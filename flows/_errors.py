"""The errors and warnings of `flows`: one small tree under `FlowsError`."""


class FlowsError(Exception):
    """Base of every error raised on purpose by `flows`."""


class InvalidArgumentError(FlowsError, ValueError):
    """An argument has the wrong type, shape, dtype, device or value."""


class UnsupportedModelError(FlowsError):
    """A model or a loss is no smooth deterministic function that can be differentiated here."""


class DerivativeCheckError(FlowsError):
    """A derivative disagrees with the finite difference it was compared with."""


class NotEnoughMemoryError(FlowsError):
    """Memory ran out, and nothing could be split further."""


class KinkWarning(UserWarning):
    """A function has kinks, whose curvature its derivatives do not contain."""
