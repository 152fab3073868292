"""Estimates with intervals, and the variance under crossed clusters behind them.

Every target model scores every example, so scores that share a target vary together (a
target that overfits more), and so do scores that share an example (one that is always
memorized): the clusters are crossed. ``crossed_variance`` is the one place where their
variances are combined.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import special, stats

from sam_jax import _checks

Scale = Literal["linear", "logit"]
"""Scale of an interval: logit for rates, which then stay in (0, 1)."""


class Estimate(NamedTuple):
    """A number with its interval; all NaN where the data cannot resolve it.

    Attributes:
        value: The metric on the data as they are.
        low: Lower end of the interval.
        high: Upper end of the interval.
        standard_error: Over new targets and new examples.
        degrees: Degrees of freedom of ``standard_error``.
        target_variance: The part of ``standard_error ** 2`` that falls as 1 / T with
            more targets; the rest falls with more examples only.
    """

    value: float
    low: float
    high: float
    standard_error: float
    degrees: float
    target_variance: float


MISSING = Estimate(*[float("nan")] * 6)
"""The estimate of what the data cannot resolve."""


@dataclasses.dataclass(frozen=True)
class IntervalConfig:
    """How intervals are made.

    Attributes:
        level: Confidence level, in (0, 1).
        num_replicates: Bootstrap replicates for each type of cluster, at least 20.
        seed: Seed of the replicates; two results are paired if they share it.
    """

    level: float = 0.95
    num_replicates: int = 400
    seed: int = 0

    def __post_init__(self) -> None:
        _checks.confidence_level(self.level)
        _checks.at_least(20, num_replicates=self.num_replicates)
        _checks.at_least(0, seed=self.seed)


class CrossedVariance(NamedTuple):
    """The variance of a statistic of crossed targets and examples.

    Attributes:
        variance: Over new targets and new examples.
        degrees: Degrees of freedom of Student's quantile.
        target_part: The part of ``variance`` that falls as 1 / T.
    """

    variance: float
    degrees: float
    target_part: float


def crossed_variance(
    example: float,
    target: float,
    pair: float,
    shared: float = 0.0,
    *,
    example_degrees: int,
    target_degrees: int | float,
    max_degrees: float = float("inf"),
) -> CrossedVariance:
    """Returns the variance from those by each type of cluster.

    With ``V_x`` the variance when clusters of type x are taken as independent,

        V = V_example + max(V_target - V_pair, V_shared, 0)

    because (target, example) pairs that share a target or an example count once. The
    difference is cut at 0, where few targets make it noise, and ``V_shared`` is what
    targets have in common where each is a shadow model of the others.

    The interval is Banerjee's: each part has its own Student quantile, and their
    squares add up, ``t_example**2 V_example + t_target**2 (V - V_example)``.
    Satterthwaite's degrees, which one quantile for the sum would need, are too few
    here: the second part is never below 0, so that a variance by few targets that
    comes out small leaves the first whole (``benchmarks.coverage``).

    Args:
        example: Variance with examples as clusters.
        target: Variance with targets as clusters.
        pair: Variance with every (target, example) pair as a cluster.
        shared: Variance that models bring as targets and shadow models, known from
            refits (``refits.shared_variance``); 0 where it is not.
        example_degrees: Degrees of freedom of ``example``, at least 1.
        target_degrees: Degrees of freedom of ``target``; 0 for a single target, whose
            statistic is then taken as that of this target alone.
        max_degrees: Cap on the degrees of either part.

    Example:
        >>> v = crossed_variance(3.0, 2.0, 1.0, example_degrees=100, target_degrees=4)
        >>> float(v.variance), round(float(v.degrees), 2), float(v.target_part)
        (4.0, 10.69, 2.0)

    References:
        Cameron, Gelbach and Miller, "Robust Inference With Multiway Clustering", 2011,
        https://doi.org/10.1198/jbes.2010.07136, Equation 2.3.
        Banerjee, "Approximate Confidence Interval for Linear Functions of Means of k
        Populations When the Population Variances Are Not Equal", Sankhya 22, 1960.
    """
    between = max(target - pair, shared, 0.0) if target_degrees > 0 else 0.0
    variance = example + between
    # The noise of single pairs is part of `example`, and falls with more targets too.
    target_part = float(between + min(example, pair))
    if variance == 0:
        return CrossedVariance(0.0, float("inf"), 0.0)
    parts = ((example, example_degrees), (between, target_degrees))
    squared_width = sum(
        part * student_quantile(float(min(degrees, max_degrees)), 0.95) ** 2
        for part, degrees in parts
        if part > 0
    )
    # The degrees with which one quantile makes the same interval at the level of 95 %.
    degrees = special.stdtridf(0.975, np.sqrt(squared_width / variance))
    return CrossedVariance(float(variance), float(degrees), target_part)


def make_estimate(
    value: float, variance: CrossedVariance, level: float, scale: Scale = "linear"
) -> Estimate:
    """Returns a value with Student's interval.

    Args:
        value: The value; NaN makes the whole estimate NaN.
        variance: Its variance, not transformed.
        level: Confidence level, in (0, 1).
        scale: ``"logit"`` for a value in (0, 1) whose interval must stay there; the
            error is transferred to that scale by the delta method.
    """
    if np.isnan(value):
        return MISSING
    error = float(np.sqrt(variance.variance))
    limits = student_limits(value, error, variance.degrees, level, scale)
    rest = (error, variance.degrees, variance.target_part)
    return Estimate(float(value), *limits, *rest)


def student_limits(
    value: float, error: float, degrees: float, level: float, scale: Scale
) -> tuple[float, float]:
    """Returns the ends of Student's interval, from the error on the linear scale."""
    width = student_quantile(degrees, level) * error
    if scale == "linear":
        return float(value - width), float(value + width)
    # The logit's derivative is 1 / slope.
    slope = value * (1 - value)
    centre = special.logit(value)
    low, high = special.expit([centre - width / slope, centre + width / slope])
    return float(low), float(high)


