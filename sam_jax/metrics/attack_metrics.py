"""Intervals for attack metrics: targets and examples are both samples, and crossed.

Every target model scores every example, so scores that share a target rise and fall
together (a target that overfits more), and so do scores that share an example (one
that is always memorized). With ``V_x`` the bootstrap variance of a metric when
clusters of kind x are drawn with replacement, its variance is

    V = V_example + max(V_target - V_cell, 0)

because pairs of cells that share a target or an example count once (Cameron et al.).
Drawing both kinds in one replicate, with weights ``w_t * w_n`` (Owen), counts the noise
of single cells three times: intervals are 1.7 times too wide where the scores know
nothing. The difference is cut at 0, where few targets make it noise. Limits are
Student-t with Satterthwaite's degrees of freedom: percentiles are too narrow for 16
targets, and those of a maximum (balanced accuracy) carry its upward bias twice. Rates
use the logit scale and stay in (0, 1).

Coverage over simulated audits is in ``tests/test_metrics_intervals.py`` (slow). It is
that of the estimator's own mean: balanced accuracy (a maximum) and the TPR of a curve
with few false positives are biased, the one upwards, and no interval removes that;
intervals of a TPR with about ten false positives behind it are too wide.

What the intervals leave out: targets share shadow models, and an attack tuned on these
very scores is not tuned again in each replicate.

References:
    Owen, "The pigeonhole bootstrap", 2007, https://arxiv.org/abs/0712.1111.
    Cameron, Gelbach and Miller, "Robust Inference With Multiway Clustering", 2011,
    https://doi.org/10.1198/jbes.2010.07136, Equation 2.3.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float
from scipy import special, stats

from sam_jax import _checks
from sam_jax.metrics import bootstrap, roc
from sam_jax.metrics.estimate import Estimate, p_value


@dataclasses.dataclass(frozen=True)
class AttackMetrics:
    """What one attack reached, over all targets together and per target.

    The keys of the mappings are ``metric_names(fprs)``.

    Attributes:
        pooled: One ROC curve over the scores of all targets.
        mean: Mean over targets of each target's own metric.
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
    per_target: dict[str, list[float]]
    num_targets: int
    num_members: int
    num_non_members: int
    non_members_per_target: int
    fprs: tuple[float, ...]
    level: float

    def as_dict(self) -> dict:
        """Returns plain numbers, lists and dicts, for JSON."""
        fields = dataclasses.asdict(self) | {"fprs": list(self.fprs)}
        return fields | {
            "pooled": {name: e._asdict() for name, e in self.pooled.items()},
            "mean": {name: e._asdict() for name, e in self.mean.items()},
        }


