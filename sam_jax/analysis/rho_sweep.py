"""A few models at each radius: how sharp they are, how well they do, what they leak.

An audit drops its weights once they have answered. The same key, mask and settings give
the same models again, at the audit's radius and at others, and these are measured while
they are here.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from sam_jax import _checks
from sam_jax.analysis import sharpness
from sam_jax.attacks import score_targets
from sam_jax.metrics import attack_metrics
from sam_jax.metrics.accuracy import accuracies
from sam_jax.metrics.estimate import Estimate, mean_over_models
from sam_jax.metrics.roc import varying_columns
from sam_jax.signals import compute
from sam_jax.training import shadow_models, vmap_models
from sam_jax.training.trainer import MakeOptimizer, TrainingTask
from sam_jax.types import (
    AttackFn,
    AugmentFn,
    Examples,
    Key,
    Model,
    Signals,
    TrainConfig,
    TrainState,
)

MEASURES = {
    "top eigenvalue": lambda s: s.top_eigenvalue.value,
    "trace": lambda s: s.trace.value,
    "worst-case rise": lambda s: s.worst_case,
    "average-case rise": lambda s: s.average_case.value,
    "adaptive worst-case rise": lambda s: s.adaptive_worst_case,
    "adaptive average-case rise": lambda s: s.adaptive_average_case.value,
}
"""Measures of sharpness by name, each from a ``sharpness.Sharpness``."""


class Sweep(NamedTuple):
    """Measures at R radii, over K models each.

    Attributes:
        rho: The radii, ascending.
        by_model: Each measure of each model but the attack's; keys are those of
            ``MEASURES``, ``train accuracy`` and ``test accuracy``.
        measures: Means over models with intervals, and the pooled ``attack AUC``.
        differences: Less those at the first radius, paired.
        signals: ModelSignals of the models at each radius.
    """

    rho: Float[np.ndarray, " r"]
    by_model: dict[str, Float[np.ndarray, "r k"]]
    measures: dict[str, list[Estimate]]
    differences: dict[str, list[Estimate]]
    signals: list[Signals]


def sharpness_of_chunk(
    key: Key,
    model: Model,
    trained: TrainState,
    pool: Examples,
    keep: Bool[np.ndarray, "k n"],
    *,
    num_examples: int = 256,
    **options: Any,
) -> sharpness.Sharpness:
    """Returns the sharpness of K models, each on some of its own training examples.

    Args:
        key: Random key, of the examples and of the random directions. All models get
            the same directions, so that differences between models are theirs.
        model: The network.
        trained: The models, with a leading axis K.
        pool: The examples that they were trained on.
        keep: True where the model trained on the example.
        num_examples: Training examples behind the loss; fewer where a model has fewer.
        options: Of ``sharpness.sharpness``.

    Returns:
        Measures with a leading axis K, in NumPy.

    Raises:
        ValueError: If an option is out of range.
    """
    _checks.at_least(1, num_examples=num_examples)
    num_examples = min(num_examples, int(keep.sum(axis=1).min()))
    draws = np.asarray(jax.random.uniform(key, keep.shape[1:]))
    order = np.argsort(np.where(keep, draws, np.inf), axis=1, kind="stable")
    rows = order[:, :num_examples].astype(np.int32)
    many = (trained.params, trained.state, rows)
    lifted = _lifted(model, **options)
    found = lifted((key, jax.tree.map(jnp.asarray, pool)), *many)
    return jax.tree.map(np.asarray, found)


@functools.lru_cache(maxsize=16)
def _lifted(model: Model, **options: Any) -> Any:
    """``sharpness`` for many models; cached, so a second call compiles nothing."""

    def fn(shared: Any, params: Any, state: Any, rows: Any) -> sharpness.Sharpness:
        key, pool = shared
        own = jax.tree.map(lambda a: a[rows], pool)
        loss_fn = sharpness.make_loss(model, state, own)
        return sharpness.sharpness(key, loss_fn, params, **options)

    return vmap_models.over_models(fn)


def sweep_rho(
    key: Key,
    model: Model,
    make_optimizer: MakeOptimizer,
    rho: Sequence[float],
    keep: Bool[np.ndarray, "m n"],
    examples: Examples,
    config: TrainConfig,
    attack: AttackFn,
    *,
    num_models: int = 8,
    augment: AugmentFn | None = None,
    level: float = 0.95,
    on_radius: Callable[[float], None] = lambda _: None,
    **options: Any,
) -> Sweep:
    """Trains the first models of an audit at each radius and measures them.

    Args:
        key: The audit's key of training (``auditing.plan``).
        model: The network.
        make_optimizer: From ``{"rho": radius}`` to the optimizer.
        rho: Radii; the smallest is what differences are with.
        keep: The audit's mask.
        examples: The audit's pool followed by its test examples.
        config: The audit's settings, with ``examples_per_epoch``.
        attack: Whose AUC is reported; it is fitted to the other models of the radius.
        num_models: K, the first models of the mask; at least 4.
        augment: The audit's augmentation of training batches.
        level: Confidence level of the intervals, in (0, 1).
        on_radius: Called with each radius before its models are trained.
        options: Of ``sharpness_of_chunk``.

    Raises:
        ValueError: If a radius is negative, or there are fewer than 4 models.
        FloatingPointError: If a model diverges.
    """
    for radius in rho:
        _checks.non_negative(rho=radius)
    _checks.at_least(1, num_radii=len(rho))
    _checks.at_least(4, num_models=num_models)
    radii = np.unique(np.asarray(rho, np.float64))
    test, keep = np.asarray(~keep.any(axis=0)), keep[:num_models]
    signals, by_model, scores = [], [], []
    task = TrainingTask(model, make_optimizer, config, augment=augment)
    for radius in radii:
        on_radius(float(radius))
        parts = []
        chunks = shadow_models.train_chunks(
            key, task, {"rho": np.full(len(keep), radius)}, keep, examples
        )
        for chunk in chunks:
            answers = compute.chunk_signals(
                model, chunk.trained, examples, models_per_vmap=config.models_per_vmap
            )
            sharp = sharpness_of_chunk(
                key, model, chunk.trained, examples, keep[chunk.models], **options
            )
            parts.append((answers, {k: f(sharp) for k, f in MEASURES.items()}))
        answers, measures = jax.tree.map(lambda *a: np.concatenate(a), *parts)
        own = Signals(**answers._asdict(), keep=keep, labels=np.asarray(examples.y))
        fit = dict(
            zip(("train accuracy", "test accuracy"), accuracies(own, test), strict=True)
        )
        by_model.append(measures | fit)
        scores.append(score_targets(attack, own))
        signals.append(own)
    stacked = {k: np.stack([m[k] for m in by_model]) for k in by_model[0]}
    measures = {
        k: [mean_over_models(v, level) for v in values] for k, values in stacked.items()
    }
    differences = {
        k: [mean_over_models(v - values[0], level) for v in values]
        for k, values in stacked.items()
    }
    masked = {"mask": varying_columns(keep), "fprs": (), "level": level}
    measures["attack AUC"] = [
        attack_metrics.attack_metrics(s, keep, **masked).pooled["auc"] for s in scores
    ]
    differences["attack AUC"] = [
        attack_metrics.paired_difference(s, scores[0], keep, **masked).pooled["auc"]
        for s in scores
    ]
    return Sweep(radii, stacked, measures, differences, signals)
