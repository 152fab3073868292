"""Tables of plain values, and one way to write a value for HTML and terminal alike."""

import csv
import io
import math
import re
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from sam_jax import _checks
from sam_jax.metrics.estimate import Estimate

Cell: TypeAlias = str | int | float | Estimate | None
"""None is an empty cell; a NaN estimate is one that the data cannot resolve."""

Table: TypeAlias = tuple[list[str], list[list[Cell]]]
"""Heads of the columns, and rows of cells."""

NOT_RESOLVABLE = "not resolvable (n < 1/FPR)"
_NUMBER = re.compile(r"[-+<>]?\s?[\d.]")
_INTERVAL = re.compile(r" (\[.*\])$")


def format_estimate(estimate: Estimate, sign: bool = False) -> str:
    """Returns ``value [low, high]`` with as many digits as the interval deserves.

    At least 3 decimals, and one significant digit of the half width.

    Args:
        estimate: Value and interval; NaN is not resolvable.
        sign: Whether to write a plus sign, as for differences.

    Example:
        >>> format_estimate(Estimate(0.735, 0.728, 0.742, 0.004, 30.0, 0.0))
        '0.735 [0.728, 0.742]'
    """
    if math.isnan(estimate.value):
        return NOT_RESOLVABLE
    half = (estimate.high - estimate.low) / 2
    decimals = 3 if half <= 0 else min(max(3, -math.floor(math.log10(half))), 6)
    value = f"{estimate.value:{'+' if sign else ''}.{decimals}f}"
    return f"{value} [{estimate.low:.{decimals}f}, {estimate.high:.{decimals}f}]"


def metric_label(metric: str) -> str:
    """Returns the name of a metric as people write it.

    Example:
        >>> metric_label("tpr_at_fpr_0.001"), metric_label("auc")
        ('TPR at 0.1 % FPR', 'AUC')
    """
    if metric.startswith("tpr_at_fpr_"):
        return f"TPR at {100 * float(metric.removeprefix('tpr_at_fpr_')):g} % FPR"
    return {"auc": "AUC"}.get(metric, metric.replace("_", " "))


def metric_table(
    heads: Sequence[str], rows: Sequence[tuple[list[str], Mapping[str, Estimate]]]
) -> Table:
    """Returns heads and rows of estimates by metric, all metrics of any row.

    Args:
        heads: Of what a row is of.
        rows: What each is of, and its estimates.
    """
    metrics = dict.fromkeys(metric for _, values in rows for metric in values)
    cells: list[list[Cell]] = []
    for place, values in rows:
        cells.append([*place, *map(values.get, metrics)])
    return [*heads, *map(metric_label, metrics)], cells


def cell_text(cell: Cell) -> str:
    """Returns a cell as text: floats with 3 decimals, estimates with intervals."""
    if cell is None:
        return ""
    if isinstance(cell, Estimate):
        return format_estimate(cell)
    if isinstance(cell, str | int):
        return str(cell)
    return "" if math.isnan(cell) else f"{cell:.3f}"


def split_interval(text: str) -> tuple[str, str]:
    """Returns the value of a written estimate, and its interval or nothing.

    Example:
        >>> split_interval("0.735 [0.728, 0.742]"), split_interval("sgd")
        (('0.735', '[0.728, 0.742]'), ('sgd', ''))
    """
    match = _INTERVAL.search(text)
    return (text[: match.start()], match.group(1)) if match else (text, "")


def numeric_columns(
    columns: Sequence[str], rows: Sequence[Sequence[Cell]]
) -> list[bool]:
    """Returns for each column whether it holds numbers alone, to be aligned right.

    Args:
        columns: Heads.
        rows: One cell per column in every row.

    Raises:
        ArgumentError: If a row has another number of cells than there are columns.
    """
    for number, row in enumerate(rows):
        if len(row) != len(columns):
            raise _checks.ArgumentError(
                "rows",
                f"must have one cell per column ({len(columns)}), got {len(row)} in "
                f"row {number}.",
            )
    numeric = []
    for column in range(len(columns)):
        cells = [row[column] for row in rows]
        numeric.append(bool(rows) and all(map(_is_number, cells)))
    return numeric


