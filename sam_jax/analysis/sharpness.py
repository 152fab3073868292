"""How sharp a minimum is: curvature of the loss, and its rise in a ball around it.

Each function measures one model: a pure function of its weights, so that ``vmap`` (or
``ensembles.over_models``) measures many. The Hessian is only ever multiplied with a
vector. Lanczos keeps ``num_steps`` vectors as long as the weights, per model.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from sam_jax import _checks
from sam_jax.training.trainer import cross_entropy
from sam_jax.types import Examples, Key, Model, ModelState, Params

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


class Sharpness(NamedTuple):
    """Measures of one model, all of the same loss.

    Attributes:
        loss: The loss at the weights, in nats.
        top_eigenvalue: Of the Hessian.
        trace: Of the Hessian.
        worst_case: Largest rise found in the ball of radius rho, in nats.
        average_case: Mean rise on its surface.
        adaptive_worst_case: Largest rise in ASAM's ball, each weight in units of its
            own size.
        adaptive_average_case: Mean rise on the surface of that.
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
        adaptive_rho: Radius in units of the weights, as ASAM's.
        num_steps: Steps of Lanczos, and of the ascent to the worst case.
        num_samples: Random directions for trace and averages.

    Raises:
        ValueError: If a radius is negative, or a number too small.
    """
    keys = jax.random.split(key, 6)
    scale = adaptive_scale(params)
    ascent, samples = {"num_steps": num_steps}, {"num_samples": num_samples}
    return Sharpness(
        loss=loss_fn(params),
        top_eigenvalue=top_eigenvalue(keys[0], loss_fn, params, num_steps),
        trace=hessian_trace(keys[1], loss_fn, params, num_samples),
        worst_case=worst_case_rise(keys[2], loss_fn, params, rho, **ascent),
        average_case=average_case_rise(keys[3], loss_fn, params, rho, **samples),
        adaptive_worst_case=worst_case_rise(
            keys[4], loss_fn, params, adaptive_rho, scale=scale, **ascent
        ),
        adaptive_average_case=average_case_rise(
            keys[5], loss_fn, params, adaptive_rho, scale=scale, **samples
        ),
    )


def make_loss(
    model: Model, state: ModelState, examples: Examples, batch_size: int | None = None
) -> LossFn:
    """Returns the mean cross-entropy of a model in evaluation mode, in nats.

    Args:
        model: The network.
        state: Its batch statistics, held fixed.
        examples: Inputs and labels.
        batch_size: Examples whose activations exist at the same time, a divisor of
            their number; all of them by default.

    Raises:
        ValueError: If ``batch_size`` does not divide the number of examples.
    """
    num_examples = len(examples.y)
    batch_size = num_examples if batch_size is None else batch_size
    _checks.at_least(1, batch_size=batch_size)
    if num_examples % batch_size:
        raise ValueError(
            f"batch_size must divide the {num_examples} examples, got {batch_size}."
        )

    def on_batch(params: Params, batch: Examples) -> Array:
        logits, _ = model.apply(params, state, batch.x, False, jax.random.key(0))
        return jnp.mean(cross_entropy(logits, jnp.asarray(batch.y)))

    arrays = jax.tree.map(jnp.asarray, examples)
    if batch_size == num_examples:
        return lambda params: on_batch(params, arrays)
    batches = jax.tree.map(lambda a: a.reshape(-1, batch_size, *a.shape[1:]), arrays)

    def loss_fn(params: Params) -> Array:
        one = jax.checkpoint(lambda batch: on_batch(params, batch))
        return jnp.mean(jax.lax.map(one, batches))

    return loss_fn


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
    weights, loss_of = _flatten(loss_fn, params)
    product = _hessian_product(loss_of, weights)
    first = jax.random.normal(key, weights.shape, weights.dtype)
    noise = 10 * jnp.finfo(weights.dtype).eps * jnp.sqrt(weights.size)

    def step(carry: Any, index: Array) -> Any:
        basis, vector, start, size = carry
        basis = basis.at[index].set(vector)
        image = product(vector)
        diagonal = jnp.vdot(vector, image)
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
    weights, loss_of = _flatten(loss_fn, params)
    product = _hessian_product(loss_of, weights)

    def sample(key: Array) -> Array:
        signs = jax.random.rademacher(key, weights.shape, weights.dtype)
        return jnp.vdot(signs, product(signs))

    return _mean(jax.lax.map(sample, jax.random.split(key, num_samples)))


def worst_case_rise(
    key: Key,
    loss_fn: LossFn,
    params: Params,
    rho: float,
    *,
    num_steps: int = 20,
    scale: Params | None = None,
) -> Float[Array, ""]:
    """Returns the largest rise of the loss found in a ball around the weights.

    Each step goes to the point of the sphere in the direction of the gradient at the
    last: exact for a linear loss, power iteration for a quadratic one, and never
    worse than SAM's single step. One ascent starts at the weights, one in a random
    direction, as a model that interpolates has no gradient. It is a lower bound of the
    maximum, and at least 0, the rise at the centre.

    Args:
        key: Random key of the random start.
        loss_fn: The loss.
        params: The centre of the ball.
        rho: Radius of the ball, in the L2 norm over all weights.
        num_steps: Gradients in each ascent, at least 1.
        scale: Size of the ball along each weight, for rho = 1; see ``adaptive_scale``.

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
    rise, centre = _rise(loss_fn, params, scale)
    radius = jnp.asarray(rho, centre.dtype)

    def step(state: Any, _: None) -> Any:
        point, best = state
        here, gradient = jax.value_and_grad(rise)(point)
        return (_on_sphere(gradient, radius), jnp.maximum(best, here)), None

    def ascend(start: Array) -> Array:
        state = (start, jnp.zeros((), centre.dtype))
        (last, best), _ = jax.lax.scan(step, state, length=num_steps)
        return jnp.maximum(best, rise(last))

    random = jax.random.normal(key, centre.shape, centre.dtype)
    starts = jnp.stack([centre, _on_sphere(random, radius)])
    return jnp.max(jax.lax.map(ascend, starts))


