"""A figure with its numbers, and how the two are kept side by side."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from sam_jax.data.atomic_files import open_atomically
from sam_jax.data.result_files import write_csv
from sam_jax.metrics.estimate import Estimate
from sam_jax.reporting import canvas


class Drawing(NamedTuple):
    """A figure, what to see in it, and its numbers: heads and rows.

    Without a figure it is a table that is only kept as CSV.
    """

    figure: Any
    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]


def save_drawing(folder: pathlib.Path, name: str, drawing: Drawing) -> None:
    """Writes ``name.csv`` and, where there is a figure, ``name.svg``."""
    write_csv(folder / f"{name}.csv", drawing.columns, drawing.rows)
    if drawing.figure is not None:
        with open_atomically(folder / f"{name}.svg") as file:
            drawing.figure.savefig(file, format="svg", facecolor="white")


def numbers(estimate: Estimate) -> list[float]:
    """Returns value, limits and standard error, as columns of a CSV."""
    return [estimate.value, estimate.low, estimate.high, estimate.standard_error]


NUMBERS = ("value", "low", "high", "standard_error")


def interval_panels(
    title: str,
    panels: Mapping[str, Mapping[str, Sequence[Estimate]]],
    ticks: Sequence[str],
    xlabel: str,
    width: float = 4.4,
) -> Any:
    """Returns panels of values with intervals over a few places on a line.

    Args:
        title: What is shown.
        panels: ``label -> name -> Estimate`` at each place; names keep their colour.
        ticks: What stands below each place.
        xlabel: What the places are.
        width: Of each panel, in inches.
    """
    figure, axes_of = canvas.blank_panels(title, len(panels), width, 3.2)
    names = list(dict.fromkeys(n for curves in panels.values() for n in curves))
    places = np.arange(len(ticks), dtype=float)
    for axes, (label, curves) in zip(axes_of, panels.items(), strict=True):
        for number, (name, points) in enumerate(curves.items()):
            color = canvas.PALETTE[names.index(name) % len(canvas.PALETTE)]
            value, low, high = np.array([e[:3] for e in points]).T
            # Side by side at each place, so that intervals do not cover each other.
            shifted = places + 0.14 * (number - (len(curves) - 1) / 2)
            axes.vlines(shifted, low, high, color=color, lw=2)
            axes.plot(shifted, value, "o", color=color, ms=5, label=name)
        if np.nanmin([e.low for c in curves.values() for e in c]) < 0:
            axes.axhline(0, color=canvas.MUTED, lw=1, ls=(0, (4, 3)))
        axes.set_xticks(places, ticks)
        axes.set(xlabel=xlabel, ylabel=label)
    canvas.legend(figure)
    return figure
