"""Whole training runs against other implementations, in float64 to 1e-6.

The oracles: ``optax.contrib.sam`` in opaque mode, the rules of every method written
out with NumPy lists, loops and hand-derived gradients, and a PyTorch step that moves to
the perturbed weights and back.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sam_jax.optimizers import asam, friendly_sam, gnp, gsam, looksam, m_sam, sam, usam

LEARNING_RATE, MOMENTUM, DECAY, NUM_STEPS = 0.1, 0.9, 1e-2, 12
rng = np.random.default_rng(0)
X, Y = rng.normal(size=(8, 3)), rng.normal(size=(8, 2))
# In the order of the leaves of the tree below.
NAMES = ("bias", "kernel", "bias", "kernel")
WEIGHTS = [rng.normal(size=s) for s in ((4,), (3, 4), (2,), (4, 2))]


def float64():
    """Context of float64 arithmetic, under the names of new and old JAX versions."""
    if hasattr(jax, "enable_x64"):
        return jax.enable_x64(True)
    return jax.experimental.enable_x64()


def to_tree(weights):
    b1, k1, b2, k2 = (jnp.asarray(w) for w in weights)
    return {"hidden": {"bias": b1, "kernel": k1}, "out": {"bias": b2, "kernel": k2}}


def jax_loss(params, x, y):
    hidden = jnp.tanh(jnp.dot(x, params["hidden"]["kernel"]) + params["hidden"]["bias"])
    out = jnp.dot(hidden, params["out"]["kernel"]) + params["out"]["bias"]
    return jnp.mean(jnp.square(out - y))


def run_jax(tx):
    """Weights after training with ``tx``, compiled, in float64."""
    with float64(), jax.numpy_rank_promotion("allow"):
        grad_fn = lambda p, *_: jax.grad(jax_loss)(p, jnp.asarray(X), jnp.asarray(Y))

        def group_grad_fn(p, group, num_groups):
            x, y = (jnp.asarray(a).reshape(num_groups, 2, -1)[group] for a in (X, Y))
            return jax.grad(jax_loss)(p, x, y)

        @jax.jit
        def step(params, state):
            updates, state = tx.update(
                grad_fn(params),
                state,
                params,
                grad_fn=grad_fn,
                group_grad_fn=group_grad_fn,
            )
            return optax.apply_updates(params, updates), state

        params = to_tree(WEIGHTS)
        state = tx.init(params)
        for _ in range(NUM_STEPS):
            params, state = step(params, state)
        return [np.asarray(leaf) for leaf in jax.tree.leaves(params)]


def base():
    return optax.chain(
        optax.add_decayed_weights(DECAY), optax.sgd(LEARNING_RATE, momentum=MOMENTUM)
    )


def numpy_grads(weights, x=X, y=Y):
    """Back-propagation by hand."""
    b1, k1, b2, k2 = weights
    hidden = np.tanh(x @ k1 + b1)
    d_out = 2 * (hidden @ k2 + b2 - y) / y.size
    d_hidden = (d_out @ k2.T) * (1 - hidden**2)
    return [d_hidden.sum(0), x.T @ d_hidden, d_out.sum(0), hidden.T @ d_out]


def norm(vectors):
    return np.sqrt(sum((v**2).sum() for v in vectors))


def dot(a, b):
    return sum((u * v).sum() for u, v in zip(a, b, strict=True))


def add(a, factor, b):
    return [u + factor * v for u, v in zip(a, b, strict=True)]


def sam_rule(rho):
    def rule(w, g, t, memory):
        return numpy_grads(add(w, rho / norm(g), g))

    return rule


def usam_rule(rho):
    return lambda w, g, t, memory: numpy_grads(add(w, rho, g))


def asam_rule(rho, eta, scale_biases):
    def rule(w, g, t, memory):
        scales = [
            np.ones_like(v) if n == "bias" and not scale_biases else np.abs(v) + eta
            for n, v in zip(NAMES, w, strict=True)
        ]
        scaled = [s * v for s, v in zip(scales, g, strict=True)]
        step = [s * v for s, v in zip(scales, scaled, strict=True)]
        return numpy_grads(add(w, rho / norm(scaled), step))

    return rule


def gsam_rule(rho, alpha, decompose):
    def rule(w, g, t, memory):
        p = sam_rule(rho)(w, g, t, memory)
        if decompose == "clean":
            return add(p, -alpha, add(g, -dot(g, p) / dot(p, p), p))
        return add(g, alpha, add(p, -dot(g, p) / dot(g, g), g))

    return rule


def gnp_rule(rho, alpha):
    def rule(w, g, t, memory):
        p = sam_rule(rho)(w, g, t, memory)
        return [(1 - alpha) * u + alpha * v for u, v in zip(g, p, strict=True)]

    return rule


def looksam_rule(rho, period, alpha, per_tensor):
    def decompose(p, g):
        return add(p, -dot(p, g) / dot(g, g), g)

    def reuse(g, g_v):
        return add(g, alpha * norm(g) / norm(g_v), g_v)

    def each(function, a, b):
        if not per_tensor:
            return function(a, b)
        return [function([u], [v])[0] for u, v in zip(a, b, strict=True)]

    def rule(w, g, t, memory):
        if t % period:
            return each(reuse, g, memory["g_v"])
        p = sam_rule(rho)(w, g, t, memory)
        memory["g_v"] = each(decompose, p, g)
        return p

    return rule


def friendly_rule(rho, sigma, decay, form):
    def rule(w, g, t, memory):
        old = memory.get("m", [np.zeros_like(v) for v in g])
        new = [decay * m + (1 - decay) * v for m, v in zip(old, g, strict=True)]
        if form == "authors" and t == 0:
            new = g
        ascent = add(g, -sigma, old if form == "authors" else new)
        memory["m"] = new
        return numpy_grads(add(w, rho / norm(ascent), ascent))

    return rule


def m_sam_rule(rho):
    def rule(w, g, t, memory):
        total = [np.zeros_like(v) for v in w]
        for i in range(0, 8, 2):
            x, y = X[i : i + 2], Y[i : i + 2]
            g_i = numpy_grads(w, x, y)
            total = add(total, 0.25, numpy_grads(add(w, rho / norm(g_i), g_i), x, y))
        return total

    return rule


def run_numpy(rule):
    """The same run, with PyTorch's order of decay and momentum."""
    w, memory = [v.copy() for v in WEIGHTS], {}
    velocity = [np.zeros_like(v) for v in w]
    for t in range(NUM_STEPS):
        d = add(rule(w, numpy_grads(w), t, memory), DECAY, w)
        velocity = add(d, MOMENTUM, velocity)
        w = add(w, -LEARNING_RATE, velocity)
    return w


