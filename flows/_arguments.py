"""Checks of arguments that many places share."""

from __future__ import annotations

from numbers import Integral

from flows._errors import InvalidArgumentError

__all__ = ["check_instance", "check_integer"]


def check_integer(argument: str, value: int, low: int, high: int | None = None) -> int:
    """Return ``value`` if it is a whole number in ``low..high``."""
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not whole or value < low or (high is not None and value > high):
        allowed = f"at least {low}" if high is None else f"in {low}..{high}"
        raise InvalidArgumentError(f"{argument} must be a whole number {allowed}, found {value!r}")
    return int(value)


def check_instance(argument: str, value: object, kind: type | tuple[type, ...], what: str) -> None:
    """Raise `InvalidArgumentError` unless ``value`` is of that kind, in words ``what``."""
    if not isinstance(value, kind):
        raise InvalidArgumentError(f"{argument} must be {what}, found {value!r}")
