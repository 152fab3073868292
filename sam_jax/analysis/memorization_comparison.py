"""Memorization under two optimizers: correlation, and difference by bin."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from sam_jax.analysis import memorization
from sam_jax.analysis.comparison import (
    Comparison,
    SelectedBy,
    pool_outcomes,
    selection_outcome,
)
from sam_jax.analysis.memorization import Estimates, Halves, Outcome
from sam_jax.metrics import jackknife
from sam_jax.metrics.estimate import MISSING, Estimate

BIN_EDGES = (0.1, 0.25, 0.4, 0.6, 0.85)
"""Inner edges of the bins of memorization; 0.6 to 0.85 is the paper's range."""


class MemorizationComparison(NamedTuple):
    """Memorization of the pool under both optimizers.

    Attributes:
        estimates: Of the baseline and of the compared optimizer.
        difference: Compared minus baseline, paired.
        pearson: Correlation of the two over examples.
        spearman: The same of ranks.
        reliability: Pearson's correlation of the two halves' estimates: of the
            baseline with itself, of the compared with itself, and of one with the
            other (mean of both ways). 1 would be no noise; the last against the first
            two tells how far the optimizers differ beyond noise.
        bins: Bin of each example as each half sees it.
        gain: The difference as each half sees it.
        counts: Examples in each bin, mean of both halves.
        by_bin: Mean memorization by bin, of baseline, compared, and their difference.
    """

    estimates: tuple[Estimates, ...]
    difference: Estimates
    pearson: Estimate
    spearman: Estimate
    reliability: tuple[float, ...]
    bins: Int[np.ndarray, "2 n"]
    gain: Halves
    counts: list[float]
    by_bin: tuple[list[Estimate], ...]


def compare_memorization(
    comparison: Comparison,
    *,
    outcome: Outcome = "correct",
    selected_by: SelectedBy = "both",
) -> MemorizationComparison:
    """Returns memorization under both optimizers, by bin and correlated.

    Args:
        comparison: From ``compare_optimizers``.
        outcome: See ``memorization.outcomes``.
        selected_by: Whose memorization selects the bins.

    Raises:
        ValueError: If an option is not one of those above.
    """
    keep, first = comparison.keep, comparison.first
    base, other = pool_outcomes(comparison, outcome)
    # Of the paired difference too, in which what the models share cancels.
    halves = [
        memorization.memorization_halves(o, keep, first)
        for o in (base, other, other - base)
    ]
    bins = memorization_bins(selection_outcome(base, other, selected_by), keep, first)
    num_bins = len(BIN_EDGES) + 1

    def correlations(used: Bool[np.ndarray, "m n"]) -> list[float]:
        pair = [partial_memorization(o, keep, used) for o in (base, other)]
        return [jackknife.pearson(*pair), jackknife.spearman(*pair)]

    pearson, spearman = jackknife.crossed_jackknife(correlations, *keep.shape)
    # Half against half: within each optimizer, and across, both ways.
    first_values, second_values = halves[0].values, halves[1].values
    across = [jackknife.pearson(first_values[h], second_values[1 - h]) for h in (0, 1)]
    within = [jackknife.pearson(*values) for values in (first_values, second_values)]
    return MemorizationComparison(
        estimates=(
            memorization.memorization(base, keep),
            memorization.memorization(other, keep),
        ),
        difference=memorization.memorization(other - base, keep),
        pearson=pearson,
        spearman=spearman,
        reliability=(*within, float(np.mean(across))),
        bins=bins,
        gain=halves[2],
        counts=[float((bins == number).sum() / 2) for number in range(num_bins)],
        by_bin=tuple(memorization.mean_by_bin(bins, h, num_bins) for h in halves),
    )


def memorization_bins(
    outcome: Float[np.ndarray, "m n"],
    keep: Bool[np.ndarray, "m n"],
    first: Bool[np.ndarray, " m"],
) -> Int[np.ndarray, "2 n"]:
    """Returns the bin of ``BIN_EDGES`` of each example, as each half sees it.

    Args:
        outcome: Outcomes whose memorization selects; see ``selection_outcome``.
        keep: True where the model trained on the example.
        first: True for models of the first half.

    Returns:
        Bins from 0; -1 where a half has no value.
    """
    values = memorization.memorization_halves(outcome, keep, first).values
    return np.where(np.isfinite(values), np.digitize(values, BIN_EDGES), -1)


def bin_difference(
    bins: Int[np.ndarray, "2 n"], halves: Halves, one: int, other: int
) -> Estimate:
    """Returns the mean in one bin minus that in another, with its interval.

    The two bins share their models, so that this is no difference of independent
    means: values and noise of the other bin enter with a minus sign and both with the
    inverse of their numbers as weights.
    """
    counts = {b: int(np.sum(bins == b)) for b in (one, other)}
    if min(counts.values()) < 2:
        return MISSING
    total = sum(counts.values())
    by_bin = memorization.mean_by_bin(bins, halves, max(one, other) + 1)
    means = {b: by_bin[b].value for b in (one, other)}
    gap = means[one] - means[other]
    # Residual plus the gap: its mean over the two bins together is the gap, and its
    # deviations are those of the contrast.
    measured = bins[::-1]
    factor = np.zeros(measured.shape)
    for b, sign in ((one, 1), (other, -1)):
        factor[measured == b] = sign * total / counts[b]
    centre = np.where(measured == one, means[one], means[other])
    values = gap + factor * (halves.values - centre)
    noise = halves.noise * factor[np.where(halves.first, 0, 1)]
    both = np.where((bins == one) | (bins == other), 0, -1)
    scaled = Halves(values, noise, halves.first)
    return memorization.mean_by_bin(both, scaled, 1)[0]


def partial_memorization(
    outcome: Float[np.ndarray, "m n"],
    keep: Bool[np.ndarray, "m n"],
    used: Bool[np.ndarray, "m n"],
) -> Float[np.ndarray, " n"]:
    """Returns memorization from the pairs that are used; NaN without any on a side."""
    means = []
    for side in (keep & used, ~keep & used):
        count = side.sum(axis=0)
        total = np.sum(outcome, axis=0, where=side)
        means.append(total / np.where(count > 0, count, np.nan))
    return means[0] - means[1]
