import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from sam_jax import models, types
from sam_jax.analysis import curvature, loss_increase, rho_sweep, sharpness

KEY = jax.random.key(0)


RHO = 0.5
MODEL = models.mlp(3, hidden=(5,))


def _examples():
    """Fourteen, of which the models know the first twelve."""
    x = jax.random.normal(jax.random.key(1), (14, 4))
    return types.Examples(x, jnp.arange(14, dtype=jnp.int32) ** 2 % 3)


@functools.cache
def _network():
    """A small network, its loss on a few examples, and the Hessian at any weights."""
    examples = types.Examples(*(a[:12] for a in _examples()))
    params, state = MODEL.init(jax.random.key(3), examples.x)
    loss_fn = sharpness.make_loss(MODEL, state, examples)
    unravel = ravel_pytree(params)[1]
    hessian = jax.jit(jax.hessian(lambda w: loss_fn(unravel(w))))
    return loss_fn, params, lambda params: np.asarray(hessian(ravel_pytree(params)[0]))


@functools.cache
def _measured():
    """Three models and all their measures, on the first twelve examples.

    The first; the same function with its weights rescaled; other weights.
    """
    _, params, _ = _network()
    rescaled = {
        "Dense_0": jax.tree.map(lambda w: 4 * w, params["Dense_0"]),
        "Dense_1": params["Dense_1"] | {"kernel": params["Dense_1"]["kernel"] / 4},
    }
    three = [params, rescaled, jax.tree.map(lambda w: -2 * w, params)]
    many = jax.tree.map(lambda *w: jnp.stack(w), *three)
    trained = types.TrainState(many, {}, (), jnp.zeros(3, jnp.bool_))
    keep = np.tile(np.arange(14) < 12, (3, 1))
    return three, rho_sweep.sharpness_of_chunk(
        KEY, MODEL, trained, _examples(), keep, num_examples=20, rho=RHO
    )


def _quadratic(eigenvalues, seed=0):
    """A quadratic with its minimum at 0 in a random basis, and its matrix."""
    size = len(eigenvalues)
    basis, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(size, size)))
    matrix = jnp.asarray(basis * eigenvalues @ basis.T, jnp.float32)
    return lambda w: jnp.vdot(w, matrix @ w) / 2, jnp.zeros(size), matrix


def test_under_vmap_each_model_has_the_curvature_of_its_own_dense_hessian():
    loss_fn, _, hessian_of = _network()
    three, found = _measured()
    for row, params in enumerate(three):
        hessian = hessian_of(params)
        top = np.linalg.eigvalsh(hessian)[-1]
        np.testing.assert_allclose(found.top_eigenvalue.value[row], top, rtol=1e-5)
        gap = abs(found.trace.value[row] - np.trace(hessian))
        assert gap < 4.1 * found.trace.standard_error[row]  # Student-t, 15 degrees
        np.testing.assert_allclose(found.loss[row], loss_fn(params), rtol=1e-5)


@pytest.mark.parametrize("num_steps", [2, 4])
def test_the_residual_bounds_the_distance_to_an_eigenvalue_before_convergence(
    num_steps,
):
    loss_fn, params, hessian_of = _network()
    values = np.linalg.eigvalsh(hessian_of(params))
    one = lambda key: curvature.top_eigenvalue(key, loss_fn, params, num_steps)
    found = jax.jit(jax.vmap(one))(jax.random.split(KEY, 5))
    for value, residual in zip(*map(np.asarray, found), strict=True):
        assert np.abs(values - value).min() <= residual * 1.001 + 1e-6
        assert value <= values[-1] + 1e-5


@pytest.mark.parametrize(
    "eigenvalues", [[-5.0, -2.0, -1.0], [2.0, 2.0, 2.0], [0.0, 0.0, 3.0], [0.0] * 3]
)
def test_lanczos_stops_where_its_vectors_run_out(eigenvalues):
    loss_fn, params, _ = _quadratic(np.array(eigenvalues))
    found = curvature.top_eigenvalue(KEY, loss_fn, params, num_steps=8)
    np.testing.assert_allclose(found.value, max(eigenvalues), atol=1e-5)


def test_hutchinson_is_within_its_interval_and_unbiased():
    loss_fn, params, hessian_of = _network()
    trace = np.trace(hessian_of(params))
    keys = jax.random.split(KEY, 200)
    one = lambda k: curvature.hessian_trace(k, loss_fn, params, 16)
    found = jax.jit(jax.vmap(one))(keys)
    scaled = (np.asarray(found.value) - trace) / np.asarray(found.standard_error)
    assert 0.90 <= np.mean(np.abs(scaled) < 2.13) <= 0.99  # Student-t, 15 degrees
    assert abs(found.value.mean() - trace) < 4 * found.value.std() / np.sqrt(200)


