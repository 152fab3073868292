"""Shapes of a convolution, and what each place of its window reads."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from sam_jax._checks import ArgumentError

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


def pair(setting: int | Sequence[int]) -> Sizes:
    """Returns (height, width) of a setting that may be one number for both."""
    first, second = (setting, setting) if isinstance(setting, int) else setting
    return first, second


def make_geometry(x: jax.Array, window: Any, strides: Any, padding: Any) -> Geometry:
    """Returns the geometry of images x [B, H, W, C] and settings as users give them.

    Raises:
        ValueError: If ``padding`` is unknown or the window exceeds the padded image.
    """
    image = (x.shape[1], x.shape[2])
    window, strides = pair(window), pair(strides)
    if isinstance(padding, str):
        if padding not in ("SAME", "VALID"):
            raise ArgumentError(
                "padding", f"must be SAME, VALID or pairs, got {padding!r}."
            )
        padding = lax.padtype_to_pads(image, window, strides, padding)
    elif isinstance(padding, int):
        padding = ((padding, padding),) * 2
    (top, bottom), (left, right) = map(pair, padding)
    geo = Geometry(image, window, strides, ((top, bottom), (left, right)))
    if min(geo.out) < 1:
        raise ArgumentError(
            "window", f"must fit into the padded image, got {window=}, {image=}."
        )
    return geo


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
