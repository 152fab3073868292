"""Hundreds of shadow models from the training of one, chunk by chunk."""

import functools
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from sam_jax.training import chunk_size
from sam_jax.training.chunk_training import (
    Callbacks,
    Chunk,
    ChunkStart,
    Ensemble,
    Progress,
    train_chunk,
)
from sam_jax.training.lifted_training import lift_training
from sam_jax.training.trainer import TrainingTask
from sam_jax.training.training_checks import check_diverged, check_training
from sam_jax.training.vmap_choice import ChunkProgram, with_user_width
from sam_jax.types import Examples, Key, TrainConfig, TrainLog, TrainState


def train_chunks(
    key: Key,
    task: TrainingTask,
    hyperparams: Any,
    keep: Bool[Array | np.ndarray, "m n"],
    pool: Examples,
    *,
    models: Sequence[int] | Int[np.ndarray, "k"] | None = None,
    callbacks: Callbacks = Callbacks(),
) -> Iterator[Chunk]:
    """Trains M models, chunk by chunk, with the data held once.

    Model m depends on ``key``, m, its hyper-parameters and its row of
    ``keep`` alone: not on the size of a chunk, nor on the other models.

    Args:
        key: Random key; model m draws from ``fold_in(key, m)``, so that calls with
            the same key and another optimizer are paired model by model.
        task: Network, optimizer and settings. Pass the same functions again, not new
            ones, to reuse what was compiled.
        hyperparams: Pytree of f32 [M] arrays, one value a model (``{}`` for none).
        keep: True where model m trains on example n.
        pool: The examples, N of them.
        models: The models to train, in ascending order; all M by default. A chunk that
            is missing as a whole is the chunk that it would have been among all.
        callbacks: See ``Callbacks``.

    Yields:
        The chunks in order.

    Raises:
        ArgumentError: If shapes do not match, a hyper-parameter is negative or not
            finite, or a model has no examples.
        FloatingPointError: If more models diverge than ``config.max_diverged``; names
            models and epochs. Their chunk is yielded before.
    """
    # No generator itself: arguments are checked at the call, not at the first chunk.
    keep = np.asarray(keep)
    hyperparams = jax.tree.map(lambda a: np.asarray(a, np.float32), hyperparams)
    check_training(keep, hyperparams, pool, task.config)
    task = with_user_width(task)
    ensemble = Ensemble(
        lift_training(task, tuple(jax.local_devices())),
        key,
        hyperparams,
        keep,
        jax.tree.map(jnp.asarray, pool),
    )
    wanted = np.arange(len(keep)) if models is None else np.asarray(models)
    return _chunks(ensemble, wanted, task, callbacks)


