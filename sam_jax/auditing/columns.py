"""Columns of the signals that are examples behind the figures, and canaries."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from sam_jax.metrics.roc import varying_columns
from sam_jax.types import Signals


class Columns(NamedTuple):
    """True for the examples behind all figures; and the columns of the canaries."""

    counted: Bool[np.ndarray, " n"]
    canaries: Int[np.ndarray, " c"]


def count_columns(
    signals: Signals, canaries: Int[np.ndarray, " c"] | None = None
) -> Columns:
    """Returns the examples that count: with and without a model, and no canary."""
    counted = varying_columns(np.asarray(signals.keep))
    canaries = np.zeros(0, np.int64) if canaries is None else canaries
    counted[canaries] = False
    return Columns(counted, canaries)
