"""Modules of other libraries: modes, batch statistics, dropout, shadow training."""

import contextlib

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax.example_libraries import stax

import sam_jax
from sam_jax._checks import ArgumentError
from sam_jax.models import from_equinox, from_haiku, from_linen, from_nnx, from_stax
from sam_jax.training.trainer import TrainingTask

eqx = pytest.importorskip("equinox")
hk = pytest.importorskip("haiku")

X = jax.random.normal(jax.random.key(0), (16, 5)) * 3 + 1
KEY = jax.random.key(1)


class Body(nn.Module):
    norm: bool = True
    dropout: bool = True

    def body(self, x, train):
        x = nn.Dense(8)(x)
        if self.norm:
            x = nn.BatchNorm(use_running_average=not train, momentum=0.9)(x)
        if self.dropout:
            x = nn.Dropout(0.5)(x, deterministic=not train)
        return nn.Dense(3)(x)


class Train(Body):
    @nn.compact
    def __call__(self, x, train=True):
        return self.body(x, train)


class Training(Body):
    @nn.compact
    def __call__(self, x, training=False):
        return self.body(x, training)


class IsTraining(Body):
    @nn.compact
    def __call__(self, x, is_training):
        return self.body(x, is_training)


class Deterministic(Body):
    @nn.compact
    def __call__(self, x, deterministic=True):
        return self.body(x, not deterministic)


class TwoArguments(Body):
    @nn.compact
    def __call__(self, x, use_running_average=True, deterministic=False):
        x = nn.BatchNorm(use_running_average=use_running_average, momentum=0.9)(x)
        return nn.Dense(3)(nn.Dropout(0.5)(x, deterministic=deterministic))


class Phase(Body):
    @nn.compact
    def __call__(self, x, phase):
        return self.body(x, {"fit": True, "predict": False}[phase])


class On(Body):
    @nn.compact
    def __call__(self, x, on=True):
        return self.body(x, on)


class Off(Body):
    @nn.compact
    def __call__(self, x, on=False):
        return self.body(x, on)