def average_case_rise(
    key: Key,
    loss_fn: LossFn,
    params: Params,
    rho: float,
    *,
    num_samples: int = 16,
    scale: Params | None = None,
) -> Sampled:
    """Returns the mean rise of the loss on the sphere around the weights.

    Directions are uniform and come with their opposites, whose slopes cancel. On a
    quadratic in d weights at its minimum the mean is ``rho^2 / (2 d)`` times the trace.

    Args:
        key: Random key.
        loss_fn: The loss.
        params: The centre of the sphere.
        rho: Its radius, in the L2 norm over all weights.
        num_samples: Pairs of opposite directions, at least 2.
        scale: As in ``worst_case_rise``.

    Raises:
        ValueError: If a concrete ``rho`` is negative or ``num_samples`` below 2.
    """
    _checks.non_negative(rho=rho)
    _checks.at_least(2, num_samples=num_samples)
    rise, centre = _rise(loss_fn, params, scale)

    def sample(key: Array) -> Array:
        direction = jax.random.normal(key, centre.shape, centre.dtype)
        point = _on_sphere(direction, jnp.asarray(rho, centre.dtype))
        return (rise(point) + rise(-point)) / 2

    return _mean(jax.lax.map(sample, jax.random.split(key, num_samples)))


def adaptive_scale(params: Params, eta: float = 0.0) -> Params:
    """Returns ``|w| + eta``, ASAM's measure of each weight, biases included.

    With ``eta = 0`` what is measured in its units does not change when the weights of
    one layer grow and those of the next shrink such that the network's function stays.

    Args:
        params: The weights.
        eta: Added to the size of each weight.

    Raises:
        ValueError: If a concrete ``eta`` is negative.

    References:
        Kwon et al., "ASAM: Adaptive Sharpness-Aware Minimization for Scale-Invariant
        Learning of Deep Neural Networks", 2021, https://arxiv.org/abs/2102.11600,
        Definition 2.
    """
    _checks.non_negative(eta=eta)
    return jax.tree.map(lambda w: jnp.abs(w) + jnp.asarray(eta, w.dtype), params)


def _flatten(loss_fn: LossFn, params: Params) -> tuple[Array, Callable[..., Array]]:
    """The weights as one vector, and the loss of such a vector."""
    weights, unravel = ravel_pytree(params)
    return weights, lambda flat: loss_fn(unravel(flat))


def _hessian_product(loss_of: Callable[..., Array], weights: Array) -> Any:
    gradient = jax.grad(loss_of)
    return lambda vector: jax.jvp(gradient, (weights,), (vector,))[1]


def _rise(loss_fn: LossFn, params: Params, scale: Params | None) -> tuple[Any, Array]:
    """Rise of the loss by displacement, in units of ``scale``; and no displacement."""
    weights, loss_of = _flatten(loss_fn, params)
    unit = jnp.ones_like(weights) if scale is None else ravel_pytree(scale)[0]
    level = loss_of(weights)
    return lambda point: loss_of(weights + unit * point) - level, jnp.zeros_like(
        weights
    )


def _on_sphere(vector: Array, radius: Array) -> Array:
    """The vector at the length of the radius; 0 where it has no direction."""
    length = jnp.linalg.norm(vector)
    return jnp.where(length > 0, radius / jnp.where(length > 0, length, 1), 0) * vector


def _mean(samples: Array) -> Sampled:
    error = jnp.std(samples, ddof=1) / jnp.sqrt(len(samples)).astype(samples.dtype)
    return Sampled(jnp.mean(samples), error)
