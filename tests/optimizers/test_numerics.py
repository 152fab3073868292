"""Gradients of any size, rounding, and gradients that are not finite."""

import functools

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sam_jax.optimizers import (
    ASAM,
    GNP,
    GSAM,
    OPTIMIZERS,
    SAM,
    FriendlySAM,
    LookSAM,
    RandomSAM,
    sharpness_aware,
    tree_math,
)

METHODS = [
    SAM(),
    ASAM(),
    GSAM(),
    GSAM(decompose="perturbed"),
    GNP(),
    LookSAM(),
    LookSAM(per_tensor=True),
    FriendlySAM(),
    FriendlySAM(form="paper"),
]
SHAPES = {"kernel": (3, 2), "bias": (2,), "scale": ()}
FEW = hypothesis.settings(max_examples=25, deadline=None)
SEEDS, POWERS = st.integers(0, 10**6), st.integers(-95, 85)


def random_tree(seed, dtype="float32"):
    rng = np.random.default_rng(seed)
    return {
        name: jnp.asarray(rng.normal(size=shape), jnp.float32).astype(dtype)
        for name, shape in SHAPES.items()
    }


def scaled(tree, power):
    return jax.tree.map(lambda x: jnp.ldexp(x, power), tree)


def flat(tree):
    leaves = [np.ravel(x).astype(np.float64) for x in jax.tree.leaves(tree)]
    return np.concatenate([np.zeros(0), *leaves])


@functools.cache
def compiled(method):
    """Two steps of a method, the first with the memory of none."""

    @jax.jit
    def steps(g, g_p, later, w, rho):
        memory = method.init_memory(w)
        d, memory = method.direction(g, g_p, memory)
        epsilon = method.perturb(later, w, rho, memory)
        if isinstance(method, LookSAM):
            reused, _ = method.direction(later, None, memory)
        else:
            reused, _ = method.direction(later, g, memory)
        return d, epsilon, reused, memory

    return steps


@pytest.mark.parametrize("method", METHODS, ids=repr)
@FEW
@hypothesis.given(SEEDS, POWERS)
def test_directions_scale_with_the_gradients_and_perturbations_do_not(
    method, seed, power
):
    g, g_p, later, w = (random_tree(seed + i) for i in range(4))
    run = compiled(method)
    d, epsilon, reused, _ = run(g, g_p, later, w, 0.1)
    big_d, big_epsilon, big_reused, _ = run(
        *(scaled(tree, power) for tree in (g, g_p, later)), w, 0.1
    )
    for expected, got, factor in (
        (d, big_d, power),
        (epsilon, big_epsilon, 0),
        (reused, big_reused, power),
    ):
        expected = flat(expected)
        error = np.abs(flat(got) * 2.0**-factor - expected)
        assert np.all(error <= 1e-5 * np.linalg.norm(expected))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("method", METHODS, ids=repr)
@FEW
@hypothesis.given(SEEDS, st.integers(-14, 10))
def test_steps_in_narrow_types_are_finite_and_keep_them(method, dtype, seed, power):
    g, g_p, later, w = (scaled(random_tree(seed + i, dtype), power) for i in range(4))
    d, epsilon, reused, memory = compiled(method)(g, g_p, later, w, 0.1)
    for tree in (d, reused):
        assert {x.dtype for x in jax.tree.leaves(tree)} == {jnp.dtype(dtype)}
    for tree in (d, epsilon, reused, memory):
        assert np.all(np.isfinite(flat(tree)))


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("size", [1e-30, 1e19, 1e25])
def test_every_optimizer_takes_gradients_of_any_size(name, size):
    # The learning rate undoes the size, so that all runs are the same run.
    def train(size):
        rho = {"rho": 0.05 / size} if name == "usam" else {}
        tx = OPTIMIZERS[name](optax.sgd(0.1 / size), **rho)

        def grad_fn(w, *_):
            return jax.tree.map(lambda x: size * (jnp.sin(3 * x) + x + 1), w)

        @jax.jit
        def step(w, state):
            extra = {"grad_fn": grad_fn, "group_grad_fn": grad_fn}
            updates, state = tx.update(grad_fn(w), state, w, **extra)
            return optax.apply_updates(w, updates), state

        w = random_tree(0)
        state = tx.init(w)
        for _ in range(7):
            w, state = step(w, state)
        return flat(w)

    np.testing.assert_allclose(train(size), train(1.0), rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("power", [-140, -100, -70, -30, 0, 40, 60, 100, 124])
def test_norms_are_right_over_the_whole_range_of_floats(power):
    x = np.array([3.0, -4.0, 12.0]) * 2.0**power
    tree = {"a": jnp.asarray(x[:2], jnp.float32), "b": jnp.float32(x[2])}
    if power > -130:  # below, XLA's CPU takes numbers for 0
        unit = flat(tree_math.with_norm(1.0, tree))
        np.testing.assert_allclose(unit, np.array([3, -4, 12]) / 13, rtol=1e-6)
    if -130 < power < 124:
        np.testing.assert_allclose(tree_math.norm(tree), 13 * 2.0**power, rtol=1e-6)


def test_norms_of_many_models_rescale_only_where_needed():
    x = jnp.array([[3.0, 4.0], [3e25, 4e25], [0.0, 0.0], [3e-30, 4e-30]])
    norms = jax.jit(jax.vmap(tree_math.norm))(x)
    np.testing.assert_allclose(norms, [5.0, 5e25, 0.0, 5e-30], rtol=1e-6)


def test_norms_are_differentiable_forwards_and_backwards():
    x = {"a": jnp.array([3.0, 4.0]), "b": jnp.array([12.0])}
    for derivative in (jax.grad, jax.jacfwd):
        slope = derivative(tree_math.norm)(x)
        np.testing.assert_allclose(flat(slope), [3 / 13, 4 / 13, 12 / 13], rtol=1e-6)
    assert not np.any(jax.grad(tree_math.norm)(jnp.zeros(3)))


def reuse(method, grad_fn, w, num_steps=5):
    """Relative distance of LookSAM's direction from the gradient, step by step."""
    tx = sharpness_aware(method, 0.05)

    @jax.jit
    def step(w, state):
        g = grad_fn(w)
        d, state = tx.update(g, state, w, grad_fn=grad_fn)
        error = jax.tree.map(lambda d, g: jnp.linalg.norm(d - g), d, g)
        w = jax.tree.map(lambda w, d: w - 0.1 * d, w, d)
        return w, state, error

    state, errors = tx.init(w), []
    for _ in range(num_steps):
        w, state, error = step(w, state)
        errors.append(error)
    return errors


@pytest.mark.parametrize("seed", range(4))
def test_looksam_reuses_nothing_where_the_perturbed_gradient_is_parallel(seed):
    w = jax.random.normal(jax.random.key(seed), (5,))
    for error in reuse(LookSAM(), lambda w: 2 * w, w)[1:]:
        assert error == 0.0


@pytest.mark.parametrize("seed", range(4))
def test_looksam_per_tensor_reuses_nothing_of_scalars_and_of_two_class_biases(seed):
    x = jax.random.normal(jax.random.key(seed), (64, 5))
    y = jnp.where(x[:, 0] > 0, 1, 0)

    def loss(w):
        logits = x @ (w["kernel"] * w["scale"]) + w["bias"][None]
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, y)
        return jnp.mean(losses) + 0.1 * jnp.square(w["scale"])

    w = {
        "kernel": 0.3 * jax.random.normal(jax.random.key(seed + 9), (5, 2)),
        "bias": jnp.array([0.1, -0.2]),
        "scale": jnp.float32(1.3 + 0.1 * seed),
    }
    for error in reuse(LookSAM(per_tensor=True), jax.grad(loss), w)[1:]:
        assert error["bias"] == 0.0 and error["scale"] == 0.0
        assert error["kernel"] > 1e-4


