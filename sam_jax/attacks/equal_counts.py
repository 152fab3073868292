"""Shadow models in numbers that do not tell whether the target is a member.

Of M models let K have trained on an example. A member is compared with the K - 1 other
'in' models and M - K 'out' models, a non-member with K and M - K - 1: where the design
of the mask fixes K (balanced masks, folds), every statistic whose distribution depends
on the number of models reads the target's membership from the mask alone.

So one more model is left out: for a member an 'out' model, for a non-member an 'in'
model, and both are compared with K - 1 'in' and M - K - 1 'out' models. On noise
(models exchangeable given the example) members and non-members then have scores of one
distribution exactly, whatever the noise and the attack. Where the bits of the mask are
independent the numbers tell nothing already, and nothing more is left out. Between the
two, one more model is left out as often as makes the distributions of the numbers
equal: the monotone coupling of the 'in' models of members and of non-members.

A mask whose K varies more than that of independent bits (examples of very different
rates) tells members by their rate; no model left out could hide that.

A target from outside was not drawn with the mask: its row is True for every example in
question, members or not, and False for the population. All K and M - K shadow models
are then compared with, whatever the target trained on.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from sam_jax.types import Signals


class LeftOut(NamedTuple):
    """The model left out of each group for one target: itself where it is of the group.

    A target that is not of the group stands for nothing left out.
    """

    inside: Int[Array, "n"]
    outside: Int[Array, "n"]


def fit_matching(
    keep: Bool[Array | np.ndarray, "m n"], target: Any = None
) -> Float[Array, "2 m"]:
    """Returns how often one more model is left out, by membership and 'in' models.

    Row 0 is for non-members, row 1 for members, column j for j other 'in' models; only
    examples that some models had and some had not are counted, as in the metrics.

    Args:
        keep: The mask.
        target: The model to attack; one from outside leaves out nothing.
    """
    num_models = keep.shape[0]
    num_in = jnp.sum(keep, axis=0, dtype=jnp.int32)
    varies = ((num_in > 0) & (num_in < num_models)).astype(jnp.int32)
    examples = jnp.zeros(num_models + 1, jnp.int32).at[num_in].add(varies)
    count = jnp.arange(num_models + 1, dtype=jnp.int32)
    pairs = jnp.stack([(num_models - count) * examples, count * examples])
    # A member's j others are one model fewer than its example has.
    others = jnp.stack([pairs[0, :-1], pairs[1, 1:]]).astype(jnp.float32)
    total = jnp.maximum(jnp.sum(others, axis=1, keepdims=True), 1)
    high = jnp.cumsum(others, axis=1) / total
    low = jnp.concatenate([jnp.zeros((2, 1), high.dtype), high[:, :-1]], axis=1)
    # At quantile u a member has j others and a non-member has j': one more is left
    # out where j' > j. For non-members that is u below the members' cdf at j - 1.
    non_member = jnp.clip(low[1], low[0], high[0]) - low[0]
    member = high[1] - jnp.clip(high[0], low[1], high[1])
    width = high - low
    share = jnp.stack([non_member, member]) / jnp.where(width > 0, width, 1)
    leaves_out = width > 0
    if target is not None:
        keep = jnp.asarray(keep)
        leaves_out &= jnp.any(keep[target] != jnp.any(keep, axis=0))
    return jnp.where(leaves_out, share, 0)


def left_out(
    probability: Float[Array, "2 m"], signals: Signals, target: Any
) -> LeftOut:
    """Returns the model that each example leaves out of each group for a target.

    The extra model is the next one of its group in order, from the first again after
    the last. Where chance decides, its source is the example's phi, so that scores do
    not depend on the order of the examples or on blocks.
    """
    keep = jnp.asarray(signals.keep)
    is_in = keep[target]
    num_others = jnp.sum(keep, axis=0, dtype=jnp.int32) - is_in.astype(jnp.int32)
    num_others = jnp.minimum(num_others, len(keep) - 1)
    chance = probability[is_in.astype(jnp.int32), num_others]
    is_more = pseudo_uniform(signals) < chance

    def left_out_of(group: Bool[Array, "m n"]) -> Int[Array, "n"]:
        partner = _next_of_group(group)[target]
        is_partner = ~group[target] & is_more & (partner < len(keep))
        return jnp.where(is_partner, partner, jnp.asarray(target, partner.dtype))

    return LeftOut(left_out_of(keep), left_out_of(~keep))


def _next_of_group(group: Bool[Array, "m n"]) -> Int[Array, "m n"]:
    """The first model of the group from each model on, cyclically; M where none is."""
    num_models = len(group)
    model = jnp.arange(num_models, dtype=jnp.int32)[:, None]
    index = jnp.where(group, model, num_models)
    following = jax.lax.cummin(index, axis=0, reverse=True)
    first = jnp.min(index, axis=0, keepdims=True)
    return jnp.where(following < num_models, following, first)


def take_rows(rows: Any, models: Int[Array, "n"]) -> Any:
    """Returns each example's row for the model left out of it, from [M, N, ...]."""

    def take(leaf: Array) -> Array:
        index = models.reshape((1, -1) + (1,) * (leaf.ndim - 2))
        return jnp.take_along_axis(leaf, index, axis=0)[0]

    return jax.tree.map(take, rows)


def pseudo_uniform(signals: Signals) -> Float[Array, "n"]:
    """Returns a number in [0, 1) for each example, mixed from the bits of its phi."""
    phi = jnp.asarray(signals.phi)[..., 0].astype(jnp.float32)
    bits = jax.lax.bitcast_convert_type(phi, jnp.uint32)
    # Odd factors lose no bits, and a different one marks each model's place.
    weight = 2 * jnp.arange(len(phi), dtype=jnp.uint32) + jnp.uint32(0x9E3779B9)
    mixed = jnp.sum(_mix(bits) * weight[:, None], axis=0, dtype=jnp.uint32)
    # 24 bits are a float32 exactly, so that the result stays below 1.
    return (_mix(mixed) >> 8).astype(jnp.float32) * 2.0**-24


def _mix(bits: Array) -> Array:
    """The finaliser of MurmurHash3: every bit of the input moves half of the output."""
    bits = (bits ^ (bits >> 16)) * jnp.uint32(0x85EBCA6B)
    bits = (bits ^ (bits >> 13)) * jnp.uint32(0xC2B2AE35)
    return bits ^ (bits >> 16)
