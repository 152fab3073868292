import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sam_jax import models
from sam_jax.models.ensemble_conv import conv
from sam_jax.optimizers import looksam, m_sam, sam
from sam_jax.signals import compute
from sam_jax.training import (
    chunk_size,
    lifted_training,
    membership,
    shadow_models,
    trainer,
    vmap_models,
)
from sam_jax.training.chunk_training import Callbacks
from sam_jax.types import Examples, Model, TrainConfig

KEY = jax.random.key(0)
NUM_MODELS, NUM_EXAMPLES, NUM_CLASSES = 6, 64, 3
CONFIG = TrainConfig(num_epochs=2, batch_size=8)


def make_pool():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(NUM_EXAMPLES, 5)).astype(np.float32)
    y = np.argmax(x[:, :NUM_CLASSES], axis=1).astype(np.int32)
    return Examples(x, y)


POOL = make_pool()
KEEP = membership.balanced_keep(jax.random.key(7), NUM_MODELS, NUM_EXAMPLES)
MODEL = models.mlp(NUM_CLASSES, hidden=(8,))
HYPERPARAMS = {
    "rho": np.array([0.0, 0.05, 0.2, 0.0, 0.05, 0.2]),
    "learning_rate": np.array([0.1, 0.1, 0.1, 0.3, 0.3, 0.3]),
}


def make_sam(hyperparams):
    return sam(
        optax.sgd(hyperparams["learning_rate"], momentum=0.9), rho=hyperparams["rho"]
    )


def train(config=CONFIG, make_optimizer=make_sam, hyperparams=HYPERPARAMS, **options):
    options = {"model": MODEL, "keep": KEEP, "pool": POOL} | options
    task = trainer.TrainingTask(options.pop("model"), make_optimizer, config)
    seen = [k for k in options if k.startswith("on_")]
    callbacks = Callbacks(**{k: options.pop(k) for k in seen})
    return shadow_models.train_shadow_models(
        KEY,
        task,
        hyperparams,
        options.pop("keep"),
        options.pop("pool"),
        callbacks=callbacks,
        **options,
    )


def assert_close(trees, rtol=1e-4, atol=1e-5):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=atol), *trees
    )


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
def test_a_key_of_the_old_style_trains_the_same_models(impl):
    task = trainer.TrainingTask(MODEL, make_sam, CONFIG)
    new = jax.random.key(3, impl=impl)
    with jax.default_prng_impl(impl):
        trained = [
            shadow_models.train_shadow_models(key, task, HYPERPARAMS, KEEP, POOL)[0]
            for key in (new, jax.random.key_data(new))
        ]
    jax.tree.map(np.testing.assert_array_equal, *(t.params for t in trained))


def test_a_shadow_model_is_the_loop_one_would_write_by_hand():
    """An independent twin: plain NumPy indices, plain gradients, SAM spelled out."""
    m, rho, learning_rate = 2, 0.2, 0.1
    trained, log = train()
    init_key, train_key = jax.random.split(jax.random.fold_in(KEY, m))
    params, _ = MODEL.init(init_key, jnp.asarray(POOL.x[:1]))
    momentum = jax.tree.map(jnp.zeros_like, params)

    @jax.jit
    @jax.value_and_grad
    def loss_and_grad(params, x, y):
        logits, _ = MODEL.apply(params, {}, x, True, KEY)
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    for epoch in range(CONFIG.num_epochs):
        order_key, _ = jax.random.split(jax.random.fold_in(train_key, epoch))
        batches = membership.epoch_batches(order_key, jnp.asarray(KEEP[m]), 4, 8)
        losses = []
        for batch in np.asarray(batches):
            x, y = jnp.asarray(POOL.x[batch]), jnp.asarray(POOL.y[batch])
            value, g = loss_and_grad(params, x, y)
            scale = rho / jnp.sqrt(sum(jnp.sum(a**2) for a in jax.tree.leaves(g)))
            up = jax.tree.map(lambda w, d, s=scale: w + s * d, params, g)
            _, g = loss_and_grad(up, x, y)
            momentum = jax.tree.map(lambda v, d: 0.9 * v + d, momentum, g)
            params = jax.tree.map(lambda w, v: w - learning_rate * v, params, momentum)
            losses.append(value)
        np.testing.assert_allclose(log.loss[m, epoch], np.mean(losses), rtol=1e-4)
    assert_close([jax.tree.map(lambda a: a[m], trained.params), params])