@dataclasses.dataclass(frozen=True)
class Differences:
    """Metrics of one recipe minus those of another, on the same targets and examples.

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

    def as_dict(self) -> dict:
        """Returns plain numbers and dicts, for JSON; each with its p-value."""
        pooled, mean = (
            {name: e._asdict() | {"p_value": p_value(e)} for name, e in part.items()}
            for part in (self.pooled, self.mean)
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
    return ("auc", "balanced_accuracy", *(f"tpr_at_fpr_{fpr:g}" for fpr in fprs))


def attack_metrics(
    scores: Float[jax.Array | np.ndarray, "t n"],
    keep: Bool[jax.Array | np.ndarray, "t n"],
    *,
    mask: Bool[jax.Array | np.ndarray, " n"] | None = None,
    fprs: Sequence[float] = (0.01, 0.001),
    level: float = 0.95,
    num_replicates: int = 400,
    seed: int = 0,
) -> AttackMetrics:
    """Returns AUC, balanced accuracy and TPR at low FPR with intervals.

    Args:
        scores: Scores of N examples against T targets; higher is member.
        keep: True where the target trained on the example.
        mask: True for examples to count; None counts all. Leave out examples that no
            model kept with ``metrics.varying_columns``.
        fprs: False-positive rates, each in (0, 1].
        level: Confidence level, in (0, 1).
        num_replicates: Bootstrap replicates for each kind of cluster, at least 20.
        seed: Seed of the replicates.

    Returns:
        Metrics, NaN where there are fewer than ``1 / fpr`` non-members: in all for the
        pooled, in each target for the mean. With one target nothing is known about
        the variance between targets, and the intervals are for that target alone.

    Raises:
        ValueError: If a score is NaN, a target has no member or no non-member, shapes
            differ or an option is out of range.
    """
    scores, keep = _audited(scores, keep, mask)
    _check_options(fprs, level, num_replicates)
    plan = bootstrap.make_plan(keep, num_replicates, seed)
    pooled = bootstrap.pooled_replicates(scores, keep, fprs, plan)
    mean = bootstrap.target_replicates(scores, keep, fprs, plan)
    names, num_members = metric_names(fprs), int(keep.sum())
    return AttackMetrics(
        pooled=_pooled_estimates(pooled, plan, names, level, num_members),
        mean=_mean_estimates(mean, plan, names, level, num_members),
        per_target=dict(zip(names, mean.value.T.tolist(), strict=True)),
        num_targets=keep.shape[0],
        num_members=num_members,
        num_non_members=int((~keep).sum()),
        non_members_per_target=int((~keep).sum(axis=1).min()),
        fprs=tuple(fprs),
        level=level,
    )


def paired_difference(
    scores: Float[jax.Array | np.ndarray, "t n"],
    baseline: Float[jax.Array | np.ndarray, "t n"],
    keep: Bool[jax.Array | np.ndarray, "t n"],
    *,
    mask: Bool[jax.Array | np.ndarray, " n"] | None = None,
    fprs: Sequence[float] = (0.01, 0.001),
    level: float = 0.95,
    num_replicates: int = 400,
    seed: int = 0,
) -> Differences:
    """Returns the metrics of ``scores`` minus those of ``baseline``, with intervals.

    Both are drawn with the same weights, so what targets (same seed, same training
    set) and examples share cancels: the interval is that of the difference, narrower
    than what two separate intervals leave between them.

    Args:
        scores: Scores under one recipe; target t has the keep mask of row t.
        baseline: Scores of the same examples under the other recipe.
        keep: The mask that both recipes trained with.
        mask: True for examples to count; None counts all.
        fprs: False-positive rates, each in (0, 1].
        level: Confidence level, in (0, 1).
        num_replicates: Bootstrap replicates for each kind of cluster, at least 20.
        seed: Seed of the replicates.

    Raises:
        ValueError: As in ``attack_metrics``.
    """
    ours, kept = _audited(scores, keep, mask)
    theirs, _ = _audited(baseline, keep, mask)
    _check_options(fprs, level, num_replicates)
    plan = bootstrap.make_plan(kept, num_replicates, seed)
    pooled = bootstrap.Replicates(
        *_subtract(
            bootstrap.pooled_replicates(ours, kept, fprs, plan),
            bootstrap.pooled_replicates(theirs, kept, fprs, plan),
        )
    )
    mean = bootstrap.TargetReplicates(
        *_subtract(
            bootstrap.target_replicates(ours, kept, fprs, plan),
            bootstrap.target_replicates(theirs, kept, fprs, plan),
        )
    )
    names = metric_names(fprs)
    return Differences(
        pooled=_pooled_estimates(pooled, plan, names, level),
        mean=_mean_estimates(mean, plan, names, level),
        num_targets=kept.shape[0],
        level=level,
    )


def pooled_metrics(
    scores: Float[jax.Array | np.ndarray, "t n"],
    keep: Bool[jax.Array | np.ndarray, "t n"],
    baseline: Float[jax.Array | np.ndarray, "t n"] | None = None,
    *,
    mask: Bool[jax.Array | np.ndarray, " n"] | None = None,
    fprs: Sequence[float] = (),
    level: float = 0.95,
    num_replicates: int = 200,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Returns the pooled metrics alone, at a third of the cost of ``attack_metrics``.

    Less those of ``baseline`` where it is given, paired as in ``paired_difference``;
    arguments and errors are those of these two.
    """
    ours, kept = _audited(scores, keep, mask)
    _check_options(fprs, level, num_replicates)
    plan = bootstrap.make_plan(kept, num_replicates, seed)
    found = bootstrap.pooled_replicates(ours, kept, fprs, plan)
    names = metric_names(fprs)
    if baseline is None:
        return _pooled_estimates(found, plan, names, level, int(kept.sum()))
    theirs, _ = _audited(baseline, keep, mask)
    other = bootstrap.pooled_replicates(theirs, kept, fprs, plan)
    found = bootstrap.Replicates(*_subtract(found, other))
    return _pooled_estimates(found, plan, names, level)


