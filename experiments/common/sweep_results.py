"""Tables and the map of a sweep from its rows and its signals."""

import pathlib
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np

from experiments.common.cells import Cell, read_signals
from experiments.common.effects import Effect, main_effects
from experiments.common.equal_loss import match_losses, measure_match
from experiments.common.explanations import write_explanations
from experiments.common.map_figure import EQUAL_ACCURACY, map_figure
from experiments.common.measure import MODELS, Row
from experiments.common.mechanism import mechanism_of
from experiments.common.tables import write_rows, write_settings, write_table

RESPONSES = (
    ("loss", "auc"),
    ("modified_entropy", "auc"),
    ("lira_online", "auc"),
    ("rmia_online", "auc"),
    (MODELS, "train_accuracy"),
    (MODELS, "train_loss"),
    (MODELS, "confidence_variance_over_models_unseen"),
)
"""Differences whose main effects are fitted, by attack and metric."""


def write_results(
    results: pathlib.Path,
    cells: Sequence[Cell],
    rows: Sequence[Row],
    folder: pathlib.Path,
) -> None:
    """Writes every table and the map.

    Args:
        results: Folder to write into.
        cells: Cells of the sweep, in the order of the map.
        rows: Their results.
        folder: Where the signals of each cell lie.
    """
    by_name = {cell.name: cell for cell in cells}
    write_rows(results / "cells.csv", [r for r in rows if r.optimizer != "sgd"])
    write_settings(results / "settings.csv", cells)
    write_equal_loss(results, by_name, rows, folder)
    effects = fitted_effects(by_name, rows)
    write_table(
        results / "effects.csv",
        ["comparison", "attack", "metric", "cells", "r_squared", *Effect._fields],
        effects,
    )
    write_mechanism(results, rows, folder)
    write_explanations(results, cells, folder)
    places = list(dict.fromkeys((r.cell, r.optimizer) for r in rows))
    labels = {p: label(by_name[p[0]], p[1]) for p in places if p[1] != "sgd"}
    # Text as text keeps the file small; without hash salt and date it is reproducible.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "map"}):
        map_figure(rows, labels).savefig(results / "map.svg", metadata={"Date": None})


def label(cell: Cell, optimizer: str) -> str:
    """Returns the text of a line of the map."""
    words = [cell.dataset.removesuffix("_subset").removesuffix("_table")]
    words += [str(cell.pool_size), f"{cell.network.replace('_', ' ')} {cell.width}"]
    words += [f"{cell.num_epochs} ep", f"wd {cell.weight_decay:g}"]
    words += [f"noise {cell.label_noise:g}"] if cell.label_noise else []
    words += list(cell.augment)
    words += [f"seed {cell.seed}"] if cell.seed else []
    return ", ".join([*words, f"{cell.num_models} models, {optimizer}"])


def write_equal_loss(
    results: pathlib.Path,
    cells: Mapping[str, Cell],
    rows: Sequence[Row],
    folder: pathlib.Path,
) -> None:
    """Writes each SAM run beside the SGD run of equal training loss."""
    losses = {
        (row.cell, row.optimizer): row.value
        for row in rows
        if (row.attack, row.metric) == (MODELS, "train_loss")
    }
    lines = []
    for match in match_losses(cells, losses):
        sam, sgd = (
            read_signals(folder / cell / f"{name}.npz")
            for cell, name in ((match.cell, match.optimizer), (match.sgd_cell, "sgd"))
        )
        for row in measure_match(match, sam, sgd):
            rest = row.value, row.sgd, row.difference, row.low, row.high
            both = match.sgd_cell, match.loss_ratio
            lines.append(
                [row.cell, row.optimizer, *both, row.attack, row.metric, *rest]
            )
    columns = ["cell", "optimizer", "sgd_cell", "loss_ratio", "attack", "metric"]
    columns += ["value", "sgd", "difference", "low", "high"]
    write_table(results / "equal_loss.csv", columns, lines)


