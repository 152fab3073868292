"""Optimizers of optax by name."""

import jax
import numpy as np
import optax
import pytest

import sam_jax
from sam_jax.models import mlp
from sam_jax.optimizers import bases
from sam_jax.training.optimizer_check import check_optimizer
from sam_jax.training.trainer import TrainingTask
from sam_jax.types import Examples, TrainConfig


@pytest.fixture(autouse=True)
def promotion():
    """The promotion of dtypes that optax relies on."""
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.mark.filterwarnings("ignore:Specifying a key")
@pytest.mark.parametrize("name", sorted(bases.base_factories()))
def test_every_base_trains_alone_and_behind_sam(name):
    base = bases.make_base(name, 0.01, {})
    pool = Examples(np.zeros((8, 3), np.float32), np.zeros(8, np.int32))
    for optimizer in (base, sam_jax.sam(base)):
        task = TrainingTask(
            mlp(2, hidden=(4,)),
            lambda _, chosen=optimizer: chosen,
            TrainConfig(batch_size=2),
        )
        check_optimizer(task, pool)


def test_a_base_is_the_optimizer_of_optax_with_its_settings():
    settings = bases.parse_settings(["weight_decay=0.1", "b1=0.5", "nesterov=True"])
    params, grads = {"w": np.ones(3, np.float32)}, {"w": np.arange(3, dtype=np.float32)}
    updates = []
    for base in (
        bases.make_base("adamw", 0.02, settings),
        optax.adamw(0.02, weight_decay=0.1, b1=0.5, nesterov=True),
    ):
        updates.append(jax.jit(base.update)(grads, base.init(params), params)[0]["w"])
    np.testing.assert_array_equal(*updates)


def test_optimizers_that_need_more_than_gradients_are_left_out():
    names = bases.base_factories()
    assert {"sgd", "adamw", "lion", "muon", "nadam", "adafactor"} <= names.keys()
    assert not {"lbfgs", "sophia", "dpsgd", "scale_by_rprop"} & names.keys()


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("adamv", [], "base must be one of .*adamw.*lion.*; got 'adamv'"),
        ("adamw", ["b3=0.9"], "must be of adamw: b1, b2, .*; got 'b3'. Did you mean"),
        ("adamw", ["learning_rate=1"], "without learning_rate"),
        ("adamw", ["b1"], "must be name=value, got 'b1'"),
        ("adamw", ["b1=0.1", "b1=0.2"], "must differ, got b1 twice"),
        ("adamw", ["mu_dtype=float17"], "values that adamw takes, got mu_dtype"),
    ],
)
def test_bad_bases_are_refused(name, settings, message):
    with pytest.raises(ValueError, match=message):
        bases.make_base(name, 0.1, bases.parse_settings(settings))
