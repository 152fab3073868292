"""Operations of matrix products and convolutions that a function performs."""

import math
from typing import Any

import jax
from jax.extend import core

from sam_jax.models.ensemble_conv.primitives import OPERANDS, free_sizes


def count_operations(closed: core.ClosedJaxpr) -> int:
    """Returns sums and products of all matrix products and convolutions.

    By their definition, whatever a platform makes of them; a loop counts by its trips,
    of branches the largest. Elementwise work is left out.

    Args:
        closed: From ``jax.make_jaxpr`` or ``jax.jit(...).trace(...).jaxpr``.

    Raises:
        ValueError: If there is a loop without a number of trips.

    Example:
        >>> import jax.numpy as jnp
        >>> twice = lambda x: jax.lax.fori_loop(0, 2, lambda _, y: y @ x, x)
        >>> count_operations(jax.make_jaxpr(twice)(jnp.ones((8, 8))))
        2048
    """
    return _count(closed.jaxpr)


def _count(jaxpr: Any) -> int:
    total = 0
    for equation in jaxpr.eqns:
        name = equation.primitive.name
        inner = [_count(body) for body in _bodies(equation)]
        if name == "scan":
            total += equation.params["length"] * sum(inner)
        # A loop without products in it adds nothing, whatever its trips.
        elif name == "while" and any(inner):
            raise ValueError("loops must have a number of trips to be counted.")
        elif name == "cond":
            total += max(inner)
        elif name == "dot_general":
            total += _dot(equation)
        elif name == "conv_general_dilated":
            total += _convolution(equation)
        elif equation.primitive in OPERANDS:
            total += _ensemble_convolution(equation)
        else:
            total += sum(inner)
    return total


def _bodies(equation: Any) -> list[Any]:
    inner = []
    for leaf in jax.tree.leaves(
        list(equation.params.values()),
        is_leaf=lambda leaf: isinstance(leaf, (core.Jaxpr, core.ClosedJaxpr)),
    ):
        if isinstance(leaf, core.ClosedJaxpr):
            inner.append(leaf.jaxpr)
        elif isinstance(leaf, core.Jaxpr):
            inner.append(leaf)
    return inner


def _dot(equation: Any) -> int:
    (contracted, _), _ = equation.params["dimension_numbers"]
    left = equation.invars[0].aval.shape
    products = math.prod(left[axis] for axis in contracted)
    return 2 * equation.outvars[0].aval.size * products


def _convolution(equation: Any) -> int:
    # An output takes as many products as the kernel has entries for its feature.
    kernel = equation.invars[1].aval
    features = kernel.shape[equation.params["dimension_numbers"].rhs_spec[0]]
    return 2 * equation.outvars[0].aval.size * (kernel.size // features)


def _ensemble_convolution(equation: Any) -> int:
    shapes, geo = [v.aval.shape for v in equation.invars], equation.params["geo"]
    sizes = free_sizes(OPERANDS[equation.primitive], shapes)
    positions = math.prod(geo.out) * math.prod(geo.window)
    return 2 * shapes[0][0] * positions * math.prod(sizes.values())
