"""The update rules: known numbers, closed forms, and identities between methods."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sam_jax.optimizers import (
    ASAM,
    GNP,
    GSAM,
    MSAM,
    SAM,
    USAM,
    FriendlySAM,
    LookSAM,
    RandomSAM,
    asam,
    friendly_sam,
    gnp,
    gsam,
    looksam,
    m_sam,
    perturbed_params,
    rho_from_learning_rate,
    sam,
)
from sam_jax.optimizers.registry import OPTIMIZERS

METHODS = [
    SAM(),
    USAM(),
    ASAM(),
    GSAM(),
    GSAM(decompose="perturbed"),
    LookSAM(),
    LookSAM(per_tensor=True),
    FriendlySAM(),
    FriendlySAM(form="paper"),
    GNP(),
    MSAM(),
    RandomSAM(),
    RandomSAM(per_filter=True),
]
IDS = [repr(method) for method in METHODS]


def random_tree(seed, dtype=jnp.float32):
    keys = jax.random.split(jax.random.key(seed), 3)
    return {
        "hidden": {
            "kernel": jax.random.normal(keys[0], (3, 4), dtype),
            "bias": jax.random.normal(keys[1], (4,), dtype),
        },
        "out": {"kernel": jax.random.normal(keys[2], (4, 2), dtype)},
    }


def flat(tree):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


def coupled_loss(params, *_):
    """Not quadratic, so that no two methods agree by accident."""
    terms = [jnp.sum(jnp.square(w - 0.5)) for w in jax.tree.leaves(params)]
    return sum(jnp.square(term) for term in terms) + jnp.square(sum(terms))


@functools.cache
def run(tx):
    """Weights after some steps."""
    params = random_tree(0)
    grad_fn = jax.grad(coupled_loss)

    @jax.jit
    def step(carry, index):
        params, state = carry
        updates, state = tx.update(
            grad_fn(params),
            state,
            params,
            grad_fn=grad_fn,
            group_grad_fn=grad_fn,
            step=index,
        )
        return (optax.apply_updates(params, updates), state), None

    steps = jnp.arange(7, dtype=jnp.int32)
    (params, _), _ = jax.lax.scan(step, (params, tx.init(params)), steps)
    return params


BASE = optax.sgd(1e-3, momentum=0.9)
PLAIN = optax.with_extra_args_support(BASE)
SMALL, LARGE = sam(BASE, rho=1e-3), sam(BASE, rho=0.3)


@pytest.mark.parametrize("rho", [0.0, 0.05, 2.0])
def test_one_sam_step_on_a_quadratic_matches_the_closed_form(rho):
    curvature, w = jnp.array([1.0, 4.0, 0.25]), jnp.array([1.0, -2.0, 3.0])
    g = curvature * w
    tx = sam(optax.sgd(learning_rate=0.1), rho)
    updates, _ = tx.update(g, tx.init(w), w, grad_fn=lambda v: curvature * v)
    expected = -0.1 * curvature * (w + rho * g / jnp.linalg.norm(g))
    np.testing.assert_allclose(updates, expected, rtol=1e-6)


def test_sam_on_a_quadratic_follows_the_known_recursion_for_ten_steps():
    # In one dimension, L = a w^2 / 2: w <- w - lr a (w + rho sign(w)).
    a, lr, rho, w = 2.0, 0.1, 0.05, 1.5
    tx = sam(optax.sgd(lr), rho)
    params = jnp.array([w])
    state = tx.init(params)
    for _ in range(10):
        updates, state = tx.update(a * params, state, params, grad_fn=lambda v: a * v)
        params = optax.apply_updates(params, updates)
        w -= lr * a * (w + rho * np.sign(w))
    np.testing.assert_allclose(params, [w], rtol=1e-6)


def test_perturbations_have_known_values():
    w = {"bias": jnp.array([1.0]), "kernel": jnp.array([2.0])}
    g = {"bias": jnp.array([3.0]), "kernel": jnp.array([4.0])}
    known = {
        SAM(): (0.3, 0.4),
        USAM(): (1.5, 2.0),
        # T = (1, 2): |T g| = sqrt(9 + 64); T = (1, 2.5) with eta.
        ASAM(eta=0.0): (1.5 / np.sqrt(73), 8.0 / np.sqrt(73)),
        ASAM(eta=0.5): (1.5 / np.sqrt(109), 12.5 / np.sqrt(109)),
        ASAM(eta=0.5, scale_biases=True): (
            0.5 * 1.5**2 * 3 / np.sqrt(4.5**2 + 100),
            0.5 * 2.5**2 * 4 / np.sqrt(4.5**2 + 100),
        ),
    }
    for method, expected in known.items():
        epsilon = method.perturb(g, w, 0.5)
        np.testing.assert_allclose(flat(epsilon), expected, rtol=1e-6)


def test_directions_have_known_values():
    g, g_p = jnp.array([3.0, 4.0]), jnp.array([2.0, 0.0])
    known = {
        SAM(): (2.0, 0.0),
        GSAM(alpha=0.5): (2.0, -2.0),  # g without its part along g_p is (0, 4)
        # g_p without its part along g: (2, 0) - 1.2 (0.6, 0.8) = (1.28, -0.96)
        GSAM(alpha=0.5, decompose="perturbed"): (3.64, 3.52),
        GNP(alpha=0.75): (2.25, 1.0),
        LookSAM(): (2.0, 0.0),
    }
    for method, expected in known.items():
        d, _ = method.direction(g, g_p, method.init_memory(g))
        np.testing.assert_allclose(d, expected, rtol=1e-6, atol=1e-6)


def test_looksam_reuses_the_orthogonal_part_with_known_values():
    g, g_p = jnp.array([3.0, 4.0]), jnp.array([2.0, 0.0])
    _, memory = LookSAM(alpha=0.5).direction(g, g_p, LookSAM().init_memory(g))
    np.testing.assert_allclose(memory.part, [1.28, -0.96], rtol=1e-6)
    later = jnp.array([0.0, 10.0])
    d, kept = LookSAM(alpha=0.5).direction(later, None, memory)
    np.testing.assert_allclose(d, [4.0, 7.0], rtol=1e-6)  # 0.5 * 10 * (0.8, -0.6)
    np.testing.assert_array_equal(kept.part, memory.part)


def test_friendly_sam_perturbs_with_known_values_in_both_forms():
    first, second, w = jnp.array([1.0, 0.0]), jnp.array([2.0, 1.0]), jnp.zeros(2)
    # Authors: m_0 = (1, 0), then steps along (2, 1) - (1, 0).
    # Paper: m_0 = (0.4, 0), m_1 = 0.6 m_0 + 0.4 g_1 = (1.04, 0.4), along (0.96, 0.6).
    known = {"authors": np.array([1.0, 1.0]), "paper": np.array([0.96, 0.6])}
    means = {"authors": (1.4, 0.4), "paper": (1.04, 0.4)}
    for form, ascent in known.items():
        method = FriendlySAM(form=form)
        memory = method.init_memory(w)
        epsilon = method.perturb(first, w, 0.2, memory=memory)
        np.testing.assert_allclose(epsilon, [0.2, 0.0], rtol=1e-6)
        _, memory = method.direction(first, first, memory)
        epsilon = method.perturb(second, w, 0.2, memory=memory)
        expected = 0.2 * ascent / np.linalg.norm(ascent)
        np.testing.assert_allclose(epsilon, expected, rtol=1e-6)
        _, memory = method.direction(second, second, memory)
        np.testing.assert_allclose(memory.mean, means[form], rtol=1e-6)


@pytest.mark.parametrize("method", METHODS, ids=IDS)
def test_epsilon_has_length_rho(method):
    g, w, rho = random_tree(1), random_tree(2), 3.0
    memory = method.init_memory(w)
    epsilon = method.perturb(g, w, rho, memory=memory, key=jax.random.key(3))
    length = np.linalg.norm(flat(epsilon))
    if isinstance(method, USAM):
        length /= np.linalg.norm(flat(g))
    if isinstance(method, ASAM):
        scale = jax.tree.map(lambda x: jnp.abs(x) + 0.01, w)
        scale["hidden"]["bias"] = jnp.ones(4)
        length = np.linalg.norm(flat(epsilon) / flat(scale))
    np.testing.assert_allclose(length, rho, rtol=1e-5)


def test_epsilon_is_parallel_to_the_gradient_for_sam_and_not_for_the_control():
    g, w = random_tree(1), random_tree(2)

    def cosine(e):
        return flat(e) @ flat(g) / np.linalg.norm(flat(e)) / np.linalg.norm(flat(g))

    np.testing.assert_allclose(cosine(SAM().perturb(g, w, 0.1)), 1.0, rtol=1e-5)
    control = RandomSAM().perturb(g, w, 0.1, key=jax.random.key(0))
    assert abs(cosine(control)) < 0.9


def test_filter_normalised_noise_has_the_filter_norms_of_the_weights():
    w = random_tree(2)
    noise = RandomSAM(per_filter=True).perturb(w, w, 0.7, key=jax.random.key(0))
    norms = lambda tree: np.linalg.norm(tree["hidden"]["kernel"], axis=0)
    ratio = norms(noise) / norms(w)
    np.testing.assert_allclose(ratio, 0.7 / np.linalg.norm(flat(w)), rtol=1e-5)
    scalar = RandomSAM(True).perturb(1.0, jnp.array(2.0), 0.5, key=jax.random.key(0))
    np.testing.assert_allclose(jnp.abs(scalar), 0.5, rtol=1e-6)


@pytest.mark.parametrize("rho", [0.0, jnp.float32(0.0)], ids=str)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_rho_zero_is_the_base_optimizer_bit_for_bit(name, rho):
    w, g = random_tree(1), random_tree(2)
    elsewhere = lambda w, *_: jax.tree.map(lambda x: jnp.full_like(x, 7.0), w)

    def update(rho):
        tx = OPTIMIZERS[name](BASE, rho=rho)
        extra = {"grad_fn": elsewhere, "group_grad_fn": elsewhere}
        return tx.update(g, tx.init(w), w, **extra)[0]

    update = jax.jit(update) if isinstance(rho, jax.Array) else update
    expected, _ = BASE.update(g, BASE.init(w), w)
    jax.tree.map(np.testing.assert_array_equal, update(rho), expected)


@pytest.mark.parametrize(
    "tx",
    [
        gsam(BASE, rho=0.3, alpha=0.0),
        gnp(BASE, rho=0.3, alpha=1.0),
        looksam(BASE, rho=0.3, period=1),
        friendly_sam(BASE, rho=0.3, sigma=0.0),
        friendly_sam(BASE, rho=0.3, sigma=0.0, form="paper"),
        m_sam(BASE, rho=0.3, num_groups=1),
    ],
    ids=["gsam", "gnp", "looksam", "friendly", "friendly paper", "m_sam"],
)
def test_the_limiting_case_of_each_method_is_sam(tx):
    expected, plain = run(LARGE), run(PLAIN)
    np.testing.assert_allclose(flat(run(tx)), flat(expected), rtol=1e-6)
    assert np.max(np.abs(flat(expected) - flat(plain))) > 1e-4


@pytest.mark.parametrize("name", sorted(OPTIMIZERS.keys() - {"sgd", "sam", "m_sam"}))
def test_each_method_differs_from_sam_away_from_its_limit(name):
    got = run(OPTIMIZERS[name](BASE, rho=1e-3))
    assert np.max(np.abs(flat(got) - flat(run(SMALL)))) > 1e-6


def test_gsam_removes_a_part_orthogonal_to_the_perturbed_gradient():
    g, g_p = random_tree(1), random_tree(2)
    d, _ = GSAM(alpha=0.7).direction(g, g_p)
    removed = flat(g_p).astype(np.float64) - flat(d)
    cosine = removed @ flat(g_p) / np.linalg.norm(removed) / np.linalg.norm(flat(g_p))
    assert abs(cosine) < 1e-6
    assert removed @ flat(g) > 0
    reverse, _ = GSAM(alpha=0.7, decompose="perturbed").direction(g, g_p)
    added = flat(reverse).astype(np.float64) - flat(g)
    cosine = added @ flat(g) / np.linalg.norm(added) / np.linalg.norm(flat(g))
    assert abs(cosine) < 1e-6


def test_looksam_per_tensor_decomposes_each_tensor_alone():
    g, g_p = random_tree(1), random_tree(2)
    method = LookSAM(per_tensor=True)
    _, memory = method.direction(g, g_p, method.init_memory(g))
    dots = jax.tree.map(lambda a, b: float(jnp.sum(a * b)), memory.part, g)
    np.testing.assert_allclose(jax.tree.leaves(dots), 0.0, atol=2e-6)
    _, memory = LookSAM().direction(g, g_p, LookSAM().init_memory(g))
    part = memory.part["out"]["kernel"]
    assert abs(float(jnp.sum(part * g["out"]["kernel"]))) > 1e-3
    np.testing.assert_allclose(flat(memory.part) @ flat(g), 0.0, atol=5e-6)


def test_m_sam_is_the_mean_over_groups_that_are_perturbed_by_themselves():
    x = jax.random.normal(jax.random.key(0), (8, 3))
    w = jnp.array([1.0, -2.0, 0.5])

    def loss(w, examples):
        return jnp.mean((examples @ w - 1.0) ** 4)

    def group_grad_fn(w, group, num_groups):
        size = len(x) // num_groups
        return jax.grad(loss)(w, jax.lax.dynamic_slice_in_dim(x, size * group, size))

    tx = m_sam(optax.sgd(1.0), rho=0.3, num_groups=4)
    g = jax.grad(loss)(w, x)
    updates, _ = tx.update(g, tx.init(w), w, group_grad_fn=group_grad_fn)
    expected = np.zeros(3)
    for i in range(4):
        g_i = np.asarray(jax.grad(loss)(w, x[2 * i : 2 * i + 2]))
        moved = w + 0.3 * g_i / np.linalg.norm(g_i)
        expected += np.asarray(jax.grad(loss)(moved, x[2 * i : 2 * i + 2])) / 4
    np.testing.assert_allclose(updates, -expected, rtol=1e-5)


def relu_net_loss(params):
    x = jax.random.normal(jax.random.key(1), (16, 3))
    y = jnp.sin(jnp.sum(x, 1))
    hidden = jax.nn.relu(x @ params["first"]["kernel"])
    return jnp.mean((jnp.squeeze(hidden @ params["second"]["kernel"], 1) - y) ** 2)


def test_only_asam_is_invariant_to_rescaling_a_relu_pair():
    keys = jax.random.split(jax.random.key(0))
    w = {
        "first": {"kernel": jax.random.normal(keys[0], (3, 4))},
        "second": {"kernel": jax.random.normal(keys[1], (4, 1))},
    }
    rescaled = {
        "first": {"kernel": 5.0 * w["first"]["kernel"]},
        "second": {"kernel": w["second"]["kernel"] / 5.0},
    }

    def perturbed_loss(method, params):
        epsilon = method.perturb(jax.grad(relu_net_loss)(params), params, 0.5)
        return relu_net_loss(perturbed_params(params, epsilon))

    losses = [perturbed_loss(ASAM(eta=0.0), p) for p in (w, rescaled)]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)
    losses = [perturbed_loss(SAM(), p) for p in (w, rescaled)]
    assert abs(losses[0] - losses[1]) > 0.05 * losses[0]


@pytest.mark.parametrize("method", METHODS, ids=IDS)
def test_a_zero_gradient_stays_finite(method, dtype=jnp.bfloat16):
    w = random_tree(0, dtype)
    zero = jax.tree.map(jnp.zeros_like, w)
    memory = method.init_memory(w)
    epsilon = method.perturb(zero, w, 0.1, memory=memory, key=jax.random.key(0))
    if not isinstance(method, RandomSAM):
        assert not np.any(flat(epsilon))
    d, memory = method.direction(zero, zero, memory)
    assert not np.any(flat(d).astype(np.float32))
    assert all(bool(jnp.all(jnp.isfinite(x))) for x in jax.tree.leaves(memory))
    if isinstance(method, LookSAM):
        reused, _ = method.direction(random_tree(1, dtype), None, memory)
        jax.tree.map(np.testing.assert_array_equal, reused, random_tree(1, dtype))


def test_asam_moves_nothing_where_weights_are_zero_and_eta_is_zero():
    zero = {"kernel": jnp.zeros(3)}
    epsilon = ASAM(eta=0.0).perturb({"kernel": jnp.ones(3)}, zero, 0.5)
    assert not np.any(epsilon["kernel"])


def test_biases_are_recognised_by_name_in_linen_nnx_and_tuples():
    w, g = jnp.full((2,), 3.0), jnp.ones((2,))
    scaled = lambda tree, grads: ASAM(eta=0.0).perturb(grads, tree, 1.0)
    for path in (("dense", "bias"), ("dense", "b"), ("dense", "bias", "value")):
        tree, grads = w, g
        for name in reversed(path):
            tree, grads = {name: tree}, {name: grads}
        epsilon = flat(scaled(tree, grads))
        np.testing.assert_allclose(epsilon, 1 / np.sqrt(2), rtol=1e-6)
    for tree, grads in (([w], [g]), ({"b": {"kernel": w}}, {"b": {"kernel": g}})):
        epsilon = flat(scaled(tree, grads))
        np.testing.assert_allclose(epsilon, 3 / np.sqrt(2), rtol=1e-6)


def test_bfloat16_weights_keep_their_dtype_and_get_float32_norms():
    # 65,536 squares of 1: a bfloat16 sum would stop at 256.
    w = {"kernel": jnp.ones((256, 256), jnp.bfloat16), "scale": jnp.ones(4)}
    g = jax.tree.map(jnp.ones_like, w)
    epsilon = SAM().perturb(g, w, 1.0)
    assert epsilon["kernel"].dtype == jnp.float32
    np.testing.assert_allclose(epsilon["kernel"], 1 / np.sqrt(65540), rtol=1e-6)
    moved = perturbed_params(w, epsilon)
    assert moved["kernel"].dtype == jnp.bfloat16
    assert moved["scale"].dtype == jnp.float32
    d, _ = GSAM().direction(g, moved)
    assert d["kernel"].dtype == jnp.bfloat16


@pytest.mark.parametrize("name", sorted(OPTIMIZERS.keys() - {"sgd"}))
def test_updates_of_bfloat16_weights_are_bfloat16(name):
    w = random_tree(0, jnp.bfloat16)
    tx = OPTIMIZERS[name](BASE, rho=0.1)
    grad_fn = jax.grad(coupled_loss)
    update = lambda g, state: tx.update(
        g, state, w, grad_fn=grad_fn, group_grad_fn=grad_fn
    )
    updates, state = jax.eval_shape(update, w, tx.init(w))
    assert all(leaf.dtype == jnp.bfloat16 for leaf in jax.tree.leaves(updates))
    again, _ = jax.eval_shape(update, updates, state)
    assert jax.tree.structure(again) == jax.tree.structure(w)


def test_gsam_radius_follows_the_learning_rate():
    lr = optax.linear_schedule(0.1, 0.0, 10)
    rho = rho_from_learning_rate(lr, lr_min=0.02, lr_max=0.1, rho_min=0.1, rho_max=0.5)
    np.testing.assert_allclose(rho(0), 0.5, rtol=1e-6)
    np.testing.assert_allclose(rho(4), 0.3, rtol=1e-6)  # half way
    np.testing.assert_allclose(rho(8), 0.1, rtol=1e-5)
    steep = rho_from_learning_rate(lr, 0.05, 0.1, rho_min=0.0, rho_max=0.5)
    assert steep(9) == 0.0  # the formula gives -0.4


def test_asam_factory_passes_its_settings_on():
    w, g = {"bias": jnp.array([2.0])}, {"bias": jnp.array([1.0])}
    for scale_biases, expected in ((False, -2.5), (True, -3.5)):
        tx = asam(optax.sgd(1.0), 0.5, eta=1.0, scale_biases=scale_biases)
        updates, _ = tx.update(g, tx.init(w), w, grad_fn=lambda v: v)
        np.testing.assert_allclose(updates["bias"], [expected], rtol=1e-6)
