"""The frontier of leakage against accuracy: a mark a mitigation and optimizer."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from experiments.common.cells import Cell
from experiments.common.measure import MODELS, Row

PANELS = (("lira_online", "LiRA"), ("loss", "loss"))
MARKS = {"sgd": ("o", "SGD"), "sam-0.05": ("^", "SAM 0.05")}


def mitigation_label(cell: Cell) -> str:
    """Returns the mitigation of a cell and its strength in words.

    Example:
        >>> mitigation_label(Cell(mitigation="early_stop", strength=0.9))
        'early stop 0.9'
        >>> mitigation_label(Cell(weight_decay=5e-4))
        'weight decay 0.0005'
    """
    if cell.mitigation == "none":
        return f"weight decay {cell.weight_decay:g}"
    name = "DP, noise" if cell.mitigation == "dp" else cell.mitigation.replace("_", " ")
    return f"{name} {cell.strength:g}"


def mitigation_labels(cells: Iterable[Cell]) -> dict[str, str]:
    """Returns the label of each cell by name; the first has no mitigation."""
    labels = {cell.name: mitigation_label(cell) for cell in cells}
    return labels | {next(iter(labels)): "none"}


def frontier_figure(rows: Sequence[Row], labels: Mapping[str, str]) -> Any:
    """Returns AUC over test accuracy, a panel an attack, a colour a mitigation.

    Args:
        rows: Each cell beside the unmitigated one; the bars are the paired intervals of
            the differences from it, around the value.
        labels: Text of each cell, in the order of the legend.
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    by_key = {(r.cell, r.optimizer, r.attack, r.metric): r for r in rows}
    figure = Figure(figsize=(9.6, 5.4), layout="constrained")
    for axes, (attack, title) in zip(figure.subplots(1, 2), PANELS, strict=True):
        for number, (cell, label) in enumerate(labels.items()):
            color = colormaps["tab20"](number % 20)
            for optimizer, (mark, name) in MARKS.items():
                x = by_key[cell, optimizer, MODELS, "test_accuracy"]
                y = by_key[cell, optimizer, attack, "auc"]
                axes.errorbar(
                    x.value,
                    y.value,
                    xerr=_bar(x),
                    yerr=_bar(y),
                    fmt=mark,
                    color=color,
                    ms=6,
                    lw=0.8,
                    label=f"{label}, {name}",
                )
        axes.set(xlabel="test accuracy", ylabel=f"AUC of {title}")
        axes.axhline(0.5, color="#9aa3ad", lw=0.8, ls="--")
    handles, texts = axes.get_legend_handles_labels()
    figure.legend(handles, texts, loc="outside lower center", ncols=3, fontsize=7)
    return figure


def _bar(row: Row) -> list[list[float]]:
    return [[row.difference - row.low], [row.high - row.difference]]