def test_looksam_keeps_a_small_part_that_is_no_rounding():
    g, g_p = jnp.array([1.0, 0.0]), jnp.array([1.0, 1e-4])
    _, memory = LookSAM().direction(g, g_p, LookSAM().init_memory(g))
    d, _ = LookSAM().direction(g, None, memory)
    np.testing.assert_allclose(d, [1.0, 0.7], rtol=1e-6)


@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf])
@pytest.mark.parametrize("where", ["clean", "perturbed"])
@pytest.mark.parametrize(
    "method", [m for m in METHODS if isinstance(m, LookSAM | FriendlySAM)], ids=repr
)
def test_a_gradient_that_is_not_finite_is_passed_on_and_not_remembered(
    method, where, bad
):
    g, g_p, w = (random_tree(i) for i in range(3))
    _, memory = method.direction(g, g_p, method.init_memory(w))
    broken = random_tree(7) | {"bias": jnp.array([1.0, bad])}
    pair = (broken, g_p) if where == "clean" else (g, broken)
    d, after = method.direction(*pair, memory)
    if where == "perturbed" or isinstance(method, LookSAM):
        assert not np.all(np.isfinite(flat(d)))
    assert np.all(np.isfinite(flat(after)))
    if isinstance(method, LookSAM) and method.per_tensor:
        np.testing.assert_array_equal(after.part["bias"], memory.part["bias"])
    elif where == "clean" or isinstance(method, LookSAM):
        jax.tree.map(np.testing.assert_array_equal, after, memory)


@pytest.mark.parametrize("wrapped", ["base", "chain"])
@pytest.mark.parametrize("name", ["sam", "gsam", "looksam", "friendly_sam", "gnp"])
def test_a_step_skipped_by_apply_if_finite_leaves_a_finite_optimizer(name, wrapped):
    base = optax.sgd(0.1, momentum=0.9)
    if wrapped == "base":
        tx = OPTIMIZERS[name](optax.apply_if_finite(base, 3))
    else:
        tx = optax.apply_if_finite(OPTIMIZERS[name](base), 3)
    w = random_tree(0)

    @jax.jit
    def step(w, state, factor):
        grad_fn = lambda w: jax.tree.map(lambda x: factor * (jnp.sin(3 * x) + x), w)
        updates, state = tx.update(grad_fn(w), state, w, grad_fn=grad_fn)
        return optax.apply_updates(w, updates), state

    with jax.numpy_dtype_promotion("standard"):  # optax's counters need it
        state = tx.init(w)
        for factor in (jnp.nan, 1.0, jnp.inf, 1.0, 1.0, jnp.nan, 1.0):
            before = w
            w, state = step(w, state, jnp.float32(factor))
            for x in jax.tree.leaves((w, state)):
                assert np.all(np.isfinite(x))
            assert np.array_equal(flat(w), flat(before)) == (factor != 1.0)


def test_the_control_needs_no_finite_gradient_to_be_perturbed():
    epsilon = RandomSAM().perturb(
        {"a": jnp.array([jnp.nan])}, {"a": jnp.ones(1)}, 0.5, key=jax.random.key(0)
    )
    np.testing.assert_allclose(jnp.abs(epsilon["a"]), 0.5, rtol=1e-6)
