"""Data sets from a user's ``.npz`` files."""

import dataclasses
import os
import pathlib
from collections.abc import Mapping

import numpy as np

from sam_jax._checks import ArgumentError
from sam_jax.data.arrays import dataset_from_arrays, split_rows
from sam_jax.data.safe_npz import read_npz
from sam_jax.types import Dataset, Origin


def load_npz(path: str | os.PathLike[str]) -> Dataset:
    """Loads a data set from an ``.npz`` file; pickled objects are refused.

    | arrays | meaning |
    | --- | --- |
    | ``x_train``, ``y_train``, ``x_test``, ``y_test`` | pool and test examples |
    | or ``x``, ``y`` | ``split_rows`` chooses the test examples |
    | ``id_train``, ``id_test``; or ``id`` | names of the rows, for reports; optional |
    | ``num_classes`` | optional |

    Args:
        path: The file.

    Returns:
        The data set, named after the file; its origins are rows of these arrays.

    Raises:
        ArgumentError: If the file is missing, damaged, no ``.npz``, or holds objects;
            lacks the arrays, or holds arrays that ``dataset_from_arrays`` refuses.
    """
    path = pathlib.Path(path).expanduser()
    arrays = read_npz(path)
    num_classes = _num_classes(arrays.get("num_classes"))
    if {"x_train", "y_train", "x_test", "y_test"} <= arrays.keys():
        x_train, y_train = arrays["x_train"], arrays["y_train"]
        x_test, y_test = arrays["x_test"], arrays["y_test"]
        origins = [
            Origin(f"x_{s}", np.arange(len(arrays[f"x_{s}"])), _ids(arrays, s))
            for s in ("train", "test")
        ]
    elif {"x", "y"} <= arrays.keys():
        x, y = _of_one_length(arrays["x"], arrays["y"])
        train, test = split_rows(len(x))
        x_train, y_train, x_test, y_test = x[train], y[train], x[test], y[test]
        whole = Origin("x", np.arange(len(x)), _ids(arrays, ""))
        origins = [whole.take(train), whole.take(test)]
    else:
        raise ArgumentError(
            "path",
            f"must be a file with x_train, y_train, x_test and y_test, or x and y; "
            f"it holds {', '.join(sorted(arrays)) or 'nothing'}: {path}.",
        )
    dataset = dataset_from_arrays(
        path.stem, x_train, y_train, x_test, y_test, num_classes, source=str(path)
    )
    return dataclasses.replace(dataset, train_origin=origins[0], test_origin=origins[1])


def _num_classes(value: np.ndarray | None) -> int | None:
    """The scalar of that name, if there is one."""
    if value is None:
        return None
    if value.size != 1 or value.dtype.kind not in "iuf" or value != np.floor(value):
        raise ArgumentError(
            "num_classes",
            f"must be one whole number, got {value.dtype} of shape {value.shape}"
            f"{'' if value.size != 1 else f': {value.item()}'}.",
        )
    if not np.isfinite(value):
        raise ArgumentError("num_classes", f"must be finite, got {value.item()}.")
    return int(value.item())


def _ids(arrays: Mapping[str, np.ndarray], split: str) -> np.ndarray | None:
    """Names of the rows of a split, where the file has any."""
    name = f"id_{split}" if split else "id"
    ids = arrays.get(name)
    if ids is None:
        return None
    x_name = f"x_{split}" if split else "x"
    if ids.shape != (len(arrays[x_name]),):
        raise ArgumentError(
            name,
            f"must have one entry for each row of {x_name}, got shape {ids.shape} for "
            f"{len(arrays[x_name])} rows.",
        )
    return ids


def _of_one_length(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``x`` and ``y``, checked before they are indexed with the same rows."""
    if x.ndim < 2 or y.ndim != 1 or len(x) != len(y):
        raise ArgumentError(
            "x",
            "must be [N, *features] and y [N] with the same N, got "
            f"{x.shape} and {y.shape}.",
        )
    return x, y
