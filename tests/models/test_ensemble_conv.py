"""Convolution and pooling: results, derivatives, and what they compile to."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from sam_jax.models.ensemble_conv import cpu_kernels, lax_kernels
from sam_jax.models.ensemble_conv.conv import Conv, conv
from sam_jax.models.ensemble_conv.geometry import make_geometry
from sam_jax.models.ensemble_conv.pooling import avg_pool, max_pool


def random(*shape, seed=0):
    """NumPy, as JAX would compile a program for every shape."""
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


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


CASES = {
    # window, channels, features, strides, padding
    "dense": (1, 9, 5, 1, "SAME"),
    "dense, strided": (1, 9, 5, 2, "SAME"),
    "four columns": (2, 3, 5, 2, "VALID"),
    "one column": (3, 9, 17, 1, "SAME"),
    "one column, strided": (3, 17, 9, 2, "SAME"),
    "two columns, strided": (3, 9, 16, 2, "SAME"),
    "few channels, many features": (3, 2, 40, 1, "SAME"),
    "odd width": (5, 9, 5, 2, "VALID"),
    "strides over the window": (2, 9, 5, 3, "SAME"),
    "strided, padded alike": (3, 9, 5, 2, ((1, 1), (1, 1))),
    "strided, much padding below": (3, 9, 5, 2, ((0, 5), (0, 4))),
    "large": (7, 9, 5, 1, "SAME"),
    "uneven padding": (4, 8, 9, 1, ((3, 0), (1, 2))),
}


def arguments(case):
    size, channels, features, *_ = CASES[case]
    x = random(2, 4, 9, 8, channels)
    return x, random(2, size, size, channels, features, seed=1)


@pytest.fixture(scope="module")
def by_case():
    """Cotangent, output and gradients of all cases, from one program."""

    @jax.jit
    def run(given):
        return {c: value_and_gradients(*a, *CASES[c][3:]) for c, a in given.items()}

    return run({case: arguments(case) for case in CASES})


@pytest.mark.parametrize("case", CASES)
def test_ensemble_conv_and_its_gradients_equal_a_naive_sum(case, by_case):
    (x, kernel), (cotangent, found) = arguments(case), by_case[case]
    size, _, _, strides, pads = CASES[case]
    if isinstance(pads, str):
        pads = jax.lax.padtype_to_pads((9, 8), (size,) * 2, (strides,) * 2, pads)
    for m in range(2):
        expected = naive(x[m], kernel[m], strides, pads, cotangent[m])
        for ours, theirs in zip(found, expected, strict=True):
            assert_close(ours[m], theirs)


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("strides", [1, 2])
def test_kernels_of_accelerators_equal_those_of_the_cpu(strides, size):
    x, kernel = random(2, 2, 6, 6, 3), random(2, size, size, 3, 4, seed=1)
    geo = make_geometry(x[0], (size, size), strides, "SAME")
    g = random(2, 2, *geo.out, 4, seed=2)
    operands = {
        "conv": (x, kernel),
        "input_gradient": (g, kernel),
        "kernel_gradient": (x, g),
    }

    @jax.jit
    def both(operands):
        pairs = []
        for name, (a, b) in operands.items():
            on_cpu = functools.partial(getattr(cpu_kernels, name), geo=geo)
            elsewhere = functools.partial(getattr(lax_kernels, name), geo=geo)
            pairs.append((jax.vmap(on_cpu)(a, b), jax.vmap(elsewhere)(a, b)))
        return pairs

    for cpu, elsewhere in both(operands):
        assert_close(elsewhere, cpu)


@pytest.mark.parametrize(
    ("batch", "block_bytes", "strides", "blocks"),
    [(12, 1, 1, (6, 1)), (64, 16 * 1024, 1, (32, 4)), (64, 4 * 1024, 2, (32, 2))],
)
def test_kernel_gradient_in_blocks_equals_a_naive_sum(
    batch, block_bytes, strides, blocks, monkeypatch
):
    monkeypatch.setattr(cpu_kernels, "BLOCK_BYTES", block_bytes)
    x = random(batch, 7, 6, 9)
    geo = make_geometry(x, (3, 3), strides, "SAME")
    g = random(batch, *geo.out, 4, seed=2)
    assert cpu_kernels._block(g) == blocks
    found = cpu_kernels.kernel_gradient(x, g, geo)
    expected = naive(x, np.zeros((3, 3, 9, 4)), strides, geo.pads, g)
    assert_close(found, expected[2])


def test_kernel_gradients_of_large_images_are_compiled_in_few_parts():
    examples, rows = cpu_kernels._block(jnp.zeros((4, 211, 211, 16)))
    assert examples <= 2
    assert -(-211 // rows) <= cpu_kernels.MOST_PARTS


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

    @jax.jit
    def both(x, kernel, one_x, one_kernel):
        xs, kernels = (
            spread(one_x, in_axes[0], x),
            spread(one_kernel, in_axes[1], kernel),
        )
        return run(one_x, one_kernel, in_axes), run(xs, kernels, (0, 0))

    shared, copies = both(x, kernel, one_x, one_kernel)
    for ours, theirs in zip(shared, copies, strict=True):
        assert_close(ours, theirs)


def test_hessian_vector_products_agree_between_modes():
    x, kernel, v = (
        random(2, 5, 5, 9),
        random(3, 3, 9, 2, seed=1),
        random(3, 3, 9, 2, seed=2),
    )
    grad = jax.grad(lambda k: jnp.sum(jnp.sin(conv(x, k))))

    @jax.jit
    def products(kernel, v):
        forward = jax.jvp(grad, (kernel,), (v,))[1]
        reverse = jax.grad(lambda k: jnp.vdot(grad(k), v))(kernel)
        return forward, reverse, (grad(kernel + 1e-2 * v) - grad(kernel - 1e-2 * v))

    forward, reverse, numeric = products(kernel, v)
    numeric = numeric / 2e-2
    assert_close(forward, reverse)
    np.testing.assert_allclose(
        forward, numeric, atol=2e-2 * float(jnp.abs(forward).max())
    )


@pytest.mark.parametrize("settings", [{}, {"strides": 2, "use_bias": False}])
def test_layer_and_flax_layer_share_parameters_and_results(settings):
    x = random(2, 7, 6, 9)
    ours, theirs = Conv(4, (3, 3), **settings), nn.Conv(4, (3, 3), **settings)

    @jax.jit
    def run(key):
        variables = ours.init(key, x)
        results = ours.apply(variables, x), theirs.apply(variables, x)
        return (variables, theirs.init(key, x)), results

    variables, results = run(jax.random.key(1))
    jax.tree.map(np.testing.assert_array_equal, *variables)
    assert_close(*results)


def test_bfloat16_layer_computes_in_bfloat16_on_float32_parameters():
    x = random(2, 6, 6, 9)
    layer = Conv(4, (3, 3), dtype=jnp.bfloat16)
    params = {"kernel": random(3, 3, 9, 4) / 9, "bias": random(4)}
    made = jax.eval_shape(layer.init, jax.random.key(1), x)["params"]
    assert jax.tree.map(lambda a: (a.shape, a.dtype), made) == jax.tree.map(
        lambda a: (a.shape, a.dtype), params
    )
    out = layer.apply({"params": params}, x)
    assert out.dtype == jnp.bfloat16
    exact = Conv(4, (3, 3)).apply({"params": params}, x)
    np.testing.assert_allclose(out.astype(jnp.float32), exact, atol=0.05)


POOLS = [((2, 2), (2, 2), "VALID"), ((3, 2), (3, 2), "VALID"), ((3, 3), (2, 2), "SAME")]


@pytest.mark.parametrize("settings", POOLS)
def test_pooling_equals_flax(settings):
    x = random(2, 7, 6, 3)
    with jax.numpy_dtype_promotion("standard"):  # flax divides float32 by int32
        largest, mean = nn.max_pool(x, *settings), nn.avg_pool(x, *settings)
        want = sine_gradient(nn.max_pool, x, settings)
    np.testing.assert_array_equal(max_pool(x, *settings), largest)
    np.testing.assert_allclose(avg_pool(x, *settings), mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(sine_gradient(max_pool, x, settings), want, rtol=1e-6)


def sine_gradient(pool, x, settings):
    return jax.jit(jax.grad(lambda x: jnp.sum(jnp.sin(pool(x, *settings)))))(x)


@pytest.mark.parametrize("settings", POOLS[:2])
def test_derivatives_of_max_pooling_are_right_in_both_modes(settings):
    x = random(2, 7, 6, 3)
    wave = jax.jit(lambda x: jnp.sin(max_pool(x, *settings)))
    check_grads(wave, (x,), order=2, rtol=0.05)


def test_the_first_of_tied_maxima_takes_the_gradient_as_in_other_libraries():
    x = jnp.asarray(np.random.default_rng(0).integers(0, 3, (4, 6, 6, 3)), jnp.float32)
    weights = random(4, 3, 3, 3)
    flax_pool = lambda x: nn.max_pool(x, (2, 2), (2, 2))
    ours, theirs = (
        jax.grad(lambda x, pool=pool: jnp.sum(weights * pool(x)))(x)
        for pool in (max_pool, flax_pool)
    )
    np.testing.assert_array_equal(ours, theirs)


def ensemble_step(layer, models=3):
    """A vmapped gradient of two convolutions, on shapes alone."""
    x = jax.ShapeDtypeStruct((models, 8, 12, 12, 16), jnp.float32)

    def loss(kernel, x):
        return jnp.sum(layer(jnp.tanh(layer(x, kernel)), kernel) ** 2)

    def lowered(size, platform):
        kernel = jax.ShapeDtypeStruct((models, size, size, 16, 16), jnp.float32)
        traced = jax.jit(jax.vmap(jax.grad(loss))).trace(kernel, x)
        return traced.lower(lowering_platforms=(platform,))

    return lowered


def hlo(lowered):
    return lowered.compiler_ir("hlo").as_hlo_text()


def test_an_ensemble_step_on_a_cpu_holds_no_grouped_convolution():
    naive_conv = lambda x, k: jax.lax.conv_general_dilated(
        x, k, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    assert "feature_group_count=3" in hlo(ensemble_step(naive_conv)(3, "cpu"))
    for size in range(1, 8):
        assert "group_count" not in hlo(ensemble_step(conv)(size, "cpu"))


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
@pytest.mark.parametrize("models", [1, 3])
def test_on_accelerators_an_ensemble_step_is_the_convolutions_it_needs(
    platform, models
):
    products = 2 * 8 * 12 * 12 * 16 * 16
    for size in (1, 3, 5, 7):
        lowered = ensemble_step(conv, models)(size, platform)
        text = hlo(lowered)
        # Two outputs, one input gradient, two kernel gradients; no patches.
        assert text.count(" convolution(") == 5
        assert "concatenate" not in text
        assert ("group_count" in text) == (models > 1)
        most = models * 5 * products * size**2
        assert lowered.cost_analysis()["flops"] < 1.1 * most + 1e6


@pytest.mark.parametrize("size", [1, 3, 7])
def test_the_backward_pass_keeps_images_and_kernels_not_patches(size):
    x, kernel = random(3, 8, 12, 12, 16), random(3, size, size, 16, 16)
    pull = jax.eval_shape(lambda x, k: jax.vjp(jax.vmap(conv), x, k)[1], x, kernel)
    kept = sum(leaf.size for leaf in jax.tree.leaves(pull))
    assert kept <= x.size + kernel.size


def test_memory_on_the_cpu_is_a_few_images_for_any_window():
    x = jax.ShapeDtypeStruct((16, 12, 12, 16), jnp.float32)
    kernel = jax.ShapeDtypeStruct((5, 5, 16, 16), jnp.float32)
    grad = jax.grad(lambda k, x: jnp.sum(jnp.tanh(conv(x, k)) ** 2))
    memory = jax.jit(grad).lower(kernel, x).compile().memory_analysis()
    image_bytes = 4 * x.size
    assert memory.temp_size_in_bytes < 6 * image_bytes  # patches alone take 25


def test_bad_padding_and_too_large_windows_are_rejected():
    x, kernel = jnp.ones((1, 2, 2, 1)), jnp.ones((3, 3, 1, 1))
    with pytest.raises(ValueError, match="padding must be SAME"):
        conv(x, kernel, 1, "same")
    with pytest.raises(ValueError, match="window must fit"):
        conv(x, kernel, 1, "VALID")
