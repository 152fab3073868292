"""Vector algebra on pytrees of arrays: a whole tree is one vector.

Scalars take the dtype of the leaf that they scale, so no leaf changes its dtype. Norms
are right from the smallest to the largest float: where the squares would leave the
range, the tree is first multiplied by a power of two, which rounds nothing. A vector
without a direction (norm 0) stays 0 when it is normalised, never NaN. Sums run over
each leaf as it lies, so a leaf that is sharded over devices is never gathered.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from sam_jax.types import Params


class Length(NamedTuple):
    """The norm of a tree, ``scaled / factor``, which itself may exceed every float.

    Attributes:
        scaled: Norm of ``factor * tree``.
        factor: A power of two; 1 unless squares would overflow or vanish.
    """

    scaled: Float[Array, "*models"]
    factor: Float[Array, "*models"]


@jax.custom_jvp
def length(tree: Params) -> Length:
    """The norm of a tree, in the widest dtype of its leaves and at least float32."""
    return _length(tree)


@length.defjvp
def _length_jvp(
    primals: tuple[Params], tangents: tuple[Params]
) -> tuple[Length, Length]:
    # `_length` has no reverse mode; the derivative x/|x| needs none.
    value = length(primals[0])
    tree, tangent = (scale(value.factor, t) for t in (primals[0], tangents[0]))
    slope = dot(tree, tangent) * reciprocal(value.scaled)
    return value, Length(slope, jnp.zeros_like(value.factor))


@jax.custom_batching.custom_vmap
def _length(tree: Params) -> Length:
    sum_of_squares = functools.partial(_sum_of_squares, tree)
    return _in_range(sum_of_squares, jnp.ones((), _widest(tree)))


@_length.def_vmap
def _lengths(axis_size: int, is_batched: list[Params], tree: Params) -> Any:
    # Under vmap a branch becomes both sides. Here the models are an axis, so that it
    # stays one, taken where any model needs it.
    axes = jax.tree.map(lambda batched: 0 if batched else None, is_batched[0])
    many = jax.vmap(_sum_of_squares, (axes, 0), axis_size=axis_size)
    result = _in_range(
        functools.partial(many, tree), jnp.ones(axis_size, _widest(tree))
    )
    return result, jax.tree.map(lambda _: True, result)


def _in_range(sum_of_squares: Callable[[Array], Array], ones: Array) -> Length:
    """The norms from sums of squares, summed again where those leave the range."""
    total = sum_of_squares(ones)
    factor = _range_factor(total)
    # A branch: a loop of at most one round costs LookSAM a fifth more.
    total = jax.lax.cond(
        jnp.any(factor != 1),
        lambda: jnp.where(factor == 1, total, sum_of_squares(factor)),
        lambda: total,
    )
    return Length(jnp.sqrt(total), factor)


def norm(tree: Params) -> Float[Array, ""]:
    """The norm as one number; infinite where it exceeds the largest float."""
    scaled, factor = length(tree)
    return scaled / factor


def with_norm(length_wanted: ArrayLike, tree: Params) -> Params:
    """``tree`` rescaled to a norm; 0 where it has no direction."""
    scaled, factor = length(tree)
    step = jnp.asarray(length_wanted, scaled.dtype) * reciprocal(scaled)
    return scale(step, scale(factor, tree))


def at_most(limit: ArrayLike, tree: Params) -> Params:
    """``tree``, rescaled to the norm ``limit`` where it is longer."""
    longer = norm(tree) > jnp.asarray(limit, _widest(tree))
    shortened = with_norm(limit, tree)
    return jax.tree.map(lambda x, y: jnp.where(longer, x, y), shortened, tree)


def multiple(tree: Params, reference: Params) -> Float[Array, ""]:
    """The ``a`` for which ``a * reference`` is nearest to ``tree``; 0 if that is 0."""
    a, tree_factor, reference_factor = _scaled_multiple(tree, reference)
    return a * reference_factor / tree_factor


def orthogonal(tree: Params, reference: Params) -> Params:
    """The part of ``tree`` orthogonal to ``reference``; all of it if that is 0."""
    a, tree_factor, reference_factor = _scaled_multiple(tree, reference)
    parallel = scale(-a, scale(reference_factor, reference))
    return jax.tree.map(jnp.add, tree, scale(1 / tree_factor, parallel))


def _scaled_multiple(tree: Params, reference: Params) -> tuple[Array, Array, Array]:
    """``multiple`` of the two scaled trees, and the factors that scale them."""
    tree_factor, (scaled, factor) = length(tree).factor, length(reference)
    inner = dot(scale(tree_factor, tree), scale(factor, reference))
    inverse = reciprocal(scaled)
    return inner * inverse * inverse, tree_factor, factor


def reciprocal(norm: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """``1 / norm``, and 0 where the norm is 0."""
    return jnp.where(norm > 0, 1 / jnp.maximum(norm, jnp.finfo(norm.dtype).tiny), 0)


def dot(tree: Params, other: Params) -> Float[Array, ""]:
    """Inner product over all leaves, in the widest of their dtypes."""
    dtype = _widest(tree)

    def multiply(x: Array, y: Array) -> Array:
        return jnp.sum(x.astype(dtype) * y.astype(dtype))

    products = jax.tree.leaves(jax.tree.map(multiply, tree, other))
    return sum(products, start=jnp.zeros((), dtype))


def scale(factor: ArrayLike, tree: Params) -> Params:
    """``factor * tree``."""
    return jax.tree.map(lambda x: jnp.asarray(factor, x.dtype) * x, tree)


def add(tree: Params, factor: ArrayLike, other: Params) -> Params:
    """``tree + factor * other``, in the dtypes of ``tree``."""
    return jax.tree.map(jnp.add, tree, scale(factor, other))


def widen(tree: Params) -> Params:
    """The leaves as float32, or float64 where they are."""

    def widened(x: ArrayLike) -> Array:
        x = jnp.asarray(x)
        return x if x.dtype == jnp.float64 else x.astype(jnp.float32)

    return jax.tree.map(widened, tree)


def cast_like(tree: Params, like: Params) -> Params:
    """``tree`` in the dtypes of ``like``."""
    return jax.tree.map(lambda x, y: x.astype(jnp.asarray(y).dtype), tree, like)


def _widest(tree: Params) -> jnp.dtype:
    wide = any(x.dtype == jnp.float64 for x in jax.tree.leaves(tree))
    return jnp.dtype(jnp.float64 if wide else jnp.float32)


def _sum_of_squares(tree: Params, factor: Float[Array, ""]) -> Float[Array, ""]:
    squares = [
        jnp.sum(jnp.square(x.astype(factor.dtype) * factor))
        for x in jax.tree.leaves(tree)
    ]
    return sum(squares, start=jnp.zeros((), factor.dtype))


def _range_factor(total: Float[Array, "*models"]) -> Float[Array, "*models"]:
    """The power of two by which a tree is scaled, from its plain sum of squares."""
    # In float32: times 2**64 below 2**-60, times 2**-96 from 2**100 on (or NaN).
    exponent = jnp.finfo(total.dtype).maxexp
    small = total < 2.0 ** (4 - exponent // 2)
    large = ~(total < 2.0 ** (exponent - 28))
    up, down = 2.0 ** (exponent // 2), 2.0 ** (-3 * exponent // 4)
    factor = jnp.where(small, up, jnp.where(large, down, 1.0))
    return factor.astype(total.dtype)
