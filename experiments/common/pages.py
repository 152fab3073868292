"""Pages of results in Markdown, made from the committed tables of the sweep."""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence

import tyro

from experiments.common.cells import Cell
from experiments.common.measure import Row
from experiments.common.sweep_results import label
from experiments.common.tables import read_rows, read_settings

Place = tuple[str, str]
"""Name of a cell and name of an optimizer."""


@dataclasses.dataclass(frozen=True)
class PageConfig:
    """Writes a page of results from the tables of the sweep."""

    results: pathlib.Path = pathlib.Path("docs/results/where_it_begins")
    """Folder of the sweep's tables."""
    output: pathlib.Path = pathlib.Path("docs/results")
    """Folder to write the page to."""


@dataclasses.dataclass(frozen=True)
class Sweep:
    """The tables of a sweep.

    Attributes:
        rows: By cell, optimizer, attack and metric.
        cells: Settings by name of the cell.
        folder: Where the tables lie.
    """

    rows: Mapping[tuple[str, str, str, str], Row]
    cells: Mapping[str, Cell]
    folder: pathlib.Path

    def places(self, method: str = "") -> list[Place]:
        """Cells and optimizers in the order of the table; of one method if given."""
        places = dict.fromkeys(key[:2] for key in self.rows)
        return [place for place in places if place[1].startswith(method)]

    def label(self, place: Place) -> str:
        """Returns a cell and an optimizer in words."""
        return label(self.cells[place[0]], place[1])


def read_sweep(folder: pathlib.Path) -> Sweep:
    """Returns the tables of a folder.

    Raises:
        ValueError: If the folder holds no tables.
    """
    if not (folder / "cells.csv").exists():
        raise ValueError(f"results must hold cells.csv, got {str(folder)!r}.")
    rows = read_rows(folder / "cells.csv")
    keyed = {(r.cell, r.optimizer, r.attack, r.metric): r for r in rows}
    cells = {cell.name: cell for cell in read_settings(folder / "settings.csv")}
    return Sweep(keyed, cells, folder)


def change(row: Row) -> str:
    """Returns both values and the difference with its interval; bold if resolved.

    Example:
        >>> change(Row("c", "sam-0.05", "loss", "auc", 0.7, 0.6, 0.1, 0.05, 0.15))
        '0.6000 → 0.7000, **+0.1000** [+0.0500, +0.1500]'
    """
    difference = f"{row.difference:+.4f}"
    if row.low > 0 or row.high < 0:
        difference = f"**{difference}**"
    limits = f"[{row.low:+.4f}, {row.high:+.4f}]"
    return f"{row.sgd:.4f} → {row.value:.4f}, {difference} {limits}"


def table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Returns a Markdown table."""
    rows = [heads, ["---"] * len(heads), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


def change_table(sweep: Sweep, columns: Sequence[tuple[str, str, str]]) -> str:
    """Returns a line a cell and radius of SAM, a column an attack and metric.

    Args:
        sweep: The tables.
        columns: Head, attack and metric of each column.
    """
    lines = [
        [sweep.label(place), *(change(sweep.rows[*place, a, m]) for _, a, m in columns)]
        for place in sweep.places("sam-")
    ]
    return table(["Cell", *(head for head, _, _ in columns)], lines)


def run_page(question: str, doc: str, page: Callable[[Sweep], str]) -> None:
    """Parses the options, makes a page and writes it to ``question.md``."""
    config = tyro.cli(PageConfig, description=doc)
    path = config.output / f"{question}.md"
    path.write_text(page(read_sweep(config.results)), encoding="utf-8")
    print(f"Wrote {path}.")
