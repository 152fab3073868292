"""CSV tables of a sweep: rows of results, settings of cells."""

import csv
import dataclasses
import io
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any, cast

from experiments.common.cells import Cell
from experiments.common.measure import Row
from sam_jax.data.result_files import write_text

DIGITS = 5
"""Significant digits of a number in a table."""


def write_table(
    path: pathlib.Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]
) -> None:
    """Writes a CSV file whole or not at all; floats in ``DIGITS`` digits."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_short(value) for value in row])
    write_text(path, text.getvalue())


def _short(value: Any) -> Any:
    return f"{value:.{DIGITS}g}" if isinstance(value, float) else value


def write_rows(path: pathlib.Path, rows: Iterable[Row], reference: str = "sgd") -> None:
    """Writes results in long format, one number a line.

    Args:
        path: The CSV file.
        rows: Results.
        reference: Name of the column of what they are compared with.
    """
    columns = [field.name for field in dataclasses.fields(Row)]
    columns[columns.index("sgd")] = reference
    write_table(path, columns, (dataclasses.astuple(row) for row in rows))


def read_rows(path: pathlib.Path, reference: str = "sgd") -> list[Row]:
    """Reads what ``write_rows`` wrote with the same name of the reference."""
    with path.open(newline="", encoding="utf-8") as file:
        return [
            Row(
                cell=line["cell"],
                optimizer=line["optimizer"],
                attack=line["attack"],
                metric=line["metric"],
                value=float(line["value"]),
                sgd=float(line[reference]),
                difference=float(line["difference"]),
                low=float(line["low"]),
                high=float(line["high"]),
            )
            for line in csv.DictReader(file)
        ]


def write_settings(path: pathlib.Path, cells: Iterable[Cell]) -> None:
    """Writes the settings of each cell beside its name."""
    fields = [field.name for field in dataclasses.fields(Cell)]
    write_table(
        path,
        ["cell", *fields],
        (
            [cell.name, *(_joined(getattr(cell, name)) for name in fields)]
            for cell in cells
        ),
    )


def _joined(value: Any) -> Any:
    return "+".join(value) if isinstance(value, tuple) else value


def read_settings(path: pathlib.Path) -> list[Cell]:
    """Reads what ``write_settings`` wrote."""
    with path.open(newline="", encoding="utf-8") as file:
        return [_cell(line) for line in csv.DictReader(file)]


def _cell(line: dict[str, str]) -> Cell:
    values: dict[str, Any] = {}
    for field in dataclasses.fields(Cell):
        text, default = line[field.name], cast(Any, field.default)
        if isinstance(default, tuple):
            values[field.name] = tuple(text.split("+")) if text else ()
        else:
            values[field.name] = type(default)(text)
    return Cell(**values)
