"""Exposure of each training example, its uncertainty, and its change.

An example is attacked once by every target. Scores of different targets are first put
on a common scale: the false-positive rate at which the example would be accused, among
the target's non-members. Exposure is ``-log10`` of it: 2 means accused at one false
alarm in a hundred. (What Carlini et al., "The Secret Sharer", 2019, call exposure is
another number: the rank of a canary's perplexity among all that it might have been.)
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

from sam_jax import _checks
from sam_jax.metrics import roc
from sam_jax.metrics.member_auc import member_aucs

PRIOR_COUNT = 4.0
"""The pooled variance weighs as much as this many targets, as in LiRA."""

NUM_TOP = 20
"""The most exposed examples of one half that are looked at in the other."""

EXAMPLES_IN_BLOCK = 4096
"""Examples that are ranked at once."""


class Risk(NamedTuple):
    """What is known about each example; NaN where no target (or every one) had it.

    Attributes:
        exposure: Mean over the targets that trained on it of ``-log10`` of the
            false-positive rate at which they accuse it.
        error: Standard error of ``exposure`` over targets, its standard
            deviation shrunk towards the pooled one.
        score: Mean score over the targets with it, in the unit of the attack.
        score_error: Its standard error, likewise.
        auc: Its rank over targets: P(a target with it exposes it more than one
            without it).
        caught: Targets with it that accuse it at the chosen false-positive rate.
        num_in: Targets with it.
        rank: 1 for the most exposed; the score orders equal exposures.
        rank_low: The best rank that it might have: those whose exposure lies above
            the upper end of its 95 % interval come before it.
        rank_high: The worst, likewise.
    """

    exposure: Float[np.ndarray, " n"]
    error: Float[np.ndarray, " n"]
    score: Float[np.ndarray, " n"]
    score_error: Float[np.ndarray, " n"]
    auc: Float[np.ndarray, " n"]
    caught: Int[np.ndarray, " n"]
    num_in: Int[np.ndarray, " n"]
    rank: Int[np.ndarray, " n"]
    rank_low: Int[np.ndarray, " n"]
    rank_high: Int[np.ndarray, " n"]


class Reliability(NamedTuple):
    """How far a ranking by exposure would repeat itself with other models.

    Attributes:
        correlation: Spearman's, between the exposures of two halves of the targets.
        top_seen: Mean exposure, in one half, of the examples most exposed there.
        top_again: The same examples in the other half: what selection did not add.
        everyone: Mean exposure of all examples.
    """

    correlation: float
    top_seen: float
    top_again: float
    everyone: float


def pair_exposure(
    scores: Float[np.ndarray, "t n"], keep: roc.Mask
) -> Float[np.ndarray, "t n"]:
    """Returns ``-log10`` of the FPR at which each target accuses each example.

    ``FPR = (1 + non-members that score as high) / (1 + non-members)``, the example
    itself left out: between ``1 / (1 + non-members)`` and 1.
    """
    keep = _checks.mask(keep=keep)
    exposures = np.empty(scores.shape)
    for target, (row, kept) in enumerate(zip(scores, keep, strict=True)):
        others = np.sort(row[~kept])
        as_high = len(others) - np.searchsorted(others, row, side="left")
        # A non-member is among the others: it is left out of both counts.
        as_high = as_high - ~kept
        exposures[target] = -np.log10((1 + as_high) / (1 + len(others) - ~kept))
    return exposures


def risk(scores: Float[np.ndarray, "t n"], keep: roc.Mask, fpr: float = 0.01) -> Risk:
    """Returns the exposure of each example, its uncertainty and its rank.

    Args:
        scores: Score of each example against each target; higher is member.
        keep: Whether the target trained on it.
        fpr: False-positive rate at which ``caught`` counts accusations.

    Raises:
        ArgumentError: If ``fpr`` is not above 0.
    """
    _checks.positive(fpr=fpr)
    keep = _checks.mask(keep=keep)
    exposures = pair_exposure(scores, keep)
    exposure, error = _mean_and_error(exposures, keep)
    score, score_error = _mean_and_error(np.asarray(scores, np.float64), keep)
    # By exposure, then by score: the last key comes first.
    order = np.lexsort((-score, -exposure))  # NaN last
    rank = np.empty(len(order), int)
    rank[order] = np.arange(1, len(order) + 1)
    # Ranks at the ends of each example's interval, among the exposures of all.
    known = np.sort(exposure[~np.isnan(exposure)])
    half = 1.96 * error
    above = len(known) - np.searchsorted(known, exposure + half, side="right")
    not_below = len(known) - np.searchsorted(known, exposure - half, side="left")
    return Risk(
        exposure=exposure,
        error=error,
        score=score,
        score_error=score_error,
        auc=_auc_over_targets(exposures, keep),
        caught=((exposures >= -np.log10(fpr)) & keep).sum(axis=0),
        num_in=keep.sum(axis=0),
        rank=rank,
        rank_low=np.minimum(above + 1, rank),
        rank_high=np.maximum(not_below, rank),
    )


def exposure_change(
    scores: Float[np.ndarray, "t n"], baseline: Float[np.ndarray, "t n"], keep: roc.Mask
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Returns each example's exposure minus that under the baseline, and its error.

    Paired by target: the same training set under both optimizers.
    """
    keep = _checks.mask(keep=keep)
    change = pair_exposure(scores, keep) - pair_exposure(baseline, keep)
    return _mean_and_error(change, keep)


