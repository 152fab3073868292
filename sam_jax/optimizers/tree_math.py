"""Vector algebra on pytrees of arrays: a whole tree is one vector.

Scalars take the dtype of the leaf that they scale, so no leaf changes its dtype. A
vector without a direction (norm 0, or so small that its square rounds to 0) stays 0
when it is normalised, never NaN.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from sam_jax.types import Params


def orthogonal(tree: Params, reference: Params) -> Params:
    """The part of ``tree`` orthogonal to ``reference``; all of it if that is 0."""
    factor = reciprocal(norm(reference))
    return add(tree, -(dot(tree, reference) * factor) * factor, reference)


def with_norm(length: ArrayLike, tree: Params) -> Params:
    """``tree`` rescaled to a norm; 0 where it has no direction."""
    factor = reciprocal(norm(tree))
    return scale(jnp.asarray(length, factor.dtype) * factor, tree)


def reciprocal(norm: Float[Array, "..."]) -> Float[Array, "..."]:
    """``1 / norm``, and 0 where the norm is 0."""
    return jnp.where(norm > 0, 1 / jnp.maximum(norm, jnp.finfo(norm.dtype).tiny), 0)


def norm(tree: Params) -> Float[Array, ""]:
    return jnp.sqrt(dot(tree, tree))


def dot(tree: Params, other: Params) -> Float[Array, ""]:
    """Inner product over all leaves, in the widest of their dtypes."""
    # As a matrix product: XLA's CPU adds up the terms of a sum one by one.
    flat = lambda x, y: jnp.vdot(x, y, precision=jax.lax.Precision.HIGHEST)
    products = jax.tree.leaves(jax.tree.map(flat, tree, other))
    wide = any(p.dtype == jnp.float64 for p in products)
    dtype = jnp.float64 if wide else jnp.float32
    return sum((p.astype(dtype) for p in products), start=jnp.zeros((), dtype))


def scale(factor: ArrayLike, tree: Params) -> Params:
    return jax.tree.map(lambda x: jnp.asarray(factor, x.dtype) * x, tree)


def add(tree: Params, factor: ArrayLike, other: Params) -> Params:
    """``tree + factor * other``, in the dtypes of ``tree``."""
    return jax.tree.map(jnp.add, tree, scale(factor, other))


def widen(tree: Params) -> Params:
    """The leaves as float32, or float64 where they are."""

    def widen(x):
        x = jnp.asarray(x)
        return x if x.dtype == jnp.float64 else x.astype(jnp.float32)

    return jax.tree.map(widen, tree)


def cast_like(tree: Params, like: Params) -> Params:
    return jax.tree.map(lambda x, y: x.astype(jnp.asarray(y).dtype), tree, like)