@pytest.mark.parametrize(
    "sizes", [(2, None), (4, 1), (4, 2), (6, 3)], ids=lambda s: f"{s[0]}-{s[1]}"
)
def test_a_model_is_the_same_in_any_chunk(sizes):
    per_chunk, per_vmap = sizes
    config = dataclasses.replace(
        CONFIG, models_per_chunk=per_chunk, models_per_vmap=per_vmap
    )
    assert_close([train()[0].params, train(config)[0].params])


def test_a_model_does_not_depend_on_the_others():
    alone, _ = train(models=[3])
    others = HYPERPARAMS | {"rho": np.array([0.5, 0.5, 0.5, 0.0, 0.5, 0.5])}
    keep = KEEP.copy()
    keep[[0, 1, 2, 4, 5]] = True
    among, _ = train(hyperparams=others, keep=keep)
    everyone, _ = train()
    pick = lambda tree, m: jax.tree.map(lambda a: a[m], tree.params)
    assert_close([pick(alone, 0), pick(everyone, 3)])
    assert_close([pick(among, 3), pick(everyone, 3)])


def test_rho_zero_trains_sgd_in_the_same_call_as_sam():
    sgd, _ = train(make_optimizer=lambda h: optax.sgd(h["learning_rate"], momentum=0.9))
    both, _ = train()
    for m in (0, 3):
        assert_close([jax.tree.map(lambda a, m=m: a[m], t.params) for t in (sgd, both)])
    kernel = lambda t: np.asarray(t.params["Dense_0"]["kernel"][1])
    assert np.abs(kernel(sgd) - kernel(both)).max() > 1e-3


def test_one_compilation_serves_any_number_of_models():
    calls = []

    def make_optimizer(hyperparams):
        calls.append(1)
        return make_sam(hyperparams)

    config = dataclasses.replace(CONFIG, models_per_chunk=2)
    for models_now in ([0, 1, 2, 3, 4, 5], [0, 1], [2, 3, 4]):
        train(config, make_optimizer, models=models_now)
        num_traces = len(calls)
        assert num_traces == len(calls[:4])  # at most: init and epoch, traced twice
    assert len(calls) == num_traces


def test_the_pool_is_held_once():
    """The compiled epoch holds one pool, whatever the number of models."""
    lifted = lifted_training.lift_training(
        trainer.TrainingTask(MODEL, make_sam, CONFIG), (jax.devices()[0],)
    )
    big = jax.ShapeDtypeStruct((4096, 512), jnp.float32)
    pool = Examples(big, jax.ShapeDtypeStruct((4096,), jnp.int32))
    models_now = jax.ShapeDtypeStruct((8,), jnp.int32)
    hyperparams = {k: jax.ShapeDtypeStruct((8,), jnp.float32) for k in HYPERPARAMS}
    keep = jax.ShapeDtypeStruct((8, 4096), jnp.bool_)
    first = jax.ShapeDtypeStruct((1, 512), jnp.float32)
    variables = jax.eval_shape(lifted.init, (KEY, first), models_now)
    state = jax.eval_shape(
        lifted.init_optimizer, (), models_now, hyperparams, variables
    )
    shared = (pool, KEY, jax.ShapeDtypeStruct((), jnp.int32))
    compiled = lifted.epoch.lower(
        shared, models_now, hyperparams, keep, state
    ).compile()
    memory = compiled.memory_analysis()
    pool_bytes = 4096 * 512 * 4
    used = memory.argument_size_in_bytes + memory.temp_size_in_bytes
    assert pool_bytes < used < 2 * pool_bytes


