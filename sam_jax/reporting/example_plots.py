"""Figures of single examples: exposure, pairs of exposures, images.

Each function returns a matplotlib Figure.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Num

from sam_jax import _checks
from sam_jax.reporting import canvas


def exposure_figure(
    exposure: Mapping[str, Float[np.ndarray, " n"]],
    error: Mapping[str, Float[np.ndarray, " n"]],
    title: str = "Exposure of the training examples",
) -> Any:
    """Returns each name's examples by exposure, with a standard error around them.

    Args:
        exposure: ``name -> values`` of N examples, from ``risk.risk``; NaN left out.
        error: Their standard errors.
        title: What is shown.
    """
    colored = canvas.colored(exposure=exposure)
    figure, axes = canvas.one_panel(title, width=5.0, height=3.6)
    for name, values, color in colored:
        order = np.argsort(-values)[: int((~np.isnan(values)).sum())]
        # Spaced evenly on the logarithmic axis: denser among the most exposed.
        place = np.unique(
            np.geomspace(1, len(order), canvas.MAX_POINTS).round().astype(int)
        )
        order = order[place - 1]
        value, half = values[order], error[name][order]
        axes.fill_between(
            place, value - half, value + half, color=color, alpha=0.12, lw=0
        )
        axes.plot(place, value, color=color, lw=1.8, label=name)
    axes.set(xscale="log", ylabel="Exposure, -log10 FPR")
    axes.set_xlabel("Examples, the most exposed first")
    axes.set_ylim(bottom=0)
    axes.margins(x=0)
    canvas.legend(figure)
    return figure


def pair_figure(
    x: Float[np.ndarray, " n"],
    y: Float[np.ndarray, " n"],
    xlabel: str,
    ylabel: str,
    title: str = "Exposure, example by example",
) -> Any:
    """Returns one dot per example and the diagonal where both values are equal."""
    figure, axes = canvas.one_panel(title, width=4.2, height=3.8)
    top = float(np.nanmax([*x, *y, 0.1])) * 1.03
    axes.plot([0, top], [0, top], color=canvas.MUTED, lw=1, ls=(0, (4, 3)))
    canvas.dots(axes, x, y)
    axes.set(xlim=(0, top), ylim=(0, top), aspect="equal")
    axes.set(xlabel=xlabel, ylabel=ylabel)
    return figure


def image_strip(
    images: Num[np.ndarray, "r h w c"],
    captions: Sequence[str],
    title: str,
    images_per_row: int = 8,
) -> Any:
    """Returns images in rows, each over its caption: the most exposed records.

    Args:
        images: R images with 1 (grey) or 3 (RGB) channels, in [0, 255] if of an integer
            dtype and scaled from their joint minimum and maximum otherwise.
        captions: R short texts of up to two lines.
        title: What is shown.
        images_per_row: At least 1.

    Raises:
        ValueError: If there are no images, or not one caption for each.
    """
    _checks.at_least(1, images_per_row=images_per_row)
    if len(images) != len(captions) or len(images) == 0:
        raise _checks.ArgumentError(
            "captions",
            "must hold one text per image, at least one, got "
            f"{len(captions)} for {len(images)} images.",
        )
    num_columns = min(images_per_row, len(images))
    num_rows = -(-len(images) // num_columns)
    figure = canvas.titled_figure(title, 1.15 * num_columns, 1.55 * num_rows + 0.5)
    grid = figure.subplots(num_rows, num_columns, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    # Not strict: the last row may have places without an image.
    for axes, image, caption in zip(
        grid.flat, _unit_range(images), captions, strict=False
    ):
        image = image[..., 0] if image.shape[-1] == 1 else image
        axes.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axes.text(
            0.5,
            -0.06,
            caption,
            transform=axes.transAxes,
            color=canvas.INK,
            fontsize=7.5,
            ha="center",
            va="top",
        )
    return figure


def _unit_range(images: np.ndarray) -> np.ndarray:
    if np.issubdtype(images.dtype, np.integer):
        return images / 255
    low, high = images.min(), images.max()
    return (images - low) / (high - low if high > low else 1)
