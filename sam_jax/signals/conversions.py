"""Model outputs of every supported meaning as logits or phi."""

from typing import Any, Literal, get_args

import numpy as np
from scipy import special

from sam_jax import _checks
from sam_jax._checks import ArgumentError
from sam_jax.signals.checks import check_logits, check_values, is_float, plain_array

SignalsAre = Literal["phi", "logits", "probabilities", "log_probabilities", "losses"]
"""What an array of model outputs can hold, and the names by which files say so."""

OUTPUTS: tuple[str, ...] = get_args(SignalsAre)

ROUNDING = 1e-5
"""Probabilities may exceed 1 by this much, and losses fall below 0."""

ROW_ROUNDING = 0.05
"""Rows of probabilities may sum to 1 within this much, as after rounding to 2 digits
or half precision."""


def convert(
    values: Any, signals_are: str, name: str = "signals"
) -> tuple[Literal["phi", "logits"], np.ndarray]:
    """Returns outputs as logits, or as phi where only the label's is known.

    | values | read as |
    | --- | --- |
    | phi [M, N] or [M, N, Q] | phi |
    | logits [M, N, C] or [M, N, Q, C] | logits |
    | probabilities or log-probabilities, whose last axis is over classes | logits |
    | those of the label alone, [M, N]; losses [M, N] or [M, N, Q] | phi |

    Args:
        values: The array.
        signals_are: What it holds.
        name: What to call it in an error.

    Raises:
        ArgumentError: If values cannot be what they are said to be.

    Example:
        >>> read_as, phi = convert(np.log([[3.0, 5.0]]), "losses")
        >>> read_as, np.exp(-phi).round(6)
        ('phi', array([[2., 4.]]))
    """
    _checks.literal(SignalsAre, signals_are=signals_are)
    array = plain_array(**{name: values})
    if not is_float(array):
        raise ArgumentError(name, f"must be a float array, got {array.dtype}.")
    if signals_are == "phi":
        return "phi", array
    if signals_are == "logits":
        return "logits", check_logits(array, name)
    # Probabilities near 1 keep more digits of 1 - p in double precision.
    array = array.astype(np.float64)
    if signals_are == "losses":
        return "phi", _phi_from_log(-_bounded(array, name, 0.0, np.inf, "losses"))
    if signals_are == "probabilities":
        array = _bounded(array, name, 0.0, 1.0, signals_are)
        with np.errstate(divide="ignore"):
            log_p = np.log(array)
        sums = array.sum(axis=-1)
    else:
        log_p = _bounded(array, name, -np.inf, 0.0, signals_are)
        sums = np.exp(special.logsumexp(log_p, axis=-1))
    # Of all classes or of the label alone: by the shape, then by whether the last
    # axis sums to 1.
    if array.ndim < 3 or array.shape[-1] == 1:
        return "phi", _phi_from_log(log_p)
    off = np.abs(sums - 1) > ROW_ROUNDING
    if name == "phi" and off.all():  # of the label, for several queries
        return "phi", _phi_from_log(log_p)
    if off.any():
        row = tuple(int(i) for i in np.argwhere(off)[0])
        raise ArgumentError(
            name,
            f"must be {signals_are} of all classes, which sum to 1 over the last axis, "
            f"but those at {row} sum to {sums[row]:.4g}. Those of the label alone are "
            "[models, examples].",
        )
    return "logits", log_p


def _bounded(
    array: np.ndarray, name: str, low: float, high: float, signals_are: str
) -> np.ndarray:
    """Values in [low, high], rid of the rounding beyond; NaN is refused."""
    check_values(**{name: array})
    outside = (array < low - ROUNDING) | (array > high + ROUNDING)
    if outside.any():
        first = tuple(int(i) for i in np.argwhere(outside)[0])
        rule = f"must be {signals_are}, in [{low:g}, {high:g}], got"
        raise ArgumentError(name, f"{rule} {array[first]:.4g} at index {first}.")
    return np.asarray(np.clip(array, low, high))


def _phi_from_log(log_p: np.ndarray | np.floating) -> np.ndarray:
    """``log(p / (1 - p))``: infinite where p is 0 or rounds to 1."""
    with np.errstate(divide="ignore"):
        # log(1 - p) by expm1, which loses nothing where p is near 1.
        return np.asarray(log_p - np.log(-np.expm1(log_p)))
