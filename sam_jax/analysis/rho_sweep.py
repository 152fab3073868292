"""Sharpness, accuracy and leakage of a few models at each SAM radius.

The same key, mask and settings give an audit's models again, at its radius and at
others; here they are measured while they exist, or from their saved weights.
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
from sam_jax.metrics import bootstrap_attack, pooled_difference, pooled_metrics
from sam_jax.metrics.accuracy import accuracies
from sam_jax.metrics.estimate import Estimate, mean_over_models
from sam_jax.metrics.roc import varying_columns
from sam_jax.signals import compute
from sam_jax.training import shadow_models, vmap_models
from sam_jax.training.checkpoint import ChunkStore
from sam_jax.training.chunk_files import Arrays
from sam_jax.training.chunk_training import Callbacks, Chunk
from sam_jax.training.identity import training_identity
from sam_jax.training.saved_models import SavedModels
from sam_jax.training.trainer import TrainingTask
from sam_jax.types import AttackFn, Examples, Key, Model, Signals, TrainLog, TrainState

MEASURES: dict[str, Callable[[sharpness.Sharpness], Any]] = {
    "top_eigenvalue": lambda s: s.top_eigenvalue.value,
    "trace": lambda s: s.trace.value,
    "worst_case_increase": lambda s: s.worst_case,
    "average_case_increase": lambda s: s.average_case.value,
    "adaptive_worst_case_increase": lambda s: s.adaptive_worst_case,
    "adaptive_average_case_increase": lambda s: s.adaptive_average_case.value,
}
"""Measures of sharpness by name, each from a ``sharpness.Sharpness``."""


class RhoSweep(NamedTuple):
    """Measures at R radii, over K models each.

    Attributes:
        rho: The radii, ascending.
        by_model: Each measure of each model but the attack's; keys are those of
            ``MEASURES``, ``train_accuracy`` and ``test_accuracy``.
        measures: Means over models with intervals, and the pooled ``attack_auc``.
        differences: Minus those at the first radius, paired.
        signals: Signals of the models at each radius.
    """

    rho: Float[np.ndarray, " r"]
    by_model: dict[str, Float[np.ndarray, "r k"]]
    measures: dict[str, list[Estimate]]
    differences: dict[str, list[Estimate]]
    signals: list[Signals]


class SweptTraining(NamedTuple):
    """The training that a sweep repeats at each radius.

    Attributes:
        key: The audit's key of training (``auditing.plan``).
        task: Network, settings, and from ``{"rho": radius}`` to the optimizer.
        keep: The audit's mask.
        examples: The audit's pool followed by its test examples.
        saved: The audit's radius and its models, where their weights were kept.
    """

    key: Key
    task: TrainingTask
    keep: Bool[np.ndarray, "m n"]
    examples: Examples
    saved: tuple[float, SavedModels] | None = None


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
    """Returns the sharpness of K models, each on some of its training examples.

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
    # One number for all models, as arrays under `vmap` need it.
    num_examples = min(num_examples, int(keep.sum(axis=1).min()))
    # Each model's examples are those of its training set with the smallest draws.
    draws = np.asarray(jax.random.uniform(key, keep.shape[1:]))
    order = np.argsort(np.where(keep, draws, np.inf), axis=1, kind="stable")
    rows = order[:, :num_examples].astype(np.int32)
    measure = _over_models(model, **options)
    shared = (key, jax.tree.map(jnp.asarray, pool))
    measured = measure(shared, trained.params, trained.state, rows)
    return jax.tree.map(np.asarray, measured)


@functools.lru_cache(maxsize=16)
def _over_models(model: Model, **options: Any) -> Callable[..., sharpness.Sharpness]:
    """``sharpness`` for many models; cached, so a second call compiles nothing."""

    def fn(shared: Any, params: Any, state: Any, rows: Any) -> sharpness.Sharpness:
        key, pool = shared
        examples = jax.tree.map(lambda a: a[rows], pool)
        loss_fn = sharpness.make_loss(model, state, examples)
        return sharpness.sharpness(key, loss_fn, params, **options)

    return vmap_models.over_models(fn)


