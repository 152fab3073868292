"""Monte Carlo of the linear interpolating regime: training by descent, real attacks.

Shares nothing with the closed forms but the training sets themselves: the models are
descended to interpolation in JAX, the members and non-members are sampled, and the
attacks are run on them. Everything is float64, one training set per key, vmapped over
keys and metrics and mapped in chunks that stay in the processor's cache.
"""

import contextlib
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float64

from sam_jax import _checks
from sam_jax.theory.populations import Population
from sam_jax.types import Key

_CHUNK = 16
_TOLERANCE = 1e-11


class Problem(NamedTuple):
    """How a training set arises: ``y = x beta + noise * sign``, ``sign`` ±1 at random.

    Attributes:
        scales: Standard deviations of each group along the eigenvectors.
        beta: Weights of the teacher.
        mean: Class mean; ``sign * mean`` is added to every input.
        noise: Size of the random signs in the labels. Noise 1 and no teacher are
            labels ±1, of margin 1 on every member.
    """

    scales: Float[np.ndarray | Array, "k d"]
    beta: Float[np.ndarray | Array, " d"]
    mean: Float[np.ndarray | Array, " d"]
    noise: Float[np.ndarray | Array, ""]


class Sample(NamedTuple):
    """Examples, members or not.

    Attributes:
        X: Inputs.
        y: Labels.
        sign: What the labels have beyond the teacher; the class of labels ±1.
        noise: Standard normal noise of the score that is released for each example.
    """

    X: Float64[Array, "*s n d"]
    y: Float64[Array, "*s n"]
    sign: Float64[Array, "*s n"]
    noise: Float64[Array, "*s n"]


class Outcome(NamedTuple):
    """What the attacks found: seeds S, strengths E, groups K, thresholds T.

    Attributes:
        residual: Largest ``|X w - y|`` of the trained model.
        variance: Mean square of the sampled non-members' margins around their mean.
        risk: Mean squared error of their outputs around the teacher.
        expected_variance: ``w^T Sigma_k w`` of the trained ``w``: what ``variance``
            tends to with more non-members.
        expected_risk: ``(w - beta)^T Sigma_k (w - beta)`` likewise.
        confidence: Advantage of "member iff the margin is at least a threshold".
        two_sided: Advantage of "member iff ``|f|`` is at least a threshold".
        likelihood_ratio: Advantage of the likelihood-ratio attack at resolution tau.
    """

    residual: Float64[np.ndarray | Array, "*s e"]
    variance: Float64[np.ndarray | Array, "*s e k"]
    risk: Float64[np.ndarray | Array, "*s e k"]
    expected_variance: Float64[np.ndarray | Array, "*s e k"]
    expected_risk: Float64[np.ndarray | Array, "*s e k"]
    confidence: Float64[np.ndarray | Array, "*s e k t"]
    two_sided: Float64[np.ndarray | Array, "*s e k t"]
    likelihood_ratio: Float64[np.ndarray | Array, "*s e k"]


class Setup(NamedTuple):
    """What is measured: the settings of ``simulate`` that are arrays."""

    problem: Problem
    etas: Float[np.ndarray | Array, " e"]
    thresholds: Float[np.ndarray | Array, " t"]
    tau: Float[np.ndarray | Array, ""]


def random_labels(population: Population) -> Problem:
    """Returns the problem with labels ±1 that nothing predicts."""
    return make_problem(population, noise=1.0)


def make_problem(
    population: Population,
    beta: Float[np.ndarray, " d"] | None = None,
    mean: Float[np.ndarray, " d"] | None = None,
    noise: float = 0.0,
) -> Problem:
    """Returns a problem on ``population``; the teacher and the mean default to 0.

    Raises:
        ValueError: If ``noise < 0`` or ``beta`` or ``mean`` has the wrong size.
    """
    _checks.non_negative(noise=noise)
    d = population.eigenvalues.shape[1]
    beta = np.zeros(d) if beta is None else beta
    mean = np.zeros(d) if mean is None else mean
    for name, vector in (("beta", beta), ("mean", mean)):
        if vector.shape != (d,):
            raise ValueError(f"{name} must have shape ({d},), got {vector.shape}.")
    return Problem(np.sqrt(population.eigenvalues), beta, mean, np.asarray(noise))