CASES = {
    "sam": (sam(base(), 0.2), sam_rule(0.2)),
    "usam": (usam(base(), 0.2), usam_rule(0.2)),
    "asam": (asam(base(), 0.5), asam_rule(0.5, 0.01, False)),
    "asam-biases": (
        asam(base(), 0.5, eta=0.1, scale_biases=True),
        asam_rule(0.5, 0.1, True),
    ),
    "gsam": (gsam(base(), 0.2, alpha=0.4), gsam_rule(0.2, 0.4, "clean")),
    "gsam-reverse": (
        gsam(base(), 0.2, alpha=0.4, decompose="perturbed"),
        gsam_rule(0.2, 0.4, "perturbed"),
    ),
    "gnp": (gnp(base(), 0.2), gnp_rule(0.2, 0.8)),
    "looksam": (looksam(base(), 0.2), looksam_rule(0.2, 5, 0.7, False)),
    "looksam-per-tensor": (
        looksam(base(), 0.2, period=3, alpha=0.5, per_tensor=True),
        looksam_rule(0.2, 3, 0.5, True),
    ),
    "friendly": (friendly_sam(base(), 0.2), friendly_rule(0.2, 1.0, 0.6, "authors")),
    "friendly-paper": (
        friendly_sam(base(), 0.2, sigma=0.8, decay=0.9, form="paper"),
        friendly_rule(0.2, 0.8, 0.9, "paper"),
    ),
    "m_sam": (m_sam(base(), 0.2, num_groups=4), m_sam_rule(0.2)),
}


@pytest.mark.parametrize("name", CASES)
def test_training_matches_the_rule_written_out_with_numpy(name):
    tx, rule = CASES[name]
    for got, expected in zip(run_jax(tx), run_numpy(rule), strict=True):
        assert got.dtype == np.float64
        np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-12)


def test_training_matches_the_opaque_mode_of_optax():
    ascent = optax.chain(optax.contrib.normalize(), optax.sgd(0.2))
    reference = optax.contrib.sam(base(), ascent, sync_period=2, opaque_mode=True)

    def update(updates, state, params=None, *, grad_fn, **ignored):
        return reference.update(updates, state, params, grad_fn=grad_fn)

    oracle = optax.GradientTransformationExtraArgs(reference.init, update)
    for got, expected in zip(run_jax(sam(base(), 0.2)), run_jax(oracle), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-12)


def test_training_matches_a_pytorch_step_that_moves_there_and_back():
    torch = pytest.importorskip("torch")
    weights = [torch.tensor(w, requires_grad=True) for w in WEIGHTS]
    optimizer = torch.optim.SGD(weights, LEARNING_RATE, MOMENTUM, weight_decay=DECAY)

    def backward():
        b1, k1, b2, k2 = weights
        optimizer.zero_grad()
        out = torch.tanh(torch.tensor(X) @ k1 + b1) @ k2 + b2
        torch.mean((out - torch.tensor(Y)) ** 2).backward()

    for _ in range(NUM_STEPS):
        backward()
        with torch.no_grad():
            length = torch.sqrt(sum((w.grad**2).sum() for w in weights))
            steps = [0.2 / length * w.grad for w in weights]
            for w, e in zip(weights, steps, strict=True):
                w.add_(e)
        backward()
        with torch.no_grad():
            for w, e in zip(weights, steps, strict=True):
                w.sub_(e)
        optimizer.step()
    for got, w in zip(run_jax(sam(base(), 0.2)), weights, strict=True):
        np.testing.assert_allclose(got, w.detach().numpy(), rtol=1e-6, atol=1e-12)
