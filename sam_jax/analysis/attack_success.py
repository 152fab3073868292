"""Whether what is memorized is what attacks find."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from sam_jax.analysis import memorization
from sam_jax.analysis.comparison import Comparison, pool_outcomes
from sam_jax.analysis.memorization_bins import (
    BIN_EDGES,
    memorization_bins,
    partial_memorization,
)
from sam_jax.attacks import score_targets
from sam_jax.metrics import jackknife
from sam_jax.metrics.estimate import Estimate
from sam_jax.types import AttackFn, Signals


class Success(NamedTuple):
    """Attack success by memorization.

    Attributes:
        gap: Mean score in less mean score out, by bin, of each recipe, in nats.
        advantage: P(called a member given in) - P(called given out), by bin.
        pearson: Of memorization by one half and score gap by the other, per recipe.
        spearman: The same of ranks.
        values: Score gap of each example, mean of both halves, per recipe.
    """

    gap: tuple[list[Estimate], ...]
    advantage: tuple[list[Estimate], ...]
    pearson: tuple[Estimate, ...]
    spearman: tuple[Estimate, ...]
    values: tuple[Float[np.ndarray, " n"], ...]


def success(
    comparison: Comparison,
    attack: AttackFn,
    *,
    outcome: str = "correct",
    picked_by: str = "both",
    level: float = 0.95,
) -> Success:
    """Returns the attack's score gap and success by memorization.

    The attack on a target is fitted to models of the target's own half alone, so that
    the half that picks an example has no part in attacking it.

    Args:
        comparison: From ``compare``.
        attack: Such as LiRA; a score above 0 calls a member.
        outcome: What memorization is of; see ``memorized``.
        picked_by: Key of ``PICKERS``.
        level: Confidence level of the intervals, in (0, 1).

    Raises:
        ValueError: If an option is not one of those above.
    """
    keep, first = comparison.keep, comparison.first
    outcomes = pool_outcomes(comparison, outcome)
    halves = [memorization.memorization_halves(o, keep, first) for o in outcomes]
    bins = memorization_bins(halves[0], halves[1], picked_by)
    num_bins = len(BIN_EDGES) + 1
    gaps, calls, pearson, spearman, values = [], [], [], [], []
    for signals, result in zip(comparison.signals, outcomes, strict=True):
        scores = _score_halves(signals, comparison, attack)
        gap = memorization.memorization_halves(scores, keep, first)
        called = (scores > 0).astype(np.float64)
        call = memorization.memorization_halves(called, keep, first)
        gaps.append(memorization.mean_by_bin(bins, gap, num_bins, level))
        calls.append(memorization.mean_by_bin(bins, call, num_bins, level))
        found = _across_halves(result, scores, keep, first, level)
        pearson.append(found[0])
        spearman.append(found[1])
        values.append(gap.values.mean(axis=0))
    return Success(
        tuple(gaps), tuple(calls), tuple(pearson), tuple(spearman), tuple(values)
    )


def _score_halves(signals: Signals, comparison: Comparison, attack) -> np.ndarray:
    """Scores [M, N] of the pool, each half of the models attacked by itself."""
    scores = np.empty(comparison.keep.shape)
    for half in (comparison.first, ~comparison.first):
        of_half = signals.select(models=half, examples=comparison.pool)
        scores[half] = score_targets(attack, of_half)
    return scores


def _across_halves(outcome, scores, keep, first, level) -> list[Estimate]:
    """Correlations of memorization by one half with the score gap by the other."""

    def correlations(used):
        found = []
        for half in (first, ~first):
            memory = partial_memorization(outcome[half], keep[half], used[half])
            gap = partial_memorization(scores[~half], keep[~half], used[~half])
            found.append(
                [jackknife.pearson(memory, gap), jackknife.spearman(memory, gap)]
            )
        return np.mean(found, axis=0)

    return jackknife.crossed_jackknife(correlations, *keep.shape, level=level)
