"""Variances of rates at shadow-model thresholds, with the choice of the threshold.

The threshold of a target is itself an estimate, made from the scores of all others:
where scores know little, it is chosen almost at random, and the rates of all targets
move with it. Groups of models, examples and single pairs are therefore left out in
turn, and the thresholds chosen again. (A bootstrap would not do: a model drawn twice is
among the shadow models of its copy.) Scores enter as counts by bin, so that leaving out
is a subtraction.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Integer

from sam_jax.metrics.estimate import CrossedVariance, crossed_variance
from sam_jax.metrics.jackknife import jackknife_variance
from sam_jax.metrics.replicates import bin_codes
from sam_jax.metrics.shadow_thresholds import columns_by_class

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
    fprs: Sequence[float | None] = (None,),
) -> list[DecisionVariances]:
    """Returns the variances of rates at thresholds chosen on the other targets.

    Args:
        scores: Score of each example against each target; higher is member.
        keep: Whether the target trained on it.
        labels: Class of each example, for one threshold a class; one for all without.
        fprs: Rates that the thresholds aim at on the others, or None for their best
            balanced accuracy; variances are returned for each.
    """
    num_targets, num_examples = keep.shape
    # The group of each (target, example) pair: by example, by target, by itself.
    groups = _random_groups(num_targets, num_examples)
    outcomes = [np.zeros((size, len(fprs), 4)) for size, _ in groups]
    for chosen in columns_by_class(labels, num_examples):
        codes, num_codes = bin_codes(scores[:, chosen], keep[:, chosen])
        codes = codes.astype(np.int32)
        for cluster, (size, of_pair) in enumerate(groups):
            of_pair = np.broadcast_to(of_pair, keep.shape)[:, chosen]
            counts = _counts(codes, num_codes, of_pair, size)
            # Each class has thresholds for itself; counts add up over classes.
            outcomes[cluster] += _outcomes_without(counts, fprs)
    by_aim = []
    for aim, fpr in enumerate(fprs):
        variances = [jackknife_variance(_rates(o[:, aim])) for o in outcomes]
        by_aim.append(
            DecisionVariances(
                *(
                    crossed_variance(
                        *by_cluster,
                        example_degrees=groups[0][0] - 1,
                        target_degrees=groups[1][0] - 1,
                        max_degrees=BEST_DEGREES if fpr is None else float("inf"),
                    )
                    for by_cluster in zip(*variances, strict=True)
                )
            )
        )
    return by_aim


@functools.lru_cache(maxsize=2)
def _random_groups(num_targets: int, num_examples: int) -> list[tuple[int, np.ndarray]]:
    """Number and members of the groups of examples, targets and pairs."""
    rng = np.random.default_rng(0)
    num_example_groups = min(num_examples, NUM_GROUPS)
    num_target_groups = min(num_targets, NUM_GROUPS)
    even = (np.arange(num_targets * num_examples) % NUM_GROUPS).astype(np.uint8)
    examples = rng.permutation(np.arange(num_examples) % num_example_groups)
    targets = rng.permutation(np.arange(num_targets) % num_target_groups)
    return [
        (num_example_groups, examples[None].astype(np.uint8)),
        (num_target_groups, targets[:, None].astype(np.uint8)),
        (NUM_GROUPS, rng.permutation(even).reshape(num_targets, num_examples)),
    ]


def _counts(
    codes: Int[np.ndarray, "t n"],
    num_codes: int,
    groups: Integer[np.ndarray, "t n"],
    num_groups: int,
) -> Int[np.ndarray, "g t 2 b"]:
    """Pairs above the lower edge of each bin, by group, target and membership."""
    counts = np.empty((num_groups, len(codes), num_codes), np.int32)
    for target, (row, of_pair) in enumerate(zip(codes, groups, strict=True)):
        flat = of_pair.astype(np.int32) * num_codes + row
        found = np.bincount(flat, minlength=num_groups * num_codes)
        counts[:, target] = found.reshape(num_groups, num_codes)
    # Bin 0 is the highest: counts up to a bin are the decisions at its lower edge.
    counts = counts.reshape(num_groups, len(codes), 2, -1)
    return np.cumsum(counts, axis=-1, dtype=np.int32, out=counts)


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
    counts: Int[np.ndarray, "g t 2 b"], fprs: Sequence[float | None]
) -> Float[np.ndarray, "g p 4"]:
    """(True positives, members, false positives, non-members) without each group."""
    whole = counts.sum(axis=0, dtype=np.int32)
    outcomes = np.empty((len(counts), len(fprs), 4))
    every = np.arange(len(whole))
    for group, without in enumerate(counts):
        left = whole - without
        # A target's threshold comes from the counts of all other targets.
        others = left.sum(axis=0, dtype=np.int32) - left
        totals = np.maximum(others[..., -1:], 1)
        false, true = (others / totals).swapaxes(0, 1)
        for aim, fpr in enumerate(fprs):
            if fpr is None:
                # The lowest of equally good thresholds, as in `shadow_thresholds`.
                best = true.shape[1] - 1 - np.argmax((true - false)[:, ::-1], axis=1)
            else:
                best = np.sum(false <= fpr * (1 + 1e-12), axis=1) - 1
            decided = left[every, :, np.maximum(best, 0)].sum(axis=0)
            num_non_members, num_members = left[..., -1].sum(axis=0)
            outcomes[group, aim] = decided[1], num_members, decided[0], num_non_members
    return outcomes


def _rates(outcomes: Float[np.ndarray, "g 4"]) -> Float[np.ndarray, "g 4"]:
    """TPR, FPR, balanced accuracy and ``log TPR - log FPR``."""
    true, members, false, others = outcomes.T
    tpr, fpr = true / np.maximum(members, 1), false / np.maximum(others, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where((tpr > 0) & (fpr > 0), np.log(tpr) - np.log(fpr), np.nan)
    return np.stack([tpr, fpr, (tpr + 1 - fpr) / 2, ratio], axis=1)
