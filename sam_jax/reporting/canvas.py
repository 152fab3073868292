"""The look of all figures: ink, colours, panels, legends.

matplotlib is imported when a figure is drawn, and only its Figure class is used: no
pyplot state, no window. Colours follow Okabe and Ito's, which colour-blind readers tell
apart, darkened until their words can be read on white, and are given to names in the
order in which they come, so that one optimizer keeps its colour through a report.
``inline_svg`` replaces all of them by those of the reader's light or dark page.
"""

import itertools
import textwrap
from collections.abc import Mapping
from typing import Any, TypeVar

from sam_jax import _checks

T = TypeVar("T")

PALETTE = ("#0072b2", "#b84a00", "#007a58", "#a8447c", "#876000", "#525a64")
MAX_POINTS = 300
"""Points of a curve at most, where it has one an example."""

MAX_DOTS = 2000
"""Dots of a cloud at most: an even choice of the examples where there are more."""

MAX_WIDTH = 10.8
"""Inches that a page has room for."""

INK, MUTED, GRID = "#1b1f24", "#5b6570", "#dfe3e8"
ON_IMAGE = "#111111"
"""Ink upon an image, which stays light on a dark page."""


def one_panel(title: str, width: float, height: float) -> tuple[Any, Any]:
    """Returns a figure and its only panel; sizes are in inches."""
    figure, (axes,) = blank_panels(title, 1, width, height)
    return figure, axes


def blank_panels(
    title: str, count: int, width: float, height: float
) -> tuple[Any, list]:
    """Returns a figure and ``count`` panels of ``width`` by ``height`` inches.

    They stand in a row, or in several where one would be wider than a page.
    """
    # As few rows as a page has room for, then filled evenly.
    num_rows = -(-count // max(1, int(MAX_WIDTH / width)))
    in_row = -(-count // num_rows)
    figure = titled_figure(title, width * in_row, height * num_rows)
    grid = list(figure.subplots(num_rows, in_row, squeeze=False).flat)
    panels = grid[:count]
    for axes in grid[count:]:
        axes.remove()
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


def titled_figure(title: str, width: float, height: float) -> Any:
    """Returns an empty figure whose title has as many lines as its width needs."""
    from matplotlib.figure import Figure

    figure = Figure((width, height), layout="constrained", facecolor="none")
    lines = textwrap.fill(title, max(12, int(11.5 * width)))
    figure.suptitle(lines, x=0.01, ha="left", fontsize=10.5, color=INK, weight="bold")
    return figure


def colored(**arguments: Mapping[str, T]) -> list[tuple[str, T, str]]:
    """Returns each name of the one argument, what it has, and its colour.

    Raises:
        ArgumentError: If the argument holds no entry.
    """
    ((argument, values),) = arguments.items()
    if not values:
        raise _checks.ArgumentError(argument, "must hold at least one entry, got none.")
    with_colors = zip(values.items(), itertools.cycle(PALETTE), strict=False)
    return [(*item, color) for item, color in with_colors]


def legend(figure: Any) -> None:
    """Draws one legend of all panels below the figure, clear of all curves.

    Its words have the colours of their curves, in as many columns as fit.
    """
    handles = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    inches = 0.45 + 0.075 * max(map(len, handles))
    figure.legend(
        handles.values(),
        handles.keys(),
        loc="outside lower center",
        ncols=max(1, min(len(handles), int(figure.get_figwidth() / inches))),
        frameon=False,
        labelcolor="linecolor",
        fontsize=9,
        handlelength=1.2,
    )


def band(axes: Any, x: Any, curve: tuple[Any, Any, Any], color: str) -> Any:
    """Draws a curve of ``(value, low, high)`` and its light band; returns the curve."""
    value, low, high = curve
    axes.fill_between(x, low, high, color=color, alpha=0.16, lw=0)
    (line,) = axes.plot(x, value, color=color, lw=1.8)
    return line


def panel_title(axes: Any, text: str) -> None:
    """Writes what one of several panels shows above its left edge."""
    axes.set_title(text, fontsize=9.5, color=INK, loc="left")


def filled_steps(
    axes: Any, counts: Any, edges: Any, color: str, label: str | None = None
) -> None:
    """Draws a histogram: its outline, and a light filling."""
    axes.stairs(counts, edges, fill=True, color=color, alpha=0.22, lw=0)
    axes.stairs(counts, edges, color=color, lw=1.4, label=label)


def dots(axes: Any, x: Any, y: Any) -> None:
    """Draws one dot per example, of an even choice where there are very many."""
    step = -(-len(x) // MAX_DOTS)
    axes.plot(x[::step], y[::step], ".", color=PALETTE[0], ms=3, alpha=0.75)


def label_ends(axes: Any, ends: list[tuple[str, float, float, str]]) -> None:
    """Writes each curve's name right of its last point, at least one line apart."""
    low, high = axes.get_ylim()
    line = 0.065 * (high - low)
    ends = sorted(ends, key=lambda end: end[2])
    heights = [end[2] for end in ends]
    # From the lowest up, each at least a line above the one below.
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
