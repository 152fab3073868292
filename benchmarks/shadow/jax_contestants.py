"""Contestants in JAX: the library, and its own step for one model after the other."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.shadow.workloads import Data, Workload
from sam_jax import models
from sam_jax.training import vmap_models
from sam_jax.training.shadow_models import train_shadow_models
from sam_jax.training.trainer import TrainingTask, make_train
from sam_jax.types import Examples, Model, TrainConfig

EVALUATION_BATCH = 256


def use_cores(number: int) -> None:
    """Each core a device, as the audit has it; one is JAX's own default."""
    if number > 1:
        vmap_models.use_all_cores(number)


def make_model(workload: Workload) -> Model:
    """The network of the workload."""
    dtype = models.compute_dtype(workload.precision)
    if workload.network == "mlp":
        return models.mlp(workload.num_classes, hidden=workload.widths)
    if workload.network == "resnet18":
        (width,) = workload.widths
        return models.resnet18(workload.num_classes, width=width, dtype=dtype)
    if workload.network == "fast_cifar":
        (width,) = workload.widths
        return models.fast_cifar(workload.num_classes, width=width, dtype=dtype)
    return models.cnn(workload.num_classes, widths=workload.widths, hidden=128)


def make_optimizer_of(workload: Workload) -> Callable[[Any], Any]:
    """A new function, so that what it trains is compiled anew."""
    return lambda _: optax.sgd(workload.learning_rate, momentum=0.9)


def train_config(workload: Workload) -> TrainConfig:
    """The library's settings."""
    return TrainConfig(workload.num_epochs, workload.batch_size)


def library(workload: Workload, data: Data, device: str):
    """``train_shadow_models`` as the audit calls it: all cores, default chunks."""
    model = make_model(workload)
    task = TrainingTask(model, make_optimizer_of(workload), train_config(workload))

    def train(chosen: np.ndarray):
        trained, _ = train_shadow_models(
            jax.random.key(0),
            task,
            {},
            data.keep,
            Examples(data.x, data.y),
            models=chosen,
        )
        return [
            jax.tree.map(lambda a: a[i], (trained.params, trained.state))  # noqa: B023
            for i in range(len(chosen))
        ]

    return train, evaluator(model, data)


def sequential(workload: Workload, data: Data, device: str):
    """The library's epoch under ``jit``, one model at a time, without ``vmap``."""
    model = make_model(workload)
    one = make_train(
        TrainingTask(model, make_optimizer_of(workload), train_config(workload))
    )
    init, start = jax.jit(model.init), jax.jit(one.init)
    epoch = jax.jit(one.epoch, donate_argnums=5)
    pool = Examples(jnp.asarray(data.x), jnp.asarray(data.y))

    def train(number: int):
        init_key, train_key = jax.random.split(jax.random.key(number))
        keep = jnp.asarray(data.keep[number])
        state = start({}, *init(init_key, pool.x[:1]))
        for index in range(workload.num_epochs):
            state, _, _ = epoch(pool, train_key, np.int32(index), {}, keep, state)
        jax.block_until_ready(state)
        return state.params, state.state

    return train, evaluator(model, data)


def evaluator(model: Model, data: Data):
    """``evaluate((params, state), number) -> (train accuracy, test accuracy)``."""

    @jax.jit
    def predict(variables, x):
        logits, _ = model.apply(*variables, x, False, jax.random.key(0))
        return jnp.argmax(logits, -1)

    def correct(variables, x, y):
        starts = range(0, len(x), EVALUATION_BATCH)
        parts = [predict(variables, x[i : i + EVALUATION_BATCH]) for i in starts]
        return np.concatenate(parts) == y

    def evaluate(variables, number: int) -> tuple[float, float]:
        own = correct(variables, data.x, data.y)[data.keep[number]]
        other = correct(variables, data.x_test, data.y_test)
        return float(own.mean()), float(other.mean())

    return evaluate


def device_peak_mib() -> float | None:
    """Most memory held on an accelerator so far; None on a CPU."""
    stats = jax.local_devices()[0].memory_stats() or {}
    peak = stats.get("peak_bytes_in_use")
    return None if peak is None else peak / 2**20
