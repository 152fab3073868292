"""A user's own arrays as a data set: validated, scaled, split."""

import hashlib
import os
import pathlib
import zipfile
import zlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from sam_jax._checks import ArgumentError
from sam_jax.types import Dataset, Examples

TEST_FRACTION = 0.2
"""Share of the examples that ``split_rows`` sets aside where no test set exists."""


def dataset_from_arrays(
    name: str,
    x: np.ndarray,
    y: np.ndarray,
    x_test: np.ndarray,
    y_test: np.ndarray,
    num_classes: int | None = None,
    class_names: Sequence[str] = (),
    source: str = "",
) -> Dataset:
    """Returns a data set made of arrays, after checking them.

    ``uint8`` arrays with three or more axes are images and are divided by 255; any
    other real array is cast to float32 as it is.

    Args:
        name: Short name for tables and file names.
        x: Training inputs [N, *features], any real dtype; JAX arrays too.
        y: Labels [N], whole numbers from 0.
        x_test: Test inputs, with the features and dtype of ``x``.
        y_test: Labels of ``x_test``.
        num_classes: Number of classes; by default one more than the largest label.
        class_names: One name a class, or nothing.
        source: Where the data comes from, and its licence.

    Returns:
        The data set, with x in float32 and y in int32.

    Raises:
        ValueError: If an array is empty, not numeric, not finite in float32, or of the
            wrong shape; if a label is not a whole number in ``[0, num_classes)``.

    Example:
        >>> x, y = np.eye(4, dtype=np.float32), np.array([0, 1, 0, 1])
        >>> dataset_from_arrays("eye", x, y, x[:2], y[:2]).num_classes
        2
    """
    inputs, test_inputs = _inputs("x", x), _inputs("x_test", x_test)
    labels = _labels("y", y, "x", len(inputs))
    test_labels = _labels("y_test", y_test, "x_test", len(test_inputs))
    if inputs.shape[1:] != test_inputs.shape[1:]:
        raise ArgumentError(
            "x_test",
            "must have the feature shape of x, "
            f"got {test_inputs.shape[1:]} and {inputs.shape[1:]}.",
        )
    if np.asarray(x).dtype != np.asarray(x_test).dtype:
        raise ArgumentError(
            "x_test",
            "must have the dtype of x, so that both are scaled alike, "
            f"got {np.asarray(x_test).dtype} and {np.asarray(x).dtype}.",
        )
    if num_classes is None:
        num_classes = int(max(labels.max(), test_labels.max())) + 1
    _check_classes(num_classes, {"y": labels, "y_test": test_labels})
    if len(class_names) not in (0, num_classes):
        raise ArgumentError(
            "class_names",
            f"must have one name a class ({num_classes}), got {len(class_names)}.",
        )
    return Dataset(
        name=name,
        num_classes=num_classes,
        train=Examples(inputs, labels),
        test=Examples(test_inputs, test_labels),
        class_names=tuple(class_names),
        source=source,
    )


def load_npz(path: str | os.PathLike[str]) -> Dataset:
    """Loads a data set from an ``.npz`` file; pickled objects are refused.

    Args:
        path: A file with ``x_train``, ``y_train``, ``x_test`` and ``y_test``, or with
            ``x`` and ``y``, of which ``split_rows`` picks the test examples. A scalar
            ``num_classes`` is read where there is one.

    Returns:
        The data set, named after the file.

    Raises:
        ValueError: If the file is missing, is no ``.npz``, holds objects, lacks the
            arrays, or holds arrays that ``dataset_from_arrays`` refuses.
    """
    path = pathlib.Path(path).expanduser()
    arrays = _read_npz(path)
    count = arrays.get("num_classes")
    num_classes = None if count is None else int(count)
    if {"x_train", "y_train", "x_test", "y_test"} <= arrays.keys():
        parts = [arrays[k] for k in ("x_train", "y_train", "x_test", "y_test")]
    elif {"x", "y"} <= arrays.keys():
        x, y = _inputs_and_labels_of_one_length(arrays["x"], arrays["y"])
        train, test = split_rows(len(x))
        parts = [x[train], y[train], x[test], y[test]]
    else:
        raise ArgumentError(
            str(path),
            f"must hold x_train, y_train, x_test and y_test, or x and y; "
            f"it holds {', '.join(sorted(arrays)) or 'nothing'}.",
        )
    x_train, y_train, x_test, y_test = parts
    return dataset_from_arrays(
        path.stem, x_train, y_train, x_test, y_test, num_classes, source=str(path)
    )


