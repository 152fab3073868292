"""ROC curves of membership scores, and what is read off them.

Higher scores mean more likely a member, everywhere. At a threshold, what scores at or
above it is decided to be a member; equal scores fall on one side together, so ties are
one step of the curve and never broken by order. All NumPy, float64.
"""

from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, Real
from scipy import stats

from sam_jax import _checks
from sam_jax._checks import ArgumentError

Mask = Bool[jax.Array | np.ndarray, "..."] | Real[jax.Array | np.ndarray, "..."]
"""True for members; 0 and 1 of any type will do."""


class RocCurve(NamedTuple):
    """Error rates at every threshold, from no positive decision to all positive.

    Attributes:
        fpr: Fraction of non-members decided to be members; non-decreasing from 0 to 1.
        tpr: Fraction of members decided to be members; non-decreasing from 0 to 1.
        thresholds: Decreasing; the first is ``inf``, the others are the scores.
        num_members: Number of members behind ``tpr``.
        num_non_members: Number of non-members behind ``fpr``; rates below its
            inverse cannot be measured.
    """

    fpr: Float[np.ndarray, " k"]
    tpr: Float[np.ndarray, " k"]
    thresholds: Float[np.ndarray, " k"]
    num_members: int
    num_non_members: int


class Counts(NamedTuple):
    """Right and wrong decisions at one threshold.

    Attributes:
        true_positives: Members decided to be members.
        num_members: All members.
        false_positives: Non-members decided to be members.
        num_non_members: All non-members.
    """

    true_positives: int
    num_members: int
    false_positives: int
    num_non_members: int


def float_scores(scores: Any) -> np.ndarray:
    """Returns scores in NumPy, as float64 unless they are float32."""
    scores = np.asarray(scores)
    return (
        scores if scores.dtype == np.float32 else scores.astype(np.float64, copy=False)
    )


def check_scores(scores: np.ndarray, keep: np.ndarray) -> None:
    """Raises ``ArgumentError`` for unequal shapes, NaN scores or a missing class."""
    keep = _checks.mask(keep=keep)
    if scores.shape != keep.shape:
        rule = f"must have the shape of scores, {scores.shape}; got {keep.shape}."
        raise ArgumentError("keep", rule)
    if np.isnan(scores).any():
        count = int(np.isnan(scores).sum())
        raise ArgumentError("scores", f"must not be NaN, got {count} of {scores.size}.")
    if keep.all() or not keep.any():
        rule = "must mark at least one member and one non-member, got"
        raise ArgumentError("keep", f"{rule} {int(keep.sum())} of {keep.size}.")


def roc_curve(scores: Float[jax.Array | np.ndarray, " n"], keep: Mask) -> RocCurve:
    """Returns the ROC curve with one point per distinct score.

    Args:
        scores: Higher means more likely a member; ``inf`` is allowed, NaN is not.
        keep: True for members.

    Raises:
        ArgumentError: If a score is NaN, or all or none are members.

    Example:
        >>> roc = roc_curve(np.array([3.0, 2.0, 2.0, 1.0]), np.array([1, 1, 0, 0]) > 0)
        >>> roc.fpr.tolist(), roc.tpr.tolist()
        ([0.0, 0.0, 0.5, 1.0], [0.0, 0.5, 1.0, 1.0])
    """
    scores, keep = np.asarray(scores, np.float64), _checks.mask(keep=keep)
    check_scores(scores, keep)
    order = np.argsort(-scores, kind="stable")
    scores, keep = scores[order], keep[order]
    last_of_tie = np.append(scores[1:] != scores[:-1], True)
    true_positives = np.cumsum(keep)[last_of_tie]
    false_positives = np.cumsum(~keep)[last_of_tie]
    num_members, num_non_members = int(keep.sum()), int((~keep).sum())
    return RocCurve(
        fpr=np.append(0.0, false_positives / num_non_members),
        tpr=np.append(0.0, true_positives / num_members),
        thresholds=np.append(np.inf, scores[last_of_tie]),
        num_members=num_members,
        num_non_members=num_non_members,
    )


def auc(roc: RocCurve) -> float:
    """Returns the area under the curve: P(member scores higher), ties counting half.

    Example:
        >>> auc(roc_curve(np.array([0.9, 0.4, 0.6, 0.1]), np.array([1, 1, 0, 0]) > 0))
        0.75
    """
    # In whole numbers of pairs, so that any way to count them gives the same float.
    true = np.rint(roc.tpr * roc.num_members).astype(np.int64)
    false = np.rint(roc.fpr * roc.num_non_members).astype(np.int64)
    twice = int(np.sum(np.diff(false) * (true[1:] + true[:-1])))
    return twice / (2 * roc.num_members * roc.num_non_members)


def balanced_accuracy(roc: RocCurve) -> float:
    """Returns ``max (TPR + 1 - FPR) / 2``, the best over all thresholds.

    The threshold is the best for these very scores, so the value lies above 1/2 even
    where the scores know nothing: it is an oracle, not what an attacker would reach.
    """
    return (1 + advantage(roc)) / 2


def advantage(roc: RocCurve) -> float:
    """Returns ``max (TPR - FPR)``, the membership advantage of the best threshold.

    References:
        Yeom et al., "Privacy Risk in Machine Learning: Analyzing the Connection to
        Overfitting", 2018, https://arxiv.org/abs/1709.01604, Definition 4.
    """
    return float(np.max(roc.tpr - roc.fpr))


