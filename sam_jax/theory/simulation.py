"""Monte Carlo of the linear interpolating regime: training by descent, real attacks.

Shares nothing with the closed forms but the training sets themselves: the models are
descended to interpolation in JAX, the members and non-members are sampled, and the
attacks are run on them. Everything is float64, one training set per key, vmapped over
keys and metrics and mapped in chunks that stay in the processor's cache.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float64

from sam_jax import _checks
from sam_jax.theory.sampling import Problem, Sample, double_precision, sample
from sam_jax.types import Key

_CHUNK = 16
_TOLERANCE = 1e-11


class Outcome(NamedTuple):
    """Results of the attacks: seeds S, strengths E, groups K, thresholds T.

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
    """Settings of ``simulate`` that are arrays."""

    problem: Problem
    etas: Float[np.ndarray | Array, " e"]
    thresholds: Float[np.ndarray | Array, " t"]
    tau: Float[np.ndarray | Array, ""]


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

    def gradient_of(residual: Array) -> tuple[Array, Array]:
        gradient = residual @ X
        preconditioned = gradient / metric
        return preconditioned, gradient @ preconditioned

    def step(state: tuple[Any, ...]) -> tuple[Any, ...]:
        w, residual, direction, size, count = state
        # To the minimum along the direction; the next one is made conjugate to it.
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

    def unfinished(state: tuple[Any, ...]) -> Array:
        return (state[1] @ state[1] > limit) & (state[4] < 10 * len(y))

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
        ArgumentError: If a setting is out of range or there are no more directions
            than examples.
    """
    _checks.positive(tau=tau)
    _checks.at_least(2, num_non_members=num_non_members)
    n, d = sum(counts), problem.scales.shape[-1]
    if n >= d:
        raise _checks.ArgumentError(
            "counts", f"must add up to less than d={d}, got {n}."
        )
    with double_precision():
        setup = Setup(problem, etas, np.asarray(thresholds), np.asarray(tau))
        setup = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), setup)
        weights = jnp.asarray(np.asarray(counts) / n, jnp.float64)
        outcome = _simulate(keys, setup, weights, counts, num_non_members)
        return jax.tree.map(np.asarray, outcome)


@functools.partial(jax.jit, static_argnums=(3, 4))
def _simulate(
    keys: Key,
    setup: Setup,
    weights: Array,
    counts: tuple[int, ...],
    num_non_members: int,
) -> Outcome:
    """Returns the outcomes [s, e, ...], computed a chunk of training sets at a time."""
    problem = setup.problem

    def one(key: Key) -> Outcome:
        data = sample(jax.random.fold_in(key, 0), problem, counts)
        covariance = weights @ problem.scales**2
        metrics = 1 + setup.etas[:, None] * covariance[None, :]
        descend_all = jax.vmap(descend, (None, None, 0))
        models = descend_all(data.X, data.y, jnp.asarray(metrics))
        # All models of a training set are attacked with the same non-members.
        test_counts = (num_non_members,) * len(counts)
        test = sample(jax.random.fold_in(key, 1), problem, test_counts)
        return jax.vmap(lambda w: _attack(w, data, test, num_non_members, setup))(
            models
        )

    return jax.lax.map(one, keys, batch_size=_CHUNK)


def _attack(
    w: Array, data: Sample, test: Sample, num_non_members: int, setup: Setup
) -> Outcome:
    """Returns the outcome of one model."""
    problem, tau = setup.problem, setup.tau
    # Margins are outputs times the class; those of non-members have mean mu.
    outputs = data.X @ w
    mu = problem.mean @ w

    def by_group(values: Array) -> Array:
        return values.reshape(-1, num_non_members)

    members, others = data.sign * outputs, by_group(test.sign * (test.X @ w))
    # The likelihood-ratio attack sees scores with noise of size tau.
    std = jnp.sqrt(problem.scales**2 @ w**2 + tau**2)[:, None]
    noisy_members = (members + tau * data.noise)[None, :]
    noisy_others = others + tau * by_group(test.noise)

    def decide(margin: Array) -> Array:
        as_member = _log_density(margin, jnp.ones_like(mu), tau)
        return as_member > _log_density(margin, mu, std)

    def above(threshold: Any) -> Array:
        return _advantage(members >= threshold, others >= threshold)

    def large(threshold: Any) -> Array:
        return _advantage(jnp.abs(members) >= threshold, jnp.abs(others) >= threshold)

    return Outcome(
        residual=jnp.max(jnp.abs(outputs - data.y)),
        variance=jnp.mean((others - mu) ** 2, axis=1),
        risk=jnp.mean(by_group(test.X @ (w - problem.beta)) ** 2, axis=1),
        expected_variance=problem.scales**2 @ w**2,
        expected_risk=problem.scales**2 @ (w - problem.beta) ** 2,
        confidence=jax.vmap(above, out_axes=-1)(setup.thresholds),
        two_sided=jax.vmap(large, out_axes=-1)(setup.thresholds),
        likelihood_ratio=jnp.mean(decide(noisy_members), axis=1)
        - jnp.mean(decide(noisy_others), axis=1),
    )


def _advantage(hits: Array, false_alarms: Array) -> Array:
    """True-positive rate minus false-positive rate of each group."""
    return jnp.mean(hits) - jnp.mean(false_alarms, axis=1)


def _log_density(m: Array, mean: Any, std: Any) -> Array:
    """Normal log-density up to a constant."""
    return -0.5 * ((m - mean) / std) ** 2 - jnp.log(std)