def test_signs_give_the_trace_of_a_diagonal_hessian_exactly():
    diagonal = jnp.array([1.0, -3.0, 0.5, 7.0])
    loss_fn = lambda w: jnp.sum(diagonal * w**2) / 2
    found = curvature.hessian_trace(KEY, loss_fn, jnp.ones(4), 4)
    assert (float(found.value), float(found.standard_error)) == (5.5, 0.0)


def test_worst_case_at_the_minimum_of_a_quadratic_is_half_its_top_eigenvalue():
    loss_fn, params, _ = _quadratic(np.array([1.0, 2.0, 8.0, 0.1]))
    found = loss_increase.worst_case_increase(KEY, loss_fn, params, 0.3)
    np.testing.assert_allclose(found, 0.3**2 * 8 / 2, rtol=1e-5)


def test_worst_case_of_a_linear_loss_is_one_step_of_sam():
    slope = jnp.array([3.0, -4.0])
    found = loss_increase.worst_case_increase(
        KEY, lambda w: jnp.vdot(slope, w), jnp.ones(2), 0.5, num_steps=1
    )
    np.testing.assert_allclose(found, 0.5 * 5, rtol=1e-6)


def test_worst_case_is_at_least_every_random_point_and_the_step_of_sam():
    loss_fn, params, _ = _network()
    flat, unravel = ravel_pytree(params)
    rng = np.random.default_rng(0)
    points = rng.normal(size=(300, flat.size)).astype(np.float32)
    gradient = jax.jit(jax.grad(lambda w: loss_fn(unravel(w))))(flat)
    points = np.concatenate([points, np.asarray(gradient)[None]])
    points = RHO * points / np.linalg.norm(points, axis=1, keepdims=True)
    losses = jax.jit(jax.vmap(lambda e: loss_fn(unravel(flat + e))))(points)
    found = _measured()[1]
    assert found.worst_case[0] >= losses.max() - found.loss[0] - 1e-6


def test_no_increase_in_a_flat_or_sinking_place_and_in_a_ball_of_radius_zero():
    flat = lambda w: jnp.zeros(()) * w[0]
    cap = lambda w: -jnp.vdot(w, w)
    for loss_fn, rho in ((flat, 1.0), (cap, 1.0), (lambda w: jnp.sum(w), 0.0)):
        assert loss_increase.worst_case_increase(KEY, loss_fn, jnp.zeros(3), rho) == 0


def test_average_case_at_the_minimum_of_a_quadratic_is_its_trace():
    eigenvalues = np.array([1.0, 2.0, 8.0, 0.1, 3.0])
    loss_fn, params, _ = _quadratic(eigenvalues)
    found = loss_increase.average_case_increase(
        KEY, loss_fn, params, 0.3, num_samples=4000
    )
    expected = 0.3**2 / (2 * 5) * eigenvalues.sum()
    assert abs(found.value - expected) < 4 * found.standard_error
    assert found.standard_error < 0.02 * expected


def test_average_case_of_a_linear_loss_is_zero():
    found = loss_increase.average_case_increase(
        KEY, lambda w: jnp.sum(w), jnp.ones(4), 0.3
    )
    np.testing.assert_allclose(found.value, 0, atol=1e-6)


def test_adaptive_measures_ignore_a_rescaling_that_leaves_the_function():
    found = _measured()[1]
    np.testing.assert_allclose(found.loss[1], found.loss[0], rtol=1e-5)
    for field in ("adaptive_worst_case", "adaptive_average_case"):
        for values in jax.tree.leaves(getattr(found, field)):
            np.testing.assert_allclose(values[1], values[0], rtol=2e-3, atol=1e-6)
    first, rescaled, _ = found.top_eigenvalue.value
    assert abs(rescaled / first - 1) > 1


def test_the_loss_is_the_mean_cross_entropy_of_the_examples():
    model = models.mlp(3, hidden=())
    x = jax.random.normal(KEY, (12, 4))
    y = jnp.arange(12, dtype=jnp.int32) % 3
    params, state = model.init(KEY, x)
    examples = types.Examples(x, y)
    loss = sharpness.make_loss(model, state, examples)(params)
    log_p = jax.nn.log_softmax(model.apply(params, state, x, False, KEY)[0])
    expected = -np.mean([log_p[i, y[i]] for i in range(12)])
    np.testing.assert_allclose(loss, expected, rtol=1e-6)


def test_bad_input_is_named():
    loss_fn, params, _ = _quadratic(np.ones(3))
    with pytest.raises(ValueError, match="num_steps must be a whole number >= 2"):
        curvature.top_eigenvalue(KEY, loss_fn, params, 1)
    with pytest.raises(ValueError, match="rho must be finite and >= 0"):
        loss_increase.worst_case_increase(KEY, loss_fn, params, -0.1)
    with pytest.raises(ValueError, match="num_samples must be a whole number >= 2"):
        loss_increase.average_case_increase(KEY, loss_fn, params, 0.1, num_samples=1)