def is_resolvable(alpha: float, num_non_members: int) -> bool:
    """Whether ``num_non_members`` can show a false-positive rate of ``alpha``."""
    return bool(num_non_members * alpha >= 1 - 1e-9)


def num_allowed(alpha: float, num_non_members: Any) -> Any:
    """Returns how many false positives are a rate of at most ``alpha``; whole numbers.

    The tolerance lets a rate of exactly ``alpha`` pass in spite of rounding.
    """
    return np.floor(alpha * np.asarray(num_non_members) * (1 + 1e-12)).astype(int)


def tpr_at_fpr(roc: RocCurve, alpha: float) -> float:
    """Returns the largest TPR among thresholds with ``FPR <= alpha``.

    No interpolation between thresholds.

    | case | value |
    | --- | --- |
    | fewer than ``1 / alpha`` non-members | NaN: not resolvable |
    | the highest score is a tie of more than ``alpha`` of the non-members | 0 |

    Args:
        roc: The curve; ``roc.num_non_members`` says how many stand behind the rate.
        alpha: False-positive rate, in ``(0, 1]``.

    Raises:
        ArgumentError: If ``alpha`` lies outside ``(0, 1]``.

    References:
        Carlini et al., "Membership Inference Attacks From First Principles", 2022,
        https://arxiv.org/abs/2112.03570, Section III.
    """
    _checks.positive(alpha=alpha)
    _checks.in_unit_interval(alpha=alpha)
    if not is_resolvable(alpha, roc.num_non_members):
        return float("nan")
    # The tolerance lets a rate of exactly alpha pass in spite of rounding.
    return float(roc.tpr[roc.fpr <= alpha * (1 + 1e-12)][-1])


def counts_at(
    scores: Float[jax.Array | np.ndarray, "*shape"], keep: Mask, threshold: float
) -> Counts:
    """Returns the decisions at a threshold fixed elsewhere.

    Args:
        scores: Higher means more likely a member.
        keep: True for members.
        threshold: Scores at or above it are decided to be members. Choose it on shadow
            models or on other examples: on the same scores it would be an oracle.

    Raises:
        ArgumentError: If a score is NaN, or all or none are members.

    Example:
        >>> scores, keep = np.array([3.0, 2.0, 2.0, 1.0]), np.array([1, 1, 0, 0])
        >>> counts_at(scores, keep, 2.0).false_positives
        1
    """
    scores, keep = np.asarray(scores, np.float64), _checks.mask(keep=keep)
    check_scores(scores, keep)
    decided = scores >= threshold
    return Counts(
        true_positives=int((decided & keep).sum()),
        num_members=int(keep.sum()),
        false_positives=int((decided & ~keep).sum()),
        num_non_members=int((~keep).sum()),
    )


def precision_at_prior(tpr: float, fpr: float, prior: float) -> float:
    """Returns the fraction of "member" decisions that are right when members are rare.

    By Bayes: ``prior TPR / (prior TPR + (1 - prior) FPR)``. NaN where none is accused.

    Args:
        tpr: True-positive rate of the attack.
        fpr: False-positive rate of the attack.
        prior: Fraction of members among the examples of interest, in [0, 1].

    Raises:
        ArgumentError: If an argument lies outside [0, 1].

    References:
        Jayaraman et al., "Revisiting Membership Inference Under Realistic
        Assumptions", 2021, https://arxiv.org/abs/2005.10881, Section 3.

    Example:
        >>> round(precision_at_prior(tpr=0.1, fpr=0.001, prior=0.01), 3)
        0.503
    """
    _checks.in_unit_interval(tpr=tpr, fpr=fpr, prior=prior)
    right, wrong = prior * tpr, (1 - prior) * fpr
    return right / (right + wrong) if right + wrong > 0 else float("nan")


def binomial_interval(k: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Returns the Clopper-Pearson interval of a proportion: covers at least ``level``.

    Args:
        k: Successes.
        n: Independent trials, at least 1.
        level: Two-sided confidence level; each side misses at most ``(1 - level) / 2``.

    Raises:
        ArgumentError: Unless ``0 <= k <= n``, ``n >= 1`` and ``0 < level < 1``.

    References:
        Clopper and Pearson, "The Use of Confidence or Fiducial Limits Illustrated in
        the Case of the Binomial", 1934, https://doi.org/10.1093/biomet/26.4.404.

    Example:
        >>> low, high = binomial_interval(0, 10)
        >>> low, round(high, 4)
        (0.0, 0.3085)
    """
    _checks.at_least(1, n=n)
    _checks.at_least(0, k=k)
    _checks.confidence_level(level)
    if k > n:
        raise ArgumentError("k", f"must be at most n, got {k=} and {n=}.")
    tail = (1 - level) / 2
    low = 0.0 if k == 0 else float(stats.beta.ppf(tail, k, n - k + 1))
    high = 1.0 if k == n else float(stats.beta.isf(tail, k + 1, n - k))
    return low, high


def varying_columns(keep: Mask) -> Bool[np.ndarray, " n"]:
    """Returns True for examples that some models kept and others did not.

    Test examples and the population, which no model kept, are left out of metrics by
    ``mask=varying_columns(keep)`` with the keep mask of all models.
    """
    keep = _checks.mask(keep=keep)
    return np.asarray(keep.any(axis=0) & ~keep.all(axis=0))