def split_rows(
    num_rows: int, test_fraction: float = TEST_FRACTION
) -> tuple[Int[np.ndarray, "train"], Int[np.ndarray, "test"]]:
    """Splits row numbers into train and test, the same way on every machine.

    Rows are ranked by the sha256 digest of their number in decimal; the lowest ones
    are the test rows. Both parts keep the order of the source.

    Args:
        num_rows: Number of rows, at least 2.
        test_fraction: Share of the rows that become test rows, in (0, 1).

    Returns:
        The train rows and the test rows; neither is empty.

    Raises:
        ValueError: If there are fewer than 2 rows.

    Example:
        >>> train, test = split_rows(10)
        >>> train.size, test.size
        (8, 2)
    """
    if num_rows < 2:
        raise ArgumentError(
            "x", f"must have at least 2 rows to be split, got {num_rows}."
        )
    num_test = min(max(round(test_fraction * num_rows), 1), num_rows - 1)
    digest = lambda row: hashlib.sha256(str(row).encode()).digest()
    ranked = np.array(sorted(range(num_rows), key=digest))
    return np.sort(ranked[num_test:]), np.sort(ranked[:num_test])


def _read_npz(path: pathlib.Path) -> dict[str, np.ndarray]:
    """All arrays of an ``.npz`` file."""
    if not path.is_file():
        raise ArgumentError(
            "path", f"must be an .npz file that exists, got {str(path)!r}."
        )
    try:
        with np.load(path, allow_pickle=False) as archive:
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise ValueError("it holds a single array")
            return {key: archive[key] for key in archive.files}
    except (ValueError, OSError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise ArgumentError(
            str(path), f"must be an .npz file of plain arrays (no pickle): {error}."
        ) from error


def _inputs_and_labels_of_one_length(
    x: np.ndarray, y: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """``x`` and ``y``, checked before they are indexed with the same rows."""
    if x.ndim < 2 or y.ndim != 1 or len(x) != len(y):
        raise ArgumentError(
            "x",
            "must be [N, *features] and y [N] with the same N, "
            f"got {x.shape} and {y.shape}.",
        )
    return x, y


def _inputs(name: str, x: np.ndarray) -> Float[np.ndarray, "n *features"]:
    """``x`` as float32, images scaled to [0, 1]; refuses what is not numeric."""
    x = np.asarray(x)
    is_real = np.issubdtype(x.dtype, np.floating) or x.dtype.kind in "iub"
    if not is_real and x.dtype.name != "bfloat16":
        raise ArgumentError(name, f"must hold real numbers, got dtype {x.dtype}.")
    if x.ndim < 2 or x.size == 0:
        raise ArgumentError(
            name, f"must be [N, *features] and not empty, got shape {x.shape}."
        )
    if x.dtype == np.uint8 and x.ndim >= 3:
        return x.astype(np.float32) / np.float32(255)
    with np.errstate(over="ignore"):
        values = x.astype(np.float32)
    finite = np.isfinite(values)
    if not finite.all():
        where = tuple(int(i) for i in np.argwhere(~finite)[0])
        raise ArgumentError(
            name, f"must be finite in float32, got {x[where]} at index {where}."
        )
    return values


def _labels(
    name: str, y: np.ndarray, x_name: str, num_rows: int
) -> Int[np.ndarray, "n"]:
    """``y`` as int32; refuses what is no vector of whole numbers."""
    y = np.asarray(y)
    if y.shape != (num_rows,):
        raise ArgumentError(
            name,
            f"must have one label for each row of {x_name}, shape "
            f"({num_rows},), got shape {y.shape}.",
        )
    if y.dtype.kind not in "iuf":
        raise ArgumentError(name, f"must hold whole numbers, got dtype {y.dtype}.")
    whole = np.isfinite(y) & (np.abs(y) < 2**31) & (np.trunc(y) == y)
    if not whole.all():
        raise ArgumentError(name, f"must hold whole numbers, got {y[~whole][0]}.")
    return y.astype(np.int32)


def _check_classes(num_classes: int, labels: dict[str, np.ndarray]) -> None:
    """Refuses a single class, and labels outside of [0, num_classes)."""
    for name, values in labels.items():
        out = values[(values < 0) | (values >= num_classes)]
        if out.size:
            raise ArgumentError(
                name,
                f"must lie in [0, {num_classes}) (num_classes = {num_classes}), "
                f"got {out[0]}.",
            )
    if num_classes < 2:
        raise ArgumentError("num_classes", f"must be >= 2, got {num_classes}.")
