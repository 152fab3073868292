"""Convolution as three JAX primitives that are one another's transposes.

On a CPU, JAX's rules for `lax.conv_general_dilated` are slow: `vmap` over kernels
becomes a grouped convolution, and gradients become convolutions with windows as large
as the image. Here each operation keeps a leading axis of models, `vmap` widens it, and
each transpose is one of the other two operations; so derivatives of any order, forward
and reverse, stay among these three, and the platform that a program is lowered for
says what each becomes: on a CPU `cpu_kernels`, one model after the other; elsewhere
`lax_kernels`, grouped where there are several models.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from sam_jax.models.ensemble_conv import cpu_kernels, lax_kernels
from sam_jax.models.ensemble_conv.geometry import Geometry

# Axes of x, k and g that only one of the two operands has: batching that operand alone
# widens this axis, and the other operand is shared.
BATCH, CHANNELS, FEATURES = "batch", "channels", "features"
AXES = {
    "x": {BATCH: 1, CHANNELS: 4},
    "k": {CHANNELS: 3, FEATURES: 4},
    "g": {BATCH: 1, FEATURES: 4},
}


Kernel: TypeAlias = Callable[..., jax.Array]
"""``kernel(a, b, geo)``: one of the three operations for one model."""


def _shape_of(letter: str, batch: int, channels: int, features: int, geo: Geometry):
    return {
        "x": (batch, *geo.image, channels),
        "k": (*geo.window, channels, features),
        "g": (batch, *geo.out, features),
    }[letter]


def free_sizes(operands: str, shapes: Sequence[Sequence[int]]) -> dict[str, int]:
    """Returns the batch, channels and features of two operands, by their letters."""
    return {
        axis: shape[position]
        for letter, shape in zip(operands, shapes, strict=True)
        for axis, position in AXES[letter].items()
    }


def _split(x: jax.Array, axis: int, size: int) -> jax.Array:
    return x.reshape(*x.shape[:axis], size, -1, *x.shape[axis + 1 :])


def _merge(x: jax.Array, axis: int) -> jax.Array:
    return x.reshape(*x.shape[:axis], -1, *x.shape[axis + 2 :])


@functools.cache
def _compiled(primitive: Primitive, geo: Geometry) -> Any:
    return jax.jit(functools.partial(primitive.bind, geo=geo))


def one_after_another(
    kernel: Kernel, a: jax.Array, b: jax.Array, geo: Geometry
) -> jax.Array:
    """Applies a kernel to each model in turn: one's images stay in the cache."""
    if len(a) == 1:
        return kernel(a[0], b[0], geo)[None]
    return lax.map(lambda one: kernel(*one, geo), (a, b))


def all_at_once(kernel: Kernel, a: jax.Array, b: jax.Array, geo: Geometry) -> jax.Array:
    """Applies a kernel to all models under `vmap`."""
    if len(a) == 1:
        return kernel(a[0], b[0], geo)[None]
    return jax.vmap(functools.partial(kernel, geo=geo))(a, b)


def register_lowering(
    primitive: Primitive, form: Callable[..., jax.Array], platform: str | None
) -> None:
    """Sets what a primitive becomes on a platform; None is for all without a line."""

    def lowered(a: jax.Array, b: jax.Array, *, geo: Geometry) -> jax.Array:
        return form(a, b, geo)

    rule = mlir.lower_fun(lowered, multiple_results=False)
    mlir.register_lowering(primitive, rule, platform=platform)


def _make_primitive(
    name: str, operands: str, result: str, cpu_kernel: Kernel, lax_kernel: Kernel
) -> Primitive:
    """Returns a primitive on two of x [M, B, H, W, C], k and g that gives the third."""
    primitive = Primitive(name)
    primitive.def_impl(lambda a, b, *, geo: _compiled(primitive, geo)(a, b))

    def abstract(a, b, *, geo):
        sizes = free_sizes(operands, (a.shape, b.shape))
        return a.update(shape=(a.shape[0], *_shape_of(result, geo=geo, **sizes)))

    def batch(arrays, axes, *, geo):
        # Both operands are mapped: the new axis joins that of the models.
        if None not in axes:
            moved = [jnp.moveaxis(a, d, 0) for a, d in zip(arrays, axes, strict=True)]
            size = len(moved[0])
            out = primitive.bind(*(_merge(a, 0) for a in moved), geo=geo)
            return _split(out, 0, size), 0
        # One is mapped: the new axis widens one that this operand alone has.
        which = 0 if axes[1] is None else 1
        free = next(
            a for a in AXES[operands[which]] if a not in AXES[operands[1 - which]]
        )
        position = AXES[operands[which]][free]
        wide = jnp.moveaxis(arrays[which], axes[which], position)
        size = wide.shape[position]
        merged = list(arrays)
        merged[which] = _merge(wide, position)
        out = primitive.bind(*merged, geo=geo)
        return _split(out, AXES[result][free], size), AXES[result][free]

    primitive.def_abstract_eval(abstract)
    batching.primitive_batchers[primitive] = batch
    register_lowering(
        primitive, functools.partial(one_after_another, cpu_kernel), "cpu"
    )
    register_lowering(primitive, functools.partial(all_at_once, lax_kernel), None)
    return primitive


conv_p = _make_primitive("ensemble_conv", "xk", "g", cpu_kernels.conv, lax_kernels.conv)
input_gradient_p = _make_primitive(
    "ensemble_conv_input_gradient",
    "gk",
    "x",
    cpu_kernels.input_gradient,
    lax_kernels.input_gradient,
)
kernel_gradient_p = _make_primitive(
    "ensemble_conv_kernel_gradient",
    "xg",
    "k",
    cpu_kernels.kernel_gradient,
    lax_kernels.kernel_gradient,
)


OPERANDS = {conv_p: "xk", input_gradient_p: "gk", kernel_gradient_p: "xg"}
"""The three primitives, with the letters of their operands in `AXES`."""

ad.defbilinear(
    conv_p,
    lambda g, x, k, geo: input_gradient_p.bind(g, k, geo=geo),
    lambda g, x, k, geo: kernel_gradient_p.bind(x, g, geo=geo),
)
ad.defbilinear(
    input_gradient_p,
    lambda x, g, k, geo: conv_p.bind(x, k, geo=geo),
    lambda x, g, k, geo: kernel_gradient_p.bind(x, g, geo=geo),
)
ad.defbilinear(
    kernel_gradient_p,
    lambda k, x, g, geo: input_gradient_p.bind(g, k, geo=geo),
    lambda k, x, g, geo: conv_p.bind(x, k, geo=geo),
)
