"""Gaussian densities and z-scores of phi, by query or over all queries at once."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float


class Gaussian(NamedTuple):
    """A fitted Gaussian per example.

    Attributes:
        location: Of each query.
        variance: Of each query [N, Q]; joint: the covariance [N, Q, Q].
        inflation: Multiplies the variance of the prediction: 1 + 1/k where the location
            is a mean over k models.
    """

    location: Float[Array, "n q"]
    variance: Float[Array, "..."]
    inflation: Float[Array, "n"]


def z_score(phi: Float[Array, "n q"], fitted: Gaussian) -> Float[Array, "n"]:
    """Returns the mean over queries of each query's z-score."""
    scale = jnp.sqrt(fitted.variance * fitted.inflation[:, None])
    return jnp.mean((phi - fitted.location) / scale, axis=-1)


def log_density(phi: Float[Array, "n q"], fitted: Gaussian) -> Float[Array, "n"]:
    """Returns the mean over queries of each query's log density."""
    variance = fitted.variance * fitted.inflation[:, None]
    z_squared = jnp.square(phi - fitted.location) / variance
    return -0.5 * jnp.mean(z_squared + jnp.log(2 * jnp.pi * variance), axis=-1)


def joint_z_score(phi: Float[Array, "n q"], fitted: Gaussian) -> Float[Array, "n"]:
    """Returns ``1' S^-1 (phi - location) / sqrt(1' S^-1 1)``.

    The log-likelihood ratio between a Gaussian and the same one moved by the same
    amount in every query, in units of its standard deviation.
    """
    rows = _cholesky(fitted.variance)
    white = _solve(rows, phi - fitted.location)
    direction = _solve(rows, jnp.ones_like(phi))
    norm = jnp.sqrt(jnp.sum(jnp.square(direction), axis=-1) * fitted.inflation)
    return jnp.sum(white * direction, axis=-1) / norm


def joint_log_density(phi: Float[Array, "n q"], fitted: Gaussian) -> Float[Array, "n"]:
    """Returns the log density of one Q-variate Gaussian."""
    rows = _cholesky(fitted.variance)
    white = _solve(rows, phi - fitted.location)
    log_det = 2 * sum(jnp.log(row[-1]) for row in rows)
    log_det = log_det + phi.shape[-1] * jnp.log(2 * jnp.pi * fitted.inflation)
    return -0.5 * (jnp.sum(jnp.square(white), axis=-1) / fitted.inflation + log_det)


def _cholesky(variance: Float[Array, "n q q"]) -> list[list[Any]]:
    """Rows of L with ``L L' = variance``, written out: there are few queries.

    LAPACK's batched routines were seen to hang on a CPU (jax 0.10.2; 32 models, 1,500
    examples, 4 queries).
    """
    rows: list[list[Any]] = []
    for i in range(variance.shape[-1]):
        row: list[Any] = []
        for j in range(i + 1):
            other = rows[j] if j < i else row
            rest = variance[..., i, j]
            for left, right in zip(row[:j], other[:j], strict=True):
                rest = rest - left * right
            row.append(jnp.sqrt(rest) if i == j else rest / other[j])
        rows.append(row)
    return rows


def _solve(rows: list[list[Any]], values: Float[Array, "n q"]) -> Float[Array, "n q"]:
    """``L^-1 values`` by substitution."""
    solved: list[Any] = []
    for i, row in enumerate(rows):
        rest = values[..., i]
        for factor, known in zip(row[:i], solved, strict=True):
            rest = rest - factor * known
        solved.append(rest / row[i])
    return jnp.stack(solved, axis=-1)
