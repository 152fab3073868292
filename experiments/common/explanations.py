"""Memorization and typicality of the sweep's models: a table, without training."""

import csv
import itertools
import pathlib
from collections.abc import Iterator, Sequence

from experiments.common.cells import Cell, read_signals
from experiments.common.measure import Row
from experiments.common.tables import write_table
from sam_jax import analysis
from sam_jax.metrics.estimate import Estimate

MIN_MODELS = 32
"""With fewer, an estimate of one example is mostly noise."""

COLUMNS = ["cell", "optimizer", "quantity", "group", "count"]
COLUMNS += ["sgd", "value", "difference", "low", "high"]

_EDGES = (-1.0, *analysis.BIN_EDGES, 1.0)
BIN_LABELS = tuple(f"{a:g} to {b:g}" for a, b in itertools.pairwise(_EDGES))
BUCKET_LABELS = (
    "no positive influence",
    *(str(number) for number in range(1, analysis.NUM_BUCKETS + 1)),
)
GAP = "1 minus 5"
"""Group of the row that compares the gains of the first and the last bucket."""


def write_explanations(
    results: pathlib.Path, cells: Sequence[Cell], folder: pathlib.Path
) -> None:
    """Writes explanations.csv, from the signals of the cells with enough models.

    Args:
        results: Folder to write into.
        cells: Cells of the sweep.
        folder: Where the signals of each cell lie.
    """
    lines = [
        [cell.name, path.stem, *line]
        for cell in cells
        if cell.num_models >= MIN_MODELS
        for path in sorted((folder / cell.name).glob("sam-*.npz"))
        for line in explain_pair(path)
    ]
    write_table(results / "explanations.csv", COLUMNS, lines)


def explain_pair(path: pathlib.Path) -> Iterator[list]:
    """Yields the lines of one file of SAM's signals, beside SGD's in its folder."""
    signals = {"sgd": read_signals(path.parent / "sgd.npz"), "sam": read_signals(path)}
    comparison = analysis.compare_optimizers(signals, "sgd", "sam")
    memorized = analysis.compare_memorization(comparison)
    typical = analysis.compare_typicality(comparison, memorized.estimates)
    yield from _lines("memorization", BIN_LABELS, memorized.counts, memorized.by_bin)
    yield from _lines("test accuracy", BUCKET_LABELS, typical.counts, typical.accuracy)
    gap = typical.first_minus_last
    nothing = float("nan")
    yield ["gain", GAP, nothing, nothing, nothing, gap.value, gap.low, gap.high]


def read_explanations(results: pathlib.Path) -> list[Row]:
    """Returns the table as rows: the quantity as attack, the group as metric."""
    with (results / "explanations.csv").open(newline="", encoding="utf-8") as file:
        return [
            Row(
                line["cell"],
                line["optimizer"],
                line["quantity"],
                line["group"],
                *(float(line[name]) for name in ("value", "sgd", *COLUMNS[7:])),
            )
            for line in csv.DictReader(file)
        ]


def _lines(
    quantity: str,
    groups: Sequence[str],
    counts: Sequence[float],
    estimates: Sequence[Sequence[Estimate]],
) -> Iterator[list]:
    rows = zip(groups, counts, *estimates, strict=True)
    for group, count, base, other, change in rows:
        both = base.value, other.value
        yield [quantity, group, count, *both, change.value, change.low, change.high]
