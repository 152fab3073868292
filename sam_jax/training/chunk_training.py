"""The training of one chunk of models, epoch by epoch."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import numpy as np
from jaxtyping import Bool, Int

from sam_jax.training.chunk_size import Plan
from sam_jax.training.lifted_training import LiftedTraining
from sam_jax.types import Examples, Key, TrainConfig, TrainLog, TrainState

SECONDS_BETWEEN_STATES = 120.0
"""How often the state of a long chunk is handed out, to be kept."""


class Chunk(NamedTuple):
    """Models that trained together.

    Attributes:
        models: Their numbers, ascending.
        trained: Their final state, with a leading axis over ``models``.
        log: Loss and accuracy by epoch.
        diverged: Epoch, from 1, in which a model's loss was no longer finite; 0 for
            those that trained to the end. The weights of the others are of no use.
    """

    models: Int[np.ndarray, "k"]
    trained: TrainState
    log: TrainLog
    diverged: Int[np.ndarray, "k"]

    def diverged_models(self) -> dict[int, int]:
        """Returns the numbers of the models that diverged, and their epochs."""
        pairs = zip(self.models.tolist(), self.diverged.tolist(), strict=True)
        return {model: epoch for model, epoch in pairs if epoch}


class PartialChunk(NamedTuple):
    """A chunk between two epochs: all that is needed to go on.

    Attributes:
        models: Numbers of its models, ascending.
        epoch: Epochs that are done.
        state: Of the models, and of the copies that fill the chunk up.
        log: Of the epochs that are done; NaN after them.
        diverged: As in ``Chunk``.
    """

    models: Int[np.ndarray, "k"]
    epoch: int
    state: TrainState
    log: TrainLog
    diverged: Int[np.ndarray, "size"]


class Progress(NamedTuple):
    """Where a call stands: sent after each epoch of each chunk."""

    models_done: int
    models_now: int
    num_models: int
    epoch: int
    num_epochs: int
    loss: float
    accuracy: float


def _ignore(_: Any) -> None:
    """Does nothing."""


def _start_anew(start: PartialChunk) -> PartialChunk:
    return start


class Callbacks(NamedTuple):
    """What the caller of a long training gets to see, and can keep.

    Attributes:
        on_plan: Called with the number of models at once, again with the expected time
            after the first epoch, and again if the number changes: where the compiled
            program needs more memory than is free, or the device runs out of it, the
            same models train in smaller chunks.
        on_epoch: Called after each epoch of each chunk.
        on_state: Called with the state of a chunk every two minutes.
        resume: Given a chunk before its first epoch, returns it as ``on_state`` last
            had it, or as it is.
    """

    on_plan: Callable[[Plan], None] = _ignore
    on_epoch: Callable[[Progress], None] = _ignore
    on_state: Callable[[PartialChunk], None] = _ignore
    resume: Callable[[PartialChunk], PartialChunk] = _start_anew


class Ensemble(NamedTuple):
    """All models of a call, before they train."""

    lifted: LiftedTraining
    key: Key
    hyperparams: Any
    keep: Bool[np.ndarray, "m n"]
    pool: Examples

    def start(self, models: Int[np.ndarray, "k"], size: int) -> "ChunkStart":
        """Returns a chunk with its initial weights, filled up with copies.

        Every chunk has the same size, so that one program trains them all.
        """
        # np.resize repeats the models from the first on.
        filled = np.resize(models, size).astype(np.int32)
        rows = jax.tree.map(lambda a: a[filled], (self.hyperparams, self.keep))
        variables = self.lifted.init((self.key, self.pool.x[:1]), filled)
        state = self.lifted.init_optimizer((), filled, rows[0], variables)
        return ChunkStart(self, models, filled, rows, state)


class ChunkStart(NamedTuple):
    """A chunk before its first epoch."""

    ensemble: Ensemble
    models: Int[np.ndarray, "k"]
    filled: Int[np.ndarray, "size"]
    rows: tuple[Any, Any]
    state: TrainState

    def arguments(self, epoch: int, state: TrainState) -> tuple[Any, ...]:
        """Returns the arguments of ``LiftedTraining.epoch``."""
        shared = (self.ensemble.pool, self.ensemble.key, np.int32(epoch))
        return shared, self.filled, *self.rows, state


AfterEpoch: TypeAlias = Callable[
    [Callbacks, ChunkStart, TrainState, float], LiftedTraining
]
"""``after_epoch(callbacks, start, state, seconds) -> training``."""


def train_chunk(
    start: ChunkStart,
    config: TrainConfig,
    callbacks: Callbacks,
    report: Callable[[int, TrainLog], None],
    after_epoch: AfterEpoch,
) -> Chunk:
    """Trains a chunk; the host looks at its losses, and hands out its state at times.

    Args:
        start: The models with their initial weights.
        config: Settings of the training.
        callbacks: Of these, ``on_state`` and ``resume``.
        report: Called with number and log after each epoch.
        after_epoch: Called after the first epoch with the chunk, its state and the
            seconds; returns the training for the epochs to come.
    """
    size, num_epochs = len(start.filled), config.num_epochs
    # Begin with what an earlier run kept of this chunk, if it kept anything.
    empty = np.full((size, num_epochs), np.nan, np.float32)
    begun = callbacks.resume(
        PartialChunk(
            start.models,
            0,
            start.state,
            TrainLog(empty, empty.copy()),
            np.zeros(size, np.int32),
        )
    )
    trained, log, diverged = begun.state, begun.log, begun.diverged
    lifted = start.ensemble.lifted
    last_kept = time.monotonic()
    for epoch in range(begun.epoch, num_epochs):
        # Frozen and diverged models stay in the program; it runs while any trains.
        running = ~np.asarray(trained.done) & (diverged == 0)
        if not running.any():
            break
        begin = time.perf_counter()
        arguments = start.arguments(epoch, trained)
        trained, *measured = lifted.epoch(*arguments)
        # Reading the losses waits for the devices, so the time below is true.
        loss, accuracy = map(np.asarray, measured)
        # The loss of a frozen model is NaN too: only running ones can diverge.
        diverged[running & ~np.isfinite(loss)] = epoch + 1
        log.loss[:, epoch] = np.where(diverged == 0, loss, np.nan)
        log.accuracy[:, epoch] = np.where(diverged == 0, accuracy, np.nan)
        if epoch == begun.epoch:
            seconds = time.perf_counter() - begin
            lifted = after_epoch(callbacks, start, trained, seconds)
        report(epoch, log)
        if time.monotonic() - last_kept > SECONDS_BETWEEN_STATES:
            partial = PartialChunk(start.models, epoch + 1, trained, log, diverged)
            callbacks.on_state(partial)
            last_kept = time.monotonic()
    # Drop the copies that filled the chunk up.
    num_models = len(start.models)
    if num_models < size:
        trained = jax.tree.map(lambda a: a[:num_models], trained)
    log = TrainLog(log.loss[:num_models], log.accuracy[:num_models])
    return Chunk(start.models, trained, log, diverged[:num_models])
