"""Attack strength by number of shadow models, on the same targets.

The models are dealt into disjoint groups and each group is an audit by itself: every
model is still a target once, now with the rest of its group as shadow models.
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from sam_jax import _checks
from sam_jax.attacks import score_targets
from sam_jax.metrics import roc
from sam_jax.metrics.attack_metrics import (
    metric_names,
    pooled_difference,
    pooled_metrics,
)
from sam_jax.metrics.bootstrap import bootstrap_attack
from sam_jax.metrics.estimate import MISSING, Estimate, IntervalConfig
from sam_jax.types import AttackFn, Signals

MIN_MODELS = 4
"""Smallest group: fewer leave no standard deviation to estimate."""

MAX_GROUPS = 16
"""Groups attacked at each number, at most; more would only narrow the intervals."""


class ModelCountCurve(NamedTuple):
    """A metric against the number of models that an attack had.

    Attributes:
        num_models: Models in a group, the target included.
        estimates: The metric at each, over the targets of all groups.
        last_gain: The metric with all models minus that with half of them, paired by
            target and example; NaN if there was no half.
    """

    num_models: tuple[int, ...]
    estimates: tuple[Estimate, ...]
    last_gain: Estimate


def group_sizes(num_models: int) -> tuple[int, ...]:
    """Returns the numbers to try: 4, 16, 64, ..., half of the models and all of them.

    Example:
        >>> group_sizes(16), group_sizes(256), group_sizes(6)
        ((4, 8, 16), (4, 16, 64, 128, 256), (6,))
    """
    powers = {4**k for k in range(1, 10) if 4**k <= num_models // 2}
    half = {num_models // 2} if num_models // 2 >= MIN_MODELS else set()
    return tuple(sorted(powers | half | {num_models}))


def model_count_curve(
    attack: AttackFn,
    signals: Signals,
    scores: Float[np.ndarray, "m n"],
    *,
    mask: roc.Mask,
    metric: str = "auc",
    level: float = 0.95,
) -> ModelCountCurve:
    """Returns how a pooled metric grows with the number of models.

    Args:
        attack: The attack.
        signals: The outputs of all models.
        scores: The attack's scores with all models.
        mask: Examples to count.
        metric: One of ``metric_names``; the rate it names is computed.
        level: Confidence level of the intervals.
    """
    num_models = len(signals.phi)
    prefix = "tpr_at_fpr_"
    fprs = (float(metric.removeprefix(prefix)),) if metric.startswith(prefix) else ()
    _checks.one_of(dict.fromkeys(metric_names(fprs), True), metric=metric)
    keep = _checks.mask(keep=signals.keep)
    options: Any = {"mask": mask, "fprs": fprs, "pooled_only": True}
    options["intervals"] = IntervalConfig(level, num_replicates=200)
    order = np.random.default_rng(0).permutation(num_models)
    sizes = group_sizes(num_models)
    estimates, gain = [], MISSING
    for size in sizes:
        dealt, targets = scores, np.arange(num_models)
        if size < num_models:
            dealt, targets = _dealt_scores(attack, signals, order, size)
        few = bootstrap_attack(dealt, keep[targets], **options)
        estimates.append(pooled_metrics(few)[metric])
        # The same targets with all models as shadow models, to be paired with half.
        if size == num_models // 2:
            full = bootstrap_attack(scores[targets], keep[targets], **options)
            gain = pooled_difference(full, few)[metric]
    return ModelCountCurve(sizes, tuple(estimates), gain)


def says_enough(curve: ModelCountCurve) -> str:
    """Returns a sentence on whether more models would make the attack stronger."""
    gain, most = curve.last_gain, curve.num_models[-1]
    if np.isnan(gain.value):
        return f"With {most} models nothing is known of what more would do."
    shown = f"{gain.value:+.4f} [{gain.low:.4f}, {gain.high:.4f}]"
    moved = f"from {most // 2} to {most} models the AUC moved by {shown}"
    if gain.low > 0:
        return f"The attack was still getting stronger: {moved}. More would find more."
    return f"Doubling the models made no clear difference any more: {moved}."


def _dealt_scores(
    attack: AttackFn, signals: Signals, order: Int[np.ndarray, " m"], size: int
) -> tuple[Float[np.ndarray, "t n"], Int[np.ndarray, " t"]]:
    """Scores of groups of ``size`` models, and which models they are."""
    num_groups = min(len(order) // size, MAX_GROUPS)
    groups = order[: num_groups * size].reshape(num_groups, size)
    scores = [score_targets(attack, signals.select(models=group)) for group in groups]
    return np.concatenate(scores), groups.ravel()
