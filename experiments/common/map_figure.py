"""The map of a sweep: where each attack gains or loses under SAM."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.common.measure import MODELS, Row

COLUMNS = (
    ("loss", "auc"),
    ("modified_entropy", "auc"),
    ("lira_online", "auc"),
    ("lira_offline", "auc"),
    ("rmia_online", "auc"),
    ("lira_online", "tpr_at_fpr_0.01"),
)
EQUAL_ACCURACY = 0.002
"""Training accuracies further apart than this are flagged."""

LIMITS = {"auc": 0.02, "tpr_at_fpr_0.01": 0.1}
"""Difference of each metric at which the colour is full."""


def map_figure(rows: Sequence[Row], labels: Mapping[tuple[str, str], str]) -> Any:
    """Returns one line a cell and radius, one column an attack and metric.

    Blue: less leakage than SGD; orange: more; hatched: the interval holds 0. An
    asterisk marks a line whose training accuracy is not that of SGD.

    Args:
        rows: Results of the sweep.
        labels: Text of each line by cell and optimizer, in the order to draw.
    """
    from matplotlib.figure import Figure

    by_key = {(r.cell, r.optimizer, r.attack, r.metric): r for r in rows}
    figure = Figure(figsize=(9.6, 1.4 + 0.235 * len(labels)), layout="constrained")
    axes = figure.subplots()
    texts = []
    for line, (place, text) in enumerate(labels.items()):
        for column, (attack, metric) in enumerate(COLUMNS):
            _draw_tile(axes, column, line, by_key[*place, attack, metric])
        fit = by_key[*place, MODELS, "train_accuracy"]
        texts.append(text + " *" * (abs(fit.difference) > EQUAL_ACCURACY))
    axes.set_yticks(np.arange(len(texts)) + 0.5, texts, fontsize=7)
    heads = [f"{a.replace('_', ' ')}\n{_metric(m)}" for a, m in COLUMNS]
    axes.set_xticks(np.arange(len(heads)) + 0.5, heads, fontsize=7.5)
    axes.xaxis.tick_top()
    axes.set(xlim=(0, len(COLUMNS)), ylim=(len(labels), 0))
    axes.tick_params(length=0)
    axes.set_xlabel(
        "Minus SGD: orange more leakage, blue less,\nhatched where the 95 % interval "
        "holds 0;\n* training accuracy differs by more than 0.002",
        fontsize=8,
    )
    return figure


def _draw_tile(axes: Any, column: int, line: int, row: Row) -> None:
    """Draws a difference: its colour, hatched where not resolved, and its value."""
    from matplotlib.patches import Rectangle

    resolved = row.low > 0 or row.high < 0
    tile = Rectangle(
        (column, line),
        1,
        1,
        facecolor=_color(row.difference / LIMITS[row.metric]),
        edgecolor="#dfe3e8" if resolved else "#9aa3ad",
        hatch=None if resolved else "////",
        lw=0.5,
    )
    axes.add_patch(tile)
    axes.text(
        column + 0.5,
        line + 0.52,
        f"{row.difference:+.4f}",
        ha="center",
        va="center",
        fontsize=7,
        fontweight="bold" if resolved else "normal",
        bbox={"fc": "white", "ec": "none", "alpha": 0.65, "pad": 0.6},
    )


def _color(share: float) -> tuple[float, ...]:
    """Blue at -1, white at 0, orange at 1: told apart by colour-blind readers too."""
    from matplotlib import colors

    ends = ["#0072b2", "#ffffff", "#d55e00"]
    scale = colors.LinearSegmentedColormap.from_list("signed", ends)
    return scale(0.5 + 0.5 * float(np.clip(share, -1, 1)))


def _metric(name: str) -> str:
    return "AUC" if name == "auc" else f"TPR at {100 * float(name[11:]):g} % FPR"
