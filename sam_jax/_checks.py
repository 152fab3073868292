"""Keyword validators: each names the argument, the rule and the value it got.

They run where a user enters, on Python values and static shapes. A setting that may
be traced (a learning rate under ``vmap``) is checked only while it is concrete.
"""

import math
import numbers
from collections.abc import Mapping
from typing import Any, TypeVar

T = TypeVar("T")


def is_concrete(value: Any) -> bool:
    """Whether ``value`` is a plain Python or NumPy real number, not a tracer."""
    return isinstance(value, numbers.Real)


def non_negative(**arguments: Any) -> None:
    """Raises ``ValueError`` unless every concrete argument is finite and >= 0."""
    for name, value in arguments.items():
        if is_concrete(value) and not (math.isfinite(value) and value >= 0):
            raise ValueError(f"{name} must be finite and >= 0, got {value!r}.")


def positive(**arguments: Any) -> None:
    """Raises ``ValueError`` unless every concrete argument is finite and > 0."""
    for name, value in arguments.items():
        if is_concrete(value) and not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name} must be finite and > 0, got {value!r}.")


def in_unit_interval(**arguments: Any) -> None:
    """Raises ``ValueError`` unless every concrete argument lies in [0, 1]."""
    for name, value in arguments.items():
        if is_concrete(value) and not 0 <= value <= 1:
            raise ValueError(f"{name} must lie in [0, 1], got {value!r}.")


def at_least(minimum: int, **arguments: Any) -> None:
    """Raises ``ValueError`` unless every argument is a whole number >= ``minimum``."""
    for name, value in arguments.items():
        whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
        if not whole or value < minimum:
            raise ValueError(
                f"{name} must be a whole number >= {minimum}, got {value!r}."
            )


def one_of(choices: Mapping[str, T], **arguments: str) -> T:
    """Returns ``choices[value]`` of the one argument; lists the choices otherwise.

    Example:
        >>> one_of({"a": 1}, letter="b")
        Traceback (most recent call last):
        ...
        ValueError: letter must be one of a; got 'b'.
    """
    ((name, value),) = arguments.items()
    if value not in choices:
        listed = ", ".join(sorted(choices))
        raise ValueError(f"{name} must be one of {listed}; got {value!r}.")
    return choices[value]
