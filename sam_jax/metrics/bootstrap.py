"""The bootstrap of an attack's metrics, from which every interval is read.

Targets and examples are both samples, and crossed: the variance by each is that of
replicates that draw it with replacement (``replicates``), and ``crossed_variance``
combines them. Drawing both in one replicate (Owen) would count the noise of single
pairs three times: intervals are 1.7 times too wide where the scores know nothing.

References:
    Owen, "The pigeonhole bootstrap", 2007, https://arxiv.org/abs/0712.1111.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from sam_jax import _checks
from sam_jax.metrics import roc
from sam_jax.metrics.estimate import CrossedVariance, IntervalConfig, crossed_variance
from sam_jax.metrics.refits import (
    Refit,
    make_example_groups,
    metrics_without,
    shared_variance,
)
from sam_jax.metrics.replicates import (
    WITHOUT_RATE,
    Replicates,
    TargetReplicates,
    make_weights,
    pooled_replicates,
    target_replicates,
)

CURVE_POINTS = 60
"""Points of the ROC band, even in the logarithm of the false-positive rate."""


class SampleSizes(NamedTuple):
    """What stands behind the metrics (``AttackMetrics``), and behind the replicates.

    Attributes:
        num_groups: Groups of examples, and of pairs, that were drawn.
        num_refits: Refits without some models; 0 where there were none.
    """

    num_targets: int
    num_members: int
    num_non_members: int
    non_members_per_target: int
    num_groups: int
    num_refits: int


@dataclasses.dataclass(frozen=True)
class Bootstrap:
    """The replicates of one attack's metrics, from which all intervals are read.

    Metrics are AUC, balanced accuracy, TPR at each of ``fprs`` and, pooled only, TPR at
    each of ``curve_fprs``.

    Attributes:
        pooled: Metrics of one ROC curve over the scores of all targets.
        by_target: Metrics of every target alone.
        without_models: Pooled metrics by refit and group of examples (``refits``).
        fprs: The false-positive rates of the TPR metrics.
        curve_fprs: Those of the points of the ROC band.
        sizes: What stands behind the metrics.
        intervals: Level, replicates and seed.
    """

    pooled: Replicates
    by_target: TargetReplicates
    without_models: Float[np.ndarray, "g x p"]
    fprs: tuple[float, ...]
    curve_fprs: tuple[float, ...]
    sizes: SampleSizes
    intervals: IntervalConfig

    def minus(self, baseline: "Bootstrap") -> "Bootstrap":
        """Returns the replicates of the differences of the metrics.

        Both are drawn with the same weights, so what targets (same seed, same training
        set) and examples share cancels.

        Raises:
            ArgumentError: If rates, sizes or settings of the two differ.
        """
        for field in ("fprs", "curve_fprs", "sizes", "intervals"):
            value, base = getattr(self, field), getattr(baseline, field)
            if value != base:
                rule = f"must have the same {field} to be paired, got {base}"
                raise _checks.ArgumentError("baseline", f"{rule} and {value}.")
        fields = ("pooled", "by_target", "without_models")
        both = ({f: getattr(b, f) for f in fields} for b in (self, baseline))
        return dataclasses.replace(self, **jax.tree.map(np.subtract, *both))

    def pooled_variances(self) -> list[CrossedVariance]:
        """Returns the variance of each pooled metric, the curve's points last."""
        num_targets, num_groups = self.sizes.num_targets, self.sizes.num_groups
        return _crossed(
            _variance(self.pooled.examples, num_groups),
            _variance(self.pooled.targets, num_targets),
            _variance(self.pooled.pairs, num_groups),
            shared_variance(self.without_models),
            self.sizes,
        )

    def null_errors(self) -> Float[np.ndarray, " p"]:
        """Returns standard errors of the pooled metrics where nothing leaks.

        If a model's outputs on an example do not depend on whether it trained on it,
        examples are independent whatever the models are, so that their clusters alone
        give the variance, however few the models.
        """
        return np.sqrt(_variance(self.pooled.examples, self.sizes.num_groups))

    def mean_variances(self) -> list[CrossedVariance]:
        """Returns the variance of the mean over targets of each metric."""
        num_targets, num_groups = self.sizes.num_targets, self.sizes.num_groups
        value, examples = self.by_target
        # With pairs as clusters, targets are independent: their variances add up.
        alone = [_variance(target, num_groups) for target in examples]
        pairs = np.sum(alone, axis=0) / num_targets**2
        between = np.var(value, axis=0, ddof=1) if num_targets > 1 else pairs
        example = _variance(examples.mean(axis=0), num_groups)
        # What models bring to the mean over targets is taken to be what they bring to
        # the pooled metric: the targets of each refit alone would be many times dearer.
        shared = shared_variance(self.without_models)[: examples.shape[-1]]
        return _crossed(example, between / num_targets, pairs, shared, self.sizes)


