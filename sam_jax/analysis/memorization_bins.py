"""Memorization under two recipes: how far they agree, and where they differ."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from sam_jax import _checks
from sam_jax.analysis import memorization
from sam_jax.analysis.comparison import PICKERS, Comparison, pool_outcomes
from sam_jax.analysis.memorization import Estimates, Halves
from sam_jax.metrics import jackknife
from sam_jax.metrics.estimate import Estimate

BIN_EDGES = (0.1, 0.25, 0.4, 0.6, 0.85)
"""Inner edges of the bins of memorization; 0.6 to 0.85 is the paper's range."""


class Memorized(NamedTuple):
    """Memorization of the pool under both recipes.

    Attributes:
        estimates: Of the baseline and of the compared recipe.
        difference: Compared less baseline, paired.
        pearson: Correlation of the two over examples.
        spearman: The same of ranks.
        reliability: Pearson's correlation of the two halves' estimates: of the
            baseline with itself, of the compared with itself, and of one with the
            other (mean of both ways). 1 would be no noise; the last against the first
            two tells how far the recipes differ beyond noise.
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


def memorized(
    comparison: Comparison,
    *,
    outcome: str = "correct",
    picked_by: str = "both",
    level: float = 0.95,
) -> Memorized:
    """Returns memorization under both recipes, its difference by bin and correlation.

    Args:
        comparison: From ``compare``.
        outcome: ``"correct"`` or ``"probability"``; see ``memorization.outcomes``.
        picked_by: Key of ``PICKERS``: whose memorization makes the bins.
        level: Confidence level of the intervals, in (0, 1).

    Raises:
        ValueError: If an option is not one of those above.
    """
    keep, first = comparison.keep, comparison.first
    base, other = pool_outcomes(comparison, outcome)
    halves = [
        memorization.memorization_halves(o, keep, first)
        for o in (base, other, other - base)
    ]
    bins = memorization_bins(halves[0], halves[1], picked_by)
    num_bins = len(BIN_EDGES) + 1

    def correlations(used):
        pair = [partial_memorization(o, keep, used) for o in (base, other)]
        return [jackknife.pearson(*pair), jackknife.spearman(*pair)]

    pearson, spearman = jackknife.crossed_jackknife(
        correlations, *keep.shape, level=level
    )
    first_values, second_values = halves[0].values, halves[1].values
    across = [jackknife.pearson(first_values[h], second_values[1 - h]) for h in (0, 1)]
    counts = [(bins == number).sum() / 2 for number in range(num_bins)]
    return Memorized(
        (memorization.memorization(base, keep), memorization.memorization(other, keep)),
        memorization.memorization(other - base, keep),
        pearson,
        spearman,
        (
            jackknife.pearson(*first_values),
            jackknife.pearson(*second_values),
            float(np.mean(across)),
        ),
        bins,
        halves[2],
        [float(count) for count in counts],
        tuple(memorization.mean_by_bin(bins, h, num_bins, level) for h in halves),
    )


def memorization_bins(
    first: Halves, second: Halves, picked_by: str = "both"
) -> Int[np.ndarray, "2 n"]:
    """Returns the bin of ``BIN_EDGES`` of each example, as each half sees it.

    Args:
        first: Memorization by one optimizer's models, from each half of them.
        second: The same by the other optimizer's.
        picked_by: A name of ``PICKERS``: whose memorization picks the bin.

    Returns:
        Bins from 0; -1 where a half has no value.

    Raises:
        ValueError: If ``picked_by`` is not a name of ``PICKERS``.
    """
    picker = _checks.one_of(PICKERS, picked_by=picked_by)
    value = picker(first.values, second.values)
    return np.where(np.isfinite(value), np.digitize(value, BIN_EDGES), -1)


def contrast_of_bins(
    bins: Int[np.ndarray, "2 n"],
    halves: Halves,
    one: int,
    other: int,
    level: float = 0.95,
) -> Estimate:
    """Returns the mean in one bin less that in another, with its interval.

    The two bins share their models, so that this is no difference of independent
    means: values and noise of the other bin enter with a minus sign and both with the
    inverse of their numbers as weights.
    """
    counts = {b: int(np.sum(bins == b)) for b in (one, other)}
    if min(counts.values()) < 2:
        return Estimate(*[float("nan")] * 6)
    total = sum(counts.values())
    means = {
        b: memorization.mean_by_bin(bins, halves, max(one, other) + 1, level)[b].value
        for b in (one, other)
    }
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
    return memorization.mean_by_bin(both, scaled, 1, level)[0]


def partial_memorization(
    outcome: Float[np.ndarray, "m n"],
    keep: Bool[np.ndarray, "m n"],
    used: Bool[np.ndarray, "m n"],
) -> Float[np.ndarray, " n"]:
    """Returns memorization from some of the cells; NaN where a side has none."""
    means = []
    for side in (keep & used, ~keep & used):
        count = side.sum(axis=0)
        total = np.sum(outcome, axis=0, where=side)
        means.append(total / np.where(count > 0, count, np.nan))
    return means[0] - means[1]
