"""Medians along an axis, by bisection of the values' bits.

XLA sorts on a CPU at a few million values a second. Counting the values below a bound
takes a pass, and 32 bounds find any order statistic of float32 exactly.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, UInt


def median(
    values: Float[Array, "*shape"],
    axis: int,
    is_valid: Bool[Array, "*shape"] | None = None,
) -> Float[Array, "..."]:
    """Returns the median of the valid values along an axis.

    Args:
        values: float32, none of them NaN.
        axis: Along which to take it; it is kept with length 1.
        is_valid: Which values count; all by default.

    Returns:
        The mean of the two middle values, or the middle one; 0 where none is valid.

    Example:
        >>> median(jnp.array([[3.0, 1.0, 2.0, 9.0]]), axis=1).tolist()
        [[2.5]]
    """
    keys = _ordered_bits(values)
    if is_valid is None:
        is_valid = jnp.ones_like(values, jnp.bool_)
    # No finite value has the largest key.
    keys = jnp.where(is_valid, keys, jnp.uint32(0xFFFFFFFF))
    count = jnp.sum(is_valid, axis, dtype=jnp.int32, keepdims=True)
    lower = _kth_smallest(keys, (count - 1) // 2, axis)
    above = jnp.where(keys > lower, keys, jnp.uint32(0xFFFFFFFF))
    next_above = jnp.min(above, axis, keepdims=True)
    num_up_to = jnp.sum(keys <= lower, axis, dtype=jnp.int32, keepdims=True)
    upper = jnp.where(num_up_to > count // 2, lower, next_above)
    middle = _value_of(lower) / 2 + _value_of(upper) / 2
    return jnp.where(count > 0, middle, 0)


def _kth_smallest(
    keys: UInt[Array, "*shape"], k: Int[Array, "..."], axis: int
) -> UInt[Array, "..."]:
    """The smallest key that more than k keys do not exceed, bit by bit from the top."""

    def step(i: Int[Array, ""], key: UInt[Array, "..."]) -> UInt[Array, "..."]:
        bit = jnp.uint32(1) << (31 - i).astype(jnp.uint32)
        # Were the bit 0, the largest key with these upper bits would be this.
        largest = key | (bit - 1)
        enough = jnp.sum(keys <= largest, axis, dtype=jnp.int32, keepdims=True) > k
        return jnp.where(enough, key, key | bit)

    return jax.lax.fori_loop(0, 32, step, jnp.zeros(k.shape, jnp.uint32))


def _ordered_bits(values: Float[Array, "*shape"]) -> UInt[Array, "*shape"]:
    """Unsigned integers in the order of the float32 values."""
    bits = jax.lax.bitcast_convert_type(values.astype(jnp.float32), jnp.uint32)
    is_negative = bits >> 31 == 1
    return jnp.where(is_negative, ~bits, bits | jnp.uint32(0x80000000))


def _value_of(keys: UInt[Array, "*shape"]) -> Float[Array, "*shape"]:
    """The values of ``_ordered_bits``."""
    is_negative = keys >> 31 == 0
    bits = jnp.where(is_negative, ~keys, keys & jnp.uint32(0x7FFFFFFF))
    return jax.lax.bitcast_convert_type(bits, jnp.float32)
