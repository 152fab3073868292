"""Problems of the linear interpolating regime, and samples of them in float64."""

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
        sign: Labels minus the teacher, in units of the noise; the class of labels ±1.
        noise: Standard normal noise of the score that is released for each example.
    """

    X: Float64[Array, "*s n d"]
    y: Float64[Array, "*s n"]
    sign: Float64[Array, "*s n"]
    noise: Float64[Array, "*s n"]


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
        ArgumentError: If ``noise < 0`` or ``beta`` or ``mean`` has the wrong size.
    """
    _checks.non_negative(noise=noise)
    d = population.eigenvalues.shape[1]
    beta = np.zeros(d) if beta is None else beta
    mean = np.zeros(d) if mean is None else mean
    for name, vector in (("beta", beta), ("mean", mean)):
        if vector.shape != (d,):
            raise _checks.ArgumentError(
                name, f"must have shape ({d},), got {vector.shape}."
            )
    return Problem(np.sqrt(population.eigenvalues), beta, mean, np.asarray(noise))


def group_counts(population: Population, n: int) -> tuple[int, ...]:
    """Returns how many of ``n`` examples each group has: ``n * weights``, rounded.

    Raises:
        ArgumentError: If a group is left without an example.
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
def _training_samples(keys: Key, problem: Problem, counts: tuple[int, ...]) -> Sample:
    def one(key: Key) -> Sample:
        return sample(jax.random.fold_in(key, 0), problem, counts)

    return jax.vmap(one)(keys)
