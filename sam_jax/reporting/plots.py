"""Figures from metric tables and signals; each function returns a matplotlib Figure.

matplotlib is imported when a figure is drawn, and only its Figure class is used: no
pyplot state, no window. Colours are Okabe and Ito's, which colour-blind readers tell
apart, given to names in the order in which they come, so that one recipe keeps its
colour through a report. Ink, muted ink, grid and the blue have fixed colours that
``reports`` replaces by those of the reader's light or dark page.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Num

from sam_jax import _checks
from sam_jax.metrics import attack_metrics
from sam_jax.metrics.estimate import Estimate

PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MAX_POINTS = 300
"""Points of a curve at most, where it has one an example."""

INK, MUTED, GRID = "#1b1f24", "#66707b", "#dfe3e8"


def roc_figure(
    bands: Mapping[str, attack_metrics.RocBand], title: str = "ROC curves, pooled"
) -> Any:
    """Returns ROC curves with interval bands on logarithmic axes.

    Both axes start at one false positive of the non-members: nothing is drawn where
    nothing was measured. The dashed diagonal is guessing.

    Args:
        bands: One curve per name, from ``intervals.roc_band``.
        title: What is shown.
    """
    _check_names(bands=bands)
    figure, axes = _figure(title, width=5.6, height=4.2)
    floor = min(1 / band.num_non_members for band in bands.values())
    axes.plot([floor, 1], [floor, 1], color=MUTED, lw=1, ls=(0, (4, 3)))
    axes.annotate(
        "guessing", (floor * 3, floor * 2.4), color=MUTED, fontsize=8, va="top"
    )
    for (name, band), color in zip(bands.items(), _colors(bands), strict=True):
        low, high = np.maximum(band.low, floor / 10), np.maximum(band.high, floor / 10)
        axes.fill_between(band.fpr, low, high, color=color, alpha=0.16, lw=0)
        shown = np.where(band.tpr > 0, band.tpr, np.nan)
        axes.plot(band.fpr, shown, color=color, lw=1.8, label=name)
    axes.set(xscale="log", yscale="log", xlim=(floor, 1), ylim=(floor, 1.1))
    axes.set_xlabel("False-positive rate")
    axes.set_ylabel("True-positive rate")
    _legend(axes, "lower right")
    return figure


def linear_roc_figure(
    bands: Mapping[str, attack_metrics.RocBand], title: str = "ROC curves, pooled"
) -> Any:
    """Returns ROC curves with interval bands on linear axes, where AUC is the area."""
    _check_names(bands=bands)
    figure, axes = _figure(title, width=4.6, height=4.6)
    axes.plot([0, 1], [0, 1], color=MUTED, lw=1, ls=(0, (4, 3)))
    for (name, band), color in zip(bands.items(), _colors(bands), strict=True):
        axes.fill_between(band.fpr, band.low, band.high, color=color, alpha=0.16, lw=0)
        axes.plot(band.fpr, band.tpr, color=color, lw=1.8, label=name)
    axes.set(xlim=(0, 1), ylim=(0, 1.01), aspect="equal")
    axes.set_xlabel("False-positive rate")
    axes.set_ylabel("True-positive rate")
    _legend(axes, "lower right")
    return figure


def histogram_figure(
    values: Mapping[str, tuple[Num[np.ndarray, " a"], Num[np.ndarray, " b"]]],
    xlabel: str = "phi = log(p / (1 - p)), nats",
    title: str = "Confidence of members and non-members",
) -> Any:
    """Returns one panel per name: densities of a value for members and non-members.

    Args:
        values: ``name -> (members, non_members)``. All panels share their bins, which
            span the central 99.8 % of all values; the rest counts at the ends.
        xlabel: The value and its unit.
        title: What is shown.
    """
    _check_names(values=values)
    figure, panels = blank_panels(title, len(values), width=3.6, height=3.1)
    everything = np.concatenate([part for pair in values.values() for part in pair])
    low, high = np.quantile(everything, (0.001, 0.999))
    high = high if high > low else low + 1
    edges = np.linspace(low, high, 61)
    for axes, (name, pair) in zip(panels, values.items(), strict=True):
        for part, label, color in zip(
            pair, ("members", "non-members"), PALETTE[1::-1], strict=True
        ):
            density, _ = np.histogram(np.clip(part, low, high), edges, density=True)
            axes.stairs(density, edges, fill=True, color=color, alpha=0.22, lw=0)
            axes.stairs(density, edges, color=color, lw=1.4, label=label)
        axes.set_title(name, fontsize=9.5, color=INK, loc="left")
        axes.set_xlabel(xlabel)
    _share_y(panels)
    panels[0].set_ylabel("Density")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(
        handles[:2],
        labels[:2],
        loc="upper right",
        ncols=2,
        frameon=False,
        labelcolor="linecolor",
        fontsize=9,
    )
    return figure


def metric_figure(
    estimates: Mapping[str, Mapping[str, Estimate]],
    chance: Mapping[str, float] | None = None,
    title: str = "Attack metrics with 95 % intervals",
) -> Any:
    """Returns one panel per metric with a dot and its interval for each name.

    Args:
        estimates: ``name -> metric -> Estimate``; all names have the same metrics. A
            NaN is written out as not resolvable.
        chance: ``metric -> value`` of guessing, drawn as a dashed line.
        title: What is shown.
    """
    _check_names(estimates=estimates)
    names = list(estimates)
    labels = list(estimates[names[0]])
    height = 1.35 + 0.34 * len(names)
    figure, panels = blank_panels(title, len(labels), width=2.3, height=height)
    figure.get_layout_engine().set(wspace=0.08)
    for axes, label in zip(panels, labels, strict=True):
        axes.set_title(label, fontsize=9.5, color=INK, loc="left")
        axes.set(ylim=(len(names) - 0.5, -0.5), yticks=range(len(names)))
        axes.set_yticklabels(names if axes is panels[0] else [])
        axes.grid(False, axis="y")
        axes.margins(x=0.12)
        axes.locator_params(axis="x", nbins=3)
        if all(np.isnan(estimates[name][label].value) for name in names):
            axes.set_xticks([])
        for row, (name, color) in enumerate(zip(names, _colors(names), strict=True)):
            estimate = estimates[name][label]
            if np.isnan(estimate.value):
                text = "not resolvable"
                place = axes.get_yaxis_transform()
                axes.text(
                    0.5, row, text, transform=place, color=MUTED, ha="center", size=8
                )
                continue
            axes.plot([estimate.low, estimate.high], [row, row], color=color, lw=2)
            axes.plot(estimate.value, row, "o", color=color, ms=6)
        if chance and label in chance:
            axes.axvline(chance[label], color=MUTED, lw=1, ls=(0, (4, 3)))
    return figure


def training_figure(
    curves: Mapping[str, Float[np.ndarray, "m epochs"]],
    ylabel: str,
    title: str,
) -> Any:
    """Returns a value per epoch: the median over models and their full range.

    Args:
        curves: ``name -> values`` of M models at the end of each epoch.
        ylabel: The value and its unit.
        title: What is shown.
    """
    _check_names(curves=curves)
    figure, axes = _figure(title, width=5.2, height=3.2)
    ends = []
    for (name, values), color in zip(curves.items(), _colors(curves), strict=True):
        values = np.asarray(values)
        epochs = np.arange(1, values.shape[1] + 1)
        low, high = values.min(axis=0), values.max(axis=0)
        axes.fill_between(epochs, low, high, color=color, alpha=0.16, lw=0)
        median = np.median(values, axis=0)
        axes.plot(epochs, median, color=color, lw=1.8)
        ends.append((name, float(epochs[-1]), float(median[-1]), color))
    axes.set_xlabel("Epoch")
    axes.set_ylabel(ylabel)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.margins(x=0)
    _label_ends(axes, ends)
    return figure


def shadow_model_figure(
    num_models: Sequence[int],
    curves: Mapping[str, Sequence[Estimate]],
    ylabel: str = "Attack AUC",
    title: str = "Attack strength by number of shadow models",
) -> Any:
    """Returns a metric and its interval against the number of shadow models.

    Args:
        num_models: Numbers of shadow models, on a logarithmic axis.
        curves: ``name -> Estimate`` at each number.
        ylabel: The metric.
        title: What is shown.
    """
    _check_names(curves=curves)
    figure, axes = _figure(title, width=5.2, height=3.4)
    ends = []
    for (name, points), color in zip(curves.items(), _colors(curves), strict=True):
        value, low, high = np.array([(p.value, p.low, p.high) for p in points]).T
        axes.fill_between(num_models, low, high, color=color, alpha=0.16, lw=0)
        axes.plot(num_models, value, color=color, lw=1.8, marker="o", ms=4)
        ends.append((name, float(num_models[-1]), float(value[-1]), color))
    axes.set_xscale("log", base=2)
    axes.set_xticks(list(num_models), [str(count) for count in num_models])
    axes.set_xlabel("Shadow models")
    axes.set_ylabel(ylabel)
    _label_ends(axes, ends)
    return figure


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
    _check_names(exposure=exposure)
    figure, axes = _figure(title, width=5.0, height=3.6)
    for (name, values), color in zip(exposure.items(), _colors(exposure), strict=True):
        order = np.argsort(-values)[: int((~np.isnan(values)).sum())]
        place = np.unique(np.geomspace(1, len(order), MAX_POINTS).round().astype(int))
        order = order[place - 1]
        value, half = values[order], error[name][order]
        axes.fill_between(
            place, value - half, value + half, color=color, alpha=0.12, lw=0
        )
        axes.plot(place, value, color=color, lw=1.8, label=name)
    axes.set(xscale="log")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("Examples, the most exposed first")
    axes.set_ylabel("Exposure, -log10 FPR")
    axes.margins(x=0)
    _legend(axes, "upper right")
    return figure


def pair_figure(
    x: Float[np.ndarray, " n"],
    y: Float[np.ndarray, " n"],
    xlabel: str,
    ylabel: str,
    title: str = "Exposure, example by example",
) -> Any:
    """Returns one dot per example and the diagonal where both values are equal."""
    figure, axes = _figure(title, width=4.2, height=3.8)
    top = float(np.nanmax([*x, *y, 0.1])) * 1.03
    axes.plot([0, top], [0, top], color=MUTED, lw=1, ls=(0, (4, 3)))
    axes.scatter(x, y, s=6, color=PALETTE[0], alpha=0.35, lw=0)
    axes.set(xlim=(0, top), ylim=(0, top), aspect="equal")
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
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
    from matplotlib.figure import Figure

    _checks.at_least(1, images_per_row=images_per_row)
    if len(images) != len(captions) or len(images) == 0:
        raise ValueError(
            "captions must hold one text per image, at least one, "
            f"got {len(captions)} for {len(images)} images."
        )
    num_columns = min(images_per_row, len(images))
    num_rows = -(-len(images) // num_columns)
    size = (1.15 * num_columns, 1.55 * num_rows + 0.5)
    figure = Figure(size, layout="constrained", facecolor="none")
    figure.suptitle(title, x=0.01, ha="left", fontsize=10.5, color=INK, weight="bold")
    grid = figure.subplots(num_rows, num_columns, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
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
            color=INK,
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


def _figure(title: str, width: float, height: float) -> tuple[Any, Any]:
    figure, (axes,) = blank_panels(title, 1, width, height)
    return figure, axes


def blank_panels(
    title: str, count: int, width: float, height: float
) -> tuple[Any, list]:
    """Returns a figure and a row of ``count`` panels, each ``width`` inches wide."""
    from matplotlib.figure import Figure

    figure = Figure((width * count, height), layout="constrained", facecolor="none")
    figure.suptitle(title, x=0.01, ha="left", fontsize=10.5, color=INK, weight="bold")
    panels = list(figure.subplots(1, count, squeeze=False)[0])
    for axes in panels:
        axes.set_facecolor("none")
        axes.set_axisbelow(True)
        axes.grid(True, color=GRID, lw=0.7)
        axes.tick_params(which="both", colors=MUTED, labelsize=8.5, length=0)
        axes.xaxis.label.set(color=INK, size=9)
        axes.yaxis.label.set(color=INK, size=9)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.spines["bottom"].set_color(MUTED)
    return figure, panels


def _colors(names: Any) -> list[str]:
    return [PALETTE[i % len(PALETTE)] for i in range(len(names))]


def _legend(axes: Any, place: str) -> None:
    axes.legend(
        loc=place, frameon=False, labelcolor="linecolor", fontsize=9, handlelength=1.2
    )


def _share_y(panels: list) -> None:
    top = max(axes.get_ylim()[1] for axes in panels)
    for axes in panels:
        axes.set_ylim(0, top)


def _label_ends(axes: Any, ends: list[tuple[str, float, float, str]]) -> None:
    """Writes each curve's name right of its last point, at least one line apart."""
    low, high = axes.get_ylim()
    line = 0.065 * (high - low)
    ends = sorted(ends, key=lambda end: end[2])
    heights = [end[2] for end in ends]
    for i in range(1, len(heights)):
        heights[i] = max(heights[i], heights[i - 1] + line)
    # Half of what the stack grew by, so that it stays centred on its curves.
    shift = (heights[-1] - ends[-1][2]) / 2
    for (name, x, _, color), y in zip(ends, heights, strict=True):
        axes.annotate(
            name,
            (x, y - shift),
            xytext=(6, 0),
            textcoords="offset points",
            color=color,
            fontsize=9,
            va="center",
            annotation_clip=False,
        )


def _check_names(**arguments: Mapping[str, Any]) -> None:
    ((argument, value),) = arguments.items()
    if not value:
        raise ValueError(f"{argument} must hold at least one entry, got none.")
