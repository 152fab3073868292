"""Data sets from tables: a column of labels, and columns of numbers."""

import collections
import os
import pathlib
import re
from typing import Any

import numpy as np

from sam_jax import _checks
from sam_jax._checks import ArgumentError
from sam_jax.data.arrays import split_dataset
from sam_jax.types import Dataset, Origin

SUFFIXES = (".csv", ".parquet")
LABEL_COLUMN = "label"
"""Of the labels, unless another is named."""

ID_COLUMN = "id"
"""Of the names of the rows, as in ``.npz`` files; no feature."""


def load_table(
    path: str | os.PathLike[str], label_column: str | None = None
) -> Dataset:
    """Loads a data set from a ``.csv`` or ``.parquet`` file.

    The first line of a ``.csv`` file names the columns. All but the label are features,
    and ``id``, if there is one, which names the rows in reports. Labels are whole
    numbers or texts; ``split_rows`` chooses the test examples.

    Args:
        path: The file.
        label_column: Column of the labels; ``"label"`` by default.

    Returns:
        The data set, named after the file; its origins are rows of the table, from 0.

    Raises:
        ArgumentError: If the file is missing or no such file; has no such column; if
            features are no numbers, or any value is missing: the columns are named.
    """
    path = pathlib.Path(path).expanduser()
    if not path.is_file():
        raise ArgumentError("path", f"must be an existing file, got {path}.")
    import pyarrow
    from pyarrow import parquet

    try:
        is_csv = path.suffix == ".csv"
        table = _read_csv(path) if is_csv else parquet.read_table(path)
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = _checks.first_line(error)
        rule = f"must be a readable {path.suffix} file, got {path}: {reason}"
        raise ArgumentError("path", rule) from error
    x, y, ids = table_arrays(table, label_column)
    rows = Origin("rows", np.arange(len(x)), ids)
    return split_dataset(path.stem, x, y, rows, source=str(path))


def table_arrays(
    table: Any, label_column: str | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Returns features [N, D], labels [N] and names [N], if any, of a pyarrow table.

    Args:
        table: The table.
        label_column: Column of the labels; ``"label"`` by default.

    Raises:
        ArgumentError: As ``load_table``.
    """
    names = list(table.column_names)
    twice = [name for name, count in collections.Counter(names).items() if count > 1]
    if twice:
        rule = f"must name each column once, got {', '.join(twice)} twice."
        raise ArgumentError("path", rule)
    unnamed = [n for n in names if re.fullmatch(r"\s*|Unnamed: \d+|__index_.*__", n)]
    if unnamed:
        raise ArgumentError(
            "path",
            f"must name each column, got {unnamed[0]!r}: write the table without the "
            "numbers of the rows (index=False), or call them 'id'.",
        )
    chosen = LABEL_COLUMN if label_column is None else label_column
    if chosen not in names:
        rule = f"must be one of the table's columns, {_listed(names)}; got {chosen!r}."
        raise ArgumentError("label_column", rule)
    features = [name for name in names if name not in (chosen, ID_COLUMN)]
    if not features or len(table) < 2:
        rule = "must have at least 2 rows and a column beside the labels, got"
        raise ArgumentError("path", f"{rule} {len(table)} rows of {_listed(names)}.")
    # Before the conversion, which would turn missing whole numbers into NaN.
    _refuse_missing(table)
    columns = {name: table.column(name).to_numpy() for name in names}
    texts = [name for name in features if columns[name].dtype.kind not in "biuf"]
    if texts:
        example = columns[texts[0]][0]
        raise ArgumentError(
            "path",
            f"must have features that are numbers, which {_listed(texts)} are not "
            f"({texts[0]} holds {str(example)[:40]!r}): encode or drop them.",
        )
    y = columns[chosen]
    if y.dtype.kind == "b":
        y = y.astype(np.int32)
    ids = columns[ID_COLUMN] if ID_COLUMN in names and chosen != ID_COLUMN else None
    return np.stack([columns[name] for name in features], axis=1), y, ids


def _read_csv(path: pathlib.Path) -> Any:
    from pyarrow import csv

    # One block: types are inferred from all rows, not from the first megabyte.
    block_size = min(max(path.stat().st_size, 2**20), 2**31 - 1)
    table = csv.read_csv(path, csv.ReadOptions(block_size=block_size))
    if all(map(_is_number, table.column_names)):
        rule = "must have the names of the columns in its first line, got"
        raise ArgumentError("path", f"{rule} numbers: {_listed(table.column_names)}.")
    return table


def _refuse_missing(table: Any) -> None:
    missing = [
        f"{name} ({table.column(name).null_count:,})"
        for name in table.column_names
        if table.column(name).null_count
    ]
    if missing:
        rule = f"must have no missing values, got some in {_listed(missing)}:"
        raise ArgumentError("path", f"{rule} fill them, or drop their rows.")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _listed(names: list[str]) -> str:
    """Names of columns, the first twenty of many."""
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return ", ".join(names[:20]) + more
