"""Statistics over models with each model left out in turn, in O(models).

Row m of every result leaves model m out. What is left is merged from the models before
and those after it rather than subtracted from the whole: a subtraction in float32
loses the rest of the models next to one outlying target.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from sam_jax.attacks.medians import median


class Moments(NamedTuple):
    """Count, mean and scatter of the models in a group.

    Attributes:
        count: Number of models, as a float.
        mean: Their mean; 0 where there is none.
        scatter: Sum of squared deviations from the mean (of outer products, with a
            trailing [Q, Q], when over whole vectors of queries).
    """

    count: Float[Array, "*shape"]
    mean: Float[Array, "*shape q"]
    scatter: Float[Array, "..."]


def leave_one_out(merge: Callable[[Any, Any], Any], rows: Any, empty: Any) -> Any:
    """Returns, for each row, the merge of all the other rows.

    Args:
        merge: An associative function of two pytrees.
        rows: Pytree of arrays with a leading axis to leave one out of.
        empty: The pytree that ``merge`` leaves the other argument alone with.

    Returns:
        A pytree like ``rows``.
    """
    merge_both = jax.vmap(merge)

    def step(carry: Any, row: Any) -> Any:
        return merge_both(carry, row), carry

    # One scan in both directions: its carry at a row is the merge of all rows before
    # it, and in reverse order of all after it.
    both_ways = jax.tree.map(lambda a: jnp.stack([a, a[::-1]], axis=1), rows)
    nothing = jax.tree.map(lambda a: jnp.stack([a, a]), empty)
    _, merged = jax.lax.scan(step, nothing, both_ways)
    before = jax.tree.map(lambda a: a[:, 0], merged)
    after = jax.tree.map(lambda a: a[::-1, 1], merged)
    return merge(before, after)


def moments_without_each(
    values: Float[Array, "m n q"],
    group: Bool[Array | np.ndarray, "m n"],
    joint: bool = False,
) -> Moments:
    """Returns the moments of each example's values over the group's other models.

    Args:
        values: One value per model, example and query; finite. Centre them first
            (``centred``), for accuracy in float32.
        group: Models that count for the example.
        joint: Whether the scatter is a [Q, Q] matrix rather than one number a query.

    Returns:
        Moments with a leading [M, N]. By the pairwise update of Chan et al.,
        "Algorithms for computing the sample variance", 1983, equation 2.1.
    """

    def square(difference: Array) -> Array:
        if joint:
            return difference[..., :, None] * difference[..., None, :]
        return jnp.square(difference)

    def widen(a: Array, like: Array) -> Array:
        return a.reshape(a.shape + (1,) * (like.ndim - a.ndim))

    def merge(a: Moments, b: Moments) -> Moments:
        count = a.count + b.count
        share = jnp.where(count > 0, b.count / jnp.maximum(count, 1), 0)
        difference = b.mean - a.mean
        between = square(difference)
        return Moments(
            count,
            a.mean + widen(share, difference) * difference,
            a.scatter + b.scatter + widen(a.count * share, between) * between,
        )

    means = jnp.where(group[..., None], values, 0)
    rows = Moments(
        jnp.asarray(group, values.dtype), means, jnp.zeros_like(square(means))
    )
    empty = jax.tree.map(lambda a: jnp.zeros_like(a[0]), rows)
    return leave_one_out(merge, rows, empty)


def median_without_each(
    values: Float[Array, "m n q"], group: Bool[Array | np.ndarray, "m n"]
) -> Float[Array, "m n q"]:
    """Returns the median of each example's values over the group's other models.

    The sorted column serves every model: without the model at rank r, the k-th value
    is the k-th of all, or the one after it from r on. 0 where the group is empty.
    """
    group = jnp.broadcast_to(group[..., None], values.shape)
    masked = jnp.where(group, values, jnp.inf)
    order = jnp.argsort(masked, axis=0)
    ordered = jnp.take_along_axis(masked, order, axis=0)
    rank = jnp.argsort(order, axis=0)
    count = _count_others(group)

    def kth_smallest(k: Array) -> Array:
        k = jnp.maximum(k, 0)
        k = jnp.where(group & (k >= rank), k + 1, k)
        return jnp.take_along_axis(ordered, k, axis=0)

    middle = (kth_smallest((count - 1) // 2) + kth_smallest(count // 2)) / 2
    return jnp.where(count > 0, middle, 0)


def log_mean_without_each(
    log_values: Float[Array, "m n q"], group: Bool[Array | np.ndarray, "m n"]
) -> Float[Array, "m n q"]:
    """Returns the log of the mean of ``exp(log_values)`` over the group's others.

    Summed in the log domain, so that nothing underflows; -inf where there is none.
    """
    rows = jnp.where(group[..., None], log_values, -jnp.inf)
    total = leave_one_out(jnp.logaddexp, rows, jnp.full_like(rows[0], -jnp.inf))
    count = _count_others(group)[..., None]
    return total - jnp.log(jnp.maximum(count, 1).astype(total.dtype))


def centred(values: Float[Array, "m n q"]) -> Float[Array, "m n q"]:
    """Returns the values minus each example's median over models.

    What is left is of the order of the standard deviation, which float32 holds to full
    precision, and one outlying model does not move the others.
    """
    return values - median(values, axis=0)


def _count_others(group: Array | np.ndarray) -> Array:
    """Number of the group's models other than each, int32, in the group's shape."""
    whole = jnp.sum(group, axis=0, keepdims=True, dtype=jnp.int32)
    return whole - group.astype(jnp.int32)
