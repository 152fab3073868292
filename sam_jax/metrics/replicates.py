"""Bootstrap replicates of attack metrics, one matrix product for all of them.

A replicate draws clusters of (target, example) pairs with replacement. Clusters are
the targets, groups of examples, or groups of pairs; the first two carry what scores of
one target or of one example share, the third only the noise of single pairs. Scores
enter through a histogram [clusters, member or not, bins]; weights [replicates,
clusters] times this histogram give the counts behind every replicate's ROC curve. The
bins are quantiles of the scores, and at the top there is one for each non-member and
one above it, so that low false-positive rates are as exact as in the full curve.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from sam_jax.metrics import roc
from sam_jax.metrics.estimate import IntervalConfig

WITHOUT_RATE = ("auc", "balanced_accuracy")
"""Metrics before the TPRs, in the order of every array of metrics."""

MAX_GROUPS = 256
"""Examples and pairs are drawn in at most this many random groups."""

NUM_QUANTILES = 256
"""Bin edges that follow the logarithm of the false-positive rate."""

PAIRS_IN_BLOCK = 2**20
"""(target, example) pairs that are counted at once."""


class Weights(NamedTuple):
    """Which clusters each replicate draws; shared by all that is to be compared.

    Attributes:
        targets: How often each of R replicates draws each of T targets.
        groups: How often each replicate draws each of G groups.
        example_groups: The group of each of N examples.
        pair_groups: The group of each (target, example) pair, in a byte.
    """

    targets: Float[np.ndarray, "r t"]
    groups: Float[np.ndarray, "r g"]
    example_groups: Int[np.ndarray, " n"]
    pair_groups: Int[np.ndarray, "t n"]


class Replicates(NamedTuple):
    """P metrics of the pooled scores, and of R replicates for each type of cluster."""

    value: Float[np.ndarray, " p"]
    targets: Float[np.ndarray, "r p"]
    examples: Float[np.ndarray, "r p"]
    pairs: Float[np.ndarray, "r p"]


class TargetReplicates(NamedTuple):
    """P metrics of each of T targets, and of R replicates that draw examples."""

    value: Float[np.ndarray, "t p"]
    examples: Float[np.ndarray, "t r p"]


def make_weights(shape: tuple[int, int], intervals: IntervalConfig) -> Weights:
    """Returns random groups and multinomial weights of mean 1 for a mask's shape."""
    num_targets, num_examples = shape
    rng = np.random.default_rng(intervals.seed)
    num_groups = min(num_examples, MAX_GROUPS)
    even = np.arange(num_targets * num_examples) % num_groups
    even = even.astype(np.uint8)
    return Weights(
        targets=_multinomial(rng, intervals.num_replicates, num_targets),
        groups=_multinomial(rng, intervals.num_replicates, num_groups),
        example_groups=rng.permutation(np.arange(num_examples) % num_groups),
        pair_groups=rng.permutation(even).reshape(num_targets, num_examples),
    )


