"""Attack success by memorization."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from sam_jax.analysis import memorization
from sam_jax.analysis.comparison import (
    Comparison,
    SelectedBy,
    pool_outcomes,
    selection_outcome,
)
from sam_jax.analysis.memorization import Outcome
from sam_jax.analysis.memorization_comparison import (
    BIN_EDGES,
    memorization_bins,
    partial_memorization,
)
from sam_jax.attacks import score_targets
from sam_jax.metrics import jackknife
from sam_jax.metrics.estimate import Estimate
from sam_jax.types import AttackFn, Signals


class AttackSuccess(NamedTuple):
    """Attack success by memorization.

    Attributes:
        gap: Mean score in minus mean score out, by bin, of each optimizer, in nats.
        advantage: P(said a member given in) - P(said a member given out), by bin.
        pearson: Of memorization by one half and score gap by the other, per optimizer.
        spearman: The same of ranks.
        values: Score gap of each example, mean of both halves, per optimizer.
    """

    gap: tuple[list[Estimate], ...]
    advantage: tuple[list[Estimate], ...]
    pearson: tuple[Estimate, ...]
    spearman: tuple[Estimate, ...]
    values: tuple[Float[np.ndarray, " n"], ...]


def compare_attack_success(
    comparison: Comparison,
    attack: AttackFn,
    *,
    outcome: Outcome = "correct",
    selected_by: SelectedBy = "both",
) -> AttackSuccess:
    """Returns the attack's score gap and success by memorization.

    The attack on a target is fitted to models of the target's half alone, so that the
    half that selects an example has no share in attacking it.

    Args:
        comparison: From ``compare_optimizers``.
        attack: Such as LiRA; a score above 0 says that the example is a member.
        outcome: See ``memorization.outcomes``.
        selected_by: Whose memorization selects the bins.

    Raises:
        ValueError: If an option is not one of those above.
    """
    keep, first = comparison.keep, comparison.first
    base, other = pool_outcomes(comparison, outcome)
    selecting = selection_outcome(base, other, selected_by)
    bins = memorization_bins(selecting, keep, first)
    num_bins = len(BIN_EDGES) + 1
    gaps, advantages, pearson, spearman, values = [], [], [], [], []
    # Each optimizer by itself: its scores, decisions and correlations.
    for signals, optimizer_outcome in zip(
        comparison.signals, (base, other), strict=True
    ):
        scores = _score_halves(signals, comparison, attack)
        decisions = (scores > 0).astype(np.float64)
        gap = memorization.memorization_halves(scores, keep, first)
        advantage = memorization.memorization_halves(decisions, keep, first)
        gaps.append(memorization.mean_by_bin(bins, gap, num_bins))
        advantages.append(memorization.mean_by_bin(bins, advantage, num_bins))
        correlations = _across_halves(optimizer_outcome, scores, comparison)
        pearson.append(correlations[0])
        spearman.append(correlations[1])
        values.append(gap.values.mean(axis=0))
    return AttackSuccess(
        tuple(gaps), tuple(advantages), tuple(pearson), tuple(spearman), tuple(values)
    )


def _score_halves(
    signals: Signals, comparison: Comparison, attack: AttackFn
) -> Float[np.ndarray, "m n"]:
    """Scores of the pool, each half of the models attacked by itself."""
    scores = np.empty(comparison.keep.shape)
    for half in (comparison.first, ~comparison.first):
        half_signals = signals.select(models=half, examples=comparison.pool)
        scores[half] = score_targets(attack, half_signals)
    return scores


def _across_halves(
    outcome: Float[np.ndarray, "m n"],
    scores: Float[np.ndarray, "m n"],
    comparison: Comparison,
) -> list[Estimate]:
    """Correlations of memorization by one half with the score gap by the other."""
    keep, first = comparison.keep, comparison.first

    def correlations(used: Bool[np.ndarray, "m n"]) -> Float[np.ndarray, " 2"]:
        by_half = []
        for half in (first, ~first):
            memorized = partial_memorization(outcome[half], keep[half], used[half])
            gap = partial_memorization(scores[~half], keep[~half], used[~half])
            pair = jackknife.pearson(memorized, gap), jackknife.spearman(memorized, gap)
            by_half.append(pair)
        return np.mean(by_half, axis=0)

    return jackknife.crossed_jackknife(correlations, *keep.shape)
