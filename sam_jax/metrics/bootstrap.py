"""Bootstrap replicates of attack metrics, one matrix product for all of them.

A replicate draws clusters of cells (target, example) with replacement. Clusters are
the targets, groups of examples, or groups of cells; the first two carry what scores of
one target or of one example share, the third only the noise of single cells. Scores
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

MAX_GROUPS = 256
"""Examples and cells are drawn in at most this many random groups."""

NUM_QUANTILES = 256
"""Bin edges that follow the logarithm of the false-positive rate."""


class Plan(NamedTuple):
    """Which clusters each replicate draws; shared by all that is to be compared.

    Attributes:
        target_weights: How often each of R replicates draws each of T targets.
        group_weights: How often each replicate draws each of G groups.
        example_groups: The group of each of N examples.
        cell_groups: The group of each cell.
    """

    target_weights: Float[np.ndarray, "r t"]
    group_weights: Float[np.ndarray, "r g"]
    example_groups: Int[np.ndarray, " n"]
    cell_groups: Int[np.ndarray, "t n"]


class Replicates(NamedTuple):
    """P metrics of the pooled scores, and of R replicates for each kind of cluster."""

    value: Float[np.ndarray, " p"]
    targets: Float[np.ndarray, "r p"]
    examples: Float[np.ndarray, "r p"]
    cells: Float[np.ndarray, "r p"]


class TargetReplicates(NamedTuple):
    """P metrics of each of T targets, and of R replicates that draw examples."""

    value: Float[np.ndarray, "t p"]
    examples: Float[np.ndarray, "t r p"]


class Variances(NamedTuple):
    """Bootstrap variances of P metrics, by what is drawn again."""

    targets: Float[np.ndarray, " p"]
    examples: Float[np.ndarray, " p"]
    cells: Float[np.ndarray, " p"]


def make_plan(keep: Bool[np.ndarray, "t n"], num_replicates: int, seed: int) -> Plan:
    """Returns random groups and multinomial weights of mean 1 for a mask's shape."""
    num_targets, num_examples = keep.shape
    rng = np.random.default_rng(seed)
    num_groups = min(num_examples, MAX_GROUPS)
    even = np.arange(num_targets * num_examples) % num_groups
    return Plan(
        target_weights=_multinomial(rng, num_replicates, num_targets),
        group_weights=_multinomial(rng, num_replicates, num_groups),
        example_groups=rng.permutation(np.arange(num_examples) % num_groups),
        cell_groups=rng.permutation(even).reshape(num_targets, num_examples),
    )


def pooled_replicates(
    scores: Float[np.ndarray, "t n"],
    keep: Bool[np.ndarray, "t n"],
    fprs: Sequence[float],
    plan: Plan,
) -> Replicates:
    """Returns the metrics of one ROC curve over all targets, and their replicates."""
    codes, num_codes = _codes(scores, keep)
    targets = np.broadcast_to(np.arange(len(scores))[:, None], scores.shape)
    examples = np.broadcast_to(plan.example_groups, scores.shape)

    def draw(weights: np.ndarray, clusters: np.ndarray) -> np.ndarray:
        histogram = _histogram(clusters, codes, weights.shape[1], num_codes)
        return _metrics(weights @ histogram, fprs)

    return Replicates(
        value=exact_metrics(scores.ravel(), keep.ravel(), fprs),
        targets=draw(plan.target_weights, targets),
        examples=draw(plan.group_weights, examples),
        cells=draw(plan.group_weights, plan.cell_groups),
    )


def target_replicates(
    scores: Float[np.ndarray, "t n"],
    keep: Bool[np.ndarray, "t n"],
    fprs: Sequence[float],
    plan: Plan,
) -> TargetReplicates:
    """Returns the metrics of every target alone, and replicates that draw examples."""
    num_groups = plan.group_weights.shape[1]
    value, examples = [], []
    for row, kept in zip(scores, keep, strict=True):
        codes, num_codes = _codes(row, kept)
        histogram = _histogram(plan.example_groups, codes, num_groups, num_codes)
        value.append(exact_metrics(row, kept, fprs))
        examples.append(_metrics(plan.group_weights @ histogram, fprs))
    return TargetReplicates(np.stack(value), np.stack(examples))


def exact_metrics(
    scores: Float[np.ndarray, " n"], keep: Bool[np.ndarray, " n"], fprs: Sequence[float]
) -> Float[np.ndarray, " p"]:
    """Returns AUC, balanced accuracy and TPR at each rate; NaN if not resolvable."""
    curve = roc.roc_curve(scores, keep)
    at_rates = [roc.tpr_at_fpr(curve, fpr) for fpr in fprs]
    return np.array([roc.auc(curve), roc.balanced_accuracy(curve), *at_rates])


