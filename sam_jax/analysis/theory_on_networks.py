"""Actual SAM on linear least squares, and on networks that interpolate."""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy import special, stats

from sam_jax import theory
from sam_jax.optimizers import SAM, sharpness_aware
from sam_jax.theory import sampling
from sam_jax.theory.agreement import GridCell
from sam_jax.theory.claims import TheoryClaim
from sam_jax.theory.simulated_problems import TAU
from sam_jax.types import Key

RHOS = (0.0, 0.05, 0.1, 0.2, 0.5)
NUM_TRAIN, NUM_TEST, NUM_INPUTS, WIDTH = 32, 400, 16, 96
RESIDUAL = 1e-3
"""Largest training residual that counts as interpolation."""


def linear_models(key: jax.Array) -> tuple[TheoryClaim, dict[str, float]]:
    """Claim 6 on linear least squares, and the numbers that no theory predicts."""
    population = theory.power_law(60)
    problem = sampling.random_labels(population)
    X, y = sampling.training_sets(jax.random.split(key, 16), problem, (20,))
    G = theory.sharpness_metric(population.pooled, 10.0)
    plain = theory.min_norm_interpolator(X, y, np.ones(60))
    model = theory.min_norm_interpolator(X, y, G)
    with sampling.double_precision():
        data = jnp.asarray(X), jnp.asarray(y)
        descend = jax.vmap(_descend_linear, (0, 0, None, None, None))
        run = jax.jit(descend, static_argnums=4)
        size = np.linalg.norm(plain, axis=1).mean()
        rho = 0.2 * size
        constant = np.asarray(run(*data, jnp.ones(60), rho, False))
        annealed = np.asarray(run(*data, jnp.ones(60), rho, True))
        sgd = np.asarray(run(*data, jnp.ones(60), 0.0, False))
        preconditioned = np.asarray(run(*data, jnp.asarray(G), 0.0, False))
    # Projection on the row space of each training set.
    rows = np.linalg.qr(np.swapaxes(X, 1, 2))[0]
    inside = (rows @ (np.swapaxes(rows, 1, 2) @ constant[..., None]))[..., 0]
    gaps = {
        "SGD ends at w_0": (sgd - plain, 1e-7),
        "SAM stays in the row space": (constant - inside, 1e-12),
        "annealed SAM ends at w_0": (annealed - plain, 1e-7),
        "preconditioned descent ends at w_G": (preconditioned - model, 1e-7),
    }
    cells = [
        GridCell(what, float(np.abs(gap).max()), 0.0, tolerance)
        for what, (gap, tolerance) in gaps.items()
    ]

    def norm(w: np.ndarray) -> float:
        return float(np.linalg.norm(w, axis=1).mean())

    notes = {
        "mean distance from w_0 to w_G": norm(plain - model),
        "mean distance from constant-rho SAM to w_0": norm(constant - plain),
        "largest residual of constant-rho SAM": float(
            np.abs((X @ constant[..., None])[..., 0] - y).max()
        ),
        "mean norm of w_0": float(size),
    }
    claim = TheoryClaim(
        "6 what actual SAM does",
        "On linear least squares SAM stays in the row space, where SGD's interpolator "
        "is the only one; preconditioned descent reaches w_G.",
        "16 training sets, n = 20, d = 60, power law; exact to rounding",
        cells,
    )
    return claim, notes


