"""Signals of an audit's models: trained, or read from the chunks of an earlier run."""

import functools
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sam_jax.auditing.plan import AuditPlan
from sam_jax.signals import compute
from sam_jax.training.checkpoint import ChunkStore
from sam_jax.training.chunk_files import Arrays
from sam_jax.training.chunk_training import Callbacks
from sam_jax.training.identity import Identity, hash_program, training_identity
from sam_jax.training.processes import shard_models
from sam_jax.training.progress import ProgressBar
from sam_jax.training.shadow_models import train_chunks
from sam_jax.training.trainer import TrainingTask
from sam_jax.training.training_checks import check_diverged
from sam_jax.types import Examples, Signals, TrainConfig, TrainLog


class Trained(NamedTuple):
    """What an audit keeps of the models of one optimizer.

    Attributes:
        signals: Of all models, in the order of the mask.
        log: Training curves.
        diverged: Number of a model that diverged -> the epoch, from 1.
    """

    signals: Signals
    log: TrainLog
    diverged: dict[int, int]


def train_optimizer(
    name: str,
    task: TrainingTask,
    plan: AuditPlan,
    num_queries: int,
    store: ChunkStore,
    bar: ProgressBar,
) -> tuple[list[Arrays], str]:
    """Trains the models of one optimizer that are missing; keeps signals.

    Signals of other augmented queries are computed of weights that were kept.

    Args:
        name: Of the optimizer.
        task: Network, optimizer and settings.
        plan: Mask, columns and keys of the audit.
        num_queries: Augmented queries of each example.
        store: Where trained chunks are kept.
        bar: Shows how far the training is.

    Returns:
        Signals, curves and numbers of the models, chunk by chunk: of all models, or of
        those that this shard and others have trained so far. And what took the time:
        ``"train"``, or ``"signals of kept models"`` where none was trained.

    Raises:
        ArgumentError: If the store holds models that depend on something else.
        FloatingPointError: If more models diverge than may.
    """
    config, examples = task.config, plan.examples()
    like: Any = None
    if store.folder is not None:
        x = jax.ShapeDtypeStruct((1, *examples.x.shape[1:]), jnp.float32)
        like = jax.eval_shape(task.model.init, jax.random.key(0), x)
    queries = dict(num_queries=num_queries, augment=task.augment, key=plan.query_key)
    queries |= {"examples": examples, "models_per_vmap": config.models_per_vmap}
    measure = functools.partial(compute.chunk_signals, task.model, **queries)
    kept = store.chunks_of(
        name,
        functools.partial(_identity, task, plan, examples, num_queries, like),
        like,
    )
    chunks = kept.load(measure)
    done = [int(m) for chunk in chunks for m in chunk["models"]]
    bar.skip(len(done) * config.num_epochs)
    callbacks = Callbacks(
        on_plan=lambda chunk_plan: bar.say(f"{name}: {chunk_plan}."),
        on_epoch=lambda now: bar.show(name, now),
        on_state=kept.save_partial,
        resume=kept.resume,
    )
    wanted = np.arange(len(plan.keep))
    if store.shard is not None:
        wanted = shard_models(len(plan.keep), config, store.shard)
    missing = np.setdiff1d(wanted, done)
    arguments = plan.train_key, task, {}, plan.keep, examples
    for chunk in train_chunks(*arguments, models=missing, callbacks=callbacks):
        # While the weights are there: the next chunk takes their memory.
        arrays = {"models": chunk.models, "diverged": chunk.diverged}
        arrays |= measure(chunk.trained)._asdict() | chunk.log._asdict()
        kept.save(arrays, chunk.trained)
        chunks.append(arrays)
        bar.finish(len(chunk.models) * config.num_epochs)
    only_measured = kept.num_measured and not missing.size
    return chunks, "signals of kept models" if only_measured else "train"


def join_chunks(
    chunks: Sequence[Arrays], plan: AuditPlan, config: TrainConfig
) -> Trained:
    """Returns the signals of all models of an optimizer.

    Args:
        chunks: From ``train_optimizer``; together they hold every model.
        plan: Mask and columns of the audit.
        config: Settings of the training.

    Raises:
        FloatingPointError: If more models diverged than may.
    """
    # Chunks come in the order in which they were trained, models in that of the mask.
    order = np.argsort(np.concatenate([chunk["models"] for chunk in chunks]))
    joined = {k: np.concatenate([c[k] for c in chunks])[order] for k in chunks[0]}
    epochs = joined["diverged"]
    diverged = {int(m): int(epochs[m]) for m in np.flatnonzero(epochs)}
    check_diverged(diverged, config)
    outputs = {field: joined[field] for field in compute.ModelSignals._fields}
    signals = Signals(**outputs, keep=plan.keep, labels=np.asarray(plan.examples().y))
    return Trained(signals, TrainLog(joined["loss"], joined["accuracy"]), diverged)


def without_diverged(
    trained: Mapping[str, Trained],
) -> tuple[dict[str, Signals], dict[str, TrainLog]]:
    """Returns signals and curves of the models that diverged under no optimizer.

    A model is left out of all optimizers, so that those left are still paired; a
    warning names it.
    """
    num_models = len(next(iter(trained.values())).signals.keep)
    sound = np.ones(num_models, np.bool_)
    for name, models in trained.items():
        sound[list(models.diverged)] = False
        if models.diverged:
            listed = ", ".join(f"{m} (epoch {e})" for m, e in models.diverged.items())
            warnings.warn(
                f"{name}: {len(models.diverged)} of {num_models} models diverged and "
                f"are left out, with their pairs: {listed}.",
                stacklevel=3,
            )
    signals, logs = {}, {}
    for name, models in trained.items():
        signals[name] = models.signals.select(models=sound)
        logs[name] = TrainLog(*(curve[sound] for curve in models.log))
    return signals, logs


def _identity(
    task: TrainingTask,
    plan: AuditPlan,
    examples: Examples,
    num_queries: int,
    variables: tuple[Any, Any],
) -> Identity:
    """What the models depend on, and the signals that are kept of them."""
    shapes = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), examples)
    program = functools.partial(
        compute.model_signals,
        task.model,
        num_queries=num_queries,
        augment=task.augment,
        key=plan.query_key,
    )
    return training_identity(
        plan.train_key,
        task,
        {},
        plan.keep,
        examples,
        signals=hash_program(program, *variables, shapes),
    )
