"""Tests of all attacks of a run, corrected for their number.

A run that tries many attacks finds one that "works" by chance, and a run that looks at
one attack alone misses what the others show. Every attack counts here, by its AUC and
its TPR at each false-positive rate; p-values are adjusted by Holm's method, so that the
chance of any false alarm is at most ``1 - level``. What is not significant is "not
resolved" and comes with the smallest leak that the run would have shown.

References:
    Holm, "A Simple Sequentially Rejective Multiple Test Procedure", 1979,
    https://www.jstor.org/stable/4615733.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from scipy import stats

from sam_jax import _checks
from sam_jax.metrics.attack_metrics import AttackMetrics, Differences
from sam_jax.metrics.estimate import Estimate, p_value, student_quantile

POWER = 0.8
"""Chance with which a leak of the detectable size is shown."""

MIN_TARGETS = 4
"""Fewer targets do not tell how much models differ, and get no verdict."""

Leak = Literal["leak", "not resolved", "below chance", "too few models"]
Change = Literal["more", "less", "not resolved", "too few models"]


class Finding(NamedTuple):
    """What one attack shows among all attacks of a run.

    Attributes:
        attack: The attack's key.
        outcome: Of the attack alone (``leak_test``): ``"leak"`` where a metric is above
            chance; ``"below chance"`` where the interval of the AUC lies below 1/2,
            which no leak explains: the attack is biased or broken. Of a difference
            (``change_test``): ``"more"`` or ``"less"`` leakage than the baseline where
            a metric's difference is significant. Else ``"not resolved"``, or ``"too few
            models"`` for any verdict.
        metric: The metric with the smallest p-value, or ``"auc"``.
        estimate: Of that metric, or of its difference.
        adjusted_p_value: Of that metric, over all attacks and metrics.
        auc: Estimate of the AUC, or of its difference.
        detectable: By metric, the value (or the size of a difference) that this run
            would have shown with probability ``POWER``.
    """

    attack: Any
    outcome: Leak | Change
    metric: str
    estimate: Estimate
    adjusted_p_value: float
    auc: Estimate
    detectable: dict[str, float]


def holm(p_values: Sequence[float] | np.ndarray) -> list[float]:
    """Returns p-values adjusted for their number by Holm's step-down method.

    Rejecting what is below ``a`` makes any false rejection at most ``a`` probable,
    however the tests depend on each other. NaN, a test that could not be made, stays
    NaN and does not count.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    values = np.asarray(p_values, np.float64)
    adjusted = np.full(len(values), np.nan)
    order = np.argsort(values, kind="stable")[: int((~np.isnan(values)).sum())]
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(factors * values[order]), 1)
    return adjusted.tolist()


def leak_test(
    metrics: Mapping[Any, AttackMetrics],
    level: float = 0.95,
    min_targets: int = MIN_TARGETS,
) -> list[Finding]:
    """Returns what each attack of a run shows, the strongest first.

    The tests are one-sided: of the AUC against 1/2 and of the TPR against its false-
    positive rate, each with the standard error that it has where nothing leaks.
    Balanced accuracy is left out, as the maximum over thresholds lies above 1/2 in any
    case.

    Args:
        metrics: Of all attacks that were run, by any key (attack, or optimizer and
            attack); leaving out those that failed would undo the correction.
        level: ``1 - level`` bounds the chance of any false ``"leak"``.
        min_targets: With fewer there is no verdict; 1 where it is to hold for the given
            targets alone.

    Returns:
        Findings: leaks by falling AUC, then the others by falling AUC.

    Raises:
        ArgumentError: If there are no attacks or ``level`` is out of range.
    """
    _checks.confidence_level(level)
    _checks.at_least(1, num_attacks=len(metrics))
    adjusted, share = _adjusted(
        {
            (attack, name): _above_chance(
                estimates.pooled[name].value, null, estimates.null_errors[name]
            )
            for attack, estimates in metrics.items()
            for name, null in _nulls(estimates).items()
        },
        level,
    )
    findings = []
    for attack, estimates in metrics.items():
        nulls, auc = _nulls(estimates), estimates.pooled["auc"]
        best = _smallest({name: adjusted[attack, name] for name in nulls})
        outcome: Leak = "not resolved"
        if estimates.num_targets < min_targets:
            outcome = "too few models"
        elif adjusted[attack, best] <= 1 - level:
            outcome = "leak"
        elif auc.high < 0.5:
            outcome = "below chance"
        detectable = {}
        for name, null in nulls.items():
            error = _error(estimates.pooled[name], level)
            # The test uses the error without a leak; a leak itself varies by its error.
            test_error = estimates.null_errors[name] or error
            excess = _detectable(test_error, error, share)
            detectable[name] = min(1.0, null + excess)
        values = (best, estimates.pooled[best], adjusted[attack, best], auc)
        findings.append(Finding(attack, outcome, *values, detectable))
    # `sorted` is stable: leaks first, and by AUC within both groups.
    findings.sort(key=lambda finding: -finding.auc.value)
    return sorted(findings, key=lambda finding: finding.outcome != "leak")


