"""Where SAM begins to leak more than SGD: a designed sweep, and the map of it.

    python -m experiments.where_it_begins --scale laptop

trains every cell of the preset under SGD and the SAM family on the same masks, seeds
and order of data. runs/where_it_begins/NAME/results then holds cells.csv (each attack
and metric, SAM minus SGD with its interval), settings.csv, equal_loss.csv, effects.csv,
mechanism.csv and map.svg. A killed run goes on where it stopped; ``--plan`` prints the
cost alone.
"""

import dataclasses
import json
import math
import pathlib
import sys
import time
from collections.abc import Mapping
from typing import Any

import tyro

import sam_jax
from experiments.common.cells import Cell, Perturbation, read_signals, train_cell
from experiments.common.cost import RATES, Design, cost_of, operations
from experiments.common.measure import Row, measure_cell
from experiments.common.presets import SCALES, Preset, Scale
from experiments.common.study_data import FILES
from experiments.common.sweep_results import write_results
from sam_jax.cli import run_folder
from sam_jax.cli.errors import usage_errors


@dataclasses.dataclass(frozen=True)
class Config:
    """Trains a designed sweep under SGD and SAM, and maps where SAM leaks more."""

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
    """Folder to write the tables to; runs/where_it_begins/NAME/results without."""
    plan: bool = False
    """Print the cost of every scale on every device, and stop."""


def main(config: Config) -> pathlib.Path | None:
    """Runs what is missing and writes all tables; returns their folder, if not a plan.

    Raises:
        ValueError: If no cell is left to run, or data are missing.
    """
    preset = SCALES[config.scale]
    design = chosen_cells(preset, config)
    if not design:
        raise ValueError(f"only must match a cell of the preset, got {config.only!r}.")
    if config.plan:
        print_plan(config, SCALES)
        return None
    print(f"{len(design)} cells: {cost_of(design, preset.device)}.")
    folder = pathlib.Path("runs") / "where_it_begins" / config.name
    rows = measure_design(design, folder, config.data_dir)
    results = config.results or folder / "results"
    results.mkdir(parents=True, exist_ok=True)
    write_results(results, [cell for cell, _ in design], rows, folder)
    write_metadata(results, config.scale, design)
    print(f"Results: {results}")
    return results


def chosen_cells(preset: Preset, config: Config) -> Design:
    """Returns the cells that are chosen and whose data are there."""
    return [
        (cell, perturbations)
        for cell, perturbations in preset.design
        if config.only in cell.name
        and (config.data_dir is not None or cell.dataset not in FILES)
    ]


def print_plan(config: Config, presets: Mapping[Scale, Preset]) -> None:
    """Prints the cost of the chosen cells of each scale, on each device."""
    for scale, preset in presets.items():
        design = chosen_cells(preset, config)
        for device in RATES:
            cost = cost_of(design, device)
            print(f"{scale} on a {device}: {len(design)} cells, {cost}.")


def measure_design(
    design: Design, folder: pathlib.Path, data_dir: str | None
) -> list[Row]:
    """Trains and measures what is missing of each cell; returns all rows."""
    progress = Progress(folder, design)
    rows: list[Row] = []
    for cell, perturbations in design:
        rows += run_cell(cell, perturbations, folder, data_dir, progress)
    return rows


def write_metadata(results: pathlib.Path, scale: Scale, design: Design) -> None:
    """Writes the command, versions, device and seeds beside the tables."""
    module = f"experiments.{pathlib.Path(sys.argv[0]).stem}"
    described = run_folder.environment() | {
        "command": " ".join(["python", "-m", module, *sys.argv[1:]]),
        "scale": scale,
        "seeds": sorted({cell.seed for cell, _ in design}),
    }
    run_folder.write_json(results / "metadata.json", described)


def run_cell(
    cell: Cell,
    perturbations: tuple[Perturbation, ...],
    folder: pathlib.Path,
    data_dir: str | None,
    progress: "Progress",
) -> list[Row]:
    """Trains and measures what is missing of a cell; returns its rows.

    An optimizer under which a model diverges is left out, with a note on disk.
    """
    place = folder / cell.name
    names = []
    for perturbation in perturbations:
        note = place / f"{perturbation.name}.diverged"
        if note.exists():
            continue
        start, trained = time.perf_counter(), progress.is_trained(cell, perturbation)
        try:
            train_cell(cell, perturbation, place, data_dir)
        except FloatingPointError as error:
            note.write_text(f"{error}\n")
            print(f"{cell.name} {perturbation.name}: {error}")
            continue
        names.append(perturbation.name)
        if not trained:
            progress.finish(cell, perturbation, time.perf_counter() - start)
    return measured_rows(cell, place, names)


def measured_rows(cell: Cell, place: pathlib.Path, names: list[str]) -> list[Row]:
    """Returns the rows of trained optimizers, from the JSON where it has them.

    Rows of another commit, or of code that differs from its commit or has none, are
    measured again: an attack may have changed.
    """
    path = place / "rows.json"
    commit = run_folder.environment()["commit"]
    source = {"optimizers": names, "commit": commit}
    if path.exists():
        saved = json.loads(path.read_text())
        same = all(saved.get(key) == value for key, value in source.items())
        if same and commit and not commit.endswith("+"):
            return [row_from_json(row) for row in saved["rows"]]
    if "sgd" not in names:
        return []
    signals = {n: read_signals(place / f"{n}.npz") for n in names}
    rows = measure_cell(cell.name, signals)
    plain = [dataclasses.astuple(row) for row in rows]
    run_folder.write_json(path, source | {"rows": plain})
    return rows


def row_from_json(values: list[Any]) -> Row:
    """Returns a row as it was written; what could not be resolved is null there."""
    numbers = [math.nan if value is None else value for value in values[4:]]
    return Row(*values[:4], *numbers)


class Progress:
    """A line for each trained optimizer: what it took, and the time left."""

    def __init__(self, folder: pathlib.Path, design: Design) -> None:
        self.folder = folder
        self.left = sum(
            operations(cell, p)
            for cell, perturbations in design
            for p in perturbations
            if not self.is_trained(cell, p)
        )
        self.done = self.seconds = 0.0

    def is_trained(self, cell: Cell, perturbation: Perturbation) -> bool:
        """Whether an earlier run trained it."""
        return (self.folder / cell.name / f"{perturbation.name}.npz").exists()

    def finish(self, cell: Cell, perturbation: Perturbation, seconds: float) -> None:
        """Prints what an optimizer took and the time left at this pace."""
        work = operations(cell, perturbation)
        self.left, self.done = self.left - work, self.done + work
        self.seconds += seconds
        left = self.left * self.seconds / self.done / 60
        print(
            f"{cell.name} {perturbation.name}: {seconds:.0f} s, about {left:.0f} min "
            "left",
            flush=True,
        )


if __name__ == "__main__":
    sam_jax.use_all_cores()
    with usage_errors():
        main(tyro.cli(Config, description=__doc__))
