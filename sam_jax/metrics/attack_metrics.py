"""Metrics of an attack with intervals, alone and beside those of another optimizer.

Limits are Student-t with the degrees of freedom of the crossed variance: percentiles
are too narrow for 16 targets, and those of a maximum (balanced accuracy) carry its
upward bias twice. Rates use the logit scale and stay in (0, 1).

Coverage is that of the estimator's expectation: balanced accuracy (a maximum) and the
TPR of a curve with few false positives are biased, the one upwards, and no interval
removes that.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from sam_jax import _checks
from sam_jax.metrics import roc
from sam_jax.metrics.bootstrap import Bootstrap
from sam_jax.metrics.estimate import CrossedVariance, Estimate, make_estimate, p_value
from sam_jax.metrics.replicates import WITHOUT_RATE


@dataclasses.dataclass(frozen=True)
class AttackMetrics:
    """What one attack reached, over all targets together and per target.

    The keys of the mappings are ``metric_names(fprs)``.

    Attributes:
        pooled: One ROC curve over the scores of all targets.
        mean: Mean over targets of the metric of each target alone.
        null_errors: Standard error of each pooled metric where nothing leaks.
        per_target: Value of each metric for each of the T targets.
        num_targets: T.
        num_members: Members over all targets.
        num_non_members: Non-members over all targets; behind the pooled FPR.
        non_members_per_target: The fewest non-members of a target; behind the mean.
        fprs: The false-positive rates of the TPR metrics.
        level: Confidence level of the intervals.
    """

    pooled: dict[str, Estimate]
    mean: dict[str, Estimate]
    null_errors: dict[str, float]
    per_target: dict[str, list[float]]
    num_targets: int
    num_members: int
    num_non_members: int
    non_members_per_target: int
    fprs: tuple[float, ...]
    level: float


@dataclasses.dataclass(frozen=True)
class Differences:
    """Metrics of one optimizer minus those of another on the same targets and examples.

    Attributes:
        pooled: Difference of the pooled metrics; keys are ``metric_names(fprs)``.
        mean: Mean over targets of the difference within each target.
        num_targets: T.
        level: Confidence level of the intervals.
    """

    pooled: dict[str, Estimate]
    mean: dict[str, Estimate]
    num_targets: int
    level: float

    def as_dict(self) -> dict[str, Any]:
        """Returns plain numbers and dicts, for JSON; each with its p-value."""
        pooled, mean = (
            {n: e._asdict() | {"p_value": p_value(e)} for n, e in metrics.items()}
            for metrics in (self.pooled, self.mean)
        )
        sizes = {"num_targets": self.num_targets, "level": self.level}
        return {"pooled": pooled, "mean": mean} | sizes


class RocBand(NamedTuple):
    """A pooled ROC curve at chosen false-positive rates, with an interval at each."""

    fpr: Float[np.ndarray, " k"]
    tpr: Float[np.ndarray, " k"]
    low: Float[np.ndarray, " k"]
    high: Float[np.ndarray, " k"]
    num_non_members: int


def metric_names(fprs: Sequence[float]) -> tuple[str, ...]:
    """Returns the keys of the metrics: AUC, balanced accuracy, TPR at each rate.

    Example:
        >>> metric_names((0.01, 0.001))
        ('auc', 'balanced_accuracy', 'tpr_at_fpr_0.01', 'tpr_at_fpr_0.001')
    """
    return (*WITHOUT_RATE, *(f"tpr_at_fpr_{fpr:g}" for fpr in fprs))


def attack_metrics(bootstrap: Bootstrap) -> AttackMetrics:
    """Returns AUC, balanced accuracy and TPR at low FPR with intervals.

    Args:
        bootstrap: From ``bootstrap_attack``.

    Returns:
        Metrics, NaN where there are fewer than ``1 / fpr`` non-members: in all for the
        pooled, in each target for the mean. With one target nothing is known about
        the variance between targets, and the intervals are for that target alone.

    Raises:
        ArgumentError: If the bootstrap is ``pooled_only``.
    """
    if not len(bootstrap.by_target.value):
        raise _checks.ArgumentError("bootstrap", "must not be pooled_only.")
    sizes = bootstrap.sizes._asdict()
    del sizes["num_groups"], sizes["num_refits"]
    names, by_target = metric_names(bootstrap.fprs), bootstrap.by_target.value
    mean = _rates(bootstrap, by_target.mean(axis=0), bootstrap.mean_variances())
    return AttackMetrics(
        pooled=pooled_metrics(bootstrap),
        mean=dict(zip(names, mean, strict=True)),
        # Not strict: pooled errors go on with the points of the ROC band.
        null_errors=dict(zip(names, bootstrap.null_errors().tolist(), strict=False)),
        per_target=dict(zip(names, by_target.T.tolist(), strict=True)),
        fprs=bootstrap.fprs,
        level=bootstrap.intervals.level,
        **sizes,
    )


def paired_difference(bootstrap: Bootstrap, baseline: Bootstrap) -> Differences:
    """Returns an optimizer's metrics minus those of the baseline, with intervals.

    The interval is that of the difference: narrower than what two separate intervals
    leave between them, as what targets and examples share cancels.

    Args:
        bootstrap: Of the scores under one optimizer.
        baseline: Of the scores of the same targets and examples under the other, made
            with the same mask, rates and interval settings.

    Raises:
        ArgumentError: If the two are not paired.
    """
    change = bootstrap.minus(baseline)
    mean = change.by_target.value.mean(axis=0)
    return Differences(
        pooled=_gaps(change, change.pooled.value, change.pooled_variances()),
        mean=_gaps(change, mean, change.mean_variances()),
        num_targets=change.sizes.num_targets,
        level=change.intervals.level,
    )


def pooled_metrics(bootstrap: Bootstrap) -> dict[str, Estimate]:
    """Returns the pooled metrics alone; keys are ``metric_names(fprs)``."""
    names = metric_names(bootstrap.fprs)
    estimates = _rates(bootstrap, bootstrap.pooled.value, bootstrap.pooled_variances())
    return dict(zip(names, estimates, strict=False))  # the curve's points come last


def pooled_difference(bootstrap: Bootstrap, baseline: Bootstrap) -> dict[str, Estimate]:
    """Returns the pooled part of ``paired_difference`` alone."""
    change = bootstrap.minus(baseline)
    return _gaps(change, change.pooled.value, change.pooled_variances())


def roc_band(bootstrap: Bootstrap) -> RocBand:
    """Returns the pooled ROC curve from one false positive up, with intervals.

    The level is that of each point, not of the whole curve.
    """
    estimates = _rates(bootstrap, bootstrap.pooled.value, bootstrap.pooled_variances())
    points = estimates[len(metric_names(bootstrap.fprs)) :]
    value, low, high = np.array([(e.value, e.low, e.high) for e in points]).T
    fprs = np.array(bootstrap.curve_fprs)
    return RocBand(fprs, value, low, high, bootstrap.sizes.num_non_members)


def _gaps(
    change: Bootstrap, values: np.ndarray, variances: list[CrossedVariance]
) -> dict[str, Estimate]:
    """Estimates of differences, by metric; the curve's points are left out."""
    by_metric = zip(metric_names(change.fprs), values, variances, strict=False)
    level = change.intervals.level
    return {name: make_estimate(value, v, level) for name, value, v in by_metric}


def _rates(
    bootstrap: Bootstrap, values: np.ndarray, variances: list[CrossedVariance]
) -> list[Estimate]:
    """Estimates on the logit scale; Clopper-Pearson limits for rates of 0 and 1."""
    level, count = bootstrap.intervals.level, bootstrap.sizes.num_members
    estimates = []
    for value, variance in zip(values, variances, strict=True):
        if value in (0.0, 1.0):
            estimate = make_estimate(value, variance, level)
            low, high = roc.binomial_interval(round(value * count), count, level)
            estimates.append(estimate._replace(low=low, high=high))
        else:
            estimates.append(make_estimate(value, variance, level, scale="logit"))
    return estimates