def factors(cell: Cell, optimizer: str) -> dict[str, float]:
    """Returns the levels of a cell's factors; one step of each is named by its key."""
    method, _, rho = optimizer.partition("-")
    return {
        "rho doubled": np.log2(float(rho)),
        "steps doubled": np.log2(cell.num_steps),
        "weight decay doubled": np.log2(cell.weight_decay),
        "width doubled": np.log2(cell.width),
        "pool doubled": np.log2(cell.pool_size),
        "label noise + 0.1": 10 * cell.label_noise,
        "augmentation": float(bool(cell.augment)),
        "batch norm": float(cell.network.endswith("_bn")),
        "convolutions": float(cell.network in ("cnn_bn", "resnet18_bn")),
        "table, not images": float(
            cell.dataset in ("hospital100", "location30_table", "retail100")
        ),
    }


def fitted_effects(cells: Mapping[str, Cell], rows: Sequence[Row]) -> list[list]:
    """Returns main effects on each of ``RESPONSES``, of factors that vary.

    Plain SAM after equal epochs, and those of its runs at equal training accuracy;
    nothing is fitted where there are too few cells.
    """
    plain = [row for row in rows if row.optimizer.startswith("sam-")]
    equal = {
        (row.cell, row.optimizer)
        for row in plain
        if (row.attack, row.metric) == (MODELS, "train_accuracy")
        and abs(row.difference) <= EQUAL_ACCURACY
    }
    compared = {
        "equal epochs": plain,
        "equal training accuracy": [
            row for row in plain if (row.cell, row.optimizer) in equal
        ],
    }
    lines = []
    for comparison, chosen in compared.items():
        for attack, metric in RESPONSES:
            used = [r for r in chosen if (r.attack, r.metric) == (attack, metric)]
            lines += [[comparison, attack, metric, *line] for line in _fit(cells, used)]
    return lines


def _fit(cells: Mapping[str, Cell], rows: Sequence[Row]) -> list[list]:
    """The number of cells, R squared and one effect a line."""
    levels = [factors(cells[row.cell], row.optimizer) for row in rows]
    names = varying_factors(levels)
    design = np.array([[level[n] for n in names] for level in levels])
    groups = np.unique([row.cell for row in rows], return_inverse=True)[1]
    num_cells = len(np.unique(groups))
    if num_cells <= len(names) + 1:
        return []
    response = np.array([row.difference for row in rows])
    effects = main_effects(names, design, response, groups)
    slopes = np.array([effect.value for effect in effects[1:]])
    fitted = response.mean() + (design - design.mean(axis=0)) @ slopes
    r_squared = 1 - float(np.var(response - fitted) / np.var(response))
    return [[num_cells, r_squared, *effect] for effect in effects]


def varying_factors(levels: Sequence[Mapping[str, float]]) -> list[str]:
    """Returns the factors that have more than one level."""
    return [
        name
        for name in (levels or [{}])[0]
        if len({level[name] for level in levels}) > 1
    ]


def write_mechanism(
    results: pathlib.Path, rows: Sequence[Row], folder: pathlib.Path
) -> None:
    """Writes what shift and contraction each do to a Gaussian attack."""
    by_cell: dict[str, list[str]] = {}
    for row in rows:
        names = by_cell.setdefault(row.cell, [])
        if row.optimizer not in names:
            names.append(row.optimizer)
    lines = []
    for cell, names in by_cell.items():
        sgd = read_signals(folder / cell / "sgd.npz")
        for name in names:
            if name == "sgd":
                continue
            sam = read_signals(folder / cell / f"{name}.npz")
            lines += [[cell, name, *line] for line in mechanism_of(sgd, sam)]
    columns = ["cell", "optimizer", "score", "factor", "change", "low", "high"]
    write_table(results / "mechanism.csv", columns, lines)