def _descend_linear(
    X: jax.Array,
    y: jax.Array,
    metric: jax.Array,
    rho: jax.Array,
    anneal: bool | jax.Array,
    num_steps: int = 4000,
) -> jax.Array:
    """Full-batch descent with the library's SAM, preconditioned by 1 / metric.

    ``anneal`` switches the ascent off for the second half; otherwise it stays.
    """

    def gradient(w: jax.Array) -> jax.Array:
        return X.T @ (X @ w - y)

    curvature = jnp.linalg.norm((X / metric[None, :]) @ X.T, 2)

    def schedule(step: jax.Array) -> jax.Array:
        return jnp.where(anneal & (step >= num_steps // 2), 0.0, rho)

    tx = sharpness_aware(SAM(), schedule)

    def step(carry: tuple[jax.Array, Any], _: None) -> tuple[Any, None]:
        w, state = carry
        g, state = tx.update(gradient(w), state, w, grad_fn=gradient)
        # Gradient descent is stable for steps below 2 / curvature.
        return (w - 1.5 / curvature * g / metric, state), None

    start = jnp.zeros_like(metric)
    return jax.lax.scan(step, (start, tx.init(start)), length=num_steps)[0][0]


class Measured(NamedTuple):
    """What was measured on each network; axes radii R and seeds S.

    Attributes:
        residual: Largest ``|f - y|`` on the training set.
        mean: Mean margin of non-members.
        variance: Variance of their margins.
        confidence: Advantage of "member iff the margin is at least 0.95".
        likelihood_ratio: Advantage of the Gaussian likelihood-ratio attack, with the
            measured mean and variance, run on the margins at resolution 0.1.
    """

    residual: np.ndarray
    mean: np.ndarray
    variance: np.ndarray
    confidence: np.ndarray
    likelihood_ratio: np.ndarray


@dataclasses.dataclass(frozen=True)
class Difference:
    """A quantity at one radius minus the same networks under SGD, with its interval."""

    value: float
    low: float
    high: float
    resolution: float = 0.0
    """Residual of the training: what is smaller may be unfinished training."""

    @property
    def sign(self) -> str:
        """The direction of the change, where the interval shows one."""
        if self.low > self.resolution:
            return "rises"
        return "falls" if self.high < -self.resolution else "no difference seen"

    def __str__(self) -> str:
        return f"{self.value:+.4f} [{self.low:+.4f}, {self.high:+.4f}]"


def networks(key: jax.Array, network: str, num_seeds: int, num_steps: int) -> Measured:
    """Trains a network at every radius from the same starts, and attacks all of them.

    SAM for two thirds of the steps, then SGD from where it has led, so that every
    network interpolates (random features, which fit more slowly, in thrice the steps).
    The labels are the two classes ±1 of means ± 0.5 in a power-law population.
    """
    keys = jax.random.split(key, num_seeds)
    rhos = jnp.asarray(RHOS, jnp.float32)
    num_steps = 3 * num_steps if network == "random features" else num_steps
    # The same keys at each radius, so that radii are compared on paired networks.
    train = functools.partial(_train_network, network, num_steps)
    margins = jax.vmap(jax.vmap(train, (None, 0)), (0, None))
    members, others = jax.jit(margins)(rhos, keys)
    members, others = (np.asarray(m, np.float64) for m in (members, others))
    mean, variance = others.mean(-1), others.var(-1, ddof=1)
    # Below 1, the members' margin, by more than training leaves as a residual.
    threshold = 0.95
    detected = np.mean(members >= threshold, -1)
    return Measured(
        residual=np.abs(members - 1).max(-1),
        mean=mean,
        variance=variance,
        confidence=detected - np.mean(others >= threshold, -1),
        likelihood_ratio=_attack(members, mean, variance)
        - _attack(others, mean, variance),
    )


def _attack(margins: np.ndarray, mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Rate at which margins seen at resolution TAU fall into the attack's region."""
    region = theory.likelihood_ratio_region(mean, np.sqrt(variance), TAU)
    lower, upper = (1 + edge[..., None] for edge in region)
    passes = special.ndtr((upper - margins) / TAU) - special.ndtr(
        (lower - margins) / TAU
    )
    return passes.mean(-1)


def _train_network(
    network: str, num_steps: int, rho: jax.Array, key: Key
) -> tuple[jax.Array, jax.Array]:
    """Returns the margins of members and of non-members of one network."""
    data_key, test_key, *weight_keys = jax.random.split(key, 4)
    scales = jnp.asarray(np.sqrt(theory.power_law(NUM_INPUTS).pooled), jnp.float32)
    x, y = _classes(data_key, NUM_TRAIN, scales)
    x_test, y_test = _classes(test_key, NUM_TEST, scales)
    shape = (NUM_INPUTS + 1, WIDTH)
    first = jax.random.normal(weight_keys[0], shape) / NUM_INPUTS**0.5
    last = jax.random.normal(weight_keys[1], (WIDTH,))
    # Random features train the last layer alone, from zero.
    params = {"last": 0 * last} if network == "random features" else {"last": last}
    if network == "two-layer ReLU":
        params["first"] = first

    def output(params: dict[str, jax.Array], x: jax.Array) -> jax.Array:
        with_bias = jnp.concatenate([x, jnp.ones((len(x), 1))], axis=1)
        hidden = jax.nn.relu(with_bias @ params.get("first", first))
        return hidden @ params["last"] / WIDTH**0.5

    def loss(params: Any) -> jax.Array:
        return 0.5 * jnp.mean((output(params, x) - y) ** 2)

    # SAM, then plain SGD, so that every network ends up interpolating.
    def schedule(step: jax.Array) -> jax.Array:
        return jnp.where(step < 2 * num_steps // 3, rho, 0.0)

    base = optax.sgd(0.4, momentum=0.9)
    tx = optax.chain(sharpness_aware(SAM(), schedule), base)

    def step(carry: tuple[Any, Any], _: None) -> tuple[Any, None]:
        params, state = carry
        updates, state = tx.update(
            jax.grad(loss)(params), state, params, grad_fn=jax.grad(loss)
        )
        return (optax.apply_updates(params, updates), state), None

    carry, _ = jax.lax.scan(step, (params, tx.init(params)), length=num_steps)
    return y * output(carry[0], x), y_test * output(carry[0], x_test)


def _classes(
    key: Key, num_examples: int, scales: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Returns inputs of class means ± 0.5 along every axis, and labels ±1."""
    z = jax.random.normal(key, (num_examples, len(scales)))
    y = jnp.where(jnp.arange(num_examples) % 2 == 0, 1.0, -1.0)
    return z * scales[None, :] + 0.5 * y[:, None], y


def differences(measured: Measured, r: int) -> dict[str, Difference]:
    """Returns each quantity at radius ``r`` minus SGD's, with 95 % t intervals."""
    results = {}
    resolution = float(measured.residual[[0, r]].max())
    for name, values in measured._asdict().items():
        gap = values[r] - values[0]
        error = gap.std(ddof=1) / np.sqrt(gap.size)
        half = float(stats.t.ppf(0.975, gap.size - 1) * error)
        value = float(gap.mean())
        results[name] = Difference(value, value - half, value + half, resolution)
    return results