def csv_text(columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """Returns the table as CSV, an estimate as three columns of full precision.

    Args:
        columns: Heads, with units.
        rows: One cell per column in every row.

    Example:
        >>> estimate = Estimate(0.7, 0.6, 0.8, 0.05, 30.0, 0.0)
        >>> print(csv_text(["optimizer", "AUC"], [["sgd", estimate]]))
        optimizer,AUC,AUC low,AUC high
        sgd,0.7,0.6,0.8
    """
    wide = []
    for place in range(len(columns)):
        wide.append(any(isinstance(row[place], Estimate) for row in rows))
    head = []
    for column, is_wide in zip(columns, wide, strict=True):
        head += [column, f"{column} low", f"{column} high"] if is_wide else [column]
    lines = [head]
    for row in rows:
        line: list[Cell] = []
        for cell, is_wide in zip(row, wide, strict=True):
            values = cell[:3] if isinstance(cell, Estimate) else (cell, None, None)
            line += values if is_wide else values[:1]
        lines.append(line)
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(lines)
    return buffer.getvalue().rstrip("\n")


def text_table(
    columns: Sequence[str], rows: Sequence[Sequence[Cell]], width: int = 100
) -> str:
    """Returns the table as aligned text for a terminal.

    Args:
        columns: Heads, with units.
        rows: One cell per column in every row.
        width: Where the table would be wider, intervals move below their values; where
            it still is, each row becomes a block of lines, one per column.

    Raises:
        ArgumentError: If a row has another number of cells than there are columns.

    Example:
        >>> print(text_table(["optimizer", "AUC"], [["sgd", 0.735], ["sam", 0.7]]))
        optimizer    AUC
        ----------------
        sgd        0.735
        sam        0.700
    """
    numeric = numeric_columns(columns, rows)
    whole = [[cell_text(cell) for cell in row] for row in rows]
    halved = []
    for line in whole:
        halved += _interval_below(line)
    for lines in (whole, halved):
        aligned = _aligned(columns, lines, numeric)
        if len(aligned[1]) <= width:
            return "\n".join(aligned)
    return _text_blocks(columns, whole)


def _is_number(cell: Cell) -> bool:
    """Whether a cell may stand in a column of numbers."""
    if cell is None or not isinstance(cell, str):
        return True
    return cell in ("", NOT_RESOLVABLE) or _NUMBER.match(cell) is not None


def _aligned(
    columns: Sequence[str], lines: Sequence[Sequence[str]], numeric: Sequence[bool]
) -> list[str]:
    """Returns the lines of a text table: head, rule, body."""
    table_lines = [list(columns), *lines]
    widths = [max(map(len, column)) for column in zip(*table_lines, strict=True)]
    aligned = []
    for line in table_lines:
        cells = []
        for cell, size, right in zip(line, widths, numeric, strict=True):
            cells.append(cell.rjust(size) if right else cell.ljust(size))
        aligned.append("  ".join(cells).rstrip())
    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    return [aligned[0], rule, *aligned[1:]]


def _interval_below(line: Sequence[str]) -> list[list[str]]:
    """Returns a row's values and, if it has any, its intervals as a row below."""
    halves = [split_interval(cell) for cell in line]
    above, below = [half[0] for half in halves], [half[1] for half in halves]
    return [above, below] if any(below) else [above]


def _text_blocks(columns: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Returns one block per row, a line per column, for tables that are too wide."""
    size = max(len(column) for column in columns[1:])
    blocks = []
    for line in lines:
        blocks.append(line[0])
        for column, cell in zip(columns[1:], line[1:], strict=True):
            blocks.append(f"  {column.ljust(size)}  {cell}".rstrip())
    return "\n".join(blocks)
