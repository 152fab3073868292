"""Curvature of a loss: the largest Hessian eigenvalue and the trace.

Pure functions of one model's weights, so that ``vmap`` measures many. The Hessian is
only ever multiplied with a vector. Lanczos keeps ``num_steps`` vectors as long as the
weights, per model.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from sam_jax import _checks
from sam_jax.types import Key, Params

LossFn: TypeAlias = Callable[[Params], Array]
"""``loss_fn(params) -> loss``, twice differentiable, closing over the examples."""


class Eigenvalue(NamedTuple):
    """An eigenvalue by Lanczos.

    Attributes:
        value: The largest Ritz value: never above the largest eigenvalue.
        residual: ``|H v - value v|`` of its vector: an eigenvalue is this near.
    """

    value: Float[Array, "*m"]
    residual: Float[Array, "*m"]


class Sampled(NamedTuple):
    """A mean over random directions.

    Attributes:
        value: The mean.
        standard_error: Of the mean, from the sample; unbiased in its square.
    """

    value: Float[Array, "*m"]
    standard_error: Float[Array, "*m"]


def top_eigenvalue(
    key: Key, loss_fn: LossFn, params: Params, num_steps: int = 20
) -> Eigenvalue:
    """Returns the largest eigenvalue of the Hessian.

    Lanczos from a random vector, with every new vector made orthogonal to all earlier
    ones twice. Where the vectors run out (``num_steps`` above the rank) it stops
    early, at the exact value.

    Args:
        key: Random key of the first vector.
        loss_fn: The loss.
        params: Where the Hessian is taken.
        num_steps: Hessian-vector products, at least 2.

    Raises:
        ValueError: If ``num_steps`` is below 2.

    Example:
        >>> loss_fn = lambda w: 0.5 * jnp.sum(jnp.array([3.0, 1.0, -5.0]) * w**2)
        >>> top = top_eigenvalue(jax.random.key(0), loss_fn, jnp.ones(3), num_steps=3)
        >>> round(float(top.value), 4)
        3.0

    References:
        Lanczos, "An Iteration Method for the Solution of the Eigenvalue Problem", 1950,
        https://doi.org/10.6028/jres.045.026.
        Parlett, "The Symmetric Eigenvalue Problem", 1998,
        https://doi.org/10.1137/1.9781611971163, sections 13.1 and 13.2.
    """
    _checks.at_least(2, num_steps=num_steps)
    weights, loss_of = flatten_loss(loss_fn, params)
    product = _hessian_product(loss_of, weights)
    first = jax.random.normal(key, weights.shape, weights.dtype)
    # Relative to the largest diagonal entry, a shorter new vector is rounding error.
    noise = 10 * jnp.finfo(weights.dtype).eps * jnp.sqrt(weights.size)

    def step(carry: Any, index: Array) -> Any:
        basis, vector, start, size = carry
        basis = basis.at[index].set(vector)
        image = product(vector)
        diagonal = jnp.vdot(vector, image)
        # Gram-Schmidt, again since one pass leaves rounding errors; rows of vectors
        # still to come are zero.
        for _ in range(2):
            image = image - basis.T @ (basis @ image)
        size = jnp.maximum(size, jnp.abs(diagonal))
        start = jnp.where(index == 0, diagonal, start)
        length = jnp.linalg.norm(image)
        alive = length > noise.astype(length.dtype) * size
        length = jnp.where(alive, length, 0)
        following = jnp.where(alive, image / jnp.where(alive, length, 1), 0)
        # A spent basis repeats its first entry, which is below the largest value.
        diagonal = jnp.where(jnp.any(vector != 0), diagonal, start)
        return (basis, following, start, size), (diagonal, length)

    basis = jnp.zeros((num_steps, weights.size), weights.dtype)
    zero = jnp.zeros((), weights.dtype)
    carry = (basis, first / jnp.linalg.norm(first), zero, zero)
    _, (diagonals, lengths) = jax.lax.scan(step, carry, jnp.arange(num_steps))
    # Eigenvalues of the tridiagonal matrix are the Ritz values.
    sides = jnp.diag(lengths[:-1], 1)
    values, vectors = jnp.linalg.eigh(jnp.diag(diagonals) + sides + sides.T)
    return Eigenvalue(values[-1], jnp.abs(lengths[-1] * vectors[-1, -1]))


def hessian_trace(
    key: Key, loss_fn: LossFn, params: Params, num_samples: int = 16
) -> Sampled:
    """Returns the trace of the Hessian by Hutchinson's estimator: mean of ``z' H z``.

    Args:
        key: Random key.
        loss_fn: The loss.
        params: Where the Hessian is taken.
        num_samples: Random vectors of signs, at least 2.

    Raises:
        ValueError: If ``num_samples`` is below 2.

    References:
        Hutchinson, "A Stochastic Estimator of the Trace of the Influence Matrix for
        Laplacian Smoothing Splines", 1990, https://doi.org/10.1080/03610919008812866.
    """
    _checks.at_least(2, num_samples=num_samples)
    weights, loss_of = flatten_loss(loss_fn, params)
    product = _hessian_product(loss_of, weights)

    def sample(key: Array) -> Array:
        signs = jax.random.rademacher(key, weights.shape, weights.dtype)
        return jnp.vdot(signs, product(signs))

    return mean_of_samples(jax.lax.map(sample, jax.random.split(key, num_samples)))


def flatten_loss(
    loss_fn: LossFn, params: Params
) -> tuple[Array, Callable[[Array], Array]]:
    """Returns the weights as one vector, and the loss of such a vector."""
    weights, unravel = ravel_pytree(params)

    def loss_of(flat: Array) -> Array:
        return loss_fn(unravel(flat))

    return weights, loss_of


def _hessian_product(
    loss_of: Callable[[Array], Array], weights: Array
) -> Callable[[Array], Array]:
    gradient = jax.grad(loss_of)

    # Forward over reverse mode: the Hessian itself is never formed.
    def product(vector: Array) -> Array:
        return jax.jvp(gradient, (weights,), (vector,))[1]

    return product


def mean_of_samples(samples: Array) -> Sampled:
    """Returns the mean of independent samples with its standard error."""
    error = jnp.std(samples, ddof=1) / jnp.sqrt(len(samples)).astype(samples.dtype)
    return Sampled(jnp.mean(samples), error)
