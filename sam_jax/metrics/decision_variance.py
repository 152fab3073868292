"""Variances of rates at shadow-model thresholds, with the choice of the threshold.

The threshold of a target is itself an estimate, made from the scores of all others:
where scores know little, it is chosen almost at random, and the rates of all targets
move with it. Groups of models, examples and single pairs are therefore left out in
turn, and the thresholds chosen again. (A bootstrap would not do: a model drawn twice is
among the shadow models of its copy.) Scores enter as counts by bin, so that leaving out
is a subtraction.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from sam_jax.metrics.estimate import CrossedVariance, crossed_variance
from sam_jax.metrics.jackknife import jackknife_variance
from sam_jax.metrics.replicates import bin_codes

NUM_GROUPS = 16
"""Groups of examples and of pairs, and of models where there are more."""


BEST_DEGREES = 4.0
"""Degrees of freedom at most at the best thresholds: where a maximum lies changes by
leaps, and so does its jackknife variance. By simulation (``benchmarks.coverage``)."""


class DecisionVariances(NamedTuple):
    """Variances of rates over all targets, each at the threshold of the others.

    Attributes:
        tpr: Of the true-positive rate.
        fpr: Of the false-positive rate.
        balanced_accuracy: Of ``(TPR + 1 - FPR) / 2``.
        log_ratio: Of ``log TPR - log FPR``, behind the precision; NaN where a rate is
            0 without some group.
    """

    tpr: CrossedVariance
    fpr: CrossedVariance
    balanced_accuracy: CrossedVariance
    log_ratio: CrossedVariance


def decision_variances(
    scores: Float[np.ndarray, "t n"],
    keep: Bool[np.ndarray, "t n"],
    labels: Int[np.ndarray, " n"] | None = None,
    fpr: float | None = None,
    seed: int = 0,
) -> DecisionVariances:
    """Returns the variances of rates at thresholds chosen on the other targets.

    Args:
        scores: Score of each example against each target; higher is member.
        keep: Whether the target trained on it.
        labels: Class of each example, for one threshold a class; one for all without.
        fpr: Rate that the threshold aims at on the others; their best balanced accuracy
            without.
        seed: Seed of the groups.
    """
    num_targets, num_examples = keep.shape
    rng = np.random.default_rng(seed)
    sizes = min(num_examples, NUM_GROUPS), min(num_targets, NUM_GROUPS), NUM_GROUPS
    # The group of each (target, example) pair: by example, by target, by itself.
    groups = (
        rng.permutation(np.arange(num_examples) % sizes[0])[None],
        rng.permutation(np.arange(num_targets) % sizes[1])[:, None],
        rng.permutation(np.arange(keep.size) % sizes[2]).reshape(keep.shape),
    )
    variances = []
    columns = [np.arange(num_examples)]
    if labels is not None:
        columns = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    for size, of_pair in zip(sizes, groups, strict=True):
        of_pair = np.broadcast_to(of_pair, keep.shape)
        outcomes = np.zeros((size, 4))
        for chosen in columns:
            # Each class has thresholds for itself; counts add up over classes.
            tables = scores[:, chosen], keep[:, chosen], of_pair[:, chosen]
            outcomes += list(_outcomes_without(*tables, size, fpr))
        variances.append(jackknife_variance(_rates(outcomes)))
    return DecisionVariances(
        *(
            crossed_variance(
                *by_cluster,
                example_degrees=sizes[0] - 1,
                target_degrees=sizes[1] - 1,
                max_degrees=float("inf") if fpr is not None else BEST_DEGREES,
            )
            for by_cluster in zip(*variances, strict=True)
        )
    )


def binomial_variances(
    decided: Bool[np.ndarray, "1 n"], keep: Bool[np.ndarray, "1 n"]
) -> DecisionVariances:
    """Returns the variances at one model's fixed thresholds, over examples alone.

    Those of the rates are 0, for which limits of a binomial rate are taken.
    """
    (tpr, members), (fpr, others) = (
        (float(decided[side].mean()), int(side.sum())) for side in (keep, ~keep)
    )
    half = tpr * (1 - tpr) / members + fpr * (1 - fpr) / others
    log_ratio = float("nan")
    if tpr > 0 and fpr > 0:
        log_ratio = (1 - tpr) / (tpr * members) + (1 - fpr) / (fpr * others)
    fixed = CrossedVariance(0.0, float("inf"), 0.0)
    return DecisionVariances(
        fixed,
        fixed,
        fixed._replace(variance=half / 4),
        fixed._replace(variance=log_ratio),
    )


def _outcomes_without(
    scores: np.ndarray,
    keep: np.ndarray,
    groups: np.ndarray,
    num_groups: int,
    fpr: float | None,
) -> Iterator[Sequence[float]]:
    """(True positives, members, false positives, non-members) without each group."""
    codes, num_codes = bin_codes(scores, keep)
    num_targets = len(scores)
    # One histogram over group, target, member or not, and bin of the score.
    flat = (groups * num_targets + np.arange(num_targets)[:, None]) * num_codes + codes
    size = num_groups * num_targets * num_codes
    counts = np.bincount(flat.ravel(), minlength=size)
    # Bin 0 is the highest: counts up to a bin are the decisions at its lower edge.
    counts = counts.reshape(num_groups, num_targets, 2, -1).cumsum(axis=-1)
    whole = counts.sum(axis=0)
    for without in counts:
        left = whole - without
        # A target's threshold comes from the counts of all other targets.
        others = left.sum(axis=0) - left
        totals = np.maximum(others[..., -1:], 1)
        false, true = (others / totals).swapaxes(0, 1)
        if fpr is None:
            # The lowest of equally good thresholds, as in `shadow_thresholds`.
            best = true.shape[1] - 1 - np.argmax((true - false)[:, ::-1], axis=1)
        else:
            best = np.maximum(np.sum(false <= fpr * (1 + 1e-12), axis=1) - 1, 0)
        decided = left[np.arange(num_targets), :, best].sum(axis=0)
        yield decided[1], left[:, 1, -1].sum(), decided[0], left[:, 0, -1].sum()


def _rates(outcomes: Float[np.ndarray, "g 4"]) -> Float[np.ndarray, "g 4"]:
    """TPR, FPR, balanced accuracy and ``log TPR - log FPR``."""
    true, members, false, others = outcomes.T
    tpr, fpr = true / np.maximum(members, 1), false / np.maximum(others, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where((tpr > 0) & (fpr > 0), np.log(tpr) - np.log(fpr), np.nan)
    return np.stack([tpr, fpr, (tpr + 1 - fpr) / 2, ratio], axis=1)
