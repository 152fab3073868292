"""Forms of the convolution of one model, and the place where one is chosen.

A convolution is the trilinear form ``sum x[window] k g``. Of images x, kernel k and
output g, two give the third: `CONV` (x, k), `INPUT_GRADIENT` (g, k) and
`KERNEL_GRADIENT` (x, g). Each has a form for the CPU and one for everything else.

CPU, one core of a Xeon with AVX-512, float32, jax 0.10.2, GFLOP/s of processor time,
batch 64, 3 x 3 (`benchmarks/convolution.py` measures the current forms; a matrix
product of 1024 x 1024 reaches 150 to 165 there):

    image, channels     32 x 32 x 16 -> 16   16 x 16 x 32 -> 32   8 x 8 x 64 -> 64
    output              `lax.conv` of one column at a time 76, 174, 179; of two columns
                        121, 131, 128; patches 7, 19, 96
    kernel gradient     `lax.conv` of the transposed image with blocks of the transposed
                        gradient as its kernel 73, 115, 120, and a fifth faster for the
                        first image in blocks of more examples and fewer rows; of all at
                        once 35, 56, 126; patches in blocks 39, 61, 97; what JAX derives
                        23, 45, 100, but for the first image below 1 in a `scan` and 6
                        under `vmap`

The input gradient is the output of the flipped kernel. With strides it is `lax.conv`
with zeros between the pixels (1.6 ms for 32 channels of input, 1.1 ms for 64), but
where there are few channels to fill the registers with (6.5 ms for 16), one dense
convolution with a part of its channels for each phase of the strides (1.6 ms). Two or
four columns of the output at a time, from a kernel as much wider, fill the vector
registers where there are few output channels, and cost less than what they add in
products with zero. Models follow one another, as their weights and images then stay in
the cache. Elsewhere (GPU, TPU) the models are batched and all three are matrix products
over patches; this is a choice by reasoning, not by measurement.
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
"""Fewer input or output channels than this pay for four columns at a time."""

FEW_FEATURES = 16
"""At most this many output channels pay for two columns at a time."""

BLOCK_BYTES = 512 * 1024
"""Output gradients that are one kernel of `lax.conv`: a quarter of a core's cache."""

MOST_PARTS = 8
"""Of an image in the kernel gradient, as each is compiled on its own."""

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


def output_columns(features: int, width: int, channels: int = FEW_CHANNELS) -> int:
    """How many columns of the output are computed as one, with more channels."""
    if min(channels, features) < FEW_CHANNELS and features <= 2 * FEW_FEATURES:
        columns = 4
    else:
        columns = 2 if features <= FEW_FEATURES else 1
    return math.gcd(columns, width)


def _conv_by_columns(x: jax.Array, kernel: jax.Array, geo: Geometry) -> jax.Array:
    features, step = kernel.shape[-1], geo.strides[1]
    columns = output_columns(features, geo.out[1], kernel.shape[2])
    shifts = ((step * n, step * (columns - 1 - n)) for n in range(columns))
    wide = [jnp.pad(kernel, ((0, 0), shift, (0, 0), (0, 0))) for shift in shifts]
    out = _lax_conv(
        x,
        jnp.concatenate(wide, axis=-1),
        window_strides=(geo.strides[0], columns * step),
        padding=geo.pads,
    )
    return out.reshape(len(x), *geo.out, features)


def _cpu_conv(x: jax.Array, kernel: jax.Array, geo: Geometry) -> jax.Array:
    if geo.window == (1, 1):
        return _conv_by_patches(x, kernel, geo)
    return _conv_by_columns(x, kernel, geo)


def _pads(out: Sizes, image: Sizes, window: Sizes, low: Sizes) -> tuple[Sizes, Sizes]:
    """What to add to an image, after ``low``, that a window gives this output."""
    ends = zip(out, image, window, low, strict=True)
    first, second = ((b, o + w - 1 - i - b) for o, i, w, b in ends)
    return first, second


def _spread_out(geo: Geometry) -> Sizes:
    rows, columns = ((n - 1) * s + 1 for n, s in zip(geo.out, geo.strides, strict=True))
    return rows, columns


def _cpu_input_gradient(g: jax.Array, kernel: jax.Array, geo: Geometry) -> jax.Array:
    if geo.window == (1, 1):
        return _input_gradient_by_patches(g, kernel, geo)
    if geo.strides != (1, 1) and kernel.shape[2] <= FEW_FEATURES:
        return _input_gradient_by_phases(g, kernel, geo)
    spread, window = _spread_out(geo), geo.window
    low = (window[0] - 1 - geo.pads[0][0], window[1] - 1 - geo.pads[1][0])
    pads = _pads(geo.image, spread, window, low)
    flipped = kernel[::-1, ::-1].transpose(0, 1, 3, 2)
    if geo.strides == (1, 1):
        return _conv_by_columns(g, flipped, Geometry(geo.out, window, (1, 1), pads))
    return _lax_conv(
        g, flipped, window_strides=(1, 1), padding=pads, lhs_dilation=geo.strides
    )