def test_looksam_keeps_its_branch_under_the_ensemble():
    task = trainer.TrainingTask(
        MODEL, lambda h: looksam(optax.sgd(0.1), rho=h["rho"]), CONFIG
    )
    lifted = lifted_training.lift_training(task, (jax.devices()[0],))
    shared = (jax.tree.map(jnp.asarray, POOL), KEY, jnp.int32(0))
    own = (jnp.arange(4, dtype=jnp.int32), {"rho": jnp.zeros(4)}, jnp.asarray(KEEP[:4]))
    variables = lifted.init((KEY, shared[0].x[:1]), own[0])
    state = lifted.init_optimizer((), own[0], own[1], variables)
    assert " cond[" in str(jax.make_jaxpr(lifted.epoch)(shared, *own, state))


def test_m_sam_gets_the_gradients_of_its_groups():
    """With one group m-SAM is SAM; with two it is not."""
    zero = {"rho": np.full(NUM_MODELS, 0.3)}
    runs = {
        groups: train(
            CONFIG,
            lambda h, n=groups: m_sam(optax.sgd(0.1), rho=h["rho"], num_groups=n),
            zero,
        )[0].params
        for groups in (1, 2)
    }
    plain = train(CONFIG, lambda h: sam(optax.sgd(0.1), rho=h["rho"]), zero)[0].params
    assert_close([runs[1], plain])
    kernels = [tree["Dense_0"]["kernel"] for tree in (runs[2], plain)]
    assert np.abs(kernels[0] - kernels[1]).max() > 1e-4
    with pytest.raises(ValueError, match="num_groups must divide batch_size, got 3"):
        train(CONFIG, lambda h: m_sam(optax.sgd(0.1), h["rho"], num_groups=3), zero)


def test_batch_statistics_come_from_the_clean_pass_alone():
    """At rate 0 the clean pass of SAM sees the weights of SGD, the perturbed others."""
    model = models.from_linen(_Probe())
    sgd, _ = train(make_optimizer=lambda h: optax.sgd(0.0), model=model)
    perturbed, _ = train(
        make_optimizer=lambda h: sam(optax.sgd(0.0), rho=50.0), model=model
    )
    assert_close([sgd.state, perturbed.state])
    assert np.abs(jax.tree.leaves(sgd.state)[0]).max() > 0