def group_counts(population: Population, n: int) -> tuple[int, ...]:
    """Returns how many of ``n`` examples each group has: ``n * weights``, rounded.

    Raises:
        ValueError: If a group is left without an example.
    """
    edges = np.rint(n * np.cumsum(population.weights)).astype(int)
    counts = tuple(int(count) for count in np.diff(edges, prepend=0))
    _checks.at_least(1, smallest_group=min(counts))
    return counts


def double_precision() -> contextlib.AbstractContextManager:
    """Returns a context in which JAX keeps float64, in old and new versions of JAX."""
    if hasattr(jax, "enable_x64"):
        return jax.enable_x64(True)
    from jax import experimental  # Where older versions of JAX have it.

    return experimental.enable_x64()  # pyrefly: ignore[missing-attribute]


def sample(key: Key, problem: Problem, counts: tuple[int, ...]) -> Sample:
    """Returns ``counts[k]`` examples of each group; call under ``double_precision``."""
    n, d = sum(counts), problem.scales.shape[-1]
    draws = jax.random.normal(key, (n, d + 2), jnp.float64)
    # Else XLA draws anew in each of the uses below, and compiles for twice as long.
    draws = jax.lax.optimization_barrier(draws)
    sign = jnp.where(draws[:, d] < 0, -1.0, 1.0)
    X = draws[:, :d] * problem.scales[np.repeat(np.arange(len(counts)), counts)]
    X = X + sign[:, None] * problem.mean[None, :]
    return Sample(X, X @ problem.beta + problem.noise * sign, sign, draws[:, d + 1])


def training_sets(
    keys: Key, problem: Problem, counts: tuple[int, ...]
) -> tuple[Float64[np.ndarray, "s n d"], Float64[np.ndarray, "s n"]]:
    """Returns ``X, y`` that ``simulate`` trains on for the same keys."""
    with double_precision():
        problem = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), problem)
        data = _training_samples(keys, problem, counts)
        return np.asarray(data.X), np.asarray(data.y)


@functools.partial(jax.jit, static_argnums=2)
def _training_samples(keys, problem, counts):
    one = lambda key: sample(jax.random.fold_in(key, 0), problem, counts)
    return jax.vmap(one)(keys)


def gradient_descent(
    X: Float64[Array, "n d"],
    y: Float64[Array, " n"],
    metric: Float64[Array, " d"],
    num_steps: int,
) -> Float64[Array, " d"]:
    """Returns ``w`` after ``w <- w - step G^-1 X^T (X w - y)`` from zero, step by step.

    The step is ``1 / trace(X G^-1 X^T)``, safe for every problem and slow for most:
    this is the plain form that ``descend`` accelerates.
    """
    step = 1 / jnp.sum(X**2 / metric[None, :])
    descend = lambda _, w: w - step * (X.T @ (X @ w - y)) / metric
    return jax.lax.fori_loop(0, num_steps, descend, jnp.zeros_like(metric))


def descend(
    X: Float64[Array, "n d"], y: Float64[Array, " n"], metric: Float64[Array, " d"]
) -> Float64[Array, " d"]:
    """Returns ``w`` of preconditioned conjugate gradient descent to interpolation.

    Descends the squared loss in ``w`` itself, from zero, along preconditioned gradients
    ``G^-1 X^T (y - X w)`` made conjugate, each to the minimum on its line: no Gram
    matrix and no factorisation, so nothing of the closed form. Stops when ``|X w - y|``
    is below 1e-11 of ``|y|``, or after 10 n steps.
    """
    limit = _TOLERANCE**2 * (y @ y)

    def gradient_of(residual):
        gradient = residual @ X
        preconditioned = gradient / metric
        return preconditioned, gradient @ preconditioned

    def step(state):
        w, residual, direction, size, count = state
        image = X @ direction
        length = size / (image @ image)
        w = w + length * direction
        residual = residual - length * image
        gradient, new_size = gradient_of(residual)
        return (
            w,
            residual,
            gradient + (new_size / size) * direction,
            new_size,
            count + 1,
        )

    unfinished = lambda state: (state[1] @ state[1] > limit) & (state[4] < 10 * len(y))
    first, size = gradient_of(y)
    start = (jnp.zeros_like(metric), y, first, size, 0)
    return jax.lax.while_loop(unfinished, step, start)[0]


