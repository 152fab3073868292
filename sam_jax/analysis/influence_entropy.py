"""Influence entropy of test examples, and buckets of typical and atypical ones."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Shaped

from sam_jax import _checks
from sam_jax.analysis.influence import influence_blocks

CACHE_ELEMENTS = 2**17
"""Numbers that are reduced at once: half a MiB of float32 stays in a core's cache."""

ROUNDING = np.float32(2**-18)
"""Influence up to this is rounding: that of equal means in and out."""


class Entropies(NamedTuple):
    """Influence entropy of T test examples.

    Attributes:
        entropy: In nats; NaN where no influence is positive.
        num_positive: Training examples whose influence counts.
    """

    entropy: Float[np.ndarray, " t"]
    num_positive: Int[np.ndarray, " t"]


def influence_entropy(
    outcome: Shaped[np.ndarray, "m t"],
    keep: Shaped[np.ndarray, "m n"],
    *,
    threshold: float = 0.0,
    block_size: int | None = None,
) -> Entropies:
    """Returns the entropy of where each test example's positive influence comes from.

    With ``a_i = max(influence of i, 0)`` and ``p = a / sum a`` it is ``-sum p log p``:
    low for an atypical example that few training examples support. Noise looks like
    high entropy: thousands of training examples without influence each have a little
    by chance. The threshold leaves out what is not clearly there; then few count where
    nothing is there, which lowers the entropy in its turn: look at ``num_positive``.

    Args:
        outcome: Outcomes of M models on T test examples.
        keep: True where the model trained on the training example.
        threshold: Count an influence only above so many of its standard errors.
        block_size: As in ``influence_blocks``.

    Raises:
        ValueError: As in ``influence_blocks``, or for a threshold below 0.
    """
    _checks.non_negative(threshold=threshold)
    parts = []
    for block in influence_blocks(
        outcome, keep, block_size=block_size, standard_errors=threshold > 0
    ):
        positive = block.influence
        if block.standard_error is not None:
            clear = np.float32(threshold) * block.standard_error
            positive = np.where(positive > clear, positive, 0)
        rows = max(1, CACHE_ELEMENTS // max(positive.shape[1], 1))
        for first in range(0, len(positive), rows):
            parts.append(_entropy(positive[first : first + rows]))
    entropy, num_positive = (np.concatenate(p) for p in zip(*parts, strict=True))
    return Entropies(entropy, num_positive)


def entropy_buckets(
    entropy: Float[np.ndarray, " t"], num_buckets: int = 5
) -> Int[np.ndarray, " t"]:
    """Returns equal buckets: 1 for the lowest entropy (atypical), 0 where it is NaN.

    Equal values are kept in order, so that buckets differ by one example at most.

    Raises:
        ValueError: If ``num_buckets`` is below 1.

    Example:
        >>> entropy_buckets(np.array([3.0, 1.0, np.nan, 2.0, 4.0]), 2).tolist()
        [2, 1, 0, 1, 2]
    """
    _checks.at_least(1, num_buckets=num_buckets)
    known = np.flatnonzero(~np.isnan(entropy))
    order = known[np.argsort(entropy[known], kind="stable")]
    buckets = np.zeros(len(entropy), np.int64)
    buckets[order] = 1 + np.arange(len(order)) * num_buckets // max(len(order), 1)
    return buckets


def _entropy(influence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Entropy of the positive part of each row, and how many entries it has."""
    counts = influence > ROUNDING
    positive = np.where(counts, influence, 0)
    total = positive.sum(axis=1, dtype=np.float64)
    # With total A, -sum p log p = log A - sum(a log a) / A: no division per entry.
    logs = np.log(np.where(counts, influence, 1))
    moment = np.einsum("bn,bn->b", positive, logs)
    known = np.where(total > 0, total, np.nan)
    entropy = np.maximum(np.log(known) - moment / known, 0)
    return entropy, np.count_nonzero(counts, axis=1)