def _input_gradient_by_phases(
    g: jax.Array, kernel: jax.Array, geo: Geometry
) -> jax.Array:
    """All pixels that lie alike between strides come from one part of the kernel.

    So each part is some channels of one dense convolution, whose output is sorted into
    the image.
    """
    (kh, kw), (sh, sw) = geo.window, geo.strides
    channels, features = kernel.shape[2:]
    taps = (-(-kh // sh), -(-kw // sw))
    missing = (taps[0] * sh - kh, taps[1] * sw - kw)
    parts = jnp.pad(kernel, (*((0, n) for n in missing), (0, 0), (0, 0)))
    parts = parts.reshape(taps[0], sh, taps[1], sw, channels, features)
    parts = (
        parts[::-1, :, ::-1].transpose(0, 2, 5, 1, 3, 4).reshape(*taps, features, -1)
    )
    starts = (geo.pads[0][0], geo.pads[1][0])
    ends = zip(geo.image, starts, geo.strides, strict=True)
    rows, columns = (-(-(n + start) // s) for n, start, s in ends)
    low = (taps[0] - 1, taps[1] - 1)
    out = _lax_conv(
        g,
        parts,
        window_strides=(1, 1),
        padding=_pads((rows, columns), geo.out, taps, low),
    )
    out = out.reshape(len(g), rows, columns, sh, sw, channels)
    out = out.transpose(0, 1, 3, 2, 4, 5).reshape(len(g), rows * sh, columns * sw, -1)
    (top, left), (height, width) = starts, geo.image
    return out[:, top : top + height, left : left + width]


def _cpu_kernel_gradient(x: jax.Array, g: jax.Array, geo: Geometry) -> jax.Array:
    if geo.window == (1, 1):
        (x,) = windows(x, geo)
        geo = Geometry(geo.out, geo.window, (1, 1), ((0, 0), (0, 0)))
    examples, rows = _block(g)
    if examples == len(g):
        return _kernel_gradient_by_rows(x, g, geo, rows)

    def add(total: jax.Array, start: jax.Array) -> tuple[jax.Array, None]:
        seen, part = (lax.dynamic_slice_in_dim(a, start, examples) for a in (x, g))
        return total + _kernel_gradient_by_rows(seen, part, geo, rows), None

    zeros = jnp.zeros((*geo.window, x.shape[-1], g.shape[-1]), x.dtype)
    return lax.scan(add, zeros, jnp.arange(0, len(g), examples, dtype=jnp.int32))[0]


def _kernel_gradient_by_rows(
    x: jax.Array, g: jax.Array, geo: Geometry, rows: int
) -> jax.Array:
    form = _kernel_gradient_by_conv
    if geo.window == (1, 1):
        form = _kernel_gradient_by_patches
    total = jnp.zeros((*geo.window, x.shape[-1], g.shape[-1]), x.dtype)
    for first in range(0, geo.out[0], rows):
        last = min(first + rows, geo.out[0]) - 1
        top = first * geo.strides[0] - geo.pads[0][0]
        bottom = last * geo.strides[0] - geo.pads[0][0] + geo.window[0]
        pads = (max(-top, 0), max(bottom - geo.image[0], 0))
        seen = x[:, max(top, 0) : min(bottom, geo.image[0])]
        part = dataclasses.replace(
            geo, image=(seen.shape[1], geo.image[1]), pads=(pads, geo.pads[1])
        )
        total = total + form(seen, g[:, first : last + 1], part)
    return total


def _block(g: jax.Array) -> Sizes:
    """How many examples, and how many rows of them, are one kernel of `lax.conv`.

    At least two blocks of examples: XLA fuses the transposition of a whole image with
    all that led to it, in an order that is slow for both. And more than
    `FEW_FEATURES` examples where there are no more features, as `lax.conv` has its
    fast path for more of either: so of fewer rows.
    """
    batch, height, _, features = g.shape
    fitting = max(4, BLOCK_BYTES * batch // (g.size * g.dtype.itemsize))
    few = features <= FEW_FEATURES
    if few:
        fitting = max(fitting, 2 * FEW_FEATURES)
    fitting = min(fitting, max(batch // 2, 1))
    examples = max(n for n in range(1, batch + 1) if batch % n == 0 and n <= fitting)
    block_bytes = g.size * g.dtype.itemsize * examples // batch
    parts = min(-(-block_bytes // BLOCK_BYTES), MOST_PARTS) if few else 1
    return examples, -(-height // parts)


def _kernel_gradient_by_conv(x: jax.Array, g: jax.Array, geo: Geometry) -> jax.Array:
    low = (geo.pads[0][0], geo.pads[1][0])
    out = _lax_conv(
        x.transpose(3, 1, 2, 0),
        g.transpose(1, 2, 0, 3),
        window_strides=(1, 1),
        padding=_pads(geo.window, geo.image, _spread_out(geo), low),
        rhs_dilation=geo.strides,
    )
    return out.transpose(1, 2, 0, 3)


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
