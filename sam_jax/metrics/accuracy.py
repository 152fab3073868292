"""Accuracies of models on their training examples and on unseen ones."""

import numpy as np
from jaxtyping import Bool, Float

from sam_jax import _checks
from sam_jax.metrics.estimate import MISSING, Estimate, mean_over_models
from sam_jax.metrics.roc import binomial_interval
from sam_jax.types import Signals


def accuracies(
    signals: Signals, unseen: Bool[np.ndarray, " n"] | None = None
) -> tuple[Float[np.ndarray, " m"], Float[np.ndarray, " m"]]:
    """Returns each model's accuracy on its training examples and on unseen ones.

    Args:
        signals: Of M models on N examples.
        unseen: True for the unseen examples; by default those in no model.

    Returns:
        Two arrays [M]; the second is NaN where there are no unseen examples.
    """
    keep, correct = _checks.mask(keep=signals.keep), np.asarray(signals.correct)
    apart = np.asarray(~keep.any(axis=0) if unseen is None else unseen)
    train = np.mean(correct, axis=1, where=keep)
    if not apart.any():
        return train, np.full(len(keep), np.nan)
    return train, correct[:, apart].mean(axis=1)


def accuracy_over_examples(
    correct: Bool[np.ndarray, " n"], level: float = 0.95
) -> Estimate:
    """Returns one model's accuracy with Clopper-Pearson limits for new examples."""
    if not correct.size:
        return MISSING
    value, count = float(correct.mean()), len(correct)
    low, high = binomial_interval(int(correct.sum()), count, level)
    error = float(np.sqrt(value * (1 - value) / count))
    return Estimate(value, low, high, error, float("inf"), 0.0)


def accuracy_gap_over_examples(
    correct: Bool[np.ndarray, " n"],
    baseline: Bool[np.ndarray, " n"],
    level: float = 0.95,
) -> Estimate:
    """Returns one model's accuracy minus another's on the same examples."""
    if len(correct) < 2:
        return MISSING
    gaps = correct.astype(np.float64) - baseline.astype(np.float64)
    return mean_over_models(gaps, level, bounds=(-1.0, 1.0))
