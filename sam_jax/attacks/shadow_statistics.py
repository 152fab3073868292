"""Location and variance of phi over 'in' and 'out' models, by example and pooled.

All leave the target out. What is pooled over examples bounds the weight of each of
them, so that no entry of phi moves the scores of other examples by more than a trace.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sam_jax.attacks import leave_one_out as loo
from sam_jax.attacks.base import default_block_size, take_block
from sam_jax.attacks.medians import median
from sam_jax.types import Signals

OUTLIER_FACTOR = 30.0
"""From this many times the median on, an example's variance loses weight in the pool.

It weighs as the square of the excess, so that what is far beyond counts for nothing.
Of Gaussian values 0.4 % of the variance lies beyond even at one degree of freedom, and
variances that differ by a factor of 30 are still pooled as they are.
"""

NUM_SAMPLED = 2000
"""Examples, evenly spaced, over which medians are taken."""

JITTER = 1e-6
"""Added to a pooled covariance, relative to its mean diagonal."""


class Side(NamedTuple):
    """One side, 'in' or 'out', per example: count [N], location [N, Q], scatter."""

    count: Float[Array, "*m n"]
    location: Float[Array, "*m n q"]
    scatter: Float[Array, "..."]


class Pooled(NamedTuple):
    """Pooled over examples, without each model: a variance per side, the mean shift."""

    in_variance: Float[Array, "..."]
    out_variance: Float[Array, "..."]
    shift: Float[Array, "*m q"]


def shadow_sides(
    signals: Signals, location: str, joint: bool
) -> tuple[Array, Side, Side]:
    """Returns centred phi and both sides, with a leading axis of models left out."""
    phi = loo.centred(jnp.asarray(signals.phi))

    def side(group: Any) -> Side:
        moments = loo.moments_without_each(phi, group, joint)
        if location == "mean":
            return Side(*moments)
        return Side(moments.count, loo.median_without_each(phi, group), moments.scatter)

    # Under one `vmap`, so that the scan over models is compiled once for both sides.
    both = jax.vmap(side)(jnp.stack([signals.keep, ~signals.keep]))
    inside, outside = (jax.tree.map(lambda a, i=i: a[i], both) for i in (0, 1))
    return phi, inside, outside


def pool_sides(signals: Signals, location: str, joint: bool) -> Pooled:
    """Returns what is pooled over examples, without each model: [M, ...].

    The variance of a side is the sum of the examples' scatters over that of their
    degrees of freedom, outliers down-weighted (``OUTLIER_FACTOR``). A side without any
    (no example with two models on it) or without any difference takes the variance of
    the other side; where all models agree on all examples it is 1.
    """
    largest, shift = _limits(signals, location, joint)

    def sums(block: Signals) -> Any:
        _, *sides = shadow_sides(block, location, joint)
        terms = []
        for side, limit in zip(sides, largest, strict=True):
            size = _size(side.scatter, joint)
            freedom = jnp.broadcast_to(
                jnp.maximum(side.count - 1, 0)[..., None], size.shape
            )
            allowed = limit[:, None] * freedom
            weight = jnp.where(size > allowed, jnp.square(allowed / size), 1)
            terms.append(_widen(weight, joint) * side.scatter)
            terms.append(weight * freedom)
        return jax.tree.map(lambda a: jnp.sum(a, axis=1), tuple(terms))

    in_scatter, in_freedom, out_scatter, out_freedom = _sum_blocks(sums, signals)
    inside = in_scatter / _widen(jnp.maximum(in_freedom, 1), joint)
    outside = out_scatter / _widen(jnp.maximum(out_freedom, 1), joint)
    return Pooled(*_fill_variances(inside, outside, joint), shift)


def fill_side(side: Side, other: Side, shift: Float[Array, "n q"]) -> Side:
    """Returns the side, located at the other side plus ``shift`` where it is empty."""
    empty = (side.count == 0)[..., None]
    return side._replace(
        location=jnp.where(empty, other.location + shift, side.location)
    )


def _limits(signals: Signals, location: str, joint: bool) -> tuple[list[Any], Any]:
    """The largest variance of an example that counts, by side, and the median shift."""
    num_examples = signals.keep.shape[1]
    size = min(NUM_SAMPLED, num_examples)
    columns = np.arange(size) * num_examples // size
    sample = signals.select(examples=columns)
    _, inside, outside = shadow_sides(sample, location, joint)

    def largest(side: Side) -> Any:
        variance = _size(side.scatter, joint)
        variance = variance / jnp.maximum(side.count - 1, 1)[..., None]
        return OUTLIER_FACTOR * median(variance, 1, variance > 0)[:, 0]

    both = (inside.count > 0) & (outside.count > 0)
    shift = inside.location - outside.location
    both = jnp.broadcast_to(both[..., None], shift.shape)
    return [largest(inside), largest(outside)], median(shift, 1, both)[:, 0]


def _size(scatter: Array, joint: bool) -> Array:
    """Scatter by query; of a matrix the mean of its diagonal, as if one query."""
    if not joint:
        return scatter
    return jnp.trace(scatter, axis1=-2, axis2=-1)[..., None] / scatter.shape[-1]


def _widen(values: Array, joint: bool) -> Array:
    """One value a query as it is, or one for all as a [1, 1] matrix."""
    return values[..., None] if joint else values


def _fill_variances(inside: Array, outside: Array, joint: bool) -> tuple[Array, Array]:
    """Both variances, one in place of the other where that is 0; 1 where both are."""

    def filled(variance: Array, other: Array) -> Array:
        variance = jnp.where(_level(variance, joint) > 0, variance, other)
        level = _level(variance, joint)
        if not joint:
            return jnp.where(level > 0, variance, 1)
        identity = jnp.eye(variance.shape[-1], dtype=variance.dtype)[None]
        return jnp.where(level > 0, variance + JITTER * level * identity, identity)

    return filled(inside, outside), filled(outside, inside)


def _level(variance: Array, joint: bool) -> Array:
    """The variance, or of a matrix the mean of its diagonal."""
    return _size(variance, joint)[..., None] if joint else variance


def _sum_blocks(sums: Any, signals: Signals) -> Any:
    """Sum of ``sums(block)`` over blocks of columns, the shorter last one included."""
    size = default_block_size(signals)
    num_blocks, remainder = divmod(signals.phi.shape[1], size)

    def sums_of_block(index: Any) -> Any:
        return sums(take_block(signals, index * size, size))

    by_block = jax.lax.map(sums_of_block, jnp.arange(num_blocks))
    total = jax.tree.map(lambda a: jnp.sum(a, axis=0), by_block)
    if not remainder:
        return total
    rest = sums(take_block(signals, num_blocks * size, remainder))
    return jax.tree.map(jnp.add, total, rest)
