"""Hundreds of shadow models from the training of one, chunk by chunk."""

import functools
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from sam_jax.training import chunk_size
from sam_jax.training.lifted_training import LiftedTraining, lift_training
from sam_jax.training.trainer import (
    LossFn,
    MakeOptimizer,
    TrainingTask,
    check_train_config,
    cross_entropy,
    num_steps_per_epoch,
)
from sam_jax.types import (
    AugmentFn,
    Examples,
    Key,
    Model,
    TrainConfig,
    TrainLog,
    TrainState,
)


class Chunk(NamedTuple):
    """Models that trained together.

    Attributes:
        models: Their numbers, ascending.
        trained: Their final state, with a leading axis over ``models``.
        log: Loss and accuracy by epoch.
    """

    models: Int[np.ndarray, "k"]
    trained: TrainState
    log: TrainLog


class Progress(NamedTuple):
    """Where a call stands: sent after each epoch of each chunk."""

    models_done: int
    models_now: int
    num_models: int
    epoch: int
    num_epochs: int
    loss: float
    accuracy: float


def train_chunks(
    key: Key,
    model: Model,
    make_optimizer: MakeOptimizer,
    hyperparams: Any,
    keep: Bool[Array | np.ndarray, "m n"],
    pool: Examples,
    config: TrainConfig,
    *,
    loss_fn: LossFn = cross_entropy,
    augment: AugmentFn | None = None,
    models: Sequence[int] | None = None,
    on_plan: Callable[[chunk_size.Plan], None] = lambda _: None,
    on_epoch: Callable[[Progress], None] = lambda _: None,
) -> Iterator[Chunk]:
    """Trains M models, chunk by chunk, with the data held once.

    Model m depends on ``key``, m, its own hyper-parameters and its own row of
    ``keep`` alone: not on the size of a chunk, nor on the other models.

    Args:
        key: Random key; model m draws from ``fold_in(key, m)``, so that calls with
            the same key and another optimizer are paired model by model.
        model: The network.
        make_optimizer: From one model's hyper-parameters to its optimizer. Pass the
            same function again, not a new lambda, to reuse what was compiled.
        hyperparams: Pytree of f32 [M] arrays, one value a model (``{}`` for none).
        keep: True where model m trains on example n.
        pool: The examples, N of them.
        config: Settings; see ``TrainConfig``.
        loss_fn: Losses of a batch from logits and labels.
        augment: Applied to each batch before the clean pass.
        models: The models to train, in ascending order; all M by default.
        on_plan: Called with the number of models at once, again with the expected time
            after the first epoch, and again if the number changes: where the compiled
            program needs more memory than is free, or the device runs out of it, the
            same models train in smaller chunks.
        on_epoch: Called after each epoch of each chunk.

    Yields:
        The chunks in order.

    Raises:
        ValueError: If shapes do not match, a hyper-parameter is negative or not
            finite, or a model has no examples.
        FloatingPointError: If a model's loss is no longer finite; names model and
            epoch.
    """
    keep = np.asarray(keep)
    hyperparams = jax.tree.map(lambda a: np.asarray(a, np.float32), hyperparams)
    check_training(keep, hyperparams, pool, config)
    left = np.arange(keep.shape[0]) if models is None else np.asarray(models)
    num_models, devices = len(left), jax.local_devices()
    size = chunk_size.first_guess(config.models_per_chunk, num_models, devices)
    task = TrainingTask(model, make_optimizer, config, loss_fn, augment)
    lifted = lift_training(task, tuple(devices))
    pool = jax.tree.map(jnp.asarray, pool)
    planned = None
    while len(left):
        now = left[:size]
        filled = np.resize(now, size).astype(np.int32)
        own = jax.tree.map(lambda a: a[filled], (hyperparams, keep))  # noqa: B023
        report = functools.partial(
            _report, on_epoch, num_models - len(left), len(now), num_models
        )
        try:
            start = _start(lifted, key, filled, own, pool)
            on_first = lambda _: None
            if size != planned:
                fixed = config.models_per_chunk is not None
                plan = chunk_size.make_plan(
                    start.program(), size, num_models, devices, fixed=fixed
                )
                on_plan(plan)
                planned = size
                epochs = config.num_epochs * -(-len(left) // size)
                on_first = lambda seconds: on_plan(  # noqa: E731
                    plan._replace(seconds=seconds * epochs)  # noqa: B023
                )
            trained, log = _train_chunk(start, config, report, on_first)
        except chunk_size.DoesNotFit as error:
            size = error.size
            continue
        except jax.errors.JaxRuntimeError as error:
            if not chunk_size.is_out_of_memory(error) or size == len(devices):
                raise
            size = chunk_size.smaller(size, 0.5, len(devices))
            warnings.warn(f"Out of memory: trying {size} models at once.", stacklevel=2)
            continue
        left = left[len(now) :]
        yield Chunk(
            now,
            jax.tree.map(lambda a: a[: len(now)], trained),  # noqa: B023
            TrainLog(*(a[: len(now)] for a in log)),
        )


def _report(
    on_epoch: Callable[[Progress], None],
    models_done: int,
    models_now: int,
    num_models: int,
    epoch: int,
    num_epochs: int,
    log: TrainLog,
) -> None:
    loss, accuracy = (float(np.nanmean(a[:, epoch])) for a in log)
    on_epoch(
        Progress(models_done, models_now, num_models, epoch, num_epochs, loss, accuracy)
    )


class _Start(NamedTuple):
    """A chunk before its first epoch."""

    lifted: LiftedTraining
    key: Key
    models: Int[np.ndarray, "k"]
    own: tuple[Any, Any]
    pool: Examples
    state: TrainState

    def arguments(self, epoch: int, state: TrainState) -> tuple[Any, ...]:
        return (self.pool, self.key, np.int32(epoch)), self.models, *self.own, state

    def program(self) -> jax.stages.Compiled:
        """The compiled epoch, which the first call then finds ready."""
        return self.lifted.epoch.lower(*self.arguments(0, self.state)).compile()


def _start(
    lifted: LiftedTraining, key: Key, models: np.ndarray, own: Any, pool: Examples
) -> _Start:
    variables = lifted.init((key, pool.x[:1]), models)
    state = lifted.init_optimizer((), models, own[0], variables)
    return _Start(lifted, key, models, own, pool, state)


def _train_chunk(
    start: _Start,
    config: TrainConfig,
    report: Callable[..., None],
    on_first: Callable[[float], None] = lambda _: None,
) -> tuple[TrainState, TrainLog]:
    """Trains one chunk epoch by epoch; the host only looks at the losses.

    ``on_first`` is told the seconds of the first epoch.
    """
    trained, models = start.state, start.models
    shape = (len(models), config.num_epochs)
    log = TrainLog(np.full(shape, np.nan, "f4"), np.full(shape, np.nan, "f4"))
    for epoch in range(config.num_epochs):
        running = ~np.asarray(trained.done)
        if not running.any():
            break
        begin = time.perf_counter()
        trained, log.loss[:, epoch], log.accuracy[:, epoch] = start.lifted.epoch(
            *start.arguments(epoch, trained)
        )
        diverged = running & ~np.isfinite(log.loss[:, epoch])
        if diverged.any():
            raise FloatingPointError(
                f"model {models[diverged][0]} diverged: its training loss is "
                f"{log.loss[diverged, epoch][0]} in epoch {epoch + 1} of "
                f"{config.num_epochs}. A lower learning rate or rho may help."
            )
        if epoch == 0:
            on_first(time.perf_counter() - begin)
        report(epoch, config.num_epochs, log)
    return trained, log


def train_shadow_models(
    key: Key,
    model: Model,
    make_optimizer: MakeOptimizer,
    hyperparams: Any,
    keep: Bool[Array | np.ndarray, "m n"],
    pool: Examples,
    config: TrainConfig,
    **options: Any,
) -> tuple[TrainState, TrainLog]:
    """Trains M models and returns all of them; ``train_chunks`` holds one chunk.

    Args:
        key: Random key of initial weights, batches, dropout and augmentation.
        model: The network.
        make_optimizer: From one model's hyper-parameters to its optimizer.
        hyperparams: Pytree of hyper-parameters with a leading axis M.
        keep: Which pool example each model trains on.
        pool: Inputs and labels.
        config: Settings; see ``TrainConfig``.
        **options: Further arguments of ``train_chunks``.

    Returns:
        The trained models with a leading axis M, on the host, and their log [M, E].

    Raises:
        ValueError: For an argument that makes no sense; see ``train_chunks``.
        FloatingPointError: If a loss is no longer finite.

    Example:
        >>> import jax, optax, numpy as np
        >>> from sam_jax import models, types
        >>> from sam_jax.optimizers import sam
        >>> from sam_jax.training import membership
        >>> x = np.random.default_rng(0).normal(size=(64, 5)).astype(np.float32)
        >>> pool = types.Examples(x, (x[:, 0] > 0).astype(np.int32))
        >>> make_optimizer = lambda h: sam(optax.sgd(h["learning_rate"]), rho=h["rho"])
        >>> trained, log = train_shadow_models(
        ...     jax.random.key(0),
        ...     models.mlp(2, hidden=(8,)),
        ...     make_optimizer,
        ...     {"rho": np.tile([0.0, 0.1], 2), "learning_rate": np.full(4, 0.1)},
        ...     membership.balanced_keep(jax.random.key(1), 4, 64),
        ...     pool,
        ...     types.TrainConfig(num_epochs=3, batch_size=8),
        ... )
        >>> log.loss.shape
        (4, 3)
    """
    chunks = [
        jax.tree.map(np.asarray, (chunk.trained, chunk.log))
        for chunk in train_chunks(
            key, model, make_optimizer, hyperparams, keep, pool, config, **options
        )
    ]
    return jax.tree.map(lambda *parts: np.concatenate(parts), *chunks)


def check_training(
    keep: np.ndarray, hyperparams: Any, pool: Examples, config: TrainConfig
) -> None:
    """Raises ``ValueError`` for arguments that training could not make sense of."""
    check_train_config(config)
    if keep.ndim != 2 or keep.dtype != np.bool_:
        raise ValueError(
            f"keep must be a bool [M, N] array, got {keep.dtype} of shape {keep.shape}."
        )
    if keep.shape[1] != len(pool.x) or len(pool.x) != len(pool.y):
        raise ValueError(
            "keep must have a column for each example of the pool, got "
            f"{keep.shape[1]} columns for {len(pool.x)} inputs and {len(pool.y)} "
            "labels."
        )
    if not keep.any(axis=1).all():
        raise ValueError(
            "keep must give every model at least one example; row "
            f"{int(np.argmin(keep.any(axis=1)))} has none."
        )
    num_steps_per_epoch(config, keep.shape[1])
    for path, leaf in jax.tree_util.tree_leaves_with_path(hyperparams):
        name = f"hyperparams{jax.tree_util.keystr(path)}"
        if leaf.ndim < 1 or leaf.shape[0] != keep.shape[0]:
            raise ValueError(
                f"{name} must hold one value for each of the {keep.shape[0]} models, "
                f"got shape {leaf.shape}."
            )
        if not (np.isfinite(leaf) & (leaf >= 0)).all():
            raise ValueError(f"{name} must be finite and >= 0, got {leaf.tolist()}.")