def sweep_rho(
    training: SweptTraining,
    rho: Sequence[float],
    attack: AttackFn,
    *,
    num_models: int = 8,
    on_radius: Callable[[float], None] = lambda _: None,
    store: ChunkStore = ChunkStore(None),  # noqa: B008, holds nothing
    **options: Any,
) -> RhoSweep:
    """Trains the first models of an audit at each radius and measures them.

    Args:
        training: The training to repeat.
        rho: Radii; differences are with the smallest.
        attack: Whose AUC is reported; it is fitted to the other models of the radius.
        num_models: K, the first models of the mask; at least 4.
        on_radius: Called with each radius before its models are trained.
        store: Keeps what was measured at each radius, and the models in training.
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
    unseen = np.asarray(~training.keep.any(axis=0))
    signals, by_model, scores = [], [], []
    for radius in radii:
        on_radius(float(radius))
        radius_signals, measures = _measure_at(
            training, float(radius), num_models, store, **options
        )
        train_accuracy, test_accuracy = accuracies(radius_signals, unseen)
        accuracy = {"train_accuracy": train_accuracy, "test_accuracy": test_accuracy}
        by_model.append(measures | accuracy)
        scores.append(score_targets(attack, radius_signals))
        signals.append(radius_signals)
    # Means over models, and differences with the first radius model by model.
    stacked = {
        name: np.stack([measures[name] for measures in by_model])
        for name in by_model[0]
    }
    measures, differences = _estimates(stacked)
    # The attack's AUC has no value by model: it is pooled over all of them.
    aucs = _attack_aucs(scores, training.keep[:num_models])
    measures["attack_auc"], differences["attack_auc"] = aucs
    return RhoSweep(radii, stacked, measures, differences, signals)


def _measure_at(
    training: SweptTraining,
    radius: float,
    num_models: int,
    store: ChunkStore,
    **options: Any,
) -> tuple[Signals, dict[str, np.ndarray]]:
    """Signals and sharpness of the first models at one radius, trained or kept."""
    keep, examples, task = training.keep[:num_models], training.examples, training.task
    radii = {"rho": np.full(len(keep), radius)}
    arguments = training.key, task, radii, keep, examples
    kept = store.chunks_of(
        f"rho={radius!r}",
        functools.partial(training_identity, *arguments, sharpness=f"{options}"),
    )
    measured = kept.load()
    done = [int(m) for arrays in measured for m in arrays["models"]]
    missing = np.setdiff1d(np.arange(len(keep)), done)
    if training.saved is not None and missing.size:
        at, saved = training.saved
        if at == radius and np.isin(missing, saved.models).all():
            arrays = _measure_chunk(training, _as_chunk(saved.take(missing)), **options)
            kept.save(arrays)
            measured.append(arrays)
            missing = missing[:0]
    for chunk in shadow_models.train_chunks(
        *arguments,
        models=missing,
        callbacks=Callbacks(on_state=kept.save_partial, resume=kept.resume),
    ):
        arrays = _measure_chunk(training, chunk, **options)
        # Diverged models are not kept, and train again in the next run.
        if not chunk.diverged.any():
            kept.save(arrays)
        measured.append(arrays)
    # Kept chunks come before new ones: back to the order of the models.
    order = np.argsort(np.concatenate([arrays["models"] for arrays in measured]))
    joined = {k: np.concatenate([a[k] for a in measured])[order] for k in measured[0]}
    outputs = {name: joined[name] for name in compute.ModelSignals._fields}
    signals = Signals(**outputs, keep=keep, labels=np.asarray(examples.y))
    return signals, {name: joined[name] for name in MEASURES}


def _as_chunk(saved: SavedModels) -> Chunk:
    """Saved models as if they had just been trained."""
    count = len(saved.models)
    done = jnp.zeros(count, jnp.bool_)
    trained = TrainState(saved.params, saved.state, (), done)
    curves = np.full((2, count, 0), np.nan, np.float32)
    return Chunk(saved.models, trained, TrainLog(*curves), np.zeros(count, np.int64))


def _measure_chunk(training: SweptTraining, chunk: Chunk, **options: Any) -> Arrays:
    """Signals and sharpness of models that have just been trained."""
    outputs = compute.chunk_signals(
        training.task.model,
        chunk.trained,
        training.examples,
        models_per_vmap=training.task.config.models_per_vmap,
    )
    sharp = sharpness_of_chunk(
        training.key,
        training.task.model,
        chunk.trained,
        training.examples,
        training.keep[chunk.models],
        **options,
    )
    measures = {name: np.asarray(measure(sharp)) for name, measure in MEASURES.items()}
    return {"models": chunk.models} | outputs._asdict() | measures


def _estimates(
    stacked: dict[str, Float[np.ndarray, "r k"]],
) -> tuple[dict[str, list[Estimate]], dict[str, list[Estimate]]]:
    """Means over models at each radius, and their paired differences with the first."""
    measures, differences = {}, {}
    for name, values in stacked.items():
        measures[name] = [mean_over_models(v) for v in values]
        differences[name] = [mean_over_models(v - values[0]) for v in values]
    return measures, differences


def _attack_aucs(
    scores: list[Float[np.ndarray, "k n"]], keep: Bool[np.ndarray, "k n"]
) -> tuple[list[Estimate], list[Estimate]]:
    """Pooled AUC at each radius, and its paired differences with the first."""
    options: Any = {"mask": varying_columns(keep), "fprs": (), "pooled_only": True}
    bootstraps = [bootstrap_attack(of_radius, keep, **options) for of_radius in scores]
    values = [pooled_metrics(b)["auc"] for b in bootstraps]
    differences = [pooled_difference(b, bootstraps[0])["auc"] for b in bootstraps]
    return values, differences
