"""Validation of the float64 arrays that the closed forms work on."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from sam_jax._checks import ArgumentError

Reals: TypeAlias = float | int | np.number | np.ndarray | Sequence[Any]
"""A real number or a (nested sequence or) array of them."""

Floats: TypeAlias = np.floating | np.ndarray
"""What NumPy computes from arrays: a scalar where all have no axes."""


def finite(name: str, value: Reals) -> np.ndarray:
    """Returns ``value`` as a float64 array; ``ArgumentError`` unless all are finite."""
    array = np.asarray(value, np.float64)
    if not np.all(np.isfinite(array)):
        bad = array[~np.isfinite(array)].flat[0]
        raise ArgumentError(name, f"must be finite, got {bad}.")
    return array


def positive(name: str, value: Reals) -> np.ndarray:
    """Returns ``value`` as float64; ``ArgumentError`` unless all are finite and > 0."""
    array = finite(name, value)
    if array.size and array.min() <= 0:
        raise ArgumentError(name, f"must be > 0, got {array.min()}.")
    return array


def non_negative(name: str, value: Reals) -> np.ndarray:
    """Returns ``value`` as float64; ``ArgumentError`` unless all are finite, >= 0."""
    array = finite(name, value)
    if array.size and array.min() < 0:
        raise ArgumentError(name, f"must be >= 0, got {array.min()}.")
    return array
