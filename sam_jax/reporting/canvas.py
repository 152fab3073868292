"""The look of all figures: ink, colours, panels, legends.

matplotlib is imported when a figure is drawn, and only its Figure class is used: no
pyplot state, no window. Colours are Okabe and Ito's, which colour-blind readers tell
apart, given to names in the order in which they come, so that one optimizer keeps its
colour through a report. Ink, muted ink, grid and the blue have fixed colours that
``pictures`` replaces by those of the reader's light or dark page.
"""

from collections.abc import Mapping, Sized
from typing import Any

from sam_jax import _checks

PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MAX_POINTS = 300
"""Points of a curve at most, where it has one an example."""

INK, MUTED, GRID = "#1b1f24", "#66707b", "#dfe3e8"


def one_panel(title: str, width: float, height: float) -> tuple[Any, Any]:
    """Returns a figure and its only panel; sizes are in inches."""
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


def colors(names: Sized) -> list[str]:
    """Returns a colour for each name, in order."""
    return [PALETTE[i % len(PALETTE)] for i in range(len(names))]


def legend(axes: Any, place: str) -> None:
    """Draws a legend whose words have the colours of their curves."""
    axes.legend(
        loc=place, frameon=False, labelcolor="linecolor", fontsize=9, handlelength=1.2
    )


def share_y(panels: list) -> None:
    """Gives all panels the highest top of any."""
    top = max(axes.get_ylim()[1] for axes in panels)
    for axes in panels:
        axes.set_ylim(0, top)


def label_ends(axes: Any, ends: list[tuple[str, float, float, str]]) -> None:
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


def check_names(**arguments: Mapping[str, Any]) -> None:
    """Raises ``ArgumentError`` if the one argument holds no entry."""
    ((argument, value),) = arguments.items()
    if not value:
        raise _checks.ArgumentError(argument, "must hold at least one entry, got none.")