def pooled_replicates(
    scores: Float[np.ndarray, "t n"],
    keep: Bool[np.ndarray, "t n"],
    fprs: Sequence[float],
    weights: Weights,
) -> Replicates:
    """Returns the metrics of one ROC curve over all targets, and their replicates."""
    ordered = sort_scores(scores, keep)
    edges = bin_edges(ordered)
    num_codes = 2 * (len(edges) + 1)
    (num_targets, num_examples), num_groups = scores.shape, weights.groups.shape[1]
    targets = np.zeros((num_targets, num_codes))
    examples, pairs = np.zeros((2, num_groups, num_codes))
    # Blocks of targets: nothing but the scores is held of all pairs.
    rows = max(1, PAIRS_IN_BLOCK // num_examples)
    for start in range(0, num_targets, rows):
        block = slice(start, start + rows)
        codes = codes_of(scores[block], keep[block], edges)
        numbers = np.arange(len(codes))[:, None]
        targets[block] = _histogram(numbers, codes, len(codes), num_codes)
        by_example, by_pair = weights.example_groups, weights.pair_groups[block]
        examples += _histogram(by_example, codes, num_groups, num_codes)
        pairs += _histogram(by_pair.astype(np.int64), codes, num_groups, num_codes)
    return Replicates(
        value=exact_metrics(ordered, fprs),
        targets=binned_metrics(weights.targets @ targets, fprs),
        examples=binned_metrics(weights.groups @ examples, fprs),
        pairs=binned_metrics(weights.groups @ pairs, fprs),
    )


def target_replicates(
    scores: Float[np.ndarray, "t n"],
    keep: Bool[np.ndarray, "t n"],
    fprs: Sequence[float],
    weights: Weights,
) -> TargetReplicates:
    """Returns the metrics of every target alone, and replicates that draw examples."""
    num_replicates, num_groups = weights.groups.shape
    # Whole numbers, which single precision holds exactly up to 2**24.
    is_exact = weights.groups.max(initial=0) * scores.shape[-1] < 2**24
    groups = weights.groups.astype(np.float32 if is_exact else np.float64)
    value = np.empty((len(scores), len(WITHOUT_RATE) + len(fprs)))
    examples = np.empty((len(scores), num_replicates, value.shape[1]))
    for target, (row, kept) in enumerate(zip(scores, keep, strict=True)):
        ordered = sort_scores(row, kept)
        edges = bin_edges(ordered)
        codes, num_codes = codes_of(row, kept, edges), 2 * (len(edges) + 1)
        histogram = _histogram(weights.example_groups, codes, num_groups, num_codes)
        value[target] = exact_metrics(ordered, fprs)
        counts = groups @ histogram.astype(groups.dtype)
        examples[target] = binned_metrics(counts, fprs)
    return TargetReplicates(value, examples)


def sort_scores(
    scores: Float[np.ndarray, "*shape"], keep: Bool[np.ndarray, "*shape"]
) -> tuple[np.ndarray, np.ndarray]:
    """Returns scores of members and of non-members, each ascending."""
    return np.sort(scores[keep]), np.sort(scores[~keep])


def exact_metrics(
    ordered: tuple[np.ndarray, np.ndarray], fprs: Sequence[float]
) -> Float[np.ndarray, " p"]:
    """Returns AUC, balanced accuracy and TPR at each rate; NaN if not resolvable.

    As ``roc.roc_curve`` and its readings give them, from counts and without the curve.
    """
    members, others = ordered
    num_members, num_others = len(members), len(others)
    below = np.searchsorted(others, members, side="left")
    up_to = np.searchsorted(others, members, side="right")
    area = (int(below.sum()) + int(up_to.sum())) / (2 * num_members * num_others)
    # TPR rises at members' scores alone, so there its distance to the FPR is largest.
    tpr = np.arange(num_members, 0, -1) / num_members
    advantage = np.max(tpr - (num_others - below) / num_others)
    at_rates = []
    for fpr in fprs:
        tpr_at = float("nan")
        if roc.is_resolvable(fpr, num_others):
            num_false = int(roc.num_allowed(fpr, num_others))
            num_true = num_members
            if num_false < num_others:
                first_too_many = others[-1 - num_false]
                at_most = np.searchsorted(members, first_too_many, side="right")
                num_true -= int(at_most)
            tpr_at = num_true / num_members
        at_rates.append(tpr_at)
    return np.array([area, (1 + max(advantage, 0.0)) / 2, *at_rates])


def bin_edges(ordered: tuple[np.ndarray, np.ndarray]) -> Float[np.ndarray, " e"]:
    """Returns ascending edges of bins that resolve low false-positive rates."""
    members, non_members = (scores[::-1] for scores in ordered)
    last = len(non_members) - 1
    # Each of the highest non-members, then ever fewer, with an edge above each so
    # that it has a bin to itself.
    tail = np.geomspace(1, last + 1, NUM_QUANTILES) - 1
    tail = non_members[np.rint(tail).astype(int)]
    # Both distributions as a whole, for AUC and balanced accuracy.
    coarse = NUM_QUANTILES // 4
    edges = [
        tail,
        np.nextafter(tail, np.inf, dtype=tail.dtype),
        non_members[np.linspace(0, last, coarse).astype(int)],
        members[np.linspace(0, len(members) - 1, coarse).astype(int)],
    ]
    return np.unique(np.concatenate(edges))


def codes_of(
    scores: Float[np.ndarray, "*shape"],
    keep: Bool[np.ndarray, "*shape"],
    edges: Float[np.ndarray, " e"],
) -> Int[np.ndarray, "*shape"]:
    """Returns bin + member * bins of each pair, bin 0 highest."""
    # An edge belongs to the bin above it: scores at a threshold reach it.
    bins = len(edges) - np.searchsorted(edges, scores, side="right")
    return bins + keep * (len(edges) + 1)


def bin_codes(
    scores: Float[np.ndarray, "*shape"], keep: Bool[np.ndarray, "*shape"]
) -> tuple[Int[np.ndarray, "*shape"], int]:
    """Returns the codes of all pairs in bins of their own, and how many there are."""
    edges = bin_edges(sort_scores(scores, keep))
    return codes_of(scores, keep, edges), 2 * (len(edges) + 1)


def binned_metrics(
    counts: Float[np.ndarray, "r codes"], fprs: Sequence[float]
) -> Float[np.ndarray, "r p"]:
    """Returns the metrics of ``exact_metrics`` from counts by ``bin_codes``."""
    counts = counts.reshape(len(counts), 2, -1)
    cumulative = np.cumsum(counts, axis=-1)
    cumulative = np.concatenate([np.zeros_like(cumulative[..., :1]), cumulative], -1)
    # A replicate may have drawn no member at all.
    rates = cumulative / np.maximum(cumulative[..., -1:], 1).astype(np.float64)
    fpr, tpr = rates[:, 0], rates[:, 1]
    area = np.sum(np.diff(fpr) * (tpr[:, 1:] + tpr[:, :-1]), axis=-1) / 2
    accuracy = (1 + np.max(tpr - fpr, axis=-1)) / 2
    at_rates = [_tpr_at(fpr, tpr, rate) for rate in fprs]
    return np.stack([area, accuracy, *at_rates], axis=-1)


def _multinomial(
    rng: np.random.Generator, num_replicates: int, size: int
) -> np.ndarray:
    shares = np.full(size, 1 / size)
    return rng.multinomial(size, shares, size=num_replicates).astype(np.float64)


def _histogram(
    clusters: np.ndarray, codes: np.ndarray, num_clusters: int, num_codes: int
) -> np.ndarray:
    flat = (clusters * num_codes + codes).ravel()
    counts = np.bincount(flat, minlength=num_clusters * num_codes)
    return counts.reshape(num_clusters, num_codes).astype(np.float64)


def _tpr_at(fpr: np.ndarray, tpr: np.ndarray, alpha: float) -> np.ndarray:
    """TPR at FPR alpha, linear within a bin: a step where it holds one non-member."""
    rows = np.arange(len(fpr))
    below = np.sum(fpr <= alpha * (1 + 1e-12), axis=-1) - 1
    above = np.minimum(below + 1, fpr.shape[-1] - 1)
    width = fpr[rows, above] - fpr[rows, below]
    share = (alpha - fpr[rows, below]) / np.where(width > 0, width, 1)
    share = np.where(width > 0, np.maximum(share, 0), 0)
    return tpr[rows, below] + share * (tpr[rows, above] - tpr[rows, below])
