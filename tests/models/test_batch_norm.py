"""Batch normalisation: the same as flax's in results, statistics and derivatives."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sam_jax.models.ensemble_conv.batch_norm import BatchNorm, normalise


def random(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def naive(x, scale, bias, epsilon=1e-5):
    """In JAX's own operations, whose derivatives are JAX's own."""
    axes = tuple(range(x.ndim - 1))
    mean, var = x.mean(axes), x.var(axes)
    with jax.numpy_rank_promotion("allow"):
        out = (x - mean) / jnp.sqrt(var + epsilon) * scale + bias
    return out, mean, var


def assert_close(actual, expected):
    scale = max(float(jnp.abs(a).max()) for a in jax.tree.leaves(expected))
    for one, other in zip(
        jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5 * scale)


SHAPES = {"images": (4, 3, 6, 5), "no image": (12, 5)}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_values_and_derivatives_of_both_modes_equal_those_of_the_plain_form(shape):
    x = 2.0 * random(*shape) + 1.0
    scale, bias = random(shape[-1], seed=1), random(shape[-1], seed=2)
    primals = (x, scale, bias)
    tangents = (random(*shape, seed=3), random(*scale.shape, seed=4), bias)

    def all_of(fn):
        def scalar(*primals):
            out, mean, var = fn(*primals)
            return jnp.sum(jnp.sin(out)) + jnp.sum(jnp.cos(mean) * var)

        grad = jax.grad(scalar, (0, 1, 2))
        return {
            "value": fn(*primals),
            "forward": jax.jvp(fn, primals, tangents)[1],
            "reverse": grad(*primals),
            "second": jax.jvp(grad, primals, tangents)[1],
        }

    ours, theirs = jax.jit(lambda: (all_of(normalise), all_of(naive)))()
    for name in theirs:
        assert_close(ours[name], theirs[name])


@pytest.mark.parametrize("on_running_average", [False, True])
@pytest.mark.parametrize("use_scale", [False, True])
def test_layer_and_flax_layer_share_variables_and_results(
    use_scale, on_running_average
):
    x = 3.0 * random(3, 8, 4, 6, 5) - 1.0
    settings = {"momentum": 0.8, "use_scale": use_scale}
    ours = BatchNorm(on_running_average, **settings)
    theirs = nn.BatchNorm(on_running_average, **settings)
    made = ours.init(jax.random.key(0), x[0])
    jax.tree.map(
        np.testing.assert_array_equal, made, theirs.init(jax.random.key(0), x[0])
    )
    variables = jax.tree.map(lambda a: a + 0.3 * jnp.arange(5.0), made)

    def apply(layer):
        one = lambda x: layer.apply(variables, x, mutable=["batch_stats"])
        return jax.jit(jax.vmap(one))(x)

    assert_close(apply(ours), apply(theirs))


def test_a_step_moves_fewer_bytes_than_flax_does():
    x = jax.ShapeDtypeStruct((16, 16, 16, 16), jnp.float32)

    def bytes_moved(layer):
        variables = layer.init(jax.random.key(0), jnp.ones(x.shape))

        def loss(x):
            out, _ = layer.apply(variables, jnp.sin(x), mutable=["batch_stats"])
            return jnp.sum(jnp.sin(out))

        compiled = jax.jit(jax.grad(loss)).lower(x).compile()
        return compiled.cost_analysis()["bytes accessed"]

    assert bytes_moved(BatchNorm(False)) < 0.9 * bytes_moved(nn.BatchNorm(False))