class _Probe(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        x = nn.BatchNorm(use_running_average=not train, momentum=0.9)(nn.Dense(4)(x))
        return nn.Dense(NUM_CLASSES)(x)


def test_stop_accuracy_freezes_a_model_and_ends_the_call_early():
    config = dataclasses.replace(CONFIG, num_epochs=40, stop_accuracy=0.9)
    seen = []
    trained, log = train(config, on_epoch=seen.append)
    assert trained.done.all()
    assert seen[-1].epoch < 39
    for loss, accuracy in zip(log.loss, log.accuracy, strict=True):
        last = int(np.sum(~np.isnan(loss))) - 1
        assert accuracy[last] >= 0.9 and (accuracy[:last] < 0.9).all()
        assert np.isnan(loss[last + 1 :]).all()
    fastest = int(np.argmin(np.sum(~np.isnan(log.loss), axis=1)))
    epochs = int(np.sum(~np.isnan(log.loss[fastest])))
    short, _ = train(dataclasses.replace(CONFIG, num_epochs=epochs), models=[fastest])
    assert_close(
        [
            jax.tree.map(lambda a: a[0], short.params),
            jax.tree.map(lambda a: a[fastest], trained.params),
        ]
    )


def test_progress_counts_models_and_epochs():
    seen = []
    train(dataclasses.replace(CONFIG, models_per_chunk=4), on_epoch=seen.append)
    assert [(p.models_done, p.models_now, p.epoch) for p in seen] == [
        (0, 4, 0),
        (0, 4, 1),
        (4, 2, 0),
        (4, 2, 1),
    ]


def test_a_chunk_that_does_not_fit_is_made_smaller_before_it_runs(monkeypatch):
    """The free memory is what 4 models need, and a bit: 6 at once are too many."""
    plans, needs = [], {}
    for size in (4, 6):
        train(models=list(range(size)), on_plan=plans.append)
        needs[size] = plans[-1].needed_bytes
    assert [plan.models_per_chunk for plan in plans] == [4, 4, 6, 6]
    assert needs[4] < needs[6]
    whole, _ = train()
    free = int(0.5 * (needs[4] + needs[6]) / chunk_size.HEADROOM)
    monkeypatch.setattr(chunk_size, "free_bytes", lambda *_: free)
    plans.clear()
    split, _ = train(on_plan=plans.append)
    assert [plan.models_per_chunk for plan in plans] == [4, 4]
    first, timed = plans
    assert first.seconds is None and timed.seconds > 0
    assert_close([whole.params, split.params])


def test_running_out_of_memory_halves_the_chunk_and_loses_nothing(monkeypatch):
    whole, _ = train()
    real, sizes = shadow_models.train_chunk, []

    def scarce(start, *rest):
        sizes.append(len(start.filled))
        if len(start.filled) > 2 and len(sizes) == 2:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory")
        return real(start, *rest)

    monkeypatch.setattr(shadow_models, "train_chunk", scarce)
    config = dataclasses.replace(CONFIG, models_per_chunk=4)
    with pytest.warns(UserWarning, match="Out of memory: trying 2 models"):
        split, _ = train(config)
    assert sizes == [4, 4, 2]
    assert_close([whole.params, split.params])
    monkeypatch.setattr(chunk_size, "is_out_of_memory", lambda _: False)
    sizes.clear()
    with pytest.raises(jax.errors.JaxRuntimeError):
        train(config)


def test_a_size_that_the_user_set_is_tried_whatever_the_plan_says(monkeypatch):
    monkeypatch.setattr(chunk_size, "free_bytes", lambda *_: 1)
    plans = []
    train(dataclasses.replace(CONFIG, models_per_chunk=4), on_plan=plans.append)
    assert {plan.models_per_chunk for plan in plans} == {4}


def test_signals_survive_running_out_of_memory(monkeypatch):
    trained, _ = train()
    options = {"batch_size": 32, "num_queries": 2, "key": KEY}
    options["augment"] = lambda key, x: x + jax.random.normal(key, x.shape)
    whole = compute.chunk_signals(MODEL, trained, POOL, **options)
    assert np.abs(whole.phi[..., 0] - whole.phi[..., 1]).min(axis=0).max() > 0
    plain = compute.chunk_signals(MODEL, trained, POOL)
    assert_close([whole.phi[..., :1], plain.phi])
    real, sizes = compute._of_many_models, []

    def scarce(model, models_per_vmap, *, batch_size, **options):
        sizes.append(batch_size)
        if batch_size > 8:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory")
        return real(model, models_per_vmap, batch_size=batch_size, **options)

    monkeypatch.setattr(compute, "_of_many_models", scarce)
    with pytest.warns(UserWarning, match="Out of memory: going on with batches of 8 "):
        small = compute.chunk_signals(MODEL, trained, POOL, **options)
    assert sizes == [32, 16, 8]
    assert_close([whole.phi, small.phi])


def test_a_plan_says_what_it_takes():
    plan = chunk_size.Plan(64, 4, 3 * 2**29, 128 * 2**30)
    assert str(plan) == (
        "64 models at once in 4 chunks, 1.50 of 128.0 GiB of free memory on a device"
    )
    timed = plan._replace(seconds=200.0)
    assert str(timed) == "at most 3 min, by the pace of the first epoch"
    free = chunk_size.free_bytes(jax.devices()[0], 2)
    assert free is None or 0 < free < 2**50


def test_augment_and_dropout_draw_anew_each_step_and_alike_in_both_passes():
    keys = []

    def apply(params, state, x, train, key):
        jax.debug.callback(
            lambda k, w: keys.append((tuple(np.ravel(k)), float(w))),
            jax.random.key_data(key),
            params["w"][0, 0],
        )
        return x @ params["w"], state

    model = Model(lambda key, x: ({"w": jnp.full((5, 3), 0.1)}, {}), apply)
    config = TrainConfig(num_epochs=1, batch_size=8, models_per_vmap=1)
    one = trainer.make_train(
        trainer.TrainingTask(model, lambda h: sam(optax.sgd(0.1), rho=0.5), config)
    )
    pool = jax.tree.map(jnp.asarray, POOL)
    state = one.init({}, *model.init(KEY, pool.x[:1]))
    jax.block_until_ready(
        jax.jit(one.epoch)(pool, KEY, jnp.int32(0), {}, jnp.asarray(KEEP[0]), state)
    )
    jax.effects_barrier()
    by_key = {}
    for key, weight in keys:
        by_key.setdefault(key, []).append(weight)
    assert len(by_key) == 4  # one key a step
    assert all(len(set(w)) == 2 for w in by_key.values())  # clean and perturbed


def test_a_diverged_model_is_named_with_its_epoch():
    hyperparams = HYPERPARAMS | {"learning_rate": np.full(NUM_MODELS, 0.1)}
    hyperparams["learning_rate"][4] = 1e30
    with pytest.raises(FloatingPointError, match="model 4 diverged.*epoch 1 of 2"):
        train(hyperparams=hyperparams)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"keep": KEEP[:, :-1]}, "keep must have a column for each example"),
        ({"keep": np.zeros_like(KEEP)}, "at least one example; row 0"),
        ({"hyperparams": {"rho": np.full(6, -0.1)}}, r"'rho'.*>= 0, got \[-0.1"),
        ({"hyperparams": {"rho": np.full(5, 0.1)}}, "each of the 6 models"),
        ({"hyperparams": {"rho": np.full(6, np.nan)}}, "finite"),
        ({"config": TrainConfig(batch_size=33)}, "batch_size must be at most"),
        ({"config": TrainConfig(batch_size=0)}, "batch_size must be a whole number"),
        ({"config": TrainConfig(num_epochs=0)}, "num_epochs must be a whole number"),
        ({"config": TrainConfig(stop_accuracy=1.5)}, r"stop_accuracy must lie in"),
        ({"config": TrainConfig(models_per_chunk=0)}, "models_per_chunk"),
    ],
)
def test_bad_arguments_are_named_before_anything_is_trained(change, message):
    with pytest.raises(ValueError, match=message):
        train(**change)


