"""Options and run of a question: cells at a scale, shared between questions."""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence

import jax

from experiments.common.cell_runs import measure_design, total_seconds
from experiments.common.cells import Cell
from experiments.common.cost import RATES, Design, cost_of
from experiments.common.measure import Row
from experiments.common.pages import Sweep, read_sweep
from experiments.common.presets import Scale
from experiments.common.study_data import FILES
from experiments.common.tables import write_rows, write_settings
from sam_jax.cli import run_folder


@dataclasses.dataclass(frozen=True)
class Config:
    """Options of every question that trains cells."""

    scale: Scale = "laptop"
    """Preset: laptop, gpu or paper."""
    name: str = "default"
    """Folder of the results: runs/where_it_begins/NAME."""
    data_dir: str | None = None
    """Folder of the data sets that are not embedded; without it, their cells are left
    out."""
    only: str = ""
    """Run only the cells whose names hold this text."""
    results: pathlib.Path | None = None
    """Folder to write the tables to; runs/where_it_begins/NAME/QUESTION without."""
    plan: bool = False
    """Print the cost of every scale on every device, and stop."""


Writer = Callable[[pathlib.Path, Sequence[Cell], Sequence[Row], pathlib.Path], None]
"""``write(results, cells, rows, folder)`` writes tables from the rows of all cells and
from the folder of their signals."""


def run_design(
    question: str, presets: Mapping[Scale, Design], config: Config, write: Writer
) -> pathlib.Path | None:
    """Runs what is missing of a question, and writes its tables.

    Args:
        question: Name of the folder of tables.
        presets: Its cells at each scale.
        config: Options; cells are shared with every question of the same ``name``.
        write: Writes the tables.

    Returns:
        The folder of the tables, if not a plan.

    Raises:
        ValueError: If no cell is left to run, or data are missing.
    """
    preset = presets[config.scale]
    design = chosen_cells(preset, config)
    if not design:
        raise ValueError(f"only must match a cell of {question}, got {config.only!r}.")
    if config.plan:
        print_plan(question, presets, config)
        return None
    device = "laptop" if jax.default_backend() == "cpu" else "gpu"
    print(f"{question}: {len(design)} cells: {cost_of(design, device)}.")
    folder = pathlib.Path("runs") / "where_it_begins" / config.name
    rows = measure_design(design, folder, config.data_dir)
    results = config.results or folder / question
    results.mkdir(parents=True, exist_ok=True)
    write_metadata(results, config.scale, design, folder)
    write(results, [cell for cell, _ in design], rows, folder)
    print(f"Results: {results}")
    return results


def write_tables(results: pathlib.Path, cells: Sequence[Cell], rows: Sequence[Row]):
    """Writes cells.csv, SAM and its relatives beside SGD, and settings.csv."""
    write_rows(results / "cells.csv", [r for r in rows if r.optimizer != "sgd"])
    write_settings(results / "settings.csv", cells)


def write_with_page(page: Callable[[Sweep], str]) -> Writer:
    """Returns a writer of ``write_tables`` and of a page beside their folder."""

    def write(
        results: pathlib.Path,
        cells: Sequence[Cell],
        rows: Sequence[Row],
        folder: pathlib.Path,
    ) -> None:
        write_tables(results, cells, rows)
        text = page(read_sweep(results))
        results.with_suffix(".md").write_text(text, encoding="utf-8")

    return write


def chosen_cells(preset: Design, config: Config) -> Design:
    """Returns the cells that are chosen and whose data are there."""
    return [
        (cell, perturbations)
        for cell, perturbations in preset
        if config.only in cell.name
        and (config.data_dir is not None or cell.dataset not in FILES)
    ]


def print_plan(question: str, presets: Mapping[Scale, Design], config: Config) -> None:
    """Prints the cost of the chosen cells of each scale, on each device."""
    for scale, preset in presets.items():
        design = chosen_cells(preset, config)
        for device in RATES:
            cost = cost_of(design, device)
            print(f"{question}, {scale} on a {device}: {len(design)} cells, {cost}.")


def write_metadata(
    results: pathlib.Path, scale: Scale, design: Design, folder: pathlib.Path
) -> None:
    """Writes the command, versions, device, seeds and times beside the tables.

    The seconds are those of the cells whose training and attacks were timed.
    """
    described = run_folder.environment() | {
        "scale": scale,
        "seeds": sorted({cell.seed for cell, _ in design}),
        "cells": len(design),
        **total_seconds([folder / cell.name for cell, _ in design]),
    }
    run_folder.write_json(results / "metadata.json", described)
