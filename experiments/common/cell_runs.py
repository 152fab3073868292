"""Cells trained and measured where they are missing, and the time that they took."""

import dataclasses
import json
import math
import pathlib
import time
from collections.abc import Sequence
from typing import Any

from experiments.common.cells import Cell, Perturbation, read_signals, train_cell
from experiments.common.cost import Design, operations
from experiments.common.measure import Row, measure_cell
from sam_jax.cli import run_folder


def measure_design(
    design: Design, folder: pathlib.Path, data_dir: str | None
) -> list[Row]:
    """Trains and measures what is missing of each cell; returns all rows."""
    progress = Progress(folder, design)
    rows: list[Row] = []
    for cell, perturbations in design:
        rows += run_cell(cell, perturbations, folder, data_dir, progress)
    return rows


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
            seconds = time.perf_counter() - start
            note_seconds(place, perturbation.name, seconds)
            progress.finish(cell, perturbation, seconds)
    return measured_rows(cell, place, names)


def note_seconds(place: pathlib.Path, work: str, seconds: float) -> None:
    """Notes what a training or the attacks of a cell took, beside its signals."""
    path = place / "seconds.json"
    noted = json.loads(path.read_text()) if path.exists() else {}
    run_folder.write_json(path, noted | {work: round(seconds, 1)})


def total_seconds(places: Sequence[pathlib.Path]) -> dict[str, float]:
    """Returns the noted seconds of training and of attacks, and of how many cells."""
    noted = [
        json.loads((place / "seconds.json").read_text())
        for place in places
        if (place / "seconds.json").exists()
    ]
    attacks = sum(seconds.get("attacks", 0.0) for seconds in noted)
    return {
        "cells_with_timed_training": sum(bool(s.keys() - {"attacks"}) for s in noted),
        "training_seconds": round(sum(sum(s.values()) for s in noted) - attacks),
        "cells_with_timed_attacks": sum("attacks" in s for s in noted),
        "attack_seconds": round(attacks),
    }


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
    start = time.perf_counter()
    signals = {n: read_signals(place / f"{n}.npz") for n in names}
    rows = measure_cell(cell.name, signals)
    note_seconds(place, "attacks", time.perf_counter() - start)
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
