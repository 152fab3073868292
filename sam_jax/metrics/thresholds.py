"""What an attacker would reach: thresholds fixed on shadow models, applied to targets.

The best threshold of a ROC curve is chosen with the membership in hand. Here each
target's threshold comes from the other models alone (``shadow_thresholds``), so the
rates are those of an attack that could be run, and its false-positive rate is what it
turned out to be rather than what was aimed at. From them: how many accusations are
right when members are rare, and what they say about differential privacy.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import special

from sam_jax import _checks
from sam_jax.metrics import epsilon, roc, shadow_thresholds
from sam_jax.metrics.estimate import (
    MISSING,
    Estimate,
    influence_variance,
    make_estimate,
    rate_influence,
    student_quantile,
)

PRIORS = (0.01, 0.1, 0.5)
"""Fractions of members among the examples that an attacker is interested in."""

BEST, BEST_PER_CLASS = "best on shadow models", "best on shadow models, per class"


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

    def as_dict(self) -> dict[str, Any]:
        """Returns plain numbers and dicts, for JSON."""
        rates = {
            name: getattr(self, name)._asdict()
            for name in ("tpr", "fpr", "balanced_accuracy")
        }
        precision = {prior: e._asdict() for prior, e in self.precision.items()}
        rest = {"precision": precision, "counts": self.counts._asdict()}
        return {"rule": self.rule} | rates | rest


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
    priors: Sequence[float] = PRIORS,
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
        priors: Member fractions at which to give the precision.
        level: Confidence level of all intervals.

    Raises:
        ArgumentError: If a score is NaN, shapes differ, there is only one target, or
            a rate is out of range.
    """
    scores, keep = np.asarray(scores, np.float64), _checks.mask(keep=keep)
    roc.check_scores(scores, keep)
    _checks.confidence_level(level)
    _checks.in_unit_interval(**{f"priors[{i}]": p for i, p in enumerate(priors)})
    rules = {BEST: shadow_thresholds.shadow_thresholds(scores, keep)}
    if labels is not None and len(np.unique(labels)) > 1:
        rules[BEST_PER_CLASS] = shadow_thresholds.shadow_thresholds(
            scores, keep, labels
        )
    num_other = int((~keep).sum() - (~keep).sum(axis=1).max())
    for fpr in _checks.false_positive_rates(fprs):
        if roc.is_resolvable(fpr, num_other):
            column = shadow_thresholds.shadow_fpr_thresholds(scores, keep, fpr)[:, None]
            rules[f"FPR {100 * fpr:g} % on shadow models"] = column
    return [
        _decisions(rule, scores >= thresholds, keep, priors, level)
        for rule, thresholds in rules.items()
    ]


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


def decision_rate(
    decided: Bool[np.ndarray, "t n"],
    group: Bool[np.ndarray, "t n"],
    level: float = 0.95,
) -> Estimate:
    """Returns the rate of "member" decisions in a group of pairs, with its interval.

    On the logit scale; a rate of 0 or 1 has the Clopper-Pearson interval, which takes
    pairs as independent.
    """
    value, influence = rate_influence(decided, group)
    if value in (0.0, 1.0):
        count = int(group.sum())
        low, high = roc.binomial_interval(round(value * count), count, level)
        return Estimate(value, low, high, 0.0, float("inf"), 0.0)
    return make_estimate(value, influence_variance(influence), level, scale="logit")


def _decisions(
    rule: str,
    decided: np.ndarray,
    keep: np.ndarray,
    priors: Sequence[float],
    level: float,
) -> Decisions:
    tpr, fpr = (decision_rate(decided, group, level) for group in (keep, ~keep))
    influences = [rate_influence(decided, group)[1] for group in (keep, ~keep)]
    accuracy = (tpr.value + 1 - fpr.value) / 2
    variance = influence_variance((influences[0] - influences[1]) / 2)
    inside = 0 < accuracy < 1
    counts = roc.Counts(
        int((decided & keep).sum()),
        int(keep.sum()),
        int((decided & ~keep).sum()),
        int((~keep).sum()),
    )
    return Decisions(
        rule=rule,
        tpr=tpr,
        fpr=fpr,
        balanced_accuracy=make_estimate(
            accuracy, variance, level, scale="logit" if inside else "linear"
        ),
        precision={
            f"{prior:g}": _precision(tpr, fpr, influences, prior, level)
            for prior in priors
        },
        counts=counts,
    )


def _precision(
    tpr: Estimate,
    fpr: Estimate,
    influences: list[np.ndarray],
    prior: float,
    level: float,
) -> Estimate:
    """``logit precision = logit prior + log TPR - log FPR``, by the delta method."""
    value = roc.precision_at_prior(tpr.value, fpr.value, prior)
    if 0 < value < 1:
        ratio = influences[0] / tpr.value - influences[1] / fpr.value
        variance = influence_variance(value * (1 - value) * ratio)
        return make_estimate(value, variance, level, scale="logit")
    if math.isnan(value):
        return MISSING
    low = roc.precision_at_prior(tpr.low, fpr.high, prior)
    high = roc.precision_at_prior(tpr.high, fpr.low, prior)
    return Estimate(value, low, max(high, value), 0.0, float("inf"), 0.0)


def _at_level(rate: Estimate, counts: tuple[int, int], level: float) -> Estimate:
    """A rate's interval at another level, from its standard error."""
    if rate.value in (0.0, 1.0):
        low, high = roc.binomial_interval(*counts, level)
        return rate._replace(low=low, high=high)
    slope = rate.value * (1 - rate.value)
    width = student_quantile(rate.degrees, level) * rate.standard_error / slope
    centre = special.logit(rate.value)
    low, high = special.expit([centre - width, centre + width])
    return rate._replace(low=float(low), high=float(high))
