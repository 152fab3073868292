"""Figures from attack metrics, signals and training logs.

Each function returns a matplotlib Figure.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Num

from sam_jax.metrics import attack_metrics
from sam_jax.metrics.estimate import Estimate
from sam_jax.reporting import canvas


def roc_figure(
    bands: Mapping[str, attack_metrics.RocBand], title: str = "ROC curves, pooled"
) -> Any:
    """Returns ROC curves with interval bands on logarithmic axes.

    Both axes start at one false positive of the non-members: nothing is drawn where
    nothing was measured. The dashed diagonal is guessing.

    Args:
        bands: One curve per name, from ``attack_metrics.roc_band``.
        title: What is shown.
    """
    colored = canvas.colored(bands=bands)
    figure, axes = canvas.one_panel(title, width=5.6, height=4.2)
    floor = min(1 / band.num_non_members for band in bands.values())
    axes.plot([floor, 1], [floor, 1], color=canvas.MUTED, lw=1, ls=(0, (4, 3)))
    axes.annotate(
        "guessing", (floor * 3, floor * 2.4), color=canvas.MUTED, fontsize=8, va="top"
    )
    for name, band, color in colored:
        # A logarithmic axis has no 0: the band runs out below the panel.
        low, high = np.maximum(band.low, floor / 10), np.maximum(band.high, floor / 10)
        shown = np.where(band.tpr > 0, band.tpr, np.nan)
        canvas.band(axes, band.fpr, (shown, low, high), color).set_label(name)
    axes.set(xscale="log", yscale="log", xlim=(floor, 1), ylim=(floor, 1.1))
    axes.set(xlabel="False-positive rate", ylabel="True-positive rate")
    canvas.legend(figure)
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
    colored = canvas.colored(values=values)
    figure, panels = canvas.blank_panels(title, len(values), width=3.6, height=3.1)
    everything = np.concatenate([side for pair in values.values() for side in pair])
    low, high = np.quantile(everything, (0.001, 0.999))
    high = high if high > low else low + 1
    edges = np.linspace(low, high, 61)
    for axes, (name, pair, _) in zip(panels, colored, strict=True):
        for side, label, color in zip(
            pair, ("members", "non-members"), canvas.PALETTE[1::-1], strict=True
        ):
            density, _ = np.histogram(np.clip(side, low, high), edges, density=True)
            canvas.filled_steps(axes, density, edges, color, label)
        canvas.panel_title(axes, name)
        axes.set_xlabel(xlabel)
    top = max(axes.get_ylim()[1] for axes in panels)
    for axes in panels:
        axes.set_ylim(0, top)
    panels[0].set_ylabel("Density")
    canvas.legend(figure)
    return figure


def metric_figure(
    estimates: Mapping[str, Mapping[str, Estimate]],
    title: str = "Attack metrics with 95 % intervals",
) -> Any:
    """Returns one panel per metric with a dot and its interval for each name.

    Args:
        estimates: ``name -> metric -> Estimate``; all names have the same metrics. A
            NaN is written out as not resolvable.
        title: What is shown.
    """
    colored = canvas.colored(estimates=estimates)
    names = list(estimates)
    labels = list(estimates[names[0]])
    height = 1.35 + 0.34 * len(names)
    figure, panels = canvas.blank_panels(title, len(labels), width=2.3, height=height)
    figure.get_layout_engine().set(wspace=0.08)
    for axes, label in zip(panels, labels, strict=True):
        canvas.panel_title(axes, label)
        axes.set(ylim=(len(names) - 0.5, -0.5), yticks=range(len(names)))
        axes.set_yticklabels(names if axes is panels[0] else [])
        axes.grid(False, axis="y")
        axes.margins(x=0.12)
        axes.locator_params(axis="x", nbins=3)
        if all(np.isnan(estimates[name][label].value) for name in names):
            axes.set_xticks([])
        for row, (_, by_metric, color) in enumerate(colored):
            estimate = by_metric[label]
            if np.isnan(estimate.value):
                # x as a share of the panel, y in rows.
                style = {"color": canvas.MUTED, "ha": "center", "size": 8}
                place = axes.get_yaxis_transform()
                axes.text(0.5, row, "not resolvable", transform=place, **style)
                continue
            axes.plot([estimate.low, estimate.high], [row, row], color=color, lw=2)
            axes.plot(estimate.value, row, "o", color=color, ms=6)
    return figure


def training_figure(
    curves: Mapping[str, Float[np.ndarray, "m epochs"]], ylabel: str, title: str
) -> Any:
    """Returns a value per epoch: the median over models and their full range.

    Args:
        curves: ``name -> values`` of M models at the end of each epoch.
        ylabel: The value and its unit.
        title: What is shown.
    """
    colored = canvas.colored(curves=curves)
    figure, axes = canvas.one_panel(title, width=5.2, height=3.2)
    ends = []
    for name, values, color in colored:
        values = np.asarray(values)
        epochs, median = np.arange(1, values.shape[1] + 1), np.median(values, axis=0)
        range_of_models = values.min(axis=0), values.max(axis=0)
        canvas.band(axes, epochs, (median, *range_of_models), color)
        ends.append((name, float(epochs[-1]), float(median[-1]), color))
    axes.set(xlabel="Epoch", ylabel=ylabel)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.margins(x=0)
    canvas.label_ends(axes, ends)
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
    colored = canvas.colored(curves=curves)
    figure, axes = canvas.one_panel(title, width=5.2, height=3.4)
    ends = []
    for name, points, color in colored:
        curve = tuple(np.array([point[:3] for point in points]).T)
        canvas.band(axes, num_models, curve, color).set(marker="o", ms=4)
        ends.append((name, float(num_models[-1]), points[-1].value, color))
    axes.set_xscale("log", base=2)
    axes.set_xticks(list(num_models), [str(count) for count in num_models])
    axes.set(xlabel="Shadow models", ylabel=ylabel)
    canvas.label_ends(axes, ends)
    return figure
