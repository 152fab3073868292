"""Pooling whose gradient is fast everywhere: no scatter, and no images with holes.

The gradient of `lax.reduce_window` with a maximum is a scatter. Windows that lie side
by side are axes of a reshaped image here, and others strided slices.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from sam_jax.models.ensemble_conv.geometry import (
    Geometry,
    Sizes,
    make_geometry,
    windows,
)


def max_pool(
    x: Float[Array, "b h w c"],
    window_shape: int | Sequence[int] = 2,
    strides: int | Sequence[int] | None = None,
    padding: str = "VALID",
) -> Float[Array, "b out_h out_w c"]:
    """Returns the maximum over windows.

    Where windows lie side by side, the first of entries that tie takes the gradient, as
    in PyTorch and `lax.reduce_window`; where they overlap, such entries share it.

    Args:
        x: Images, NHWC.
        window_shape: Height and width of a window, or one number for both.
        strides: Steps between windows; None puts them side by side.
        padding: As in `conv`; what it adds is never the maximum.

    Raises:
        ValueError: If ``padding`` is unknown or the window exceeds the padded image.

    Example:
        >>> max_pool(jnp.arange(16.0).reshape(1, 4, 4, 1)).ravel().tolist()
        [5.0, 7.0, 13.0, 15.0]
    """
    geo = _pool_geometry(x, window_shape, strides, padding)
    if geo.window == geo.strides and not any(map(sum, geo.pads)):
        rows, columns = (n * k for n, k in zip(geo.out, geo.window, strict=True))
        return _max_of_blocks(x[:, :rows, :columns], geo.window)
    return functools.reduce(jnp.maximum, _pool_windows(x, geo, -jnp.inf))


def avg_pool(
    x: Float[Array, "b h w c"],
    window_shape: int | Sequence[int] = 2,
    strides: int | Sequence[int] | None = None,
    padding: str = "VALID",
) -> Float[Array, "b out_h out_w c"]:
    """Returns the mean over windows; zeros beyond the border count as entries.

    Args:
        x: Images, NHWC.
        window_shape: Height and width of a window, or one number for both.
        strides: Steps between windows; None puts them side by side.
        padding: As in `conv`.

    Raises:
        ValueError: If ``padding`` is unknown or the window exceeds the padded image.
    """
    geo = _pool_geometry(x, window_shape, strides, padding)
    shifted = _pool_windows(x, geo, 0.0)
    return functools.reduce(jnp.add, shifted) * (1 / len(shifted))


def _pool_geometry(
    x: jax.Array, window_shape: Any, strides: Any, padding: str
) -> Geometry:
    steps = window_shape if strides is None else strides
    return make_geometry(x, window_shape, steps, padding)


def _pool_windows(x: jax.Array, geo: Geometry, fill: float) -> list[jax.Array]:
    if any(map(sum, geo.pads)):
        x = jnp.pad(x, ((0, 0), *geo.pads, (0, 0)), constant_values=fill)
        geo = make_geometry(x, geo.window, geo.strides, "VALID")
    return windows(x, geo)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _max_of_blocks(x: jax.Array, window: Sizes) -> jax.Array:
    """The maximum of windows side by side that cover the images."""
    return functools.reduce(jnp.maximum, _entries(_blocks(x, window)))


@_max_of_blocks.defjvp
def _max_of_blocks_jvp(window: Sizes, primals: Any, tangents: Any) -> Any:
    # JAX's own rule becomes a sum of images with holes, one for each entry of a window:
    # a third of the step of a small network on a CPU. Here the gradient goes back by
    # the maximum's place alone, and needs the images no more.
    out = _max_of_blocks(primals[0], window)
    x, dx = (_blocks(a, window) for a in (primals[0], tangents[0]))
    entries = _entries(x)
    dtype = np.min_scalar_type(len(entries))
    place = jnp.zeros(out.shape, dtype)
    for number, entry in reversed(list(enumerate(entries))):
        place = jnp.where(entry == out, jnp.asarray(number, dtype), place)
    numbers = np.arange(len(entries), dtype=dtype).reshape(window)
    chosen = _in_blocks(place, (0, 1, 3, 5), x) == _in_blocks(numbers, (2, 4), x)
    return out, jnp.sum(jnp.where(chosen, dx, 0), axis=(2, 4))


def _in_blocks(array: Any, axes: Sequence[int], blocks: jax.Array) -> jax.Array:
    return lax.broadcast_in_dim(array, blocks.shape, axes)


def _blocks(x: jax.Array, window: Sizes) -> jax.Array:
    """Images as [B, out_h, kh, out_w, kw, C]."""
    rows, columns = (n // k for n, k in zip(x.shape[1:3], window, strict=True))
    return x.reshape(len(x), rows, window[0], columns, window[1], x.shape[-1])


def _entries(blocks: jax.Array) -> list[jax.Array]:
    """The entries of all windows by their place, each [B, out_h, out_w, C]."""
    _, _, height, _, width, _ = blocks.shape
    return [blocks[:, :, i, :, j] for i in range(height) for j in range(width)]
