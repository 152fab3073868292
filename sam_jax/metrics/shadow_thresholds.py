"""Thresholds on scores, chosen as an attacker can: on shadow models, not the target.

An example counts as a member where its score is at least the threshold. Each target's
thresholds come from the scores of all other models, pooled, and maximise the balanced
accuracy there; one for all examples, or one per class. The best threshold of a target
needs its membership: it is an oracle, and goes by that name. NumPy, float64.

Song and Mittal, "Systematic Evaluation of Privacy Risks of Machine Learning Models",
2021, https://arxiv.org/abs/2003.10595, section 4 (shadow-chosen, per class); Yeom et
al., "Privacy Risk in Machine Learning", 2018, https://arxiv.org/abs/1709.01604.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from sam_jax import _checks
from sam_jax.metrics import roc

MaskArray = Bool[np.ndarray, "_ _"] | Int[np.ndarray, "_ _"]
"""Whether each model trained on each example; 1 and 0 are taken too."""

MAX_CANDIDATES = 4096
"""Thresholds tried: all distinct scores, or this many quantiles if there are more."""

BEST, BEST_PER_CLASS = "best on shadow models", "best on shadow models, per class"


class Choice(NamedTuple):
    """Thresholds of one rule.

    Attributes:
        thresholds: Of each target, for all examples [T, 1] or each [T, N].
        labels: Classes with a threshold each; None for one threshold.
        fpr: The false-positive rate aimed at, if any.
    """

    thresholds: Float[np.ndarray, "t _"]
    labels: np.ndarray | None
    fpr: float | None


def shadow_thresholds(
    scores: Float[np.ndarray, "t n"],
    keep: MaskArray,
    labels: Int[np.ndarray, "n"] | None = None,
) -> Float[np.ndarray, "t n"]:
    """Returns each target's threshold per example, chosen on the other targets.

    Counts of every model at every candidate are taken once, and the target's
    subtracted: integers, so nothing is lost.

    Args:
        scores: Score of each example against each model; higher is member.
        keep: Whether the model trained on it.
        labels: Class of each example, for one threshold a class; one for all without.

    Returns:
        The threshold that applies to each example, the lowest of equally good ones.

    Raises:
        ArgumentError: If shapes differ, scores are NaN, or there is only one model.
    """
    _checks.at_least(2, num_models=len(scores))
    return _best_thresholds(scores, _checked(scores, keep), labels, is_oracle=False)


def oracle_thresholds(
    scores: Float[np.ndarray, "t n"], keep: MaskArray
) -> Float[np.ndarray, "t n"]:
    """Returns each target's best threshold on its members, which no attacker has."""
    return _best_thresholds(scores, _checked(scores, keep), None, is_oracle=True)


def shadow_fpr_thresholds(
    scores: Float[np.ndarray, "t n"], keep: MaskArray, fpr: float
) -> Float[np.ndarray, "t"]:
    """Returns each target's lowest threshold with FPR at most ``fpr`` on the others.

    The false-positive rate is that of the other targets' non-members, pooled. All
    scores are sorted once; a target's are stepped over.

    Raises:
        ArgumentError: As in ``shadow_thresholds``, or if ``fpr`` is not in (0, 1].
    """
    keep = _checked(scores, keep)
    _checks.at_least(2, num_models=len(scores))
    _checks.positive(fpr=fpr)
    _checks.in_unit_interval(fpr=fpr)
    # Only the highest scores can set a threshold: as many as are allowed, and as many
    # as the target itself may have among them.
    numbers = np.arange(len(scores), dtype=np.int32)[:, None]
    models = np.broadcast_to(numbers, scores.shape)[~keep]
    values = scores[~keep]
    num_of_target = (~keep).sum(axis=1)
    allowed = roc.num_allowed(fpr, len(values) - num_of_target)
    size = min(int(allowed.max() + num_of_target.max()) + 1, len(values))
    top = np.argpartition(-values, size - 1)[:size]
    top = top[np.argsort(-values[top], kind="stable")]
    thresholds = np.empty(len(scores))
    for target, num_allowed in enumerate(allowed):
        thresholds[target] = _lowest(values[top[models[top] != target]], num_allowed)
    return thresholds


def choose_thresholds(
    scores: Float[np.ndarray, "t n"],
    keep: Bool[np.ndarray, "t n"],
    labels: Int[np.ndarray, "n"] | None,
    fprs: Sequence[float],
) -> dict[str, Choice]:
    """Returns each target's thresholds by rule (``shadow_threshold_decisions``)."""
    best = shadow_thresholds(scores, keep)
    chosen = {BEST: Choice(best, None, None)}
    if labels is not None and len(np.unique(labels)) > 1:
        by_class = shadow_thresholds(scores, keep, labels)
        chosen[BEST_PER_CLASS] = Choice(by_class, labels, None)
    num_other = int((~keep).sum() - (~keep).sum(axis=1).max())
    for fpr in _checks.false_positive_rates(fprs):
        if roc.is_resolvable(fpr, num_other):
            column = shadow_fpr_thresholds(scores, keep, fpr)[:, None]
            rule = f"FPR {100 * fpr:g} % on shadow models"
            chosen[rule] = Choice(column, None, fpr)
    return chosen


