"""Accuracies of models on their training examples and on unseen ones."""

import numpy as np

from sam_jax.types import (
    Signals,
)


def accuracies(
    signals: Signals, unseen: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Returns each model's accuracy on its own examples and on unseen ones.

    Args:
        signals: What M models answered on N examples.
        unseen: Bool [N], the unseen examples; by default those in no model.

    Returns:
        Two arrays [M]; the second is NaN where there are no unseen examples.
    """
    keep, correct = np.asarray(signals.keep), np.asarray(signals.correct)
    apart = np.asarray(~keep.any(axis=0) if unseen is None else unseen)
    train = np.mean(correct, axis=1, where=keep)
    if not apart.any():
        return train, np.full(len(keep), np.nan)
    return train, correct[:, apart].mean(axis=1)