def bootstrap_attack(
    scores: Float[jax.Array | np.ndarray, "t n"],
    keep: roc.Mask,
    *,
    mask: roc.Mask | None = None,
    fprs: Sequence[float] = (0.01, 0.001),
    intervals: IntervalConfig = IntervalConfig(),  # noqa: B008, frozen
    pooled_only: bool = False,
    refits: Iterable[Refit] = (),
) -> Bootstrap:
    """Returns the bootstrap of an attack's metrics.

    Args:
        scores: Scores of N examples against T targets; higher is member.
        keep: True where the target trained on the example.
        mask: True for examples to count; None counts all. Leave out examples that no
            model kept with ``metrics.varying_columns``.
        fprs: False-positive rates at which to take the TPR, each in (0, 1].
        intervals: Level, replicates and seed of the intervals.
        pooled_only: Whether to leave out every target's metrics and the ROC band, for
            ``pooled_metrics`` at a third of the cost.
        refits: From ``leave_models_out``: the attack without some models, so that the
            intervals count what targets share through their shadow models.

    Raises:
        ArgumentError: If a score is NaN, a target has no member or no non-member,
            shapes differ or a rate is out of range.

    Example:
        >>> from sam_jax.metrics.attack_metrics import attack_metrics
        >>> keep = np.arange(4)[:, None] % 2 == np.arange(50) % 2
        >>> scores = keep + np.random.default_rng(0).normal(size=keep.shape)
        >>> result = attack_metrics(bootstrap_attack(scores, keep, fprs=(0.1,)))
        >>> sorted(result.pooled)
        ['auc', 'balanced_accuracy', 'tpr_at_fpr_0.1']
    """
    columns = _counted_columns(keep, mask)
    scores, keep = _checked(scores, keep, columns)
    fprs = _checks.false_positive_rates(fprs)
    weights = make_weights(keep.shape, intervals)
    num_non_members = int((~keep).sum())
    # Without them, the metrics by target are those of no targets.
    curve_fprs, alone = [], slice(0)
    if not pooled_only:
        curve_fprs = np.geomspace(1 / num_non_members, 1, CURVE_POINTS).tolist()
        alone = slice(None)
    rates = (*fprs, *curve_fprs)
    without_models = _without_models(refits, keep, columns, rates, intervals.seed)
    return Bootstrap(
        pooled=pooled_replicates(scores, keep, rates, weights),
        by_target=target_replicates(scores[alone], keep[alone], fprs, weights),
        without_models=without_models,
        fprs=fprs,
        curve_fprs=tuple(curve_fprs),
        sizes=SampleSizes(
            num_targets=len(keep),
            num_members=int(keep.sum()),
            num_non_members=num_non_members,
            non_members_per_target=int((~keep).sum(axis=1).min()),
            num_groups=weights.groups.shape[1],
            num_refits=len(without_models),
        ),
        intervals=intervals,
    )


def _counted_columns(
    keep: jax.Array | np.ndarray, mask: jax.Array | np.ndarray | None
) -> Int[np.ndarray, " c"]:
    if mask is None:
        return np.arange(keep.shape[-1])
    counted = _checks.mask(mask=mask)
    if not counted.any():
        rule = "must count at least one example, got none."
        raise _checks.ArgumentError("mask", rule)
    return np.flatnonzero(counted)


def _checked(
    scores: jax.Array | np.ndarray,
    keep: jax.Array | np.ndarray,
    columns: Int[np.ndarray, " c"],
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the columns that count, checked, as floats and bool."""
    scores, keep = (
        a if len(columns) == a.shape[1] else a[:, columns]
        for a in (roc.float_scores(scores), _checks.mask(keep=keep))
    )
    for target, (row, kept) in enumerate(zip(scores, keep, strict=True)):
        try:
            roc.check_scores(row, kept)
        except _checks.ArgumentError as error:
            rule = f"{error.rule} (Target {target}.)"
            raise _checks.ArgumentError(error.argument, rule) from error
    return scores, keep


def _without_models(
    refits: Iterable[Refit],
    keep: Bool[np.ndarray, "t c"],
    columns: Int[np.ndarray, " c"],
    fprs: Sequence[float],
    seed: int,
) -> Float[np.ndarray, "g x p"]:
    """Metrics of each refit on each group of examples; empty without refits."""
    groups = make_example_groups(len(columns), seed)
    by_refit = []
    for refit in refits:
        # Refits number the columns of the signals, and keep has those that count.
        counted = refit._replace(columns=np.searchsorted(columns, refit.columns))
        by_refit.append(metrics_without(counted, keep, groups, fprs))
    if not by_refit:
        return np.empty((0, 1, len(WITHOUT_RATE) + len(fprs)))
    return np.stack(by_refit)


def _variance(draws: np.ndarray, num_clusters: int) -> np.ndarray:
    """Variance over replicates, corrected for drawing from the sample itself."""
    if num_clusters == 1:
        return np.zeros(draws.shape[1])
    return np.var(draws, axis=0, ddof=1) * num_clusters / (num_clusters - 1)


def _crossed(
    example: np.ndarray,
    target: np.ndarray,
    pair: np.ndarray,
    shared: np.ndarray,
    sizes: SampleSizes,
) -> list[CrossedVariance]:
    num_targets, num_refits = sizes.num_targets, sizes.num_refits
    independent = min(num_targets, num_refits) if num_refits else num_targets
    # What targets bring is a difference of two variances, or a covariance: half as
    # well known as the variance of as many values (by simulation).
    target_degrees = max((independent - 1) / 2, 1.0) if num_targets > 1 else 0.0
    return [
        crossed_variance(
            *variances,
            example_degrees=max(sizes.num_groups - 1, 1),
            target_degrees=target_degrees,
        )
        for variances in zip(example, target, pair, shared, strict=True)
    ]