def pooled_variances(replicates: Replicates, plan: Plan) -> Variances:
    """Returns the variances of pooled metrics, or of their differences."""
    groups = plan.group_weights.shape[1]
    return Variances(
        targets=_variance(replicates.targets, plan.target_weights.shape[1]),
        examples=_variance(replicates.examples, groups),
        cells=_variance(replicates.cells, groups),
    )


def mean_variances(replicates: TargetReplicates, plan: Plan) -> Variances:
    """Returns the variances of the means over targets, or of their differences."""
    num_targets, groups = len(replicates.value), plan.group_weights.shape[1]
    alone = [_variance(target, groups) for target in replicates.examples]
    cells = np.sum(alone, axis=0) / num_targets**2
    between = np.var(replicates.value, axis=0, ddof=1) if num_targets > 1 else cells
    return Variances(
        targets=between / num_targets,
        examples=_variance(replicates.examples.mean(axis=0), groups),
        cells=cells,
    )


def _variance(draws: np.ndarray, num_clusters: int) -> np.ndarray:
    """Variance over replicates, corrected for drawing from the sample itself."""
    if num_clusters == 1:
        return np.zeros(draws.shape[1])
    return np.var(draws, axis=0, ddof=1) * num_clusters / (num_clusters - 1)


def _multinomial(rng: np.random.Generator, num_replicates: int, size: int):
    shares = np.full(size, 1 / size)
    return rng.multinomial(size, shares, size=num_replicates).astype(np.float64)


def _codes(scores: np.ndarray, keep: np.ndarray) -> tuple[np.ndarray, int]:
    """Returns bin + (member) * bins for each cell, bin 0 highest; and 2 * bins."""
    non_members = -np.sort(-scores[~keep], axis=None)
    members = -np.sort(-scores[keep], axis=None)
    last = len(non_members) - 1
    tail = np.geomspace(1, last + 1, NUM_QUANTILES) - 1
    tail = non_members[np.rint(tail).astype(int)]
    coarse = NUM_QUANTILES // 4
    edges = [
        tail,
        np.nextafter(tail, np.inf),
        non_members[np.linspace(0, last, coarse).astype(int)],
        members[np.linspace(0, len(members) - 1, coarse).astype(int)],
    ]
    edges = np.unique(np.concatenate(edges))
    # An edge belongs to the bin above it, as a threshold calls what reaches it.
    bins = len(edges) - np.searchsorted(edges, scores, side="right")
    num_bins = len(edges) + 1
    return bins + keep * num_bins, 2 * num_bins


def _histogram(clusters, codes, num_clusters: int, num_codes: int) -> np.ndarray:
    flat = (clusters * num_codes + codes).ravel()
    counts = np.bincount(flat, minlength=num_clusters * num_codes)
    return counts.reshape(num_clusters, num_codes).astype(np.float64)


def _metrics(counts: np.ndarray, fprs: Sequence[float]) -> np.ndarray:
    """AUC, balanced accuracy and TPR at each rate [R, P] from counts [R, 2 * bins]."""
    counts = counts.reshape(len(counts), 2, -1)
    cumulative = np.cumsum(counts, axis=-1)
    cumulative = np.concatenate([np.zeros_like(cumulative[..., :1]), cumulative], -1)
    rates = cumulative / np.maximum(cumulative[..., -1:], 1)
    fpr, tpr = rates[:, 0], rates[:, 1]
    area = np.sum(np.diff(fpr) * (tpr[:, 1:] + tpr[:, :-1]), axis=-1) / 2
    accuracy = (1 + np.max(tpr - fpr, axis=-1)) / 2
    at_rates = [_tpr_at(fpr, tpr, rate) for rate in fprs]
    return np.stack([area, accuracy, *at_rates], axis=-1)


def _tpr_at(fpr: np.ndarray, tpr: np.ndarray, alpha: float) -> np.ndarray:
    """TPR at FPR alpha, linear within a bin: a step where it holds one non-member."""
    rows = np.arange(len(fpr))
    below = np.sum(fpr <= alpha * (1 + 1e-12), axis=-1) - 1
    above = np.minimum(below + 1, fpr.shape[-1] - 1)
    width = fpr[rows, above] - fpr[rows, below]
    share = (alpha - fpr[rows, below]) / np.where(width > 0, width, 1)
    share = np.where(width > 0, np.maximum(share, 0), 0)
    return tpr[rows, below] + share * (tpr[rows, above] - tpr[rows, below])
