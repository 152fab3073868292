"""Increase of a loss in a ball around the weights: worst case and average.

Pure functions of one model's weights, so that ``vmap`` measures many.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from sam_jax import _checks
from sam_jax.analysis.curvature import LossFn, Sampled, flatten_loss, mean_of_samples
from sam_jax.types import Key, Params


def worst_case_increase(
    key: Key,
    loss_fn: LossFn,
    params: Params,
    rho: float,
    *,
    num_steps: int = 20,
    scale: Params | None = None,
) -> Float[Array, ""]:
    """Returns the largest increase of the loss seen in a ball around the weights.

    Each step goes to the point of the sphere in the direction of the gradient at the
    last: exact for a linear loss, power iteration for a quadratic one, and never
    worse than SAM's single step. One ascent starts at the weights, one in a random
    direction, as a model that interpolates has no gradient. It is a lower bound of the
    maximum, and at least 0, the increase at the centre.

    Args:
        key: Random key of the random start.
        loss_fn: The loss.
        params: The centre of the ball.
        rho: Radius of the ball, in the L2 norm over all weights.
        num_steps: Gradients in each ascent, at least 1.
        scale: Size of the ball along each weight, for rho = 1; such as ``|w|``.

    Raises:
        ValueError: If a concrete ``rho`` is negative or ``num_steps`` below 1.

    References:
        Foret et al., "Sharpness-Aware Minimization for Efficiently Improving
        Generalization", 2021, https://arxiv.org/abs/2010.01412, Equation 1.
        Journee et al., "Generalized Power Method for Sparse Principal Component
        Analysis", 2010, https://arxiv.org/abs/0811.4724, Algorithm 1.
    """
    _checks.non_negative(rho=rho)
    _checks.at_least(1, num_steps=num_steps)
    increase, centre = _increase(loss_fn, params, scale)
    radius = jnp.asarray(rho, centre.dtype)

    def step(state: Any, _: None) -> Any:
        point, best = state
        here, gradient = jax.value_and_grad(increase)(point)
        return (_on_sphere(gradient, radius), jnp.maximum(best, here)), None

    def ascend(start: Array) -> Array:
        state = (start, jnp.zeros((), centre.dtype))
        # The scan evaluates each point before it leaves it; the last is left to do.
        (last, best), _ = jax.lax.scan(step, state, length=num_steps)
        return jnp.maximum(best, increase(last))

    random = jax.random.normal(key, centre.shape, centre.dtype)
    starts = jnp.stack([centre, _on_sphere(random, radius)])
    return jnp.max(jax.lax.map(ascend, starts))


def average_case_increase(
    key: Key,
    loss_fn: LossFn,
    params: Params,
    rho: float,
    *,
    num_samples: int = 16,
    scale: Params | None = None,
) -> Sampled:
    """Returns the mean increase of the loss on the sphere around the weights.

    Directions are uniform and come with their opposites, whose slopes cancel. On a
    quadratic in d weights at its minimum the mean is ``rho^2 / (2 d)`` times the trace.

    Args:
        key: Random key.
        loss_fn: The loss.
        params: The centre of the sphere.
        rho: Its radius, in the L2 norm over all weights.
        num_samples: Pairs of opposite directions, at least 2.
        scale: As in ``worst_case_increase``.

    Raises:
        ValueError: If a concrete ``rho`` is negative or ``num_samples`` below 2.
    """
    _checks.non_negative(rho=rho)
    _checks.at_least(2, num_samples=num_samples)
    increase, centre = _increase(loss_fn, params, scale)

    def sample(key: Array) -> Array:
        direction = jax.random.normal(key, centre.shape, centre.dtype)
        point = _on_sphere(direction, jnp.asarray(rho, centre.dtype))
        return (increase(point) + increase(-point)) / 2

    return mean_of_samples(jax.lax.map(sample, jax.random.split(key, num_samples)))


def _increase(
    loss_fn: LossFn, params: Params, scale: Params | None
) -> tuple[Callable[[Array], Array], Array]:
    """Loss increase by displacement, in units of ``scale``; and no displacement."""
    weights, loss_of = flatten_loss(loss_fn, params)
    unit = jnp.ones_like(weights) if scale is None else ravel_pytree(scale)[0]
    level = loss_of(weights)

    def increase(displacement: Array) -> Array:
        return loss_of(weights + unit * displacement) - level

    return increase, jnp.zeros_like(weights)


def _on_sphere(vector: Array, radius: Array) -> Array:
    """The vector at the length of the radius; 0 where it has no direction."""
    length = jnp.linalg.norm(vector)
    return jnp.where(length > 0, radius / jnp.where(length > 0, length, 1), 0) * vector
