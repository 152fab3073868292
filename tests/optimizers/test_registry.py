import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sam_jax.optimizers.registry import OPTIMIZERS

CURVATURE = jnp.array([1.0, 3.0])


def grad_fn(w, *_):
    return CURVATURE * w


def train(name, rho, w):
    tx = OPTIMIZERS[name](optax.sgd(0.2), rho=rho)

    def body(carry, step):
        w, state = carry
        extra = {"grad_fn": grad_fn, "group_grad_fn": grad_fn, "step": step}
        updates, state = tx.update(grad_fn(w), state, w, **extra)
        return (optax.apply_updates(w, updates), state), None

    steps = jnp.arange(40, dtype=jnp.int32)
    (w, _), _ = jax.lax.scan(body, (w, tx.init(w)), steps)
    return w


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_solves_a_quadratic_at_many_radii_in_one_call(name):
    start = jnp.array([1.0, -2.0])
    rhos = jnp.array([0.0, 0.01])
    if name == "sgd":
        rhos = jnp.zeros(2)
    ends = jax.jit(jax.vmap(lambda rho: train(name, rho, start)))(rhos)
    sgd = start * (1 - 0.2 * CURVATURE) ** 40
    np.testing.assert_allclose(ends[0], sgd, rtol=1e-4)
    assert np.max(np.abs(ends)) < 0.02


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_stays_put_where_the_gradient_is_zero(name):
    tx, w = OPTIMIZERS[name](optax.sgd(0.1)), jnp.zeros(2)
    flat = lambda w, *_: jnp.zeros_like(w)
    updates, _ = tx.update(w, tx.init(w), w, grad_fn=flat, group_grad_fn=flat)
    np.testing.assert_array_equal(updates, jnp.zeros(2))


def test_sgd_has_no_radius():
    with pytest.raises(ValueError, match="rho must be 0 for sgd"):
        OPTIMIZERS["sgd"](optax.sgd(0.1), rho=0.05)
