"""What an attacker would reach: thresholds fixed on shadow models, then carried over.

The best threshold of a ROC curve is chosen with the answers in hand. Here each target's
threshold comes from the other models alone (``shadow_thresholds``), so the rates are
those of an attack that could be run, and its false-positive rate is what it turned out
to be rather than what was asked for. From them: how many accusations are right when
members are rare, and what they say about differential privacy.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import special

from sam_jax.metrics import epsilon, rates, roc, shadow_thresholds
from sam_jax.metrics.estimate import Estimate

PRIORS = (0.01, 0.1, 0.5)
"""Fractions of members among those an attacker asks about."""

BEST, BEST_PER_CLASS = "best on shadow models", "best on shadow models, per class"


class Calls(NamedTuple):
    """What one rule for thresholds reached, over all targets.

    Attributes:
        rule: How the threshold was chosen on the shadow models.
        tpr: Members called members.
        fpr: Non-members called members, on the target itself.
        balanced_accuracy: ``(TPR + 1 - FPR) / 2``.
        precision: By member fraction, how many accused are members.
        counts: The calls themselves.
    """

    rule: str
    tpr: Estimate
    fpr: Estimate
    balanced_accuracy: Estimate
    precision: dict[str, Estimate]
    counts: roc.Counts


class EpsilonFinding(NamedTuple):
    """A lower bound on epsilon from carried thresholds.

    Attributes:
        epsilon: From limits that count new targets and new examples.
        epsilon_independent: From Clopper-Pearson limits, as in the literature: they
            take all cells as independent, which cells of one target are not.
        delta: Privacy's additive slack.
        level: Confidence level, corrected for the number of rules tried.
        rule: The rule that gave ``epsilon``.
    """

    epsilon: float
    epsilon_independent: float
    delta: float
    level: float
    rule: str


def carried_calls(
    scores: Float[np.ndarray, "t n"],
    keep: Bool[np.ndarray, "t n"],
    labels: Int[np.ndarray, "n"] | None = None,
    fprs: Sequence[float] = (0.01, 0.001),
    priors: Sequence[float] = PRIORS,
    level: float = 0.95,
) -> list[Calls]:
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
        ValueError: If a score is NaN, shapes differ, or there is only one target.
    """
    scores = np.asarray(scores, np.float64)
    roc.check_scores(scores, keep)
    rules = {BEST: shadow_thresholds.shadow_thresholds(scores, keep)}
    if labels is not None and len(np.unique(labels)) > 1:
        rules[BEST_PER_CLASS] = shadow_thresholds.shadow_thresholds(scores, keep, labels)
    num_other = int((~keep).sum() - (~keep).sum(axis=1).max())
    for fpr in fprs:
        if roc.is_resolvable(fpr, num_other):
            column = shadow_thresholds.shadow_fpr_thresholds(scores, keep, fpr)[:, None]
            rules[f"FPR {100 * fpr:g} % on shadow models"] = column
    return [
        _calls(rule, scores >= thresholds, keep, priors, level)
        for rule, thresholds in rules.items()
    ]


def epsilon_of_calls(
    calls: Sequence[Calls], delta: float = 0.0, level: float = 0.95
) -> EpsilonFinding:
    """Returns the best lower bound on epsilon over rules, corrected for their number.

    ``TPR <= e^eps FPR + delta`` holds for each example of an (epsilon, delta)-private
    algorithm, and so for the means over examples. The thresholds were fixed on other
    models; of the K rules each gets a share ``(1 - level) / K`` of the error.

    Args:
        calls: From ``carried_calls``.
        delta: Privacy's additive slack, in [0, 1).
        level: Confidence level, in (0, 1).
    """
    roc.check_level(level)
    each = 1 - (1 - level) / len(calls)
    bounds, independent = {}, []
    for own in calls:
        tpr_low = _widen(own.tpr, own.counts[:2], each).low
        fpr_high = _widen(own.fpr, own.counts[2:], each).high
        bounds[own.rule] = epsilon.bound_from_limits(tpr_low, fpr_high, delta)
        independent.append(epsilon.epsilon_lower_bound(*own.counts, delta, each))
    rule = max(bounds, key=bounds.__getitem__)
    return EpsilonFinding(bounds[rule], max(independent), delta, level, rule)


def _calls(rule, called, keep, priors, level) -> Calls:
    tpr, fpr = (rates.rate(called, group, level) for group in (keep, ~keep))
    by_cell = [rates.influence(called, group)[1] for group in (keep, ~keep)]
    accuracy = (tpr.value + 1 - fpr.value) / 2
    counts = roc.Counts(
        int((called & keep).sum()),
        int(keep.sum()),
        int((called & ~keep).sum()),
        int((~keep).sum()),
    )
    return Calls(
        rule=rule,
        tpr=tpr,
        fpr=fpr,
        balanced_accuracy=rates.estimate(
            accuracy, (by_cell[0] - by_cell[1]) / 2, level
        ),
        precision={
            f"{prior:g}": _precision(tpr, fpr, by_cell, prior, level)
            for prior in priors
        },
        counts=counts,
    )


def _precision(tpr, fpr, by_cell, prior, level) -> Estimate:
    """``logit precision = logit prior + log TPR - log FPR``, by the delta method."""
    value = roc.precision_at_prior(tpr.value, fpr.value, prior)
    if 0 < value < 1:
        ratio = by_cell[0] / tpr.value - by_cell[1] / fpr.value
        return rates.estimate(value, ratio, level, logit=True)
    if math.isnan(value):
        return Estimate(*[float("nan")] * 6)
    low = roc.precision_at_prior(tpr.low, fpr.high, prior)
    high = roc.precision_at_prior(tpr.high, fpr.low, prior)
    return Estimate(value, low, max(high, value), 0.0, float("inf"), 0.0)


def _widen(rate: Estimate, counts: tuple[int, int], level: float) -> Estimate:
    """A rate's interval at another level, from its standard error."""
    if rate.value in (0.0, 1.0):
        low, high = roc.binomial_interval(*counts, level)
        return rate._replace(low=low, high=high)
    slope = rate.value * (1 - rate.value)
    width = rates.quantile(rate.degrees, level) * rate.standard_error / slope
    centre = special.logit(rate.value)
    low, high = special.expit([centre - width, centre + width])
    return rate._replace(low=float(low), high=float(high))


def calls_dict(calls: Calls) -> dict[str, Any]:
    """Returns plain numbers and dicts, for JSON."""
    estimates = {
        name: getattr(calls, name)._asdict()
        for name in ("tpr", "fpr", "balanced_accuracy")
    }
    precision = {prior: e._asdict() for prior, e in calls.precision.items()}
    rest = {"precision": precision, "counts": calls.counts._asdict()}
    return {"rule": calls.rule} | estimates | rest
