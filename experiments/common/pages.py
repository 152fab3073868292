"""Pages of results in Markdown, made from the committed tables of the sweep."""

import dataclasses
import json
import pathlib
from collections.abc import Callable, Mapping, Sequence

from experiments.common.cells import Cell
from experiments.common.equal_loss import TOLERANCE
from experiments.common.map_figure import EQUAL_ACCURACY
from experiments.common.measure import MODELS, Row
from experiments.common.sweep_results import label
from experiments.common.tables import read_rows, read_settings
from sam_jax.cli.option_parsing import parse_options

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
    """Returns a Markdown table; upright lines in a text are escaped."""
    texts = [[text.replace("|", "\\|") for text in row] for row in [heads, *lines]]
    rows = [texts[0], ["---"] * len(heads), *texts[1:]]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


FIT = (
    ("training accuracy", "train_accuracy"),
    ("training loss", "train_loss"),
    ("margin", "phi_mean_members"),
)
"""Head and metric of the columns that say how alike SGD and SAM fit."""

FIT_NOTE = (
    "Beside each figure of leakage the fit, SGD → SAM: training accuracy, training "
    "loss in nats, and margin, the mean phi of members in nats. `≠` flags a training "
    f"accuracy that differs by more than {EQUAL_ACCURACY:g}, and a loss or margin that "
    f"differs by more than {100 * TOLERANCE:g} % of SGD's: there the leakage is "
    "compared at equal epochs only.\n\n"
)


def fit_texts(sweep: Sweep, place: Place) -> list[str]:
    """Returns accuracy, loss and margin of a run beside SGD's, flagged where unlike."""
    texts = []
    for _, metric in FIT:
        row = sweep.rows[*place, MODELS, metric]
        text = f"{row.sgd:.4f} → {row.value:.4f}"
        limit = TOLERANCE * abs(row.sgd)
        if metric == "train_accuracy":
            limit = EQUAL_ACCURACY
        texts.append(text + " ≠" * (abs(row.difference) > limit))
    return texts


def change_table(
    sweep: Sweep, columns: Sequence[tuple[str, str, str]], fit: bool = False
) -> str:
    """Returns a line a cell and radius of SAM, a column an attack and metric.

    Args:
        sweep: The tables.
        columns: Head, attack and metric of each column.
        fit: Whether columns of training accuracy, training loss and margin come first.
    """
    lines = []
    for place in sweep.places("sam-"):
        changes = [change(sweep.rows[*place, a, m]) for _, a, m in columns]
        fits = fit_texts(sweep, place) if fit else []
        lines.append([sweep.label(place), *fits, *changes])
    heads = [head for head, _ in FIT] if fit else []
    return table(["Cell", *heads, *(head for head, _, _ in columns)], lines)


def described(folder: pathlib.Path) -> str:
    """Returns what a page says of its run: command, device, versions, seeds, times."""
    run = json.loads((folder / "metadata.json").read_text())
    versions = ", ".join(f"{name} {number}" for name, number in run["versions"].items())
    seeds = ", ".join(map(str, run["seeds"]))
    text = (
        f"Made by `{run['command']}` on {run['device']} ({run['cores']} cores), "
        f"{run['started'][:10]}; {versions}; seeds {seeds}. "
    )
    if "seconds" in run:
        return f"{text}It took {run['seconds']} s.\n\n"
    timed, cells = run["cells_with_timed_training"], run["cells"]
    left = "" if timed == cells else "; the others are of an earlier run, not timed"
    return (
        f"{text}Training took {run['training_seconds']} s ({timed} of {cells} cells"
        f"{left}), attacks {run['attack_seconds']} s "
        f"({run['cells_with_timed_attacks']} cells).\n\n"
    )


def run_page(question: str, doc: str, page: Callable[[Sweep], str]) -> None:
    """Parses the options, makes a page and writes it to ``question.md``."""
    config = parse_options(PageConfig, doc)
    path = config.output / f"{question}.md"
    path.write_text(page(read_sweep(config.results)), encoding="utf-8")
    print(f"Wrote {path}.")
