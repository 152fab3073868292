"""Validators of arguments: each error names the argument, the rule and the value.

They run where a user enters, on Python values and static shapes. A setting that may
be traced (a learning rate under ``vmap``) is checked only while it is concrete.
"""

import math
import numbers
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, get_args

import numpy as np
from jaxtyping import Bool

T = TypeVar("T")


class ArgumentError(ValueError):
    """An argument that breaks a rule.

    The only error that the command line shows as a usage error (exit status 2), with
    the option's name in place of the argument's.

    Attributes:
        argument: The name of the argument.
        rule: The rule and the value, as the rest of the sentence.

    Example:
        >>> raise ArgumentError("num_models", "must be even, got 3.")
        Traceback (most recent call last):
        ...
        sam_jax._checks.ArgumentError: num_models must be even, got 3.
    """

    def __init__(self, argument: str, rule: str):
        super().__init__(f"{argument} {rule}")
        self.argument = argument
        self.rule = rule

    def __reduce__(self) -> tuple[Any, ...]:
        # Exceptions are pickled by their arguments, which are two here.
        return type(self), (self.argument, self.rule)


def is_concrete(value: Any) -> bool:
    """Whether ``value`` is a plain Python or NumPy real number, not a tracer."""
    return isinstance(value, numbers.Real)


def non_negative(**arguments: Any) -> None:
    """Raises ``ArgumentError`` unless every concrete argument is finite and >= 0."""
    for name, value in arguments.items():
        if is_concrete(value) and not (math.isfinite(value) and value >= 0):
            raise ArgumentError(name, f"must be finite and >= 0, got {value!r}.")


def positive(**arguments: Any) -> None:
    """Raises ``ArgumentError`` unless every concrete argument is finite and > 0."""
    for name, value in arguments.items():
        if is_concrete(value) and not (math.isfinite(value) and value > 0):
            raise ArgumentError(name, f"must be finite and > 0, got {value!r}.")


def in_unit_interval(**arguments: Any) -> None:
    """Raises ``ArgumentError`` unless every concrete argument lies in [0, 1]."""
    for name, value in arguments.items():
        if is_concrete(value) and not 0 <= value <= 1:
            raise ArgumentError(name, f"must lie in [0, 1], got {value!r}.")


def at_least(minimum: int, **arguments: Any) -> None:
    """Raises ``ArgumentError`` unless each is a whole number >= ``minimum``."""
    for name, value in arguments.items():
        whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
        if whole and int(value) >= 2**63:
            raise ArgumentError(name, f"must be below 2**63, got {value:,}.")
        if not whole or value < minimum:
            raise ArgumentError(
                name, f"must be a whole number >= {minimum}, got {value!r}."
            )


def confidence_level(level: Any) -> None:
    """Raises ``ArgumentError`` unless ``level`` is a number strictly in (0, 1)."""
    if not (is_concrete(level) and 0 < level < 1):
        raise ArgumentError(
            "level", f"must lie strictly between 0 and 1, got {level!r}."
        )


def false_positive_rates(fprs: Any) -> tuple[float, ...]:
    """Returns false-positive rates as a tuple of different floats in (0, 1].

    Raises:
        ArgumentError: If ``fprs`` is no sequence of such numbers.
    """
    if isinstance(fprs, str) or not isinstance(fprs, (Sequence, np.ndarray)):
        raise ArgumentError("fprs", f"must be a sequence of rates, got {fprs!r}.")
    for fpr in fprs:
        if not (is_concrete(fpr) and 0 < fpr <= 1):
            raise ArgumentError("fprs", f"must lie in (0, 1], got {fpr!r}.")
    rates = tuple(float(fpr) for fpr in fprs)
    if len(set(rates)) < len(rates):
        raise ArgumentError("fprs", f"must be different rates, got {rates}.")
    return rates


def mask(**arguments: Any) -> Bool[np.ndarray, "..."]:
    """Returns the one argument as a bool array; 0/1 numbers are a mask too.

    Integers must not reach ``~``, which negates their bits.

    Raises:
        ArgumentError: If it holds anything but True and False, or 1 and 0.

    Example:
        >>> mask(keep=[[1, 0], [0, 1]])
        array([[ True, False],
               [False,  True]])
    """
    ((name, value),) = arguments.items()
    array = np.asarray(value)
    is_masked = np.ma.is_masked(value)
    if array.dtype == np.bool_ and not is_masked:
        return array
    is_number = np.issubdtype(array.dtype, np.number)
    if is_masked or not (is_number and np.isin(array, (0, 1)).all()):
        hint = ""
        if array.dtype.kind in "iu" and array.min() >= 0:
            hint = " Of indices i of n examples it is np.isin(np.arange(n), i)."
        raise ArgumentError(
            name,
            "must be a mask of True and False (or 1 and 0), got "
            f"{array.dtype} of shape {array.shape}.{hint}",
        )
    return array.astype(np.bool_)


def display_name(**arguments: Any) -> None:
    """Raises ``ArgumentError`` unless names are fit for tables, plots and files.

    ``$`` starts a formula in plots; control characters and halves of surrogate pairs
    can be neither printed nor written.

    Example:
        >>> display_name(optimizer="sam rho=$0.1$")
        Traceback (most recent call last):
        ...
        sam_jax._checks.ArgumentError: optimizer must be a name of 1 to 100 printable \
characters without '$', got 'sam rho=$0.1$'.
    """
    for name, value in arguments.items():
        is_name = isinstance(value, str) and 0 < len(value.strip()) <= len(value) <= 100
        if not (is_name and value.isprintable() and "$" not in value):
            shown = ascii(value)
            shown = shown if len(shown) <= 120 else f"{shown[:100]}...'"
            raise ArgumentError(
                name,
                "must be a name of 1 to 100 printable characters without '$', got "
                f"{shown}.",
            )


def one_of(choices: Mapping[str, T], **arguments: str) -> T:
    """Returns ``choices[value]`` of the one argument; lists the choices otherwise.

    Example:
        >>> one_of({"a": 1}, letter="b")
        Traceback (most recent call last):
        ...
        sam_jax._checks.ArgumentError: letter must be one of a; got 'b'.
    """
    ((name, value),) = arguments.items()
    if not (isinstance(value, str) and value in choices):
        raise ArgumentError(name, f"must be one of {_listed(choices)}; got {value!r}.")
    return choices[value]


def literal(choices: Any, **arguments: Any) -> None:
    """Raises ``ArgumentError`` unless each argument is in a ``typing.Literal``.

    Example:
        >>> from typing import Literal
        >>> literal(Literal["mean", "median"], location="mode")
        Traceback (most recent call last):
        ...
        sam_jax._checks.ArgumentError: location must be one of mean, median; got 'mode'.
    """
    allowed = get_args(choices)
    for name, value in arguments.items():
        if value not in allowed:
            listed = ", ".join(map(str, allowed))
            raise ArgumentError(name, f"must be one of {listed}; got {value!r}.")


def first_line(error: BaseException) -> str:
    r"""Returns the first line of an error, to be shown in another's; or its type.

    Example:
        >>> first_line(ValueError("one\ntwo")), first_line(KeyError())
        ('one', 'KeyError')
    """
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def _listed(choices: Mapping[str, Any]) -> str:
    return ", ".join(sorted(choices))
