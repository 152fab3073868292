"""Every registered model: parameters, shapes, state, precision, and vmap = loop."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sam_jax.models import MODELS, compute_dtype, from_linen, mlp

TINY = {
    "cnn": {"widths": (2, 3), "hidden": 4},
    "fast_cifar": {"width": 2},
    "mlp": {"hidden": (4,)},
    "mlp_tanh": {"hidden": (4, 3)},
    "resnet18": {"width": 2},
    "vgg16": {"width": 2},
    "wide_resnet": {"depth": 10, "widen_factor": 1},
}
CONVOLUTIONAL = sorted(set(TINY) - {"mlp", "mlp_tanh"})
KEY = jax.random.key(0)


def shapes_of(model, *features):
    return jax.eval_shape(model.init, KEY, jax.ShapeDtypeStruct((1, *features), "f4"))


def random_variables(model, x, num_models):
    """Random weights without compiling ``init``; variances are positive."""
    rng = np.random.default_rng(0)

    def make(leaf):
        values = rng.uniform(0.1, 0.5, (num_models, *leaf.shape))
        if leaf.ndim > 1:
            values *= rng.choice([-1.0, 1.0], values.shape)
        return jnp.asarray(values, leaf.dtype)

    return jax.tree.map(make, shapes_of(model, *x.shape[1:]))


def images(*shape):
    return jnp.asarray(np.random.default_rng(1).normal(size=shape), jnp.float32)


@pytest.mark.parametrize(
    ("name", "settings", "features", "num_classes", "published"),
    [
        # https://github.com/kuangliu/pytorch-cifar: ResNet18(), VGG("VGG16").
        ("resnet18", {}, (32, 32, 3), 10, 11_173_962),
        ("vgg16", {}, (32, 32, 3), 10, 14_728_266),
        # Zagoruyko and Komodakis 2016, table 4: 36.5M and 2.7M; to the unit
        # https://github.com/xternalz/WideResNet-pytorch.
        ("wide_resnet_28_10", {}, (32, 32, 3), 10, 36_479_194),
        ("wide_resnet_16_4", {}, (32, 32, 3), 10, 2_748_890),
        # Oliver et al. 2018, https://arxiv.org/abs/1804.09170: 1.5M.
        ("wide_resnet", {}, (32, 32, 3), 10, 1_467_610),
        # https://github.com/KellerJordan/cifar10-airbench, airbench94, by its layers:
        # stem 24 x (12 + 1), convolutions, biases of the norms, head.
        (
            "fast_cifar",
            {},
            (32, 32, 3),
            10,
            24 * 13
            + 9 * (24 * 64 + 64 * 64 + 64 * 256 + 3 * 256 * 256)
            + 2 * (64 + 256 + 256)
            + 256 * 10,
        ),
        # Nasr et al. 2018: 600 or 6,169 to 1024, 512, 256, 128 and 100.
        (
            "mlp_tanh",
            {},
            (600,),
            100,
            601 * 1024 + 1025 * 512 + 513 * 256 + 257 * 128 + 129 * 100,
        ),
        (
            "mlp_tanh",
            {},
            (6169,),
            100,
            6170 * 1024 + 1025 * 512 + 513 * 256 + 257 * 128 + 129 * 100,
        ),
    ],
    ids=lambda value: str(value) if isinstance(value, str | int) else "",
)
def test_networks_have_the_published_number_of_parameters(
    name, settings, features, num_classes, published
):
    params, _ = shapes_of(MODELS[name](num_classes, **settings), *features)
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == published


@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_networks_take_any_image_size_norm_and_precision(name):
    for shape in ((28, 28, 1), (64, 64, 3)):
        for settings in ({"norm": "group"}, {"dtype": jnp.bfloat16}):
            model = MODELS[name](7, **TINY[name], **settings)
            variables = shapes_of(model, *shape)
            assert bool(variables[1]) == ("norm" not in settings)
            assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {
                jnp.dtype("float32")
            }
            x = jax.ShapeDtypeStruct((2, *shape), jnp.float32)
            for train in (True, False):
                logits, state = jax.eval_shape(
                    lambda v, x, t=train, m=model: m.apply(*v, x, t, KEY), variables, x
                )
                assert logits.shape == (2, 7) and logits.dtype == jnp.float32
                assert jax.tree.leaves(state) == jax.tree.leaves(variables[1])


@pytest.mark.parametrize("name", sorted(TINY))
def test_models_agree_under_vmap_and_update_their_state_in_training_only(name):
    model = MODELS[name](5, **TINY[name])
    x = images(4, 8, 8, 2)
    variables = random_variables(model, x, 2)
    one = jax.tree.map(lambda leaf: leaf[1], variables)
    many = jax.jit(jax.vmap(lambda p, s: model.apply(p, s, x, True, KEY)))
    logits, state = many(*variables)
    alone, alone_state = jax.jit(lambda p, s: model.apply(p, s, x, True, KEY))(*one)
    np.testing.assert_allclose(logits[1], alone, rtol=1e-4, atol=1e-4)
    for before, after, single in zip(
        *map(jax.tree.leaves, (variables[1], state, alone_state)), strict=True
    ):
        assert not np.array_equal(before, after)
        np.testing.assert_allclose(after[1], single, rtol=1e-4, atol=1e-5)


def test_a_resnet_step_of_many_models_is_that_many_times_the_work_of_one():
    model = MODELS["resnet18"](5, width=4)
    x = jax.ShapeDtypeStruct((4, 16, 16, 3), jnp.float32)

    def grad(params, state, x):
        loss = lambda p: jnp.sum(model.apply(p, state, x, True, KEY)[0] ** 2)
        return jax.grad(loss)(params)

    def lowered(num_models, platform):
        many = jax.tree.map(
            lambda a: jax.ShapeDtypeStruct((num_models, *a.shape), a.dtype),
            (*shapes_of(model, *x.shape[1:]), x),
        )
        traced = jax.jit(jax.vmap(grad)).trace(*many)
        return traced.lower(lowering_platforms=(platform,))

    for platform in ("cuda", "tpu"):
        one, three = lowered(1, platform), lowered(3, platform)
        assert three.cost_analysis()["flops"] < 3.05 * one.cost_analysis()["flops"]
        texts = [made.compiler_ir("hlo").as_hlo_text() for made in (one, three)]
        # 20 outputs, 20 kernel gradients; the first layer needs no input gradient.
        assert [text.count(" convolution(") for text in texts] == [59, 59]
        assert "group_count" not in texts[0]
    assert "group_count" not in lowered(3, "cpu").compiler_ir("hlo").as_hlo_text()


def test_evaluation_leaves_the_state_alone_and_reads_it():
    model = MODELS["cnn"](3, **TINY["cnn"])
    x = images(4, 8, 8, 2)
    params, state = jax.tree.map(lambda a: a[0], random_variables(model, x, 1))
    evaluate = jax.jit(lambda s, x: model.apply(params, s, x, False, KEY))
    logits, same = evaluate(state, x)
    jax.tree.map(np.testing.assert_array_equal, state, same)
    alone, _ = evaluate(state, jnp.tile(x[:1], (4, 1, 1, 1)))
    np.testing.assert_allclose(logits[0], alone[0], rtol=1e-5)
    moved, _ = evaluate(jax.tree.map(lambda a: a + 1, state), x)
    assert not np.allclose(logits, moved, rtol=1e-2)


def test_bfloat16_networks_keep_weights_gradients_and_statistics_in_float32():
    exact = MODELS["cnn"](3, **TINY["cnn"])
    rough = MODELS["cnn"](3, **TINY["cnn"], dtype=jnp.bfloat16)
    x = images(4, 8, 8, 2)
    variables = jax.tree.map(lambda a: a[0], random_variables(exact, x, 1))

    @jax.jit
    def both(params, state):
        def loss(params, model):
            logits, new = model.apply(params, state, x, True, KEY)
            return jnp.sum(logits**2), (logits, new)

        return [
            jax.value_and_grad(loss, has_aux=True)(params, model)
            for model in (exact, rough)
        ]

    results = both(*variables)
    assert {leaf.dtype for leaf in jax.tree.leaves(results)} == {jnp.dtype("float32")}
    ((_, (logits, state)), _), ((_, (rough_logits, rough_state)), _) = results
    error = np.abs(logits - rough_logits).max() / np.abs(logits).max()
    assert 0 < error < 0.05
    for ours, theirs in zip(*map(jax.tree.leaves, (state, rough_state)), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0.05, atol=0.02)


def test_precision_by_name():
    assert compute_dtype("auto") == jnp.float32  # tests run on a CPU
    assert compute_dtype("bfloat16") == jnp.bfloat16
    with pytest.raises(ValueError, match="precision must be one of auto"):
        compute_dtype("float16")


def test_dropout_follows_the_key_and_is_off_in_evaluation():
    model = mlp(3, hidden=(64,), dropout_rate=0.5)
    x = jnp.ones((2, 4))
    params, state = jax.tree.map(lambda a: a[0], random_variables(model, x, 1))

    def logits(train, seed):
        return model.apply(params, state, x, train, jax.random.key(seed))[0]

    np.testing.assert_array_equal(logits(True, 1), logits(True, 1))
    assert not np.allclose(logits(True, 1), logits(True, 2))
    np.testing.assert_array_equal(logits(False, 1), logits(False, 2))


def test_from_linen_rejects_variables_it_would_lose():
    class Counter(nn.Module):
        @nn.compact
        def __call__(self, x):
            self.variable("counts", "calls", lambda: jnp.zeros(()))
            return nn.Dense(2)(x)

    with pytest.raises(ValueError, match="got counts"):
        shapes_of(from_linen(Counter()), 3)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("mlp", {"dropout_rate": 1.5}, "dropout_rate must lie in"),
        ("cnn", {"widths": (4, 0)}, "widths must be a whole number >= 1"),
        ("resnet18", {"width": 0}, "width must be a whole number >= 1"),
        ("resnet18", {"norm": "layer"}, "norm must be one of batch, group"),
        ("wide_resnet", {"depth": 27}, "depth must be 4 more than a multiple of 6"),
        ("wide_resnet", {"depth": 4}, "depth must be a whole number >= 10"),
    ],
)
def test_model_factories_reject_bad_settings(name, settings, message):
    with pytest.raises(ValueError, match=message):
        MODELS[name](2, **settings)
    with pytest.raises(ValueError, match="num_classes must be a whole number >= 2"):
        MODELS[name](1)
