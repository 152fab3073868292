"""Test examples by the training examples that they lean on."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from sam_jax import _checks
from sam_jax.analysis import influence, memorization
from sam_jax.analysis.comparison import PICKERS, Comparison
from sam_jax.analysis.memorization_bins import Memorized, contrast_of_bins
from sam_jax.metrics.estimate import Estimate

NUM_BUCKETS = 5


class Typicality(NamedTuple):
    """Test examples by how many training examples they lean on.

    Attributes:
        entropy: Influence entropy of each test example, in nats, by all models.
        num_positive: Training examples whose influence counts.
        bucket: By all models: 1 (atypical) to 5, 0 without positive influence.
        same_bucket: Share of test examples that both halves put in one bucket.
        counts: Examples in buckets 0 to 5, mean of both halves.
        accuracy: By bucket 0 to 5, of baseline, compared, and their difference.
        first_less_last: Difference of the gains in bucket 1 and bucket 5.
        pairs: High-influence pairs of baseline and compared.
    """

    entropy: Float[np.ndarray, " t"]
    num_positive: Int[np.ndarray, " t"]
    bucket: Int[np.ndarray, " t"]
    same_bucket: float
    counts: list[float]
    accuracy: tuple[list[Estimate], ...]
    first_less_last: Estimate
    pairs: tuple[influence.Pairs, ...]


def compare_typicality(
    comparison: Comparison,
    found: Memorized,
    *,
    picked_by: str = "both",
    threshold: float = 0.0,
    num_pairs: int = 1000,
    level: float = 0.95,
) -> Typicality:
    """Returns influence entropy, accuracy by its buckets, and high-influence pairs.

    Args:
        comparison: From ``compare``.
        found: From ``memorized``, for the pairs.
        picked_by: Key of ``PICKERS``: whose models say which example is typical.
        threshold: As in ``influence.influence_entropy``, in standard errors.
        num_pairs: Pairs to keep, for each recipe.
        level: Confidence level of the intervals, in (0, 1).

    Raises:
        ValueError: If an option is out of range.
    """
    keep, first = comparison.keep, comparison.first
    correct = [np.asarray(s.correct)[:, comparison.test] for s in comparison.signals]
    _checks.one_of(PICKERS, picked_by=picked_by)
    rows = {"both": correct, "baseline": correct[:1], "compared": correct[1:]}
    chosen = rows[picked_by]

    def entropies(half):
        outcome = np.concatenate([c[half] for c in chosen])
        mask = np.concatenate([keep[half]] * len(chosen))
        return influence.influence_entropy(outcome, mask, threshold=threshold)

    whole = entropies(np.ones(len(keep), np.bool_))
    buckets = np.stack(
        [
            influence.entropy_buckets(entropies(half).entropy, NUM_BUCKETS)
            for half in (first, ~first)
        ]
    )
    base, other = (c.astype(np.float64) for c in correct)
    halves = [memorization.mean_halves(o, first) for o in (base, other, other - base)]
    gain = halves[2]
    accuracy = tuple(
        memorization.mean_by_bin(buckets, h, NUM_BUCKETS + 1, level) for h in halves
    )
    return Typicality(
        whole.entropy,
        whole.num_positive,
        influence.entropy_buckets(whole.entropy, NUM_BUCKETS),
        float(np.mean(buckets[0] == buckets[1])),
        [float((buckets == b).sum() / 2) for b in range(NUM_BUCKETS + 1)],
        accuracy,
        contrast_of_bins(buckets, gain, 1, NUM_BUCKETS, level),
        tuple(
            influence.high_influence_pairs(c, keep, e.value, limit=num_pairs)
            for c, e in zip(correct, found.estimates, strict=True)
        ),
    )
