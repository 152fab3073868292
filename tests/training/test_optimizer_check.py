"""Optimizers that cannot train a model are refused before anything is compiled."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import sam_jax
from sam_jax import models
from sam_jax._checks import ArgumentError
from sam_jax.training.optimizer_check import check_optimizer
from sam_jax.training.trainer import TrainingTask
from sam_jax.types import Examples, Model, TrainConfig

POOL = Examples(np.zeros((80, 6), np.float32), np.zeros(80, np.int32))
SGD = optax.sgd(0.1, momentum=0.9)


def check(optimizer, batch_size=16, model=None, augment=None):
    task = TrainingTask(
        model or models.mlp(2, hidden=(8,)),
        lambda _: optimizer,
        TrainConfig(num_epochs=1, batch_size=batch_size),
        augment=augment,
    )
    check_optimizer(task, POOL, argument="optimizers['x']")


def kernels(params):
    return jax.tree.map(lambda a: a.ndim > 1, params)


def growing_memory():
    return optax.GradientTransformation(
        lambda params: (jnp.zeros(1),),
        lambda g, state, params=None: (g, (jnp.concatenate([state[0], jnp.ones(1)]),)),
    )


def in_numpy():
    def update(grads, state, params=None):
        return jax.tree.map(lambda g: -0.1 * np.asarray(g), grads), state

    return optax.GradientTransformation(optax.sgd(0.1).init, update)


REFUSED = {
    "not called": (functools.partial(optax.adam, 1e-3), "it has to be called"),
    "no transformation": (0.1, "must be an optax transformation"),
    "lookahead": (optax.lookahead(SGD, 5, 0.5), "has no attribute 'fast'"),
    "lbfgs": (optax.lbfgs(), "'grad' and 'value_fn'"),
    "optax's sam": (optax.contrib.sam(SGD, SGD), "group_grad_fn"),
    "optax's opaque sam": (optax.contrib.sam(SGD, SGD, opaque_mode=True), "grad_fn"),
    "masked sam": (optax.masked(sam_jax.sam(SGD), kernels), "masked weights"),
    "multi steps of sam": (optax.MultiSteps(sam_jax.sam(SGD), 4), "got None"),
    "per-example gradients": (
        optax.contrib.differentially_private_aggregate(1.0, 0.1, 0),
        "batch dimension",
    ),
    "schedule-free": (optax.contrib.schedule_free_sgd(0.1), "schedule_free_eval"),
    "schedule-free in a chain": (
        optax.chain(optax.contrib.schedule_free_sgd(0.1)),
        "schedule_free_eval",
    ),
    "state that grows": (growing_memory(), "carry"),
    "NumPy": (in_numpy(), "Tracer"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_train_is_refused_by_name(name):
    optimizer, words = REFUSED[name]
    with pytest.raises(ArgumentError, match=r"^optimizers\['x'\] must ") as caught:
        check(optimizer)
    assert words in str(caught.value)


def test_groups_that_do_not_divide_the_batch_are_refused():
    check(sam_jax.m_sam(SGD, num_groups=8))
    with pytest.raises(ArgumentError, match="num_groups must divide batch_size"):
        check(sam_jax.m_sam(SGD, num_groups=8), batch_size=20)


@pytest.mark.parametrize(
    "optimizer",
    [
        SGD,
        sam_jax.sam(SGD),
        sam_jax.looksam(SGD),
        optax.chain(SGD, optax.contrib.reduce_on_plateau()),
        optax.polyak_sgd(1.0),
        optax.MultiSteps(SGD, 4),
        optax.inject_hyperparams(optax.sgd)(learning_rate=0.1),
        optax.adamw(1e-2),
        optax.contrib.prodigy(),
        optax.contrib.muon(0.02),
        optax.apply_if_finite(SGD, 3),
    ],
)
def test_what_trains_is_let_through(optimizer):
    with jax.numpy_dtype_promotion("standard"):  # Optax itself adds int to float.
        check(optimizer)


def test_a_fault_of_the_model_is_not_blamed_on_the_optimizer():
    def apply(params, state, x, train, key):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        check(SGD, model=Model(lambda key, x: ({"w": jnp.zeros(6)}, {}), apply))
    with pytest.raises(ZeroDivisionError):
        check(sam_jax.sam(SGD), augment=lambda key, x: 1 / 0)
