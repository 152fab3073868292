"""Accuracies of models on their training examples and on unseen ones."""

import numpy as np
from jaxtyping import Bool, Float

from sam_jax import _checks
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