def _chunks(
    ensemble: Ensemble,
    left: Int[np.ndarray, "k"],
    task: TrainingTask,
    callbacks: Callbacks,
) -> Iterator[Chunk]:
    """The chunks of ``train_chunks``, trained one at a time as they are consumed."""
    num_models, devices, config = len(left), jax.local_devices(), task.config
    size, program = _first_size(config, len(ensemble.keep), left, devices), None
    diverged: dict[int, int] = {}
    while len(left):
        try:
            if program is None:
                program = _fitting_program(ensemble, left, size, task)
                callbacks.on_plan(program.plan)
            size = program.plan.models_per_chunk
            # Chunks lie on a fixed grid: a model trains beside the same others whether
            # or not the run was interrupted, and so comes out the same bit for bit.
            chosen = ensemble._replace(lifted=program.lifted)
            start = chosen.start(left[left // size == left[0] // size], size)
            report = functools.partial(_report, callbacks, len(left), num_models, start)
            chunk = train_chunk(start, config, callbacks, report, program.after_epoch)
        except jax.errors.JaxRuntimeError as error:
            # The one retry: the same models again, fewer at once.
            if not chunk_size.is_out_of_memory(error) or size == len(devices):
                raise
            size, program = chunk_size.smaller(size, 0.5, len(devices)), None
            warnings.warn(f"Out of memory: trying {size} models at once.", stacklevel=2)
            continue
        left = left[len(chunk.models) :]
        yield chunk
        diverged |= chunk.diverged_models()
        check_diverged(diverged, config)


def _first_size(
    config: TrainConfig,
    num_models: int,
    wanted: Int[np.ndarray, "k"],
    devices: list[jax.Device],
) -> int:
    """The size of the chunks of all models, or of those wanted if they fit no chunk."""
    size = chunk_size.first_guess(config.models_per_chunk, num_models, devices)
    chunks = np.unique(wanted // size)
    whole = np.arange(num_models)
    if np.array_equal(wanted, whole[np.isin(whole // size, chunks)]):
        return size
    return chunk_size.first_guess(config.models_per_chunk, len(wanted), devices)


def _fitting_program(
    ensemble: Ensemble, left: Int[np.ndarray, "k"], size: int, task: TrainingTask
) -> ChunkProgram:
    """Compiles smaller chunks until one fits into the free memory."""
    while True:
        try:
            return ChunkProgram(task, ensemble.start(left[:1], size), len(left))
        except chunk_size.DoesNotFit as error:
            size = error.size


def _report(
    callbacks: Callbacks,
    num_left: int,
    num_models: int,
    start: ChunkStart,
    epoch: int,
    log: TrainLog,
) -> None:
    now = len(start.models)
    loss, accuracy = (
        float(np.nanmean(a[:, epoch])) if np.isfinite(a[:, epoch]).any() else np.nan
        for a in log
    )
    callbacks.on_epoch(
        Progress(
            num_models - num_left,
            now,
            num_models,
            epoch,
            log.loss.shape[1],
            loss,
            accuracy,
        )
    )


def train_shadow_models(
    key: Key,
    task: TrainingTask,
    hyperparams: Any,
    keep: Bool[Array | np.ndarray, "m n"],
    pool: Examples,
    **options: Any,
) -> tuple[TrainState, TrainLog]:
    """Trains M models and returns all of them; ``train_chunks`` holds one chunk.

    Args:
        key: Random key of initial weights, batches, dropout and augmentation.
        task: Network, optimizer and settings.
        hyperparams: Pytree of hyper-parameters with a leading axis M.
        keep: Which pool example each model trains on.
        pool: Inputs and labels.
        **options: Further arguments of ``train_chunks``.

    Returns:
        The trained models with a leading axis M, on the host, and their log [M, E].

    Raises:
        ArgumentError: For an argument that makes no sense; see ``train_chunks``.
        FloatingPointError: If more models diverge than may.

    Example:
        >>> import jax, optax, numpy as np
        >>> from sam_jax import models, types
        >>> from sam_jax.optimizers import sam
        >>> from sam_jax.training import TrainingTask, balanced_keep
        >>> x = np.random.default_rng(0).normal(size=(64, 5)).astype(np.float32)
        >>> task = TrainingTask(
        ...     models.mlp(2, hidden=(8,)),
        ...     lambda h: sam(optax.sgd(h["learning_rate"]), rho=h["rho"]),
        ...     types.TrainConfig(num_epochs=3, batch_size=8),
        ... )
        >>> trained, log = train_shadow_models(
        ...     jax.random.key(0),
        ...     task,
        ...     {"rho": np.tile([0.0, 0.1], 2), "learning_rate": np.full(4, 0.1)},
        ...     balanced_keep(jax.random.key(1), 4, 64),
        ...     types.Examples(x, (x[:, 0] > 0).astype(np.int32)),
        ... )
        >>> log.loss.shape
        (4, 3)
    """
    chunks = [
        jax.tree.map(np.asarray, (chunk.trained, chunk.log))
        for chunk in train_chunks(key, task, hyperparams, keep, pool, **options)
    ]
    return jax.tree.map(lambda *arrays: np.concatenate(arrays), *chunks)