def independent_difference(
    estimate: Estimate, baseline: Estimate, level: float
) -> Estimate:
    """Returns one estimate minus another of independent models and examples.

    Args:
        estimate: The first.
        baseline: What is subtracted.
        level: Confidence level, in (0, 1).

    References:
        Welch, "The Generalization of 'Student's' Problem when Several Different
        Population Variances are Involved", 1947, https://doi.org/10.2307/2332510.
    """
    both = (estimate, baseline)
    variances = [e.standard_error**2 for e in both]
    total = sum(variances)
    # Welch's degrees of freedom; those of a variance of 0 do not matter.
    parts = [v**2 / e.degrees for v, e in zip(variances, both, strict=True) if v > 0]
    degrees = total**2 / sum(parts) if sum(parts) > 0 else float("inf")
    target_part = sum(e.target_variance for e in both)
    variance = CrossedVariance(total, degrees, target_part)
    return make_estimate(estimate.value - baseline.value, variance, level)


@functools.lru_cache(maxsize=1024)
def student_quantile(degrees: float, level: float) -> float:
    """Returns how many standard errors an interval reaches to either side."""
    return float(stats.t.isf((1 - level) / 2, degrees))


def p_value(estimate: Estimate, null: float = 0.0) -> float:
    """Returns the two-sided p-value of ``value == null``: Student-t, as the interval.

    NaN where the estimate is; 0 or 1 where its standard error is 0.
    """
    gap = abs(estimate.value - null)
    if estimate.standard_error == 0:
        return float(gap == 0)
    return float(2 * stats.t.sf(gap / estimate.standard_error, estimate.degrees))


def targets_to_resolve(
    difference: Estimate, num_targets: int, level: float = 0.95
) -> float:
    """Returns how many targets would put 0 outside the interval of a difference.

    Assumes that the difference stays where it is and that its variance is ``target
    part * T / T' + the rest``. This plans a run; to add models until 0 is outside is
    no test at ``level``. More shadow models also sharpen an attack, which is left out.

    Args:
        difference: From ``paired_difference`` with ``num_targets`` targets.
        num_targets: T.
        level: Confidence level, in (0, 1).

    Returns:
        A whole number, at least 2; ``num_targets`` or fewer if resolved already.
        ``inf`` where the examples alone leave more uncertainty than the difference, or
        where it is 0 or NaN.

    Raises:
        ArgumentError: If ``num_targets`` or ``level`` is out of range.
    """
    _checks.at_least(1, num_targets=num_targets)
    _checks.confidence_level(level)
    rest = max(difference.standard_error**2 - difference.target_variance, 0.0)
    # Student's quantile would change with the number that is asked for.
    quantile = float(stats.norm.isf((1 - level) / 2))
    allowed = (difference.value / quantile) ** 2 - rest
    if not allowed > 0:
        return float("inf")
    return float(max(2, np.ceil(num_targets * difference.target_variance / allowed)))


def mean_over_models(
    values: Float[np.ndarray, " m"],
    level: float = 0.95,
    bounds: tuple[float, float] = (-float("inf"), float("inf")),
) -> Estimate:
    """Returns the mean of one value a model, with Student's interval for new models.

    Args:
        values: One value for each of M independently trained models, at least 2.
        level: Confidence level, in (0, 1).
        bounds: Where the value can lie, such as (0, 1) for an accuracy: the interval
            is cut there.

    Example:
        >>> accuracy = mean_over_models(np.array([1.0, 0.8]), bounds=(0.0, 1.0))
        >>> round(accuracy.value, 3), accuracy.low, accuracy.high
        (0.9, 0.0, 1.0)
    """
    _checks.confidence_level(level)
    values = np.asarray(values, np.float64)
    _checks.at_least(2, num_models=len(values))
    error = float(values.std(ddof=1) / np.sqrt(len(values)))
    variance = CrossedVariance(error**2, float(len(values) - 1), error**2)
    mean = make_estimate(float(values.mean()), variance, level)
    low, high = np.clip((mean.low, mean.high), *bounds)
    return mean._replace(low=float(low), high=float(high))


def estimate_rows(
    place: Mapping[str, Any], estimates: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Returns a row for each estimate: its place, metric, value, low and high.

    Args:
        place: What the rows share, such as optimizer and attack.
        estimates: By metric; with ``value``, ``low`` and ``high``.
    """
    rows = []
    for metric, estimate in estimates.items():
        limits = {"value": estimate.value, "low": estimate.low, "high": estimate.high}
        rows.append({**place, "metric": metric, **limits})
    return rows
