"""Inputs as networks want them: float32, pixels of any dtype on one scale."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from sam_jax._checks import ArgumentError

CHANNELS = (1, 3, 4)
"""Channels that images have: grey, RGB, RGB and opacity."""

SMALL = 16
"""Values up to this train well as they are: standardised, or in [0, 1]."""

FAINT = 1 / 32
"""Images that stay below this were scaled twice, and train to chance level."""

FULL_RANGES = (255, 1023, 4095, 16383, 65535)
"""Largest pixels of 8, 10, 12, 14 and 16 bits."""

PIXEL_COLUMNS = 64
"""A table with so many columns, from 0 to between 128 and 255, holds flattened images
if all are whole numbers, or if most columns reach a quarter of the largest."""


def as_inputs(
    x: np.ndarray, x_test: np.ndarray
) -> tuple[Float[np.ndarray, "n *features"], Float[np.ndarray, "k *features"]]:
    """Returns training and test inputs in float32, images scaled by one rule for both.

    Images are arrays with three or more axes, and tables of flattened images.

    | images | divided by |
    | --- | --- |
    | within [-16, 16], and beyond 1/32 somewhere | 1 |
    | from 0 to 255 at most | 255 |
    | from 0 to 1023, 4095, 16383 or 65535 at most | that |
    | others, and training and test images of different units | refused |

    Args:
        x: Training inputs [N, *features] of any real dtype.
        x_test: Test inputs of that dtype.

    Raises:
        ArgumentError: If an array is empty, not numeric, not finite in float32, has its
            channels first, or pixels in no range of the table.
    """
    arrays = [_real("x", x), _real("x_test", x_test)]
    if arrays[0].dtype != arrays[1].dtype:
        rule = "must have the dtype of x, so that both are scaled alike, got"
        got = f"{arrays[1].dtype} and {arrays[0].dtype}."
        raise ArgumentError("x_test", f"{rule} {got}")
    if arrays[0].shape[1:] != arrays[1].shape[1:]:
        rule = "must have the feature shape of x, got"
        got = f"{arrays[1].shape[1:]} and {arrays[0].shape[1:]}."
        raise ArgumentError("x_test", f"{rule} {got}")
    _check_channels(arrays[0].shape)
    is_image = arrays[0].ndim >= 3
    values = [_finite(name, a) for name, a in zip(("x", "x_test"), arrays, strict=True)]
    if is_image or _are_flat_images(values):
        scale = _pixel_scale(values)
        if scale != 1:
            values = [v / np.float32(scale) for v in values]
    _check_unit(*values)
    return values[0], values[1]


def _real(name: str, x: np.ndarray) -> np.ndarray:
    """``x`` as an array of real numbers with a row for each example."""
    x = np.asarray(x)
    is_real = np.issubdtype(x.dtype, np.floating) or x.dtype.kind in "iub"
    if not is_real and x.dtype.name != "bfloat16":
        raise ArgumentError(name, f"must hold real numbers, got dtype {x.dtype}.")
    if x.ndim < 2 or x.size == 0:
        rule = f"must be [N, *features] and not empty, got shape {x.shape}."
        raise ArgumentError(name, rule)
    return x


def _finite(name: str, x: np.ndarray) -> Float[np.ndarray, "n *features"]:
    with np.errstate(over="ignore"):
        values = x.astype(np.float32)
    finite = np.isfinite(values)
    if not finite.all():
        where = tuple(int(i) for i in np.argwhere(~finite)[0])
        rule = f"must be finite in float32, got {x[where]} at index {where}."
        raise ArgumentError(name, rule)
    return values


def _check_channels(shape: tuple[int, ...]) -> None:
    """Refuses images [N, C, H, W], which would train as images of H channels."""
    if len(shape) != 4 or shape[-1] in CHANNELS:
        return
    _, first, height, width = shape
    if first in CHANNELS or (height == width and 2 * first <= height):
        rule = f"must hold images [N, H, W, C], got shape {shape}, which looks like"
        hint = "[N, C, H, W]: pass np.moveaxis(x, 1, -1), and x_test likewise."
        raise ArgumentError("x", f"{rule} {hint}")


def _are_flat_images(values: Sequence[np.ndarray]) -> bool:
    """Whether a table holds pixels: counts or ages seldom fill so many columns."""
    if values[0].ndim != 2 or values[0].shape[1] < PIXEL_COLUMNS:
        return False
    low, high = min(v.min() for v in values), max(v.max() for v in values)
    if not (low >= 0 and 128 <= high <= 255):
        return False
    is_whole = all((v == np.floor(v)).all() for v in values)
    columns = np.maximum(values[0].max(axis=0), values[1].max(axis=0))
    return is_whole or bool((columns > high / 4).mean() > 0.5)


def _check_unit(x: np.ndarray, x_test: np.ndarray) -> None:
    """Refuses test inputs of which most features lie beyond all of the training set."""
    middle = np.median(x_test[:: len(x_test) // 256 + 1], axis=0)
    outside = (middle < x.min(axis=0)) | (middle > x.max(axis=0))
    if len(x) >= 32 and outside.mean() > 0.5:
        seen = f"of {int(outside.sum())} of {outside.size} features the median is"
        rule = (
            f"must be in the unit of x, but {seen} beyond all of x: scale both alike."
        )
        raise ArgumentError("x_test", rule)


def _pixel_scale(values: Sequence[np.ndarray]) -> int:
    """What to divide pixels by, from their range in training and test together."""
    low = float(min(v.min() for v in values))
    high = float(max(v.max() for v in values))
    largest = [np.abs(v).reshape(len(v), -1).max(axis=1) for v in values]
    # Dark beside bright images differ too, but not many in 0 to 1 and some in 0 to 255.
    faint = max(float(((m > 0) & (m <= 1)).mean()) for m in largest)
    lows = [float(v.min()) for v in values]
    if (faint > 0.02 and high > SMALL) or max(lows) >= 0 > -0.2 * high > low:
        raise ArgumentError(
            "x_test",
            f"must be in the unit of x, all images alike, got {lows[0]:g} and "
            f"{lows[1]:g} to {high:g}, {100 * faint:.0f} % of images within 0 to 1: "
            "scale all by the same numbers.",
        )
    if FAINT <= max(-low, high) <= SMALL or low == high == 0:
        return 1
    if low >= 0 and SMALL < high <= FULL_RANGES[-1]:
        return next(full for full in FULL_RANGES if high <= full)
    raise ArgumentError(
        "x",
        f"must hold pixels from 0 to 255 or {FULL_RANGES[-1]}, or within [-{SMALL}, "
        f"{SMALL}] and not all below 1/32, got {low:g} to {high:g}: scale them, as by "
        "(x - x.mean()) / x.std(), and x_test by the same numbers.",
    )