def population_thresholds(
    scores: Float[np.ndarray, " p"], fprs: Sequence[float]
) -> dict[str, float]:
    """Returns by rule the lowest threshold with at most each FPR on a population.

    Args:
        scores: Of examples that the target did not train on, and that do not count.
        fprs: Rates; those that so few examples cannot show are left out.
    """
    ordered, chosen = -np.sort(-np.asarray(scores, np.float64)), {}
    for fpr in _checks.false_positive_rates(fprs):
        if roc.is_resolvable(fpr, len(ordered)):
            num_allowed = int(roc.num_allowed(fpr, len(ordered)))
            rule = f"FPR {100 * fpr:g} % on the population"
            chosen[rule] = float(_lowest(ordered, num_allowed))
    return chosen


def _lowest(
    descending: np.ndarray, num_allowed: int | np.integer
) -> float | np.floating:
    """The lowest threshold that at most so many of the scores reach."""
    if num_allowed >= len(descending):
        return -np.inf
    # Just above the first score too many, whose ties are decided together.
    return np.nextafter(descending[num_allowed], np.inf)


def accuracy_at(
    scores: Float[np.ndarray, "t n"],
    keep: MaskArray,
    thresholds: Float[np.ndarray, "t n"],
) -> Float[np.ndarray, "t"]:
    """Returns each target's ``(TPR + 1 - FPR) / 2``; NaN where a side is empty."""
    keep = _checked(scores, keep)
    is_above = scores >= thresholds
    with np.errstate(invalid="ignore"):
        tpr = (is_above & keep).sum(axis=1) / keep.sum(axis=1)
        fpr = (is_above & ~keep).sum(axis=1) / (~keep).sum(axis=1)
    return (tpr + 1 - fpr) / 2


def _best_thresholds(
    scores: np.ndarray, keep: np.ndarray, labels: np.ndarray | None, is_oracle: bool
) -> np.ndarray:
    """Thresholds of the best balanced accuracy on the others, or on the target."""
    thresholds = np.empty(scores.shape, np.result_type(scores, np.float32))
    for columns in columns_by_class(labels, scores.shape[1]):
        candidates = _candidates(scores[:, columns])
        counts = _decisions(scores[:, columns], keep[:, columns], candidates)
        if not is_oracle:
            counts = [of_side.sum(axis=0) - of_side for of_side in counts]
        # Balanced accuracy at each candidate; column 0 holds the totals.
        tpr, fpr = (c[:, 1:] / np.maximum(c[:, :1], 1) for c in counts)
        best = ((tpr + 1 - fpr) / 2).argmax(axis=1)
        thresholds[:, columns] = candidates[best][:, None]
    return thresholds


def _checked(scores: np.ndarray, keep: np.ndarray) -> np.ndarray:
    """The mask as booleans; raises unless it is one and the scores are numbers."""
    keep = _checks.mask(keep=keep)
    if scores.shape != keep.shape:
        rule = f"and keep must have one shape, got {scores.shape}, {keep.shape}."
        raise _checks.ArgumentError("scores", rule)
    if np.isnan(scores).any():
        rule = f"must not be NaN, got {np.isnan(scores).sum()} NaN."
        raise _checks.ArgumentError("scores", rule)
    return keep


def columns_by_class(
    labels: np.ndarray | None, num_examples: int
) -> list[Int[np.ndarray, " c"]]:
    """Returns the columns that share a threshold: all of them, or each class."""
    if labels is None:
        return [np.arange(num_examples)]
    return [np.flatnonzero(labels == label) for label in np.unique(labels)]


def _candidates(scores: np.ndarray) -> np.ndarray:
    """Increasing thresholds that decide differently, and one above all scores."""
    distinct = np.unique(scores)
    if len(distinct) > MAX_CANDIDATES:
        ranks = np.linspace(0, len(distinct) - 1, MAX_CANDIDATES).round().astype(int)
        distinct = distinct[ranks]
    return np.append(distinct.astype(np.float64), np.inf)


def _decisions(
    scores: np.ndarray, keep: np.ndarray, candidates: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Members and non-members above each candidate, totals first: [T, K + 1] counts."""
    size = len(candidates) + 1
    counts = np.empty((len(scores), 2 * size), np.int64)
    for target, (row, kept) in enumerate(zip(scores, keep, strict=True)):
        # A score is above the candidates at or below it.
        num_below = np.searchsorted(candidates, row, side="right")
        counts[target] = np.bincount(num_below + kept * size, minlength=2 * size)
    counts = counts.reshape(len(scores), 2, size)[..., ::-1].cumsum(axis=-1)[..., ::-1]
    return counts[:, 1], counts[:, 0]
