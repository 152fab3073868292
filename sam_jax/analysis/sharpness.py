"""Sharpness of a minimum: curvature of the loss, and its increase in a ball around it.

Each function measures one model: a pure function of its weights, so that ``vmap`` (or
``vmap_models.over_models``) measures many.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sam_jax.analysis.curvature import (
    Eigenvalue,
    LossFn,
    Sampled,
    hessian_trace,
    top_eigenvalue,
)
from sam_jax.analysis.loss_increase import average_case_increase, worst_case_increase
from sam_jax.training.trainer import cross_entropy
from sam_jax.types import Examples, Key, Model, ModelState, Params


class Sharpness(NamedTuple):
    """Measures of one model, all of the same loss.

    Attributes:
        loss: The loss at the weights, in nats.
        top_eigenvalue: Of the Hessian.
        trace: Of the Hessian.
        worst_case: Largest loss increase seen in the ball of radius rho, in nats.
        average_case: Mean loss increase on its surface.
        adaptive_worst_case: Largest increase in ASAM's ball, each weight in units of
            its size.
        adaptive_average_case: Mean increase on the surface of that.
    """

    loss: Float[Array, "*m"]
    top_eigenvalue: Eigenvalue
    trace: Sampled
    worst_case: Float[Array, "*m"]
    average_case: Sampled
    adaptive_worst_case: Float[Array, "*m"]
    adaptive_average_case: Sampled


def sharpness(
    key: Key,
    loss_fn: LossFn,
    params: Params,
    *,
    rho: float = 0.05,
    adaptive_rho: float = 0.5,
    num_steps: int = 20,
    num_samples: int = 16,
) -> Sharpness:
    """Returns all measures of one model.

    Args:
        key: Random key.
        loss_fn: See ``make_loss``.
        params: The weights.
        rho: Radius of the ball, in the L2 norm over all weights.
        adaptive_rho: Radius of ASAM's ball, in which each weight, biases included, is
            measured in units of its size: the measure stays when the weights of one
            layer grow and those of the next shrink such that the function stays.
        num_steps: Steps of Lanczos, and of the ascent to the worst case.
        num_samples: Random directions for trace and averages.

    Raises:
        ArgumentError: If a radius is negative, or a number too small.

    References:
        Kwon et al., "ASAM: Adaptive Sharpness-Aware Minimization for Scale-Invariant
        Learning of Deep Neural Networks", 2021, https://arxiv.org/abs/2102.11600,
        Definition 2.
    """
    keys = jax.random.split(key, 6)
    scale = jax.tree.map(jnp.abs, params)
    ascent, samples = {"num_steps": num_steps}, {"num_samples": num_samples}
    return Sharpness(
        loss=loss_fn(params),
        top_eigenvalue=top_eigenvalue(keys[0], loss_fn, params, num_steps),
        trace=hessian_trace(keys[1], loss_fn, params, num_samples),
        worst_case=worst_case_increase(keys[2], loss_fn, params, rho, **ascent),
        average_case=average_case_increase(keys[3], loss_fn, params, rho, **samples),
        adaptive_worst_case=worst_case_increase(
            keys[4], loss_fn, params, adaptive_rho, scale=scale, **ascent
        ),
        adaptive_average_case=average_case_increase(
            keys[5], loss_fn, params, adaptive_rho, scale=scale, **samples
        ),
    )


def make_loss(model: Model, state: ModelState, examples: Examples) -> LossFn:
    """Returns the mean cross-entropy of a model in evaluation mode, in nats.

    Args:
        model: The network.
        state: Its batch statistics, held fixed.
        examples: Inputs and labels.
    """
    x, y = jax.tree.map(jnp.asarray, examples)

    def loss_fn(params: Params) -> Array:
        logits, _ = model.apply(params, state, x, False, jax.random.key(0))
        return jnp.mean(cross_entropy(logits, y))

    return loss_fn