def roc_band(
    scores: Float[jax.Array | np.ndarray, "t n"],
    keep: Bool[jax.Array | np.ndarray, "t n"],
    *,
    mask: Bool[jax.Array | np.ndarray, " n"] | None = None,
    num_points: int = 60,
    level: float = 0.95,
    num_replicates: int = 200,
    seed: int = 0,
) -> RocBand:
    """Returns the pooled ROC curve from one false positive up, with intervals.

    Args:
        scores: Scores of N examples against T targets; higher is member.
        keep: True where the target trained on the example.
        mask: True for examples to count; None counts all.
        num_points: Points, even in the logarithm of the FPR; at least 2.
        level: Confidence level of each point (not of the whole curve), in (0, 1).
        num_replicates: Bootstrap replicates for each kind of cluster, at least 20.
        seed: Seed of the replicates.

    Raises:
        ValueError: As in ``attack_metrics``.
    """
    scores, keep = _audited(scores, keep, mask)
    _checks.at_least(2, num_points=num_points)
    num_non_members = int((~keep).sum())
    fprs = np.geomspace(1 / num_non_members, 1, num_points)
    _check_options((), level, num_replicates)
    plan = bootstrap.make_plan(keep, num_replicates, seed)
    pooled = bootstrap.pooled_replicates(scores, keep, fprs.tolist(), plan)
    names = [*metric_names(()), *(str(point) for point in range(num_points))]
    estimates = _pooled_estimates(pooled, plan, names, level, int(keep.sum()))
    points = list(estimates.values())[2:]
    value, low, high = np.array([(e.value, e.low, e.high) for e in points]).T
    return RocBand(fprs, value, low, high, num_non_members)


def _check_options(fprs: Sequence[float], level: float, num_replicates: int) -> None:
    for fpr in fprs:
        _checks.positive(fprs=fpr)
        _checks.in_unit_interval(fprs=fpr)
    roc.check_level(level)
    _checks.at_least(20, num_replicates=num_replicates)


def _audited(scores, keep, mask) -> tuple[np.ndarray, np.ndarray]:
    """Returns the columns that count, checked, as float64 and bool."""
    scores, keep = np.asarray(scores, np.float64), np.asarray(keep)
    if mask is not None:
        mask = np.asarray(mask)
        if not mask.any():
            raise ValueError("mask must count at least one example, got none.")
        scores, keep = scores[:, mask], keep[:, mask]
    for target, (row, kept) in enumerate(zip(scores, keep, strict=True)):
        try:
            roc.check_scores(row, kept)
        except ValueError as error:
            raise ValueError(f"Target {target}: {error}") from error
    return scores, keep


def _subtract(ours: tuple, theirs: tuple) -> list[np.ndarray]:
    return [a - b for a, b in zip(ours, theirs, strict=True)]


def _pooled_estimates(
    replicates: bootstrap.Replicates,
    plan: bootstrap.Plan,
    names: Sequence[str],
    level: float,
    count: int | None = None,
) -> dict[str, Estimate]:
    variances = bootstrap.pooled_variances(replicates, plan)
    return _estimates(replicates.value, variances, plan, names, level, count)


def _mean_estimates(
    replicates: bootstrap.TargetReplicates,
    plan: bootstrap.Plan,
    names: Sequence[str],
    level: float,
    count: int | None = None,
) -> dict[str, Estimate]:
    variances = bootstrap.mean_variances(replicates, plan)
    mean = replicates.value.mean(axis=0)
    return _estimates(mean, variances, plan, names, level, count)


def _estimates(
    values: np.ndarray,
    variances: bootstrap.Variances,
    plan: bootstrap.Plan,
    names: Sequence[str],
    level: float,
    count: int | None,
) -> dict[str, Estimate]:
    """Returns each metric's estimate; ``count`` cells for rates, None for others."""
    num_targets = plan.target_weights.shape[1]
    num_groups = plan.group_weights.shape[1]
    estimates = {}
    for name, value, target, example, cell in zip(
        names, values, *variances, strict=True
    ):
        between = max(target - cell, 0.0) if num_targets > 1 else 0.0
        noise = example**2 / max(num_groups - 1, 1)
        noise += target**2 / (num_targets - 1) if between > 0 else 0.0
        variance = example + between
        degrees = float(variance**2 / noise) if noise > 0 else float("inf")
        error = float(np.sqrt(variance))
        width = float(stats.t.isf((1 - level) / 2, degrees)) * error
        low, high = _limits(float(value), width, level, count)
        falls = float(between + min(example, cell))
        whole = Estimate(float(value), low, high, error, degrees, falls)
        missing = Estimate(*[float("nan")] * len(whole))
        estimates[name] = missing if np.isnan(value) else whole
    return estimates


def _limits(
    value: float, width: float, level: float, count: int | None
) -> tuple[float, float]:
    """Returns ``value -+ width``; for a rate on the logit scale."""
    if count is None or np.isnan(value):
        return value - width, value + width
    if value in (0.0, 1.0):
        return roc.binomial_interval(round(value * count), count, level)
    centre, half = special.logit(value), width / (value * (1 - value))
    return float(special.expit(centre - half)), float(special.expit(centre + half))
