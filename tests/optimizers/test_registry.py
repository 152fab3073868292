"""The registry and its factories: settings, radii, clipping, maps over memories."""

import dataclasses
import inspect
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sam_jax._checks import ArgumentError
from sam_jax.optimizers import (
    GSAM,
    OPTIMIZERS,
    SAM,
    LookSAM,
    Method,
    gsam,
    looksam,
    make_factory,
    sam,
    sharpness_aware,
)
from sam_jax.optimizers.radius import check_radius, check_setting

W = {"kernel": jnp.array([[3.0, 4.0]]), "bias": jnp.array([0.5])}
FAMILY = sorted(OPTIMIZERS.keys() - {"sgd"})


def grad_fn(w, *_):
    return jax.tree.map(lambda x: jnp.sin(x) + 2 * x, w)


def one_step(tx, w=W, **extra):
    extra = {"grad_fn": grad_fn, "group_grad_fn": grad_fn} | extra
    updates, _ = tx.update(grad_fn(w), tx.init(w), w, **extra)
    return updates


def norm(tree):
    return float(optax.global_norm(tree))


@dataclasses.dataclass(frozen=True)
class Reverse(Method):
    """SAM downhill: ``epsilon = -rho g / |g|``.

    Attributes:
        strength: Factor of the radius.
    """

    strength: float = 1.0

    def perturb(
        self, grads: Any, params: Any, rho: Any, memory: Any = (), key: Any = None
    ) -> Any:
        """Returns ``-strength rho g / |g|``."""
        epsilon = super().perturb(grads, params, self.strength * rho)
        return jax.tree.map(jnp.negative, epsilon)


def test_a_new_method_is_a_class_and_a_line():
    factory = make_factory("reverse", Reverse, rho=0.3)
    assert list(inspect.signature(factory).parameters) == [
        "base",
        "rho",
        "strength",
        "clip_norm",
    ]
    got = one_step(factory(optax.sgd(1.0), strength=2.0))
    g = grad_fn(W)
    moved = jax.tree.map(lambda w, g: w - 0.6 * g / norm(grad_fn(W)), W, g)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(grad_fn(moved)), strict=True):
        np.testing.assert_allclose(a, -b, rtol=1e-5)


def test_factories_show_their_settings_and_the_formula_of_their_method():
    signature = inspect.signature(looksam)
    assert {n: p.default for n, p in signature.parameters.items()} == {
        "base": inspect.Parameter.empty,
        "rho": 0.05,
        "period": 5,
        "alpha": 0.7,
        "per_tensor": False,
        "clip_norm": None,
    }
    assert looksam.__name__ == "looksam"
    assert "period: Steps from one SAM step to the next" in looksam.__doc__
    for name, factory in OPTIMIZERS.items():
        assert factory.__name__ == name
        for parameter in inspect.signature(factory).parameters:
            assert f"    {parameter}: " in inspect.getdoc(factory)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sam(0.05), "base must be an optax optimizer, got 0.05"),
        (lambda: OPTIMIZERS["sam"](None), "base must be an optax optimizer, got None"),
        (
            lambda: sam(optax.sgd(1.0), clip_norm=0.0),
            "clip_norm must be finite and > 0",
        ),
        (lambda: sam(optax.sgd(1.0), 1j), "rho must be a scalar number, got 1j"),
        (lambda: check_radius("0.1"), "rho must be a scalar number, got '0.1'"),
        (lambda: check_radius([0.1]), "rho must be a scalar number, got \\[0.1\\]"),
        (lambda: check_radius(None), "rho must be a scalar number, got None"),
        (lambda: check_radius(True), "rho must be a scalar number, got True"),
        (lambda: check_radius(1e39), "rho must be finite and >= 0, got inf"),
        (lambda: check_radius(10**400), "rho must be finite and >= 0, got inf"),
        (
            lambda: check_setting(alpha="0.4"),
            "alpha must be a scalar number, got '0.4'",
        ),
        (lambda: GSAM(alpha=jnp.ones(2)), "alpha must be a scalar number, got shape"),
        (lambda: LookSAM(alpha=jnp.float32(-1)), "alpha must be finite and >= 0"),
    ],
)
def test_what_is_no_setting_is_refused(call, message):
    with pytest.raises(ArgumentError, match=message):
        call()
    with pytest.raises(TypeError, match="rhoo"):
        sam(optax.sgd(1.0), rhoo=0.1)


@pytest.mark.parametrize("rho", [jnp.ones(1), jnp.ones(2), jnp.array(True)], ids=repr)
def test_a_traced_or_scheduled_radius_that_is_no_real_scalar_is_refused(rho):
    with pytest.raises(ArgumentError, match="rho must be a scalar number, got shape"):
        jax.jit(lambda rho: one_step(sam(optax.sgd(1.0), rho)))(rho)
    with pytest.raises(ArgumentError, match="rho must be a scalar number, got shape"):
        jax.jit(lambda rho: one_step(sam(optax.sgd(1.0)), rho=rho))(rho)
    for schedule in (lambda step: rho, lambda step: [0.1], lambda step: "0.1"):
        with pytest.raises(ArgumentError, match="rho must be a schedule of scalar"):
            one_step(sam(optax.sgd(1.0), schedule))


