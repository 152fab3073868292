"""Forms of the convolution of one model, and the place where one is chosen.

A convolution is the trilinear form ``sum x[window] k g``. Of images x, kernel k and
output g, two give the third: `CONV` (x, k), `INPUT_GRADIENT` (g, k) and
`KERNEL_GRADIENT` (x, g). Each has a form for the CPU and one for everything else.

CPU, one core of an EPYC Milan, float32, jax 0.10.2, GFLOP/s of processor time at 14 x
14 x 16 -> 32, 32 x 32 x 16 -> 16 and 8 x 8 x 64 -> 64 (batch 32, 3 x 3; a plain product
of these shapes reaches 40 to 75):

    output           `lax.conv` 80, 50, 78; patches 56, 5, 44; shifted sums 26, 35, 61
    input gradient   `lax.conv` of the flipped kernel 79, 30, 74; transposed patches 58,
                     22, 49; what JAX derives for `lax.conv` 4, 5, 29
    kernel gradient  patches in blocks that fit the cache 47, 28, 46; all at once 39, 5,
                     32; what JAX derives for `lax.conv` 1, 1, 1

With 1 or 3 input channels patches win (20 against 10), and for the kernel gradient
windows as rows (30 against 12). Models follow one another, as their weights and images
then stay in the cache. Elsewhere (GPU, TPU) the models are batched and all three are
matrix products over patches; this is a choice by reasoning, not by measurement.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

FEW_CHANNELS = 8
"""Below this many input channels the CPU gathers patches instead of `lax.conv`."""

BLOCK_BYTES = 256 * 1024
"""Patches gathered at a time for the kernel gradient: half the cache of one core."""

Sizes = tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Geometry:
    """Shape of a convolution: height and width of each of its parts."""

    image: Sizes
    window: Sizes
    strides: Sizes
    pads: tuple[Sizes, Sizes]

    @property
    def out(self) -> Sizes:
        """Height and width of the output."""
        heights = zip(self.image, self.pads, self.window, self.strides, strict=True)
        out_h, out_w = ((n + sum(p) - k) // s + 1 for n, p, k, s in heights)
        return out_h, out_w


def windows(x: jax.Array, geo: Geometry) -> list[jax.Array]:
    """Returns the padded images x [B, H, W, C] at each place in the window, in rows."""
    if any(map(sum, geo.pads)):
        x = jnp.pad(x, ((0, 0), *geo.pads, (0, 0)))
    (kh, kw), (sh, sw), (out_h, out_w) = geo.window, geo.strides, geo.out
    return [
        x[:, i : i + (out_h - 1) * sh + 1 : sh, j : j + (out_w - 1) * sw + 1 : sw]
        for i in range(kh)
        for j in range(kw)
    ]


def patches(x: jax.Array, geo: Geometry) -> jax.Array:
    """Returns what each output position sees: [B, out_h, out_w, kh * kw * C]."""
    return jnp.concatenate(windows(x, geo), axis=-1)


def _conv_by_patches(x: jax.Array, kernel: jax.Array, geo: Geometry) -> jax.Array:
    return patches(x, geo) @ kernel.reshape(-1, kernel.shape[-1])


def _input_gradient_by_patches(
    g: jax.Array, kernel: jax.Array, geo: Geometry
) -> jax.Array:
    x = jax.ShapeDtypeStruct((len(g), *geo.image, kernel.shape[2]), g.dtype)
    (scattered,) = jax.linear_transpose(lambda x: patches(x, geo), x)(
        g @ kernel.reshape(-1, kernel.shape[-1]).T
    )
    return scattered


def _kernel_gradient_by_patches(x: jax.Array, g: jax.Array, geo: Geometry) -> jax.Array:
    flat = jnp.tensordot(patches(x, geo), g, axes=((0, 1, 2), (0, 1, 2)))
    return flat.reshape(*geo.window, x.shape[-1], g.shape[-1])


def _lax_conv(x: jax.Array, kernel: jax.Array, **settings: Any) -> jax.Array:
    layout = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, kernel, dimension_numbers=layout, **settings)


def _cpu_conv(x: jax.Array, kernel: jax.Array, geo: Geometry) -> jax.Array:
    if geo.window == (1, 1) or x.shape[-1] < FEW_CHANNELS:
        return _conv_by_patches(x, kernel, geo)
    return _lax_conv(x, kernel, window_strides=geo.strides, padding=geo.pads)


def _cpu_input_gradient(g: jax.Array, kernel: jax.Array, geo: Geometry) -> jax.Array:
    if geo.window == (1, 1):
        return _input_gradient_by_patches(g, kernel, geo)
    pads = []
    for axis in range(2):
        spread = (geo.out[axis] - 1) * geo.strides[axis] + 1
        low = geo.window[axis] - 1 - geo.pads[axis][0]
        high = geo.image[axis] + geo.window[axis] - 1 - low - spread
        pads.append((low, high))
    flipped = kernel[::-1, ::-1].transpose(0, 1, 3, 2)
    return _lax_conv(
        g, flipped, window_strides=(1, 1), padding=pads, lhs_dilation=geo.strides
    )


def _cpu_kernel_gradient(x: jax.Array, g: jax.Array, geo: Geometry) -> jax.Array:
    if geo.window == (1, 1):
        return _kernel_gradient_by_patches(x, g, geo)
    channels, features = x.shape[-1], g.shape[-1]
    if channels < FEW_CHANNELS:
        rows = jnp.stack([w.transpose(3, 0, 1, 2) for w in windows(x, geo)])
        flat = rows.reshape(-1, len(x) * math.prod(geo.out)) @ g.reshape(-1, features)
        return flat.reshape(*geo.window, channels, features)
    kernel_bytes = math.prod(geo.window) * channels * features * x.dtype.itemsize
    image_bytes = kernel_bytes // features * math.prod(geo.out)
    fitting = max(1, max(BLOCK_BYTES, 2 * kernel_bytes) // image_bytes)
    block = max(n for n in range(1, len(x) + 1) if len(x) % n == 0 and n <= fitting)
    if block == len(x):
        return _kernel_gradient_by_patches(x, g, geo)

    def add(total, start):
        some_x, some_g = (lax.dynamic_slice_in_dim(a, start, block) for a in (x, g))
        return total + _kernel_gradient_by_patches(some_x, some_g, geo), None

    zeros = jnp.zeros((*geo.window, channels, features), x.dtype)
    return lax.scan(add, zeros, jnp.arange(0, len(x), block, dtype=jnp.int32))[0]


def _in_turn(form: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    def over_models(a: jax.Array, b: jax.Array, geo: Geometry) -> jax.Array:
        if len(a) == 1:
            return form(a[0], b[0], geo)[None]
        return lax.map(lambda one: form(*one, geo), (a, b))

    return over_models


def _together(form: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    return lambda a, b, geo: jax.vmap(functools.partial(form, geo=geo))(a, b)


@dataclasses.dataclass(frozen=True)
class Forms:
    """One operation on operands with a leading axis of models, by backend."""

    cpu: Callable[[jax.Array, jax.Array, Geometry], jax.Array]
    default: Callable[[jax.Array, jax.Array, Geometry], jax.Array]


CONV = Forms(_in_turn(_cpu_conv), _together(_conv_by_patches))
INPUT_GRADIENT = Forms(
    _in_turn(_cpu_input_gradient), _together(_input_gradient_by_patches)
)
KERNEL_GRADIENT = Forms(
    _in_turn(_cpu_kernel_gradient), _together(_kernel_gradient_by_patches)
)
