"""Typicality of test examples: accuracy by buckets of influence entropy."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from sam_jax import _checks
from sam_jax.analysis import memorization
from sam_jax.analysis.comparison import Comparison, SelectedBy
from sam_jax.analysis.influence import Pairs, high_influence_pairs
from sam_jax.analysis.influence_entropy import (
    Entropies,
    entropy_buckets,
    influence_entropy,
)
from sam_jax.analysis.memorization import Estimates
from sam_jax.analysis.memorization_comparison import bin_difference
from sam_jax.metrics.estimate import Estimate

NUM_BUCKETS = 5
"""Buckets of equal size, 1 for the lowest influence entropy."""


class Typicality(NamedTuple):
    """Test examples by how many training examples support them.

    Attributes:
        entropy: Influence entropy of each test example, in nats, by all models.
        num_positive: Training examples whose influence counts.
        bucket: By all models: 1 (atypical) to 5, 0 without positive influence.
        same_bucket: Share of test examples that both halves put in one bucket.
        counts: Examples in buckets 0 to 5, mean of both halves.
        accuracy: By bucket 0 to 5, of baseline, compared, and their difference.
        first_minus_last: Gain in bucket 1 minus gain in bucket 5.
        pairs: High-influence pairs of baseline and compared.
    """

    entropy: Float[np.ndarray, " t"]
    num_positive: Int[np.ndarray, " t"]
    bucket: Int[np.ndarray, " t"]
    same_bucket: float
    counts: list[float]
    accuracy: tuple[list[Estimate], ...]
    first_minus_last: Estimate
    pairs: tuple[Pairs, ...]


def compare_typicality(
    comparison: Comparison,
    estimates: Sequence[Estimates],
    *,
    selected_by: SelectedBy = "both",
    threshold: float = 0.0,
) -> Typicality:
    """Returns influence entropy, accuracy by its buckets, and high-influence pairs.

    Args:
        comparison: From ``compare_optimizers``.
        estimates: Memorization under both optimizers, for the pairs.
        selected_by: Whose models select the bucket of an example.
        threshold: As in ``influence_entropy``, in standard errors.

    Raises:
        ValueError: If an option is out of range.
    """
    _checks.literal(SelectedBy, selected_by=selected_by)
    keep, first = comparison.keep, comparison.first
    correct = [np.asarray(s.correct)[:, comparison.test] for s in comparison.signals]
    selecting = {"both": correct, "baseline": correct[:1], "compared": correct[1:]}

    def entropies(half: Bool[np.ndarray, " m"]) -> Entropies:
        outcomes = [c[half] for c in selecting[selected_by]]
        # Both optimizers' models count as one set, twice as large.
        mask = np.concatenate([keep[half]] * len(outcomes))
        return influence_entropy(np.concatenate(outcomes), mask, threshold=threshold)

    whole = entropies(np.ones(len(keep), np.bool_))
    by_half = [
        entropy_buckets(entropies(h).entropy, NUM_BUCKETS) for h in (first, ~first)
    ]
    buckets = np.stack(by_half)
    # The buckets of one half meet the accuracies of the other.
    base, other = (c.astype(np.float64) for c in correct)
    halves = [memorization.mean_halves(o, first) for o in (base, other, other - base)]
    accuracy = [memorization.mean_by_bin(buckets, h, NUM_BUCKETS + 1) for h in halves]
    return Typicality(
        entropy=whole.entropy,
        num_positive=whole.num_positive,
        bucket=entropy_buckets(whole.entropy, NUM_BUCKETS),
        same_bucket=float(np.mean(buckets[0] == buckets[1])),
        counts=[float((buckets == b).sum() / 2) for b in range(NUM_BUCKETS + 1)],
        accuracy=tuple(accuracy),
        first_minus_last=bin_difference(buckets, halves[2], 1, NUM_BUCKETS),
        pairs=tuple(
            high_influence_pairs(c, keep, e.value)
            for c, e in zip(correct, estimates, strict=True)
        ),
    )