def reliability(scores: Float[np.ndarray, "t n"], keep: roc.Mask) -> Reliability:
    """Returns how a ranking on one random half of the targets fares on the other.

    Examples that either half has no target for are left out.

    Args:
        scores: Score of each example against each target; higher is member.
        keep: Whether the target trained on it.
    """
    keep = _checks.mask(keep=keep)
    exposures = pair_exposure(scores, keep)
    order = np.random.default_rng(0).permutation(len(exposures))
    halves = np.array_split(order, 2)
    first, again = (_mean_and_error(exposures[half], keep[half])[0] for half in halves)
    known = ~np.isnan(first) & ~np.isnan(again)
    if known.sum() < 3:
        return Reliability(*[float("nan")] * 4)
    first, again = first[known], again[known]
    top = np.argsort(-first, kind="stable")[:NUM_TOP]
    constant = np.ptp(first) == 0 or np.ptp(again) == 0
    return Reliability(
        float("nan") if constant else float(stats.spearmanr(first, again).statistic),
        float(first[top].mean()),
        float(again[top].mean()),
        float(np.mean([first, again])),
    )


def _mean_and_error(
    exposures: np.ndarray, keep: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean over the targets with the example; its error with a shrunk variance."""
    count = keep.sum(axis=0)
    some = np.maximum(count, 1)
    mean = np.sum(exposures, axis=0, where=keep) / some
    scatter = np.sum((exposures - mean) ** 2, axis=0, where=keep)
    freedom = np.maximum(count - 1, 0)
    pooled = scatter.sum() / max(int(freedom.sum()), 1)
    variance = (PRIOR_COUNT * pooled + scatter) / (PRIOR_COUNT + freedom)
    error = np.sqrt(variance / some)
    return np.where(count > 0, mean, np.nan), np.where(count > 0, error, np.nan)


def _auc_over_targets(exposures: np.ndarray, keep: np.ndarray) -> np.ndarray:
    """AUC of each example, over the targets with it against those without."""
    starts = range(0, keep.shape[1], EXAMPLES_IN_BLOCK)
    blocks = [np.s_[:, start : start + EXAMPLES_IN_BLOCK] for start in starts]
    aucs = [member_aucs(exposures[block].T, keep[block].T) for block in blocks]
    return np.concatenate(aucs)
