"""Convolution of one model and its gradients on a CPU core.

A convolution is the trilinear form ``sum x[window] k g``: of images x, kernel k and
output g, any two give the third (`conv`, `input_gradient`, `kernel_gradient`).

XLA's CPU convolution is fast where the output has many channels and its window is
small. So few output channels are computed as two or four columns at once, from a kernel
as much wider; the input gradient is the output of the flipped kernel; and the kernel
gradient is a convolution of the transposed image with blocks of the transposed gradient
that fit into the cache. What each of these gains is in `benchmarks/README.md`.
"""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from sam_jax.models.ensemble_conv.geometry import Geometry, Sizes, windows

FEW_CHANNELS = 8
"""Fewer input or output channels than this pay for four columns at a time."""

FEW_FEATURES = 16
"""At most this many output channels pay for two columns at a time."""

BLOCK_BYTES = 512 * 1024
"""Output gradients that are one kernel of `lax.conv`: a quarter of a core's cache."""

MOST_PARTS = 8
"""Of an image in the kernel gradient, as each is compiled separately."""


def _pointwise(x: jax.Array, kernel: jax.Array, geo: Geometry) -> jax.Array:
    (seen,) = windows(x, geo)
    return seen @ kernel[0, 0]


def _pointwise_input_gradient(
    g: jax.Array, kernel: jax.Array, geo: Geometry
) -> jax.Array:
    x = jax.ShapeDtypeStruct((len(g), *geo.image, kernel.shape[2]), g.dtype)
    (out,) = jax.linear_transpose(lambda x: windows(x, geo), x)([g @ kernel[0, 0].T])
    return out


def _pointwise_kernel_gradient(x: jax.Array, g: jax.Array, geo: Geometry) -> jax.Array:
    (seen,) = windows(x, geo)
    return jnp.tensordot(seen, g, axes=((0, 1, 2), (0, 1, 2)))[None, None]


def _lax_conv(x: jax.Array, kernel: jax.Array, **settings: Any) -> jax.Array:
    layout = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, kernel, dimension_numbers=layout, **settings)


def _output_columns(features: int, width: int, channels: int) -> int:
    """How many columns of the output are computed as one, with more channels."""
    if min(channels, features) < FEW_CHANNELS and features <= 2 * FEW_FEATURES:
        columns = 4
    else:
        columns = 2 if features <= FEW_FEATURES else 1
    return math.gcd(columns, width)


def _conv_by_columns(x: jax.Array, kernel: jax.Array, geo: Geometry) -> jax.Array:
    features, step = kernel.shape[-1], geo.strides[1]
    columns = _output_columns(features, geo.out[1], kernel.shape[2])
    # The kernel once for each column, moved to where the column's window begins; the
    # copies are channels of one kernel that steps over all of them at once.
    shifts = ((step * n, step * (columns - 1 - n)) for n in range(columns))
    wide = [jnp.pad(kernel, ((0, 0), shift, (0, 0), (0, 0))) for shift in shifts]
    out = _lax_conv(
        x,
        jnp.concatenate(wide, axis=-1),
        window_strides=(geo.strides[0], columns * step),
        padding=geo.pads,
    )
    return out.reshape(len(x), *geo.out, features)


def conv(x: jax.Array, kernel: jax.Array, geo: Geometry) -> jax.Array:
    """Returns the output [B, out_h, out_w, F] of images and kernel."""
    if geo.window == (1, 1):
        return _pointwise(x, kernel, geo)
    return _conv_by_columns(x, kernel, geo)


def _pads(out: Sizes, image: Sizes, window: Sizes, low: Sizes) -> tuple[Sizes, Sizes]:
    """What to add to an image, after ``low``, that a window gives this output."""
    ends = zip(out, image, window, low, strict=True)
    first, second = ((b, o + w - 1 - i - b) for o, i, w, b in ends)
    return first, second


def _output_dilation(geo: Geometry) -> Sizes:
    rows, columns = ((n - 1) * s + 1 for n, s in zip(geo.out, geo.strides, strict=True))
    return rows, columns


def input_gradient(g: jax.Array, kernel: jax.Array, geo: Geometry) -> jax.Array:
    """Returns the gradient [B, H, W, C] of the images."""
    if geo.window == (1, 1):
        return _pointwise_input_gradient(g, kernel, geo)
    if geo.strides != (1, 1) and kernel.shape[2] <= FEW_FEATURES:
        return _input_gradient_by_phases(g, kernel, geo)
    dilation, window = _output_dilation(geo), geo.window
    low = (window[0] - 1 - geo.pads[0][0], window[1] - 1 - geo.pads[1][0])
    pads = _pads(geo.image, dilation, window, low)
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
    # Fill the kernel up to whole strides, and sort its taps by their place between
    # strides into channels, flipped as in any gradient of the images.
    taps = (-(-kh // sh), -(-kw // sw))
    missing = (taps[0] * sh - kh, taps[1] * sw - kw)
    parts = jnp.pad(kernel, (*((0, n) for n in missing), (0, 0), (0, 0)))
    parts = parts.reshape(taps[0], sh, taps[1], sw, channels, features)
    parts = (
        parts[::-1, :, ::-1].transpose(0, 2, 5, 1, 3, 4).reshape(*taps, features, -1)
    )
    # Rows and columns of pixels a stride apart, with the padding at the low ends.
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
    # Channels back to pixels between strides; then the padding is cut off.
    out = out.reshape(len(g), rows, columns, sh, sw, channels)
    out = out.transpose(0, 1, 3, 2, 4, 5).reshape(len(g), rows * sh, columns * sw, -1)
    (top, left), (height, width) = starts, geo.image
    return out[:, top : top + height, left : left + width]


def kernel_gradient(x: jax.Array, g: jax.Array, geo: Geometry) -> jax.Array:
    """Returns the gradient [kh, kw, C, F] of the kernel."""
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
        form = _pointwise_kernel_gradient
    total = jnp.zeros((*geo.window, x.shape[-1], g.shape[-1]), x.dtype)
    for first in range(0, geo.out[0], rows):
        last = min(first + rows, geo.out[0]) - 1
        # What these rows of the output read: rows of the image, and padding beyond.
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
    # Channels take the place of examples and examples that of channels: the output's
    # gradient is the kernel, and steps of the convolution are holes in it.
    low = (geo.pads[0][0], geo.pads[1][0])
    out = _lax_conv(
        x.transpose(3, 1, 2, 0),
        g.transpose(1, 2, 0, 3),
        window_strides=(1, 1),
        padding=_pads(geo.window, geo.image, _output_dilation(geo), low),
        rhs_dilation=geo.strides,
    )
    return out.transpose(1, 2, 0, 3)
