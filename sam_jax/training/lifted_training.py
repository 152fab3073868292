"""The training of one model lifted to a chunk of models on the devices."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jaxtyping import Array

from sam_jax.training import vmap_models
from sam_jax.training.trainer import TrainingTask, make_train
from sam_jax.types import Model


class LiftedTraining(NamedTuple):
    """The training of a chunk: each function takes and returns a leading axis K.

    Attributes:
        init: ``init((key, x [1, *features]), models i32 [K]) -> (params, state)``.
        init_optimizer: ``init_optimizer((), models, hyperparams, (params, state)) ->
            TrainState``.
        epoch: ``epoch((pool, key, number), models, hyperparams, keep [K, N],
            TrainState) -> (TrainState, loss [K], accuracy [K])``; it takes over the
            memory of the state.
    """

    init: Callable[..., Any]
    init_optimizer: Callable[..., Any]
    epoch: jax.stages.Wrapped


@functools.lru_cache(maxsize=16)
def _lifted_init(model: Model, devices: tuple[jax.Device, ...]) -> Callable[..., Any]:
    """``model.init`` for a chunk; cached by model, so that all optimizers share it.

    One model follows the other: random draws take long to compile under ``vmap``.
    """

    def init(shared: Any, index: Array) -> Any:
        # A model's key splits in two: [0] draws the weights, [1] all of the training.
        key, x = shared
        return model.init(jax.random.split(jax.random.fold_in(key, index))[0], x)

    # It runs once: on a CPU its loops compile in half the time at a lower level, to the
    # same numbers (`benchmarks/compile_time.py`).
    options = None
    if devices[0].platform == "cpu":
        options = {"xla_backend_optimization_level": 1}
    return vmap_models.over_models(
        init, models_per_vmap=1, devices=devices, compiler_options=options
    )


@functools.lru_cache(maxsize=16)
def lift_training(
    task: TrainingTask, devices: tuple[jax.Device, ...]
) -> LiftedTraining:
    """Returns the training of a chunk; cached, so a second call compiles nothing."""
    one = make_train(task)

    def init_optimizer(_: Any, index: Array, hyperparams: Any, variables: Any) -> Any:
        return one.init(hyperparams, *variables)

    width = task.config.models_per_vmap
    return LiftedTraining(
        _lifted_init(task.model, devices),
        vmap_models.over_models(init_optimizer, models_per_vmap=width, devices=devices),
        lift_epoch(task, devices),
    )


def lift_epoch(
    task: TrainingTask, devices: tuple[jax.Device, ...]
) -> jax.stages.Wrapped:
    """Returns ``LiftedTraining.epoch`` anew, for programs that are not kept."""
    one = make_train(task)

    def epoch(shared: Any, index: Array, hyperparams: Any, keep: Array, state: Any):
        pool, key, number = shared
        train_key = jax.random.split(jax.random.fold_in(key, index))[1]
        return one.epoch(pool, train_key, number, hyperparams, keep, state)

    width = task.config.models_per_vmap
    return vmap_models.over_models(
        epoch, models_per_vmap=width, devices=devices, replaced=4
    )
