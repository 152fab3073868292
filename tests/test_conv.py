"""Convolution and pooling: results, derivatives, and what they compile to."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sam_jax.models.conv import Conv, avg_pool, conv, max_pool


def random(*shape, seed=0):
    return jax.random.normal(jax.random.key(seed), shape)


def naive(x, kernel, strides, pads, cotangent):
    """Output, input gradient and kernel gradient of one model, in float64."""
    x, kernel, g = (np.asarray(a, np.float64) for a in (x, kernel, cotangent))
    padded = np.pad(x, ((0, 0), *pads, (0, 0)))
    out, dx, dk = np.zeros_like(g), np.zeros_like(padded), np.zeros_like(kernel)
    for i, j in np.ndindex(*kernel.shape[:2]):
        rows = slice(i, i + (g.shape[1] - 1) * strides + 1, strides)
        columns = slice(j, j + (g.shape[2] - 1) * strides + 1, strides)
        out += padded[:, rows, columns] @ kernel[i, j]
        dx[:, rows, columns] += g @ kernel[i, j].T
        dk[i, j] = np.einsum("bhwc,bhwf->cf", padded[:, rows, columns], g)
    (top, _), (left, _) = pads
    return out, dx[:, top : top + x.shape[1], left : left + x.shape[2]], dk


def value_and_gradients(x, kernel, strides, padding, cotangent_seed=2):
    fn = jax.vmap(lambda x, k: conv(x, k, strides, padding))
    out, pull = jax.vjp(fn, x, kernel)
    cotangent = random(*out.shape, seed=cotangent_seed)
    return cotangent, (out, *pull(cotangent))


def assert_close(actual, expected):
    scale = float(np.abs(expected).max())
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=3e-6 * scale)


@pytest.mark.parametrize(
    ("size", "channels", "strides", "padding"),
    [
        (1, 9, 1, "SAME"),
        (1, 9, 2, "SAME"),
        (2, 3, 2, "VALID"),
        (3, 9, 1, "SAME"),
        (3, 9, 2, "SAME"),
        (3, 2, 1, "SAME"),
        (5, 9, 2, "VALID"),
        (7, 9, 1, "SAME"),
    ],
)
def test_ensemble_conv_and_its_gradients_equal_a_naive_sum(
    size, channels, strides, padding
):
    x, kernel = random(2, 4, 9, 8, channels), random(2, size, size, channels, 5, seed=1)
    cotangent, found = jax.jit(value_and_gradients, static_argnums=(2, 3))(
        x, kernel, strides, padding
    )
    pads = jax.lax.padtype_to_pads((9, 8), (size,) * 2, (strides,) * 2, padding)
    for m in range(2):
        expected = naive(x[m], kernel[m], strides, pads, cotangent[m])
        for ours, theirs in zip(found, expected, strict=True):
            assert_close(ours[m], theirs)


def test_kernel_gradient_in_blocks_equals_a_naive_sum():
    x, kernel = random(1, 6, 24, 24, 16), random(1, 3, 3, 16, 4, seed=1)
    cotangent, found = jax.jit(value_and_gradients, static_argnums=(2, 3))(
        x, kernel, 1, "SAME"
    )
    expected = naive(x[0], kernel[0], 1, ((1, 1), (1, 1)), cotangent[0])
    assert_close(found[2][0], expected[2])


@pytest.mark.parametrize("in_axes", [(0, None), (None, 0)])
def test_operands_shared_by_all_models_give_the_same_as_copies(in_axes):
    x, kernel = random(3, 2, 6, 6, 9), random(3, 3, 3, 9, 4, seed=1)
    one_x, one_kernel = (
        a if axis == 0 else a[0] for a, axis in zip((x, kernel), in_axes, strict=True)
    )
    spread = lambda a, axis, whole: a if axis == 0 else jnp.broadcast_to(a, whole.shape)

    def run(x, kernel, in_axes):
        one = lambda x, k: jax.vjp(conv, x, k)
        grads = jax.vmap(lambda x, k: one(x, k)[1](jnp.ones((2, 6, 6, 4))), in_axes)
        return jax.vmap(conv, in_axes)(x, kernel), *grads(x, kernel)

    shared = run(one_x, one_kernel, in_axes)
    copies = run(
        spread(one_x, in_axes[0], x), spread(one_kernel, in_axes[1], kernel), (0, 0)
    )
    for ours, theirs in zip(shared, copies, strict=True):
        assert_close(ours, theirs)


def test_hessian_vector_products_agree_between_modes():
    x, kernel, v = (
        random(2, 5, 5, 9),
        random(3, 3, 9, 2, seed=1),
        random(3, 3, 9, 2, seed=2),
    )
    grad = jax.grad(lambda k: jnp.sum(jnp.sin(conv(x, k))))
    forward = jax.jvp(grad, (kernel,), (v,))[1]
    reverse = jax.grad(lambda k: jnp.vdot(grad(k), v))(kernel)
    numeric = (grad(kernel + 1e-2 * v) - grad(kernel - 1e-2 * v)) / 2e-2
    assert_close(forward, reverse)
    np.testing.assert_allclose(
        forward, numeric, atol=2e-2 * float(jnp.abs(forward).max())
    )


@pytest.mark.parametrize("settings", [{}, {"strides": 2, "use_bias": False}])
def test_layer_and_flax_layer_share_parameters_and_results(settings):
    x = random(2, 7, 6, 9)
    ours, theirs = Conv(4, (3, 3), **settings), nn.Conv(4, (3, 3), **settings)
    variables = ours.init(jax.random.key(1), x)
    jax.tree.map(
        np.testing.assert_array_equal, variables, theirs.init(jax.random.key(1), x)
    )
    assert_close(ours.apply(variables, x), theirs.apply(variables, x))


def test_bfloat16_layer_computes_in_bfloat16_on_float32_parameters():
    x = random(2, 6, 6, 9)
    layer = Conv(4, (3, 3), dtype=jnp.bfloat16)
    variables = layer.init(jax.random.key(1), x)
    out = layer.apply(variables, x)
    assert variables["params"]["kernel"].dtype == jnp.float32
    assert out.dtype == jnp.bfloat16
    exact = Conv(4, (3, 3)).apply(variables, x)
    np.testing.assert_allclose(out.astype(jnp.float32), exact, atol=0.05)


@pytest.mark.parametrize(
    "settings", [((2, 2), (2, 2), "VALID"), ((3, 3), (2, 2), "SAME")]
)
def test_pooling_equals_flax(settings):
    x = random(2, 7, 6, 3)
    with jax.numpy_dtype_promotion("standard"):  # flax divides float32 by int32
        largest, mean = nn.max_pool(x, *settings), nn.avg_pool(x, *settings)
    np.testing.assert_array_equal(max_pool(x, *settings), largest)
    np.testing.assert_allclose(avg_pool(x, *settings), mean, rtol=1e-5, atol=1e-6)


def test_an_ensemble_step_compiles_to_no_grouped_convolution_and_no_extra_work():
    models, batch, size, channels, features = 3, 8, 12, 16, 16
    x = random(models, batch, size, size, channels)
    kernel = random(models, 3, 3, channels, features, seed=1)
    step = jax.vmap(jax.grad(lambda k, x: jnp.sum(conv(jnp.tanh(conv(x, k)), k) ** 2)))
    compiled = jax.jit(step).lower(kernel, x).compile()
    assert "feature_group_count" not in compiled.as_text()
    assert "batch_group_count" not in compiled.as_text()
    one = jax.jit(jax.grad(lambda k, x: jnp.sum(conv(jnp.tanh(conv(x, k)), k) ** 2)))
    cost = one.lower(kernel[0], x[0]).compile().cost_analysis()
    products = 2 * batch * size * size * 9 * channels * features
    # Two convolutions, one input gradient, two kernel gradients.
    assert cost["flops"] < 1.1 * 5 * products
    image_bytes = x[0].nbytes
    assert cost["bytes accessed"] < 60 * image_bytes


def test_bad_padding_and_too_large_windows_are_rejected():
    x, kernel = jnp.ones((1, 2, 2, 1)), jnp.ones((3, 3, 1, 1))
    with pytest.raises(ValueError, match="padding must be SAME"):
        conv(x, kernel, 1, "same")
    with pytest.raises(ValueError, match="window must fit"):
        conv(x, kernel, 1, "VALID")
