"""Inputs as networks want them: float32, pixels of any dtype on one scale."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from sam_jax._checks import ArgumentError

CHANNELS = (1, 3, 4)
"""Channels that images have: grey, RGB, RGB and opacity."""

SMALL = 16
"""Values up to this train well as they are: standardised, or in [0, 1]."""

PIXEL_COLUMNS = 64
"""A table with so many columns that are all whole numbers from 0 to between 128 and 255
holds flattened images."""


def as_inputs(
    x: np.ndarray, x_test: np.ndarray
) -> tuple[Float[np.ndarray, "n *features"], Float[np.ndarray, "k *features"]]:
    """Returns training and test inputs in float32, images scaled by one rule for both.

    Images are arrays with three or more axes, and tables of flattened images.

    | images | divided by |
    | --- | --- |
    | of dtype ``uint8`` | 255 |
    | of any other dtype, within [-16, 16] | 1 |
    | of any other dtype, from 0 to 255 at most | 255 |
    | of any other dtype, from 0 to 65535 at most | 65535 |
    | others | refused |

    Args:
        x: Training inputs [N, *features] of any real dtype.
        x_test: Test inputs of that dtype.

    Raises:
        ArgumentError: If an array is empty, not numeric, not finite in float32, has its
            channels first, or pixels in no range of the table.
    """
    arrays = [_real("x", x), _real("x_test", x_test)]
    if arrays[0].dtype != arrays[1].dtype:
        raise ArgumentError(
            "x_test",
            "must have the dtype of x, so that both are scaled alike, got "
            f"{arrays[1].dtype} and {arrays[0].dtype}.",
        )
    if arrays[0].shape[1:] != arrays[1].shape[1:]:
        raise ArgumentError(
            "x_test",
            "must have the feature shape of x, got "
            f"{arrays[1].shape[1:]} and {arrays[0].shape[1:]}.",
        )
    _check_channels(arrays[0].shape)
    is_image = arrays[0].ndim >= 3
    is_uint8 = arrays[0].dtype == np.uint8
    values = [_finite(name, a) for name, a in zip(("x", "x_test"), arrays, strict=True)]
    if is_image or _are_flat_images(values):
        # By the dtype where it says enough: dark images of bytes stay dark.
        scale = 255 if is_image and is_uint8 else _pixel_scale(values)
        if scale != 1:
            values = [v / np.float32(scale) for v in values]
    return values[0], values[1]


def _real(name: str, x: np.ndarray) -> np.ndarray:
    """``x`` as an array of real numbers with a row for each example."""
    x = np.asarray(x)
    is_real = np.issubdtype(x.dtype, np.floating) or x.dtype.kind in "iub"
    if not is_real and x.dtype.name != "bfloat16":
        raise ArgumentError(name, f"must hold real numbers, got dtype {x.dtype}.")
    if x.ndim < 2 or x.size == 0:
        raise ArgumentError(
            name, f"must be [N, *features] and not empty, got shape {x.shape}."
        )
    return x


def _finite(name: str, x: np.ndarray) -> Float[np.ndarray, "n *features"]:
    with np.errstate(over="ignore"):
        values = x.astype(np.float32)
    finite = np.isfinite(values)
    if not finite.all():
        where = tuple(int(i) for i in np.argwhere(~finite)[0])
        raise ArgumentError(
            name, f"must be finite in float32, got {x[where]} at index {where}."
        )
    return values


def _check_channels(shape: tuple[int, ...]) -> None:
    """Refuses images [N, C, H, W], which would train as images of H channels."""
    if len(shape) == 4 and shape[1] in CHANNELS and shape[-1] not in CHANNELS:
        raise ArgumentError(
            "x",
            f"must hold images [N, H, W, C], got shape {shape}, which looks like "
            "[N, C, H, W]: pass np.moveaxis(x, 1, -1), and x_test likewise.",
        )


def _are_flat_images(values: Sequence[np.ndarray]) -> bool:
    """Whether a table holds pixels: counts or ages seldom fill so many columns."""
    if values[0].ndim != 2 or values[0].shape[1] < PIXEL_COLUMNS:
        return False
    low, high = min(v.min() for v in values), max(v.max() for v in values)
    in_range = low >= 0 and 128 <= high <= 255
    return bool(in_range and all((v == np.floor(v)).all() for v in values))


def _pixel_scale(values: Sequence[np.ndarray]) -> int:
    """What to divide pixels by, from their range in training and test together."""
    low = float(min(v.min() for v in values))
    high = float(max(v.max() for v in values))
    if max(-low, high) <= SMALL:
        return 1
    if low >= 0 and high <= 65535:
        return 255 if high <= 255 else 65535
    raise ArgumentError(
        "x",
        f"must hold pixels from 0 to 255 or 65535, or within [-{SMALL}, {SMALL}], got "
        f"{low:g} to {high:g}: scale them, as by (x - x.mean()) / x.std(), and x_test "
        "by the same numbers.",
    )
