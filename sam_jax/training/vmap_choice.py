"""The models under one ``vmap`` chosen for a run, by rule, by the user or by timing.

Timing comes after the first epoch of a run, when it is known how long the run will be,
and takes at most ``SHARE`` of it; the epochs after it, and later runs, train with the
fastest width. Models are the same whatever the width, but for rounding.
"""

import dataclasses
import logging
import os
import statistics
import time
from typing import Any

import jax
import numpy as np

from sam_jax._checks import ArgumentError
from sam_jax.training import chunk_size, vmap_models, vmap_times
from sam_jax.training.chunk_training import Callbacks, ChunkStart
from sam_jax.training.lifted_training import LiftedTraining, lift_epoch, lift_training
from sam_jax.training.trainer import TrainingTask, num_steps_per_epoch
from sam_jax.training.vmap_times import VmapTimes
from sam_jax.types import TrainConfig, TrainState

_logger = logging.getLogger(__name__)

VARIABLE = "SAM_JAX_MODELS_PER_VMAP"
"""Environment variable with the width, where the settings have none."""

SHARE = 0.02
"""Of the expected time of a run, what timing may take."""

NUM_STEPS = 4
"""Steps of a model in a timed run."""

NUM_ROUNDS = 3
"""Runs of each candidate that are timed, after one that is not."""


def with_user_width(task: TrainingTask) -> TrainingTask:
    """Returns the task with the width of ``VARIABLE``, unless its settings have one.

    Raises:
        ArgumentError: If the variable is no whole number from 1.
    """
    text = os.environ.get(VARIABLE)
    if not text or task.config.models_per_vmap is not None:
        return task
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentError(VARIABLE, f"must be a whole number from 1, got {text!r}.")
    return _with_settings(task, models_per_vmap=int(text))


def is_timed(config: TrainConfig, device: jax.Device) -> bool:
    """Whether the width is to be timed: unless it is set; by default not on CPUs."""
    if config.models_per_vmap is not None:
        return False
    return device.platform != "cpu" if config.time_vmap is None else config.time_vmap


class ChunkProgram:
    """The program of a call's chunks, and what happens to it after the first epoch.

    Attributes:
        lifted: The training with the width that is used now.
        plan: How many models train at once.
    """

    def __init__(self, task: TrainingTask, start: ChunkStart, num_models: int):
        """Compiles a chunk of the size of ``start``.

        Args:
            task: Network, optimizer and settings.
            start: The first models of a chunk.
            num_models: Models that are left to train.

        Raises:
            DoesNotFit: If it needs more memory than there is.
        """
        self.task, self.devices = task, jax.local_devices()
        self.lifted, self._times, self._key = start.ensemble.lifted, None, None
        size = len(start.filled)
        begin = time.perf_counter()
        lowered = self.lifted.epoch.lower(*start.arguments(0, start.state))
        if is_timed(task.config, self.devices[0]):
            self._key = vmap_times.times_key(lowered, self.devices[0])
            self._times = vmap_times.read_times(self._key)
        # An earlier run has timed this one: its choice from the first epoch on.
        if self._times is not None:
            self.lifted = self._with_width(self._times.fastest)
            lowered = self.lifted.epoch.lower(*start.arguments(0, start.state))
        program = lowered.compile()
        self._compile_seconds = time.perf_counter() - begin
        fixed = task.config.models_per_chunk is not None
        plan = chunk_size.make_plan(
            program, size, num_models, self.devices, fixed=fixed
        )
        self.plan = plan._replace(vmap_times=self._times)
        self._is_new = True

    def after_epoch(
        self, callbacks: Callbacks, start: ChunkStart, state: TrainState, seconds: float
    ) -> LiftedTraining:
        """Announces the time after the first epoch, and times the widths of ``vmap``.

        Args:
            callbacks: ``on_plan`` is called with the expected time.
            start: The chunk that trains.
            state: Its state, which is not changed.
            seconds: Of the epoch.

        Returns:
            The training with the width for the epochs to come.
        """
        if not self._is_new:
            return self.lifted
        self._is_new = False
        num_epochs = self.task.config.num_epochs * self.plan.num_chunks
        total = seconds * num_epochs
        if self._key is not None and self._times is None:
            timed = self._time(start, state, seconds, num_epochs - 1)
            if timed is None:
                _logger.info(
                    "Models under one vmap are not timed: there is one choice, or it "
                    f"would take more than {SHARE:.0%} of the run."
                )
            else:
                vmap_times.write_times(self._key, timed, self.devices[0])
                self.lifted = self._with_width(timed.fastest)
            self.plan = self.plan._replace(vmap_times=timed)
        callbacks.on_plan(self.plan._replace(seconds=total))
        return self.lifted

    def _time(
        self, start: ChunkStart, state: TrainState, seconds: float, epochs_left: int
    ) -> VmapTimes | None:
        """Times the widths of ``vmap`` within the share of what is left of the run."""
        arguments = start.arguments(0, state)
        local_models = len(start.filled) // len(self.devices)
        platform = self.devices[0].platform
        default = vmap_models.default_models_per_vmap(arguments[1:], platform)
        pool_size = len(start.ensemble.pool.y)
        steps = num_steps_per_epoch(self.task.config, pool_size)
        # All models of the chunk are the most that a candidate runs.
        running = (1 + NUM_ROUNDS) * NUM_STEPS * seconds / steps
        return vmap_times.time_widths(
            vmap_times.candidate_widths(local_models, default),
            lambda width: self._time_width(width, arguments),
            budget=SHARE * seconds * epochs_left,
            each=self._compile_seconds + running,
        )

    def _time_width(self, width: int, arguments: tuple[Any, ...]) -> float | None:
        """Seconds of a step of one model; None where the width does not fit."""
        shared, *many = arguments
        steps = min(NUM_STEPS, num_steps_per_epoch(self.task.config, len(shared[0].y)))
        examples = steps * self.task.config.batch_size
        task = _with_settings(
            self.task,
            models_per_vmap=width,
            examples_per_epoch=examples,
            stop_accuracy=None,
        )
        # Two groups, as a loop over groups compiles otherwise than a single one.
        num_devices = len(self.devices)
        num_models = min(2 * width * num_devices, len(many[0]))
        few = jax.jit(lambda tree: jax.tree.map(lambda a: a[:num_models], tree))(many)
        epoch = lift_epoch(task, tuple(self.devices))
        try:
            program = epoch.lower(shared, *few).compile()
            chunk_size.make_plan(program, num_models, num_models, self.devices)
            times = []
            *others, state = few
            for _ in range(1 + NUM_ROUNDS):
                begin = time.perf_counter()
                state, loss, _ = program(shared, *others, state)
                np.asarray(loss)  # waits for the devices
                times.append(time.perf_counter() - begin)
        except chunk_size.DoesNotFit:
            return None
        except jax.errors.JaxRuntimeError as error:
            if not chunk_size.is_out_of_memory(error):
                raise
            return None
        return statistics.median(times[1:]) * num_devices / (steps * num_models)

    def _with_width(self, width: int) -> LiftedTraining:
        task = _with_settings(self.task, models_per_vmap=width)
        epoch = lift_training(task, tuple(self.devices)).epoch
        return self.lifted._replace(epoch=epoch)


def _with_settings(task: TrainingTask, **settings: Any) -> TrainingTask:
    config = dataclasses.replace(task.config, **settings)
    return dataclasses.replace(task, config=config)