def test_over_models_is_the_loop():
    fn = lambda shared, a, b: {"y": shared * a + b}
    a, b = jnp.arange(8.0), jnp.arange(8.0) ** 2
    for width in (None, 1, 2, 4, 100):
        lifted = vmap_models.over_models(fn, models_per_vmap=width)
        np.testing.assert_allclose(lifted(jnp.float32(3), a, b)["y"], 3 * a + b)


def test_models_with_convolutions_are_groups_of_one():
    dense, kernel = jnp.zeros((12, 3, 4)), jnp.zeros((12, 3, 3, 1, 2))
    width = vmap_models.default_models_per_vmap
    assert width((dense,), "cpu") == 6 and width((dense,), "gpu") == 12
    for platform in ("cpu", "gpu", "tpu"):
        assert width((dense, kernel), platform) == 1


def test_models_whose_weights_fill_a_cache_follow_one_another_on_a_cpu():
    keep = jnp.zeros((8, 10**6), bool)  # No part of a model's state.
    for size, expected in ((2**15, 8), (2**15 + 1, 1)):
        many = (keep, {"weights": jnp.zeros((8, size))})
        assert vmap_models.default_models_per_vmap(many, "cpu") == expected
        assert vmap_models.default_models_per_vmap(many, "gpu") == 8


@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
def test_convolutions_of_lifted_models_are_those_of_one_model(platform):
    fn = lambda x, kernel: jnp.sum(conv(x, kernel))
    lifted = vmap_models.over_models(
        lambda x, kernel: jax.grad(fn, 1)(x, kernel), devices=jax.devices()[:1]
    )
    x = jax.ShapeDtypeStruct((4, 8, 8, 16), jnp.float32)
    kernels = jax.ShapeDtypeStruct((6, 3, 3, 16, 32), jnp.float32)
    lowered = lifted.trace(x, kernels).lower(lowering_platforms=(platform,))
    text = lowered.compiler_ir("hlo").as_hlo_text()
    assert "convolution(" in text and "group_count" not in text


def test_the_models_are_split_over_the_devices():
    lifted = vmap_models.over_models(lambda s, a: s + a)
    result = lifted(jnp.float32(1), jnp.arange(4.0))
    assert len(jax.devices()) == 2
    assert len(result.sharding.device_set) == 2
