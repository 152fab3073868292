"""SAM among the rest of optax, JAX and flax: branches, parts, errors, batch norm."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sam_jax.optimizers import (
    SAM,
    LookSAM,
    RandomSAM,
    fill_masked,
    gsam,
    looksam,
    m_sam,
    random_sam,
    rho_from_learning_rate,
    sam,
    sharpness_aware,
)
from sam_jax.optimizers.registry import OPTIMIZERS

CURVATURE = jnp.array([1.0, 4.0, 0.25])
W = jnp.array([1.0, -2.0, 3.0])
NUM_STEPS = 7


def grad_fn(w, *_):
    return CURVATURE * w * (1 + jnp.square(w))


def one_step(tx, w=W, grad_fn=grad_fn, **extra):
    updates, _ = tx.update(grad_fn(w), tx.init(w), w, grad_fn=grad_fn, **extra)
    return updates


def step_with(tx, w, state, step=None, **extra):
    updates, state = tx.update(
        grad_fn(w), state, w, grad_fn=grad_fn, group_grad_fn=grad_fn, step=step, **extra
    )
    return optax.apply_updates(w, updates), state


def run(tx, w=W, pass_step=True):
    def body(carry, step):
        return step_with(tx, *carry, step if pass_step else None), None

    steps = jnp.arange(NUM_STEPS, dtype=jnp.int32)
    (w, state), _ = jax.lax.scan(body, (w, tx.init(w)), steps)
    return w, state


@pytest.mark.parametrize("name", ["sam", "looksam", "friendly_sam", "m_sam"])
def test_eager_jit_and_scan_agree(name):
    tx = OPTIMIZERS[name](optax.sgd(0.01))
    eager, compiled = (W, tx.init(W)), (W, tx.init(W))
    jitted = jax.jit(lambda w, state: step_with(tx, w, state))
    for _ in range(NUM_STEPS):
        eager, compiled = step_with(tx, *eager), jitted(*compiled)
    scanned = run(tx, pass_step=False)
    for other in (compiled, scanned):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-5), eager, other)


def test_one_radius_per_model_under_vmap_is_separate_runs_and_sgd_at_zero():
    rhos = jnp.array([0.0, 0.05, 0.5])
    train = lambda rho, w: run(sam(optax.sgd(0.01, momentum=0.9), rho), w)[0]
    weights = jnp.stack([W, W + 1, W - 1])
    together = jax.jit(jax.vmap(train))(rhos, weights)
    alone = [train(rho, w) for rho, w in zip(rhos, weights, strict=True)]
    np.testing.assert_allclose(together, jnp.stack(alone), rtol=1e-6)
    sgd = optax.with_extra_args_support(optax.sgd(0.01, momentum=0.9))
    np.testing.assert_allclose(together[0], run(sgd)[0], rtol=1e-6)
    assert np.any(np.abs(alone[2] - run(sgd, weights[2])[0]) > 1e-4)


@pytest.mark.parametrize("name", ["sam", "gsam", "looksam"])
def test_rho_zero_trains_networks_like_the_base_optimizer_bit_for_bit(name):
    x = jax.random.normal(jax.random.key(0), (16, 5))
    shapes = {"in": (2, 5, 8), "out": (2, 8, 3)}
    weights = {k: jax.random.normal(jax.random.key(1), s) for k, s in shapes.items()}
    loss = lambda w: jnp.mean(jax.nn.logsumexp(jnp.tanh(x @ w["in"]) @ w["out"], 1))

    def train(name, rho, w):
        tx = OPTIMIZERS[name](optax.sgd(0.1, momentum=0.9), rho=rho)

        def body(carry, step):
            w, state = carry
            g, grad_fn = jax.grad(loss)(w), jax.grad(loss)
            updates, state = tx.update(g, state, w, grad_fn=grad_fn, step=step)
            return (optax.apply_updates(w, updates), state), None

        steps = jnp.arange(6, dtype=jnp.int32)
        return jax.lax.scan(body, (w, tx.init(w)), steps)[0][0]

    rhos = jnp.array([0.0, 0.1])
    base = jax.jit(jax.vmap(lambda w: train("sgd", 0.0, w)))(weights)
    ours = jax.jit(jax.vmap(lambda rho, w: train(name, rho, w)))(rhos, weights)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(base), strict=True):
        np.testing.assert_array_equal(a[0], b[0])
        assert np.any(a[1] != b[1])


def equations(jaxpr):
    for equation in jaxpr.eqns:
        yield equation
        for value in equation.params.values():
            for part in value if isinstance(value, tuple | list) else (value,):
                inner = getattr(part, "jaxpr", part)
                if hasattr(inner, "eqns"):
                    yield from equations(inner)


def has_branches_with_norms(jaxpr):
    """A norm has a branch of its own, for squares beyond the range of floats."""
    conds = [e for e in equations(jaxpr) if e.primitive.name == "cond"]
    within = (equations(branch.jaxpr) for e in conds for branch in e.params["branches"])
    return any(e.primitive.name == "cond" for branch in within for e in branch)


def test_looksam_keeps_its_branch_under_the_ensemble_vmap_with_a_shared_step():
    tx = looksam(optax.sgd(0.01))
    weights = jnp.stack([W, W + 1])
    states = jax.vmap(tx.init)(weights)
    advance = lambda w, state, step: step_with(tx, w, state, step)
    shared = jax.make_jaxpr(jax.vmap(advance, in_axes=(0, 0, None)))
    assert has_branches_with_norms(shared(weights, states, jnp.int32(3)).jaxpr)
    own = jax.make_jaxpr(jax.vmap(lambda w, s: advance(w, s, None)))
    assert not has_branches_with_norms(own(weights, states).jaxpr)
    whole = jax.make_jaxpr(jax.vmap(lambda w: run(tx, w)))(weights)
    assert has_branches_with_norms(whole.jaxpr)


def test_looksam_calls_grad_fn_on_every_period_th_step_only():
    calls = []

    def counted(w):
        jax.debug.callback(lambda: calls.append(1))
        return grad_fn(w)

    tx = looksam(optax.sgd(0.01), period=3)
    update = jax.jit(
        lambda w, s, i: tx.update(grad_fn(w), s, w, grad_fn=counted, step=i)
    )
    state, seen = tx.init(W), []
    for i in range(7):
        _, state = update(W, state, i)
        jax.effects_barrier()
        seen.append(len(calls))
    assert seen == [1, 1, 1, 2, 2, 2, 3]


def test_looksam_counts_its_own_steps_where_none_is_passed():
    tx = looksam(optax.sgd(0.01), rho=0.2, period=3)
    np.testing.assert_array_equal(run(tx, pass_step=False)[0], run(tx)[0])


def test_the_step_argument_drives_a_schedule_and_else_the_count_does():
    tx = sam(optax.sgd(1.0), lambda step: jnp.where(step == 2, 0.5, 0.0))
    plain, perturbed = -grad_fn(W), one_step(sam(optax.sgd(1.0), 0.5))
    np.testing.assert_array_equal(one_step(tx, step=1), plain)
    np.testing.assert_allclose(one_step(tx, step=2), perturbed, rtol=1e-6)
    state = tx.init(W)
    for expected in (plain, plain, perturbed):
        updates, state = tx.update(grad_fn(W), state, W, grad_fn=grad_fn)
        np.testing.assert_allclose(updates, expected, rtol=1e-6)


def test_rho_can_be_passed_in_the_call():
    expected = one_step(sam(optax.sgd(1.0), 0.5))
    got = one_step(sam(optax.sgd(1.0), 0.1), rho=0.5)
    np.testing.assert_array_equal(got, expected)
    with pytest.raises(ValueError, match="rho must be finite and >= 0, got -1"):
        one_step(sam(optax.sgd(1.0), 0.1), rho=-1.0)


def test_gsam_takes_its_radius_from_the_learning_rate():
    lr = optax.linear_schedule(0.1, 0.0, 10)
    rho = rho_from_learning_rate(lr, 0.0, 0.1, 0.0, 0.5)
    got = one_step(gsam(optax.sgd(1.0), rho), step=5)
    expected = one_step(gsam(optax.sgd(1.0), 0.25))
    np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_inject_hyperparams_changes_the_radius_between_steps():
    for injected in (
        optax.inject_hyperparams(sam)(optax.sgd(1.0), rho=0.1),
        optax.chain(
            optax.inject_hyperparams(sharpness_aware)(SAM(), rho=0.1), optax.sgd(1.0)
        ),
    ):
        state = injected.init(W)
        for rho in (0.1, 0.5):
            holder = state if hasattr(state, "hyperparams") else state[0]
            holder.hyperparams["rho"] = jnp.float32(rho)
            updates, state = injected.update(grad_fn(W), state, W, grad_fn=grad_fn)
            expected = one_step(sam(optax.sgd(1.0), rho))
            np.testing.assert_allclose(updates, expected, rtol=1e-6)


def test_inject_hyperparams_takes_all_settings_of_looksam():
    factory = optax.inject_hyperparams(looksam, static_args="period")
    tx, plain = factory(optax.sgd(0.01), rho=0.1), looksam(optax.sgd(0.01), rho=0.1)
    np.testing.assert_allclose(run(tx)[0], run(plain)[0], rtol=1e-6)


def test_a_chain_sees_the_clipped_gradient_and_the_base_sees_the_direction():
    tx = optax.chain(
        optax.clip_by_global_norm(1e-3), sharpness_aware(SAM(), 0.5), optax.sgd(1.0)
    )
    np.testing.assert_allclose(
        one_step(tx), one_step(sam(optax.sgd(1.0), 0.5)), rtol=1e-5
    )


def test_extra_arguments_reach_the_base_optimizer():
    plateau = optax.contrib.reduce_on_plateau(factor=0.5, patience=1)
    tx = sam(optax.chain(optax.sgd(1.0), plateau), 0.1)
    state, sizes = tx.init(W), []
    with jax.numpy_dtype_promotion("standard"):  # optax's plateau needs it
        for _ in range(4):
            extra = {"grad_fn": grad_fn, "value": jnp.float32(1.0), "unknown": 3}
            updates, state = tx.update(grad_fn(W), state, W, **extra)
            sizes.append(float(jnp.linalg.norm(updates)))
    assert sizes[-1] < 0.6 * sizes[0]


TREE = {"kernel": jnp.array([1.0, -2.0]), "bias": jnp.array([3.0])}


def coupled_grad_fn(params):
    loss = lambda p: jnp.sum(p["kernel"] ** 2) * (1 + jnp.sum(p["bias"] ** 2))
    return jax.grad(loss)(params)


@pytest.mark.parametrize("wrapper", ["partition", "masked"])
@pytest.mark.parametrize("name", ["sam", "asam", "looksam", "friendly_sam"])
def test_inside_a_partition_each_part_is_perturbed_by_itself(name, wrapper):
    tx = OPTIMIZERS[name](optax.sgd(0.1), rho=0.2)
    if wrapper == "partition":
        labels = {"kernel": "sam", "bias": "plain"}
        tx = optax.partition({"sam": tx, "plain": optax.sgd(0.1)}, labels)
    else:
        tx = optax.masked(tx, {"kernel": True, "bias": False})
    state, g = tx.init(TREE), coupled_grad_fn(TREE)
    updates, state = tx.update(
        g, state, TREE, grad_fn=fill_masked(coupled_grad_fn, TREE)
    )
    share = 0.1 if wrapper == "partition" else -1.0
    np.testing.assert_allclose(updates["bias"], -share * g["bias"], rtol=1e-6)
    if name == "sam":
        k = TREE["kernel"]
        moved = {"kernel": k + 0.2 * k / jnp.linalg.norm(k), "bias": TREE["bias"]}
        expected = -0.1 * coupled_grad_fn(moved)["kernel"]
        np.testing.assert_allclose(updates["kernel"], expected, rtol=1e-6)
    assert np.all(np.isfinite(updates["kernel"]))
    assert np.all(updates["kernel"] != -0.1 * g["kernel"])


def test_random_directions_follow_key_and_step():
    tx = random_sam(optax.sgd(1.0), rho=0.5)
    first = one_step(tx, key=jax.random.key(0), step=0)
    np.testing.assert_array_equal(one_step(tx, key=jax.random.key(0), step=0), first)
    for other in (
        one_step(tx, key=jax.random.key(1), step=0),
        one_step(tx, key=jax.random.key(0), step=1),
        one_step(random_sam(optax.sgd(1.0), 0.5, seed=1), step=0),
    ):
        assert np.all(other != first)
    np.testing.assert_array_equal(one_step(tx, step=0), first)  # seed 0 by default


class Network(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        x = nn.Dense(4)(x)
        x = nn.BatchNorm(use_running_average=not train, momentum=0.9)(x)
        return nn.Dense(2)(jax.nn.relu(x))


def test_batch_statistics_come_from_the_clean_pass_only():
    x = jax.random.normal(jax.random.key(0), (16, 3))
    variables = Network().init(jax.random.key(1), x, train=True)
    params, stats = variables["params"], variables["batch_stats"]

    def loss_fn(params):
        logits, state = Network().apply(
            {"params": params, "batch_stats": stats}, x, True, mutable=["batch_stats"]
        )
        return jnp.mean(jnp.square(logits - 1.0)), state["batch_stats"]

    grads, new_stats = jax.grad(loss_fn, has_aux=True)(params)
    tx = sam(optax.sgd(0.1), rho=0.5)
    updates, _ = tx.update(
        grads,
        tx.init(params),
        params,
        grad_fn=lambda p: jax.grad(loss_fn, has_aux=True)(p)[0],
    )
    weights = jax.tree.map(np.asarray, params["Dense_0"])
    dense = np.asarray(x) @ weights["kernel"] + weights["bias"]
    clean_mean = 0.1 * np.mean(dense, axis=0)
    got = new_stats["BatchNorm_0"]["mean"]
    np.testing.assert_allclose(got, clean_mean, rtol=1e-5, atol=1e-6)
    # The perturbed pass normalises by the statistics of its own batch.
    moved = optax.apply_updates(params, SAM().perturb(grads, params, 0.5))
    g_p, moved_stats = jax.grad(loss_fn, has_aux=True)(moved)
    jax.tree.map(
        lambda u, g: np.testing.assert_allclose(u, -0.1 * g, rtol=1e-4, atol=1e-6),
        updates,
        g_p,
    )
    assert np.any(np.abs(moved_stats["BatchNorm_0"]["mean"] - got) > 1e-4)


@pytest.mark.parametrize("rho", [-0.1, float("nan"), float("inf"), np.float32(-1)])
def test_a_bad_radius_is_rejected(rho):
    for factory in (sam, looksam, m_sam):
        with pytest.raises(ValueError, match="rho must be finite and >= 0, got"):
            factory(optax.sgd(0.1), rho)
    with pytest.raises(ValueError, match="rho must be finite and >= 0, got"):
        sam(optax.sgd(0.1), jnp.asarray(rho))


def test_an_array_of_radii_is_rejected():
    with pytest.raises(ValueError, match="rho must be a scalar"):
        sam(optax.sgd(0.1), jnp.zeros(3))


def test_bad_settings_are_rejected():
    base = optax.sgd(0.1)
    for name, settings, message in (
        ("asam", {"eta": -1.0}, "eta must be finite and >= 0, got -1.0"),
        ("gsam", {"alpha": -0.1}, "alpha must be finite and >= 0"),
        ("gsam", {"decompose": "both"}, "decompose must be one of clean, perturbed"),
        ("looksam", {"period": 0}, "period must be a whole number >= 1, got 0"),
        ("looksam", {"alpha": -1.0}, "alpha must be finite"),
        ("friendly_sam", {"sigma": -1.0}, "sigma must be finite"),
        ("friendly_sam", {"decay": 1.5}, "decay must lie in"),
        ("friendly_sam", {"form": "code"}, "form must be one of authors, paper"),
        ("gnp", {"alpha": 2.0}, "alpha must lie in"),
        ("m_sam", {"num_groups": 0}, "num_groups must be a whole number >= 1"),
    ):
        with pytest.raises(ValueError, match=message):
            OPTIMIZERS[name](base, **settings)
    with pytest.raises(ValueError, match="lr_max must be > lr_min"):
        rho_from_learning_rate(lambda step: 0.1, 0.1, 0.1, 0.0, 0.5)


def test_a_missing_argument_is_named():
    tx = sam(optax.sgd(0.1))
    with pytest.raises(ValueError, match="grad_fn must be a function for SAM"):
        tx.update(W, tx.init(W), W)
    with pytest.raises(ValueError, match="params must be passed"):
        tx.update(W, tx.init(W), grad_fn=grad_fn)
    with pytest.raises(ValueError, match="group_grad_fn must be a function for MSAM"):
        one_step(m_sam(optax.sgd(0.1)))
    with pytest.raises(ValueError, match="key must be a random key"):
        RandomSAM().perturb(W, W, 0.1)


@pytest.mark.parametrize("method", [SAM(), LookSAM()])
def test_a_grad_fn_that_returns_something_else_is_rejected_when_traced(method):
    tx = sharpness_aware(method, 0.1)
    state = tx.init(W)

    def update(grad_fn, g=W):
        return jax.eval_shape(
            lambda g, s: tx.update(g, s, W, grad_fn=grad_fn), g, state
        )

    with pytest.raises(ValueError, match="Return the gradient alone"):
        update(lambda w: (w, {"batch_stats": w}))
    with pytest.raises(ValueError, match="Return the gradient alone"):
        update(lambda w: (jnp.sum(w), w))
    with pytest.raises(ValueError, match="result of grad_fn must have the structure"):
        update(lambda w: {"w": w})
    with pytest.raises(ValueError, match="If that is a loss, pass its jax.grad"):
        loss_fn = lambda tree: jnp.sum(tree["w"])
        jax.eval_shape(lambda w: tx.update(w, tx.init(w), w, grad_fn=loss_fn), {"w": W})
    with pytest.raises(ValueError, match=r"must have the shapes \[\(3,\)\]"):
        update(lambda w: w[:2])
    with pytest.raises(ValueError, match="grads must have the structure of params"):
        update(grad_fn, {"w": W})
    with pytest.raises(ValueError, match="grads must have the shapes"):
        update(grad_fn, W[:2])


def test_inside_a_partition_a_plain_grad_fn_is_rejected_with_the_remedy():
    tx = optax.masked(sam(optax.sgd(0.1)), {"kernel": True, "bias": False})
    with pytest.raises(ValueError, match="fill_masked"):
        tx.update(TREE, tx.init(TREE), TREE, grad_fn=coupled_grad_fn)