def simulate(
    keys: Key,
    problem: Problem,
    counts: tuple[int, ...],
    etas: Float[np.ndarray, " e"],
    *,
    thresholds: tuple[float, ...] = (0.5, 0.9),
    tau: float = 0.1,
    num_non_members: int = 100,
) -> Outcome:
    """Trains on one training set per key at every ``eta`` and attacks the models.

    Args:
        keys: One per training set, [S].
        problem: How training sets arise.
        counts: Examples of each group.
        etas: Strengths of the sharpness regularisation. Every one sees the same data.
        thresholds: Of the confidence attacks, below 1 by more than rounding.
        tau: Noise added to the scores that the likelihood-ratio attack sees.
        num_non_members: Sampled per training set and group.

    Returns:
        One outcome for each key and ``eta``.

    Raises:
        ValueError: If a setting is out of range or there are not more directions than
            examples.
    """
    _checks.positive(tau=tau)
    _checks.at_least(2, num_non_members=num_non_members)
    n, d = sum(counts), problem.scales.shape[-1]
    if n >= d:
        raise ValueError(f"counts must add up to less than d={d}, got {n}.")
    with double_precision():
        as_double = lambda leaf: jnp.asarray(leaf, jnp.float64)
        setup = Setup(problem, etas, np.asarray(thresholds), np.asarray(tau))
        setup = jax.tree.map(as_double, setup)
        weights = as_double(np.asarray(counts) / n)
        outcome = _simulate(keys, setup, weights, counts, num_non_members)
        return jax.tree.map(np.asarray, outcome)


@functools.partial(jax.jit, static_argnums=(3, 4))
def _simulate(keys, setup, weights, counts, num_non_members):
    """Maps ``_simulate_one`` over the keys, a chunk at a time."""
    one = lambda key: _simulate_one(key, setup, weights, counts, num_non_members)
    return jax.lax.map(one, keys, batch_size=_CHUNK)


def _simulate_one(key, setup, weights, counts, num_non_members):
    """Returns the outcome [e, ...] of one training set."""
    problem = setup.problem
    data = sample(jax.random.fold_in(key, 0), problem, counts)
    covariance = weights @ problem.scales**2
    metrics = 1 + setup.etas[:, None] * covariance[None, :]
    models = jax.vmap(descend, (None, None, 0))(data.X, data.y, metrics)

    test_counts = (num_non_members,) * len(counts)
    test = sample(jax.random.fold_in(key, 1), problem, test_counts)
    split = lambda a: a.reshape(len(counts), num_non_members)
    attack = lambda w: _attack(w, data, test, split, setup)
    return jax.vmap(attack)(models)


def _attack(w, data, test, split, setup):
    """Returns the outcome of one model."""
    problem = setup.problem
    outputs = data.X @ w
    members, others = data.sign * outputs, split(test.sign * (test.X @ w))
    mu = problem.mean @ w
    advantage = lambda hit, false: jnp.mean(hit) - jnp.mean(false, axis=1)
    passes = lambda t: advantage(members >= t, others >= t)
    large = lambda t: advantage(jnp.abs(members) >= t, jnp.abs(others) >= t)

    spread = jnp.sqrt(problem.scales**2 @ w**2 + setup.tau**2)[:, None]
    log_in = lambda m: _log_density(m, jnp.ones_like(mu), setup.tau)
    looks_in = lambda m: log_in(m) > _log_density(m, mu, spread)
    seen_members = (members + setup.tau * data.noise)[None, :]
    seen_others = others + setup.tau * split(test.noise)
    return Outcome(
        residual=jnp.max(jnp.abs(outputs - data.y)),
        variance=jnp.mean((others - mu) ** 2, axis=1),
        risk=jnp.mean(split(test.X @ (w - problem.beta)) ** 2, axis=1),
        expected_variance=problem.scales**2 @ w**2,
        expected_risk=problem.scales**2 @ (w - problem.beta) ** 2,
        confidence=jax.vmap(passes, out_axes=-1)(setup.thresholds),
        two_sided=jax.vmap(large, out_axes=-1)(setup.thresholds),
        likelihood_ratio=jnp.mean(looks_in(seen_members), axis=1)
        - jnp.mean(looks_in(seen_others), axis=1),
    )


def _log_density(m, mean, spread):
    """Normal log-density up to a constant."""
    return -0.5 * ((m - mean) / spread) ** 2 - jnp.log(spread)