def test_a_radius_below_zero_counts_as_zero_where_only_tracing_tells():
    plain = jax.tree.map(jnp.negative, grad_fn(W))
    traced = jax.jit(lambda rho: one_step(sam(optax.sgd(1.0), rho)))(-0.3)
    scheduled = one_step(sam(optax.sgd(1.0), lambda step: -0.3))
    for got in (traced, scheduled):
        jax.tree.map(np.testing.assert_array_equal, got, plain)


@pytest.mark.parametrize("name", FAMILY)
def test_complex_weights_are_refused_by_name(name):
    tx = OPTIMIZERS[name](optax.sgd(1.0))
    w = W | {"bias": jnp.array([1.0 + 1.0j])}
    with pytest.raises(ArgumentError, match=r"params\['bias'\] must be real"):
        tx.init(w)
    with pytest.raises(ArgumentError, match=r"params\['bias'\] must be real"):
        tx.update(w, tx.init(W), w, grad_fn=grad_fn, group_grad_fn=grad_fn)


@pytest.mark.parametrize("name", FAMILY)
def test_clip_norm_bounds_what_the_base_receives(name):
    limit = 0.1
    for base_rho in ({}, {"rho": 0.0}):
        free = one_step(OPTIMIZERS[name](optax.sgd(1.0), **base_rho))
        clipped = one_step(
            OPTIMIZERS[name](optax.sgd(1.0), clip_norm=limit, **base_rho)
        )
        loose = one_step(OPTIMIZERS[name](optax.sgd(1.0), clip_norm=99.0, **base_rho))
        jax.tree.map(np.testing.assert_array_equal, loose, free)
        for a, b in zip(jax.tree.leaves(clipped), jax.tree.leaves(free), strict=True):
            np.testing.assert_allclose(a, b * limit / norm(free), rtol=1e-5)


def test_clip_norm_is_a_clip_in_the_base_and_not_one_before_sam():
    inside = sam(optax.chain(optax.clip_by_global_norm(0.1), optax.sgd(1.0)))
    before = optax.chain(optax.clip_by_global_norm(0.1), sam(optax.sgd(1.0)))
    setting = one_step(sam(optax.sgd(1.0), clip_norm=0.1))
    np.testing.assert_allclose(norm(setting), 0.1, rtol=1e-5)
    np.testing.assert_allclose(norm(one_step(inside)), 0.1, rtol=1e-5)
    assert norm(one_step(before)) > 1.0  # the second gradient is not clipped
    huge = sam(optax.sgd(1.0), clip_norm=0.1)
    updates, _ = huge.update(
        jax.tree.map(lambda x: 1e25 * x, W),
        huge.init(W),
        W,
        grad_fn=lambda w: jax.tree.map(lambda x: 1e25 * x, w),
    )
    np.testing.assert_allclose(norm(updates), 0.1, rtol=1e-5)


def test_decay_before_sam_is_lost_and_after_it_is_not():
    decay = optax.add_decayed_weights(0.1)
    lost = optax.chain(decay, sharpness_aware(SAM(), 0.0001), optax.sgd(1.0))
    kept = optax.chain(sharpness_aware(SAM(), 0.0001), decay, optax.sgd(1.0))
    plain = optax.chain(sharpness_aware(SAM(), 0.0001), optax.sgd(1.0))
    for a, b, c, w in zip(
        *map(jax.tree.leaves, (one_step(lost), one_step(kept), one_step(plain), W)),
        strict=True,
    ):
        np.testing.assert_allclose(a, c, rtol=1e-4)
        np.testing.assert_allclose(b, c - 0.1 * w, rtol=1e-4)


@pytest.mark.parametrize("settings", [{}, {"per_tensor": True}, {"form": "paper"}])
@pytest.mark.parametrize("name", FAMILY)
def test_map_params_reaches_the_memory_and_nothing_else(name, settings):
    if set(settings) - set(inspect.signature(OPTIMIZERS[name]).parameters):
        settings = {}
    tx = OPTIMIZERS[name](optax.adam(0.1), **settings)
    state = tx.init(W)
    map_params = optax.tree_utils.tree_map_params
    marked = map_params(
        tx,
        lambda leaf, w: jnp.full_like(w, 7.0),
        state,
        W,
        transform_non_params=lambda leaf: leaf,
    )
    assert jax.tree.structure(marked) == jax.tree.structure(state)
    num_trees = 2 + (name in ("looksam", "friendly_sam"))
    sevens = [np.all(np.asarray(leaf) == 7.0) for leaf in jax.tree.leaves(marked)]
    assert sum(sevens) == num_trees * len(W)


def test_a_step_of_sam_can_be_differentiated():
    def after(rho):
        return jnp.sum(one_step(gsam(optax.sgd(1.0), rho))["kernel"])

    slope = (after(0.31) - after(0.29)) / 0.02
    np.testing.assert_allclose(jax.grad(after)(0.3), slope, rtol=1e-2)


CURVATURE = jnp.array([1.0, 3.0])


def slope(w, *_):
    return CURVATURE * w


def train(name, rho, w):
    tx = OPTIMIZERS[name](optax.sgd(0.2), rho=rho)

    def body(carry, step):
        w, state = carry
        extra = {"grad_fn": slope, "group_grad_fn": slope, "step": step}
        updates, state = tx.update(slope(w), state, w, **extra)
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