def change_test(
    differences: Mapping[Any, Differences],
    level: float = 0.95,
    min_targets: int = MIN_TARGETS,
) -> list[Finding]:
    """Returns how each attack's success differs between two optimizers.

    Args:
        differences: Paired differences of all attacks that were run, by any key.
        level: ``1 - level`` bounds the chance of any false ``"more"`` or ``"less"``.
        min_targets: As in ``leak_test``.

    Returns:
        Findings, the smallest p-value first.

    Raises:
        ArgumentError: If there are no attacks or ``level`` is out of range.
    """
    _checks.confidence_level(level)
    _checks.at_least(1, num_attacks=len(differences))
    adjusted, share = _adjusted(
        {
            (attack, name): p_value(estimate)
            for attack, difference in differences.items()
            for name, estimate in _tested(difference).items()
        },
        level,
        sides=2,
    )
    findings = []
    for attack, difference in differences.items():
        tested = _tested(difference)
        best = _smallest({name: adjusted[attack, name] for name in tested})
        outcome: Change = "not resolved"
        if difference.num_targets < min_targets:
            outcome = "too few models"
        elif adjusted[attack, best] <= 1 - level:
            outcome = "more" if tested[best].value > 0 else "less"
        detectable = {}
        for name, estimate in tested.items():
            # Equal leakage is no state of its own: one error serves test and power.
            error = _error(estimate, level)
            detectable[name] = _detectable(error, error, share, estimate.degrees)
        values = (best, difference.pooled[best], adjusted[attack, best])
        auc = difference.pooled["auc"]
        findings.append(Finding(attack, outcome, *values, auc, detectable))
    return sorted(findings, key=lambda finding: finding.adjusted_p_value)


def _adjusted(
    tests: dict[tuple[Any, str], float], level: float, sides: int = 1
) -> tuple[dict[tuple[Any, str], float], float]:
    """Holm's p-values of one family, and the least that he leaves a test's one side."""
    adjusted = dict(zip(tests, holm(list(tests.values())), strict=True))
    num_tests = sum(not np.isnan(p) for p in tests.values())
    return adjusted, (1 - level) / max(sides * num_tests, 1)


def _nulls(metrics: AttackMetrics) -> dict[str, float]:
    """The value of each tested metric where scores know nothing."""
    nulls = {"auc": 0.5}
    for fpr in metrics.fprs:
        name = f"tpr_at_fpr_{fpr:g}"
        if not np.isnan(metrics.pooled[name].value):
            nulls[name] = fpr
    return nulls


def _tested(difference: Differences) -> dict[str, Estimate]:
    """Differences to test, with the degrees of freedom of a test.

    A correction asks for quantiles far beyond those of an interval, where it counts
    that few targets may miss a variance by chance: an interval's degrees, mostly those
    of the examples, are too many then (``benchmarks.coverage``).
    """
    most = float("inf")
    if difference.num_targets >= MIN_TARGETS:
        most = float(max(difference.num_targets - 1, 6))
    return {
        name: estimate._replace(degrees=min(estimate.degrees, most))
        for name, estimate in difference.pooled.items()
        if name != "balanced_accuracy"
        and (name == "auc" or not np.isnan(estimate.value))
    }


def _smallest(p_values: dict[str, float]) -> str:
    """The first name with the smallest p-value; the AUC where there is none."""
    known = {name: p for name, p in p_values.items() if not np.isnan(p)}
    return min(known, key=known.__getitem__) if known else "auc"


def _above_chance(value: float, null: float, null_error: float) -> float:
    """One-sided p-value of a metric's excess, with the error of the null itself.

    The interval, which is for new models, has few degrees of freedom with few models.
    """
    if np.isnan(value) or null == 1:
        return float("nan")
    if null_error == 0:
        return float(value <= null)
    return float(stats.norm.sf((value - null) / null_error))


def _error(estimate: Estimate, level: float) -> float:
    """The standard error, or what the interval implies if more (of a rate of 0)."""
    quantile = student_quantile(estimate.degrees, level)
    return max(estimate.standard_error, (estimate.high - estimate.low) / 2 / quantile)


def _detectable(
    test_error: float, error: float, share: float, degrees: float = float("inf")
) -> float:
    """The excess that a test at ``share`` shows with probability ``POWER``."""
    needed = stats.t.isf(share, degrees) * test_error
    return float(needed + stats.norm.ppf(POWER) * error)
