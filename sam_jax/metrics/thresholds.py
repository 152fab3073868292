"""Rates of an attack that could be run, at thresholds fixed on shadow models.

The best threshold of a ROC curve is chosen with the membership in hand. Here each
target's threshold comes from the other models alone (``shadow_thresholds``), so the
rates are those of an attack that could be run, and its false-positive rate is what it
turned out to be rather than what was aimed at. From them: how many accusations are
right when members are rare, and lower bounds on epsilon.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from sam_jax import _checks
from sam_jax.metrics import epsilon, roc, shadow_thresholds
from sam_jax.metrics.decision_variance import (
    DecisionVariances,
    binomial_variances,
    decision_variances,
)
from sam_jax.metrics.estimate import (
    MISSING,
    CrossedVariance,
    Estimate,
    make_estimate,
    student_limits,
)

PRIORS = (0.01, 0.1, 0.5)
"""Fractions of members among the examples that an attacker is interested in."""


class Decisions(NamedTuple):
    """What one rule for thresholds reached, over all targets.

    Attributes:
        rule: How the threshold was chosen on the shadow models.
        tpr: Members decided to be members.
        fpr: Non-members decided to be members, on the target itself.
        balanced_accuracy: ``(TPR + 1 - FPR) / 2``.
        precision: By member fraction, how many accused are members.
        counts: The decisions themselves.
    """

    rule: str
    tpr: Estimate
    fpr: Estimate
    balanced_accuracy: Estimate
    precision: dict[str, Estimate]
    counts: roc.Counts


class DecisionEpsilon(NamedTuple):
    """A lower bound on epsilon from decisions at shadow-model thresholds.

    Attributes:
        epsilon: From limits that count new targets and new examples.
        epsilon_independent: From Clopper-Pearson limits, as in the literature: they
            take all pairs as independent, which pairs of one target are not.
        delta: Privacy's additive slack.
        level: Confidence level, corrected for the number of rules tried.
        rule: The rule that gave ``epsilon``.
    """

    epsilon: float
    epsilon_independent: float
    delta: float
    level: float
    rule: str


def shadow_threshold_decisions(
    scores: Float[jax.Array | np.ndarray, "t n"],
    keep: roc.Mask,
    labels: Int[np.ndarray, "n"] | None = None,
    fprs: Sequence[float] = (0.01, 0.001),
    level: float = 0.95,
) -> list[Decisions]:
    """Returns what each rule for thresholds reaches on targets that did not set it.

    Rules: the best balanced accuracy on the other models, with one threshold for all
    and (with more than one class) one a class; the lowest threshold at which the false-
    positive rate of the other models is at most each of ``fprs`` (left out where they
    have fewer than ``1 / fpr`` non-members).

    Args:
        scores: Score of each example against each target; higher is member.
        keep: Whether the target trained on it.
        labels: Class of each example.
        fprs: False-positive rates to aim at.
        level: Confidence level of all intervals.

    Raises:
        ArgumentError: If a score is NaN, shapes differ, there is only one target, or
            a rate is out of range.
    """
    scores, keep = roc.float_scores(scores), _checks.mask(keep=keep)
    roc.check_scores(scores, keep)
    _checks.confidence_level(level)
    chosen = shadow_thresholds.choose_thresholds(scores, keep, labels, fprs)
    # All rules with one threshold share the counts of one pass over the groups.
    aims = [choice.fpr for choice in chosen.values() if choice.labels is None]
    of_all = iter(decision_variances(scores, keep, None, aims))
    decisions = []
    for rule, (thresholds, by_label, _) in chosen.items():
        if by_label is None:
            variances = next(of_all)
        else:
            (variances,) = decision_variances(scores, keep, by_label)
        decided = scores >= thresholds
        decisions.append(_decisions(rule, decided, keep, level, variances))
    return decisions


def given_decisions(
    scores: Float[np.ndarray, " n"],
    members: Bool[np.ndarray, " n"],
    chosen: Mapping[str, Any],
    level: float = 0.95,
) -> list[Decisions]:
    """Returns what thresholds fixed elsewhere reach on one given model.

    Its examples are the only sample: limits of rates are Clopper and Pearson's.

    Args:
        scores: Against the model; higher is member.
        members: Whether it trained on the example.
        chosen: By rule, the threshold of all examples or of each.
        level: Confidence level of all intervals.
    """
    decisions = []
    for rule, limits in chosen.items():
        decided, keep = (scores >= limits)[None], members[None]
        variances = binomial_variances(decided, keep)
        decisions.append(_decisions(rule, decided, keep, level, variances))
    return decisions


def epsilon_of_decisions(
    decisions: Sequence[Decisions], delta: float = 0.0, level: float = 0.95
) -> DecisionEpsilon:
    """Returns the best lower bound on epsilon over rules, corrected for their number.

    ``TPR <= e^eps FPR + delta`` holds for each example of an (epsilon, delta)-private
    algorithm, and so for the means over examples. The thresholds were fixed on other
    models; of the K rules each gets a share ``(1 - level) / K`` of the error.

    Args:
        decisions: From ``shadow_threshold_decisions``.
        delta: Privacy's additive slack, in [0, 1).
        level: Confidence level, in (0, 1).
    """
    _checks.confidence_level(level)
    each = 1 - (1 - level) / len(decisions)
    bounds, independent = {}, []
    for by_rule in decisions:
        tpr_low = _at_level(by_rule.tpr, by_rule.counts[:2], each).low
        fpr_high = _at_level(by_rule.fpr, by_rule.counts[2:], each).high
        bounds[by_rule.rule] = epsilon.bound_from_limits(tpr_low, fpr_high, delta)
        bound = epsilon.epsilon_lower_bound(*by_rule.counts, delta, each)
        independent.append(bound)
    rule = max(bounds, key=bounds.__getitem__)
    return DecisionEpsilon(bounds[rule], max(independent), delta, level, rule)


def _decisions(
    rule: str,
    decided: np.ndarray,
    keep: np.ndarray,
    level: float,
    variances: DecisionVariances,
) -> Decisions:
    counts = roc.Counts(
        int((decided & keep).sum()),
        int(keep.sum()),
        int((decided & ~keep).sum()),
        int((~keep).sum()),
    )
    tpr = _rate(*counts[:2], variances.tpr, level)
    fpr = _rate(*counts[2:], variances.fpr, level)
    accuracy = (tpr.value + 1 - fpr.value) / 2
    # The logit scale has no place for 0 and 1.
    inside = 0 < accuracy < 1
    return Decisions(
        rule=rule,
        tpr=tpr,
        fpr=fpr,
        balanced_accuracy=make_estimate(
            accuracy,
            variances.balanced_accuracy,
            level,
            scale="logit" if inside else "linear",
        ),
        precision={
            f"{prior:g}": _precision(tpr, fpr, variances.log_ratio, prior, level)
            for prior in PRIORS
        },
        counts=counts,
    )


def _rate(
    successes: int, trials: int, variance: CrossedVariance, level: float
) -> Estimate:
    """A rate on the logit scale; Clopper-Pearson where it is 0, 1 or never moved."""
    value = successes / trials
    if value in (0.0, 1.0) or variance.variance == 0:
        low, high = roc.binomial_interval(successes, trials, level)
        return Estimate(value, low, high, 0.0, float("inf"), 0.0)
    return make_estimate(value, variance, level, scale="logit")


def _precision(
    tpr: Estimate, fpr: Estimate, log_ratio: CrossedVariance, prior: float, level: float
) -> Estimate:
    """``logit precision = logit prior + log TPR - log FPR``, by the delta method."""
    value = roc.precision_at_prior(tpr.value, fpr.value, prior)
    if math.isnan(value):
        return MISSING
    if 0 < value < 1 and np.isfinite(log_ratio.variance):
        slope = (value * (1 - value)) ** 2
        variance = log_ratio._replace(
            variance=log_ratio.variance * slope,
            target_part=log_ratio.target_part * slope,
        )
        return make_estimate(value, variance, level, scale="logit")
    # Without a log ratio, from the worst and the best ends of both intervals.
    low = roc.precision_at_prior(tpr.low, fpr.high, prior)
    high = roc.precision_at_prior(tpr.high, fpr.low, prior)
    return Estimate(value, low, max(high, value), 0.0, float("inf"), 0.0)


def _at_level(rate: Estimate, counts: tuple[int, int], level: float) -> Estimate:
    """A rate's interval at another level, from its standard error."""
    if rate.standard_error == 0:
        low, high = roc.binomial_interval(*counts, level)
        return rate._replace(low=low, high=high)
    low, high = student_limits(
        rate.value, rate.standard_error, rate.degrees, level, scale="logit"
    )
    return rate._replace(low=low, high=high)