class NnxNet(nnx.Module):
    def __init__(self, rngs):
        self.first = nnx.Linear(5, 8, rngs=rngs)
        self.norm = nnx.BatchNorm(8, momentum=0.9, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.last = nnx.Linear(8, 3, rngs=rngs)

    def __call__(self, x):
        return self.last(self.dropout(nnx.relu(self.norm(self.first(x)))))


def equinox_net(key):
    keys = jax.random.split(key)

    def make():
        return eqx.nn.Sequential(
            [
                eqx.nn.Linear(5, 8, key=keys[0]),
                eqx.nn.BatchNorm(8, axis_name="batch", mode="ema", momentum=0.9),
                eqx.nn.Dropout(0.5),
                eqx.nn.Linear(8, 3, key=keys[1]),
            ]
        )

    return eqx.nn.make_with_state(make)()


def haiku_net(x, is_training):
    x = hk.Linear(8)(x)
    x = hk.BatchNorm(True, True, decay_rate=0.9)(x, is_training)
    if is_training:
        x = hk.dropout(hk.next_rng_key(), 0.5, x)
    return hk.Linear(3)(x)


def stax_pair(mode):
    return stax.serial(stax.Dense(8), stax.Dropout(0.5, mode), stax.Dense(3))


MODELS = {
    "train": lambda: from_linen(Train()),
    "training": lambda: from_linen(Training()),
    "is_training": lambda: from_linen(IsTraining()),
    "deterministic": lambda: from_linen(Deterministic()),
    "two arguments": lambda: from_linen(TwoArguments()),
    "on": lambda: from_linen(On(), mode_argument="on"),
    "phase": lambda: from_linen(
        Phase(), mode_argument="phase", mode_values=("fit", "predict")
    ),
    "nnx": lambda: from_nnx(NnxNet),
    "equinox": lambda: from_equinox(equinox_net),
    "haiku": lambda: from_haiku(haiku_net),
    "stax": lambda: from_stax(*stax_pair("train"), stax_pair("test")[1]),
}


@contextlib.contextmanager
def flexible():
    """JAX's defaults, which the other libraries count on."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


@pytest.mark.parametrize("name", MODELS)
def test_both_modes_work(name):
    with flexible():
        model = MODELS[name]()
        params, state = model.init(KEY, X[:1])
        run = jax.jit(model.apply, static_argnums=3)
        evaluated, same = run(params, state, X, False, KEY)
        alone, _ = run(params, state, X[:1], False, jax.random.key(7))
        trained, new = run(params, state, X, True, KEY)
        again, _ = run(params, state, X, True, jax.random.key(7))
    assert evaluated.shape == (16, 3) and evaluated.dtype == jnp.float32
    # Evaluation sees each example alone and draws nothing; training does not.
    rounding = 1e-5 * np.max(np.abs(evaluated))
    np.testing.assert_allclose(evaluated[:1], alone, rtol=0, atol=rounding)
    assert np.max(np.abs(trained - evaluated)) > 1e-3
    assert np.max(np.abs(trained - again)) > 1e-3
    jax.tree.map(np.testing.assert_array_equal, same, state)
    assert jax.tree.structure(new) == jax.tree.structure(state)
    changed = [
        np.any(a != b)
        for a, b in zip(jax.tree.leaves(new), jax.tree.leaves(state), strict=True)
    ]
    assert any(changed) == (name != "stax")


@pytest.mark.parametrize("name", ["train", "nnx", "equinox", "haiku", "stax"])
def test_shadow_models_train(name):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 5)).astype(np.float32)
    y = (x[:, 0] > 0).astype(np.int32)
    keep = sam_jax.balanced_keep(jax.random.key(0), 4, 64)
    config = sam_jax.TrainConfig(num_epochs=30, batch_size=16)
    with flexible():
        _, log = sam_jax.train_shadow_models(
            jax.random.key(1),
            TrainingTask(
                MODELS[name](),
                lambda rho: sam_jax.sam(optax.adam(1e-2), rho=rho),
                config,
            ),
            np.full(4, 0.05, np.float32),
            keep,
            sam_jax.Examples(x, y),
        )
    loss = np.asarray(log.loss)
    assert loss.shape == (4, 30)
    assert np.all(loss[:, -5:].mean(1) < 0.8 * loss[:, 0])


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (On(), "running statistics in evaluation"),
        (Off(), "update its batch statistics in training"),
        (On(norm=False), "no random numbers in evaluation"),
        (Off(norm=False), "apply its dropout in training"),
    ],
)
def test_a_linen_module_whose_mode_is_not_switched_is_refused(module, message):
    with pytest.raises(ArgumentError, match=f"module must .*{message}.*mode_argument"):
        jax.eval_shape(from_linen(module).init, KEY, X)
    jax.eval_shape(from_linen(module, mode_argument="on").init, KEY, X)


def test_modes_that_do_not_switch_are_refused_in_the_other_libraries():
    class Frozen(NnxNet):
        def __call__(self, x):
            x = self.norm(self.first(x), use_running_average=True)
            return self.last(x)

    class Undropped(NnxNet):
        def __call__(self, x):
            return self.last(self.dropout(self.norm(self.first(x)), deterministic=True))

    always_on = from_haiku(lambda x: haiku_net(x, True))
    for model, rule in (
        (from_nnx(Frozen), "update its batch statistics in training"),
        (from_nnx(Undropped), "apply its dropout in training"),
        (always_on, "use its running statistics in evaluation"),
        (from_stax(*stax_pair("train")), "draw no random numbers in evaluation"),
    ):
        with pytest.raises(ArgumentError, match=f"module must {rule}"), flexible():
            model.init(KEY, X)


def test_what_is_no_module_or_argument_is_refused():
    with pytest.raises(ArgumentError, match="mode_argument must be one of inputs"):
        from_linen(nn.Dense(3), mode_argument="train")
    with pytest.raises(ArgumentError, match="make_module must return an nnx.Module"):
        from_nnx(lambda rngs: 3)
    with pytest.raises(ArgumentError, match="make_module must return an equinox"):
        from_equinox(lambda key: jnp.zeros(3))


def test_weights_have_names_that_tell_biases_from_the_rest():
    params, _ = from_equinox(equinox_net).init(KEY, X)
    assert {name.split("/")[-1] for name in params} == {"weight", "bias"}
    params, _ = from_nnx(NnxNet).init(KEY, X)
    assert set(params["first"]) == {"kernel", "bias"}


def test_models_of_equinox_share_one_structure():
    model = from_equinox(equinox_net)
    first, second = (model.init(jax.random.key(i), X) for i in range(2))
    assert jax.tree.structure(first) == jax.tree.structure(second)
    many = jax.vmap(lambda key: model.init(key, X))(jax.random.split(KEY, 3))
    assert jax.tree.structure(many) == jax.tree.structure(first)
