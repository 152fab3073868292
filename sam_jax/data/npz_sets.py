"""Data sets from a user's ``.npz`` files."""

import dataclasses
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from sam_jax._checks import ArgumentError
from sam_jax.data.arrays import dataset_from_arrays, split_dataset
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
    options: Any = {"num_classes": num_classes, "source": str(path)}
    splits = ("x_train", "y_train", "x_test", "y_test")
    if arrays.keys() >= set(splits):
        given = (arrays[name] for name in splits)
        dataset = dataset_from_arrays(path.stem, *given, **options)
        rows, test_rows = (_origin(arrays, f"_{s}") for s in ("train", "test"))
        return dataclasses.replace(dataset, train_origin=rows, test_origin=test_rows)
    if {"x", "y"} <= arrays.keys():
        x, y = _of_one_length(arrays["x"], arrays["y"])
        return split_dataset(path.stem, x, y, _origin(arrays, ""), **options)
    rule = "must be a file with x_train, y_train, x_test and y_test, or x and y;"
    hint = f"it holds {', '.join(sorted(arrays)) or 'nothing'}: {path}."
    raise ArgumentError("path", f"{rule} {hint}")


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


def _origin(arrays: Mapping[str, np.ndarray], suffix: str) -> Origin:
    """The rows of a split, with their names where the file has any."""
    name, x_name, ids = f"id{suffix}", f"x{suffix}", arrays.get(f"id{suffix}")
    num_rows = len(arrays[x_name])
    if ids is not None and ids.shape != (num_rows,):
        rule = f"must have one entry for each row of {x_name}, got"
        raise ArgumentError(name, f"{rule} shape {ids.shape} for {num_rows} rows.")
    return Origin(x_name, np.arange(num_rows), ids)


def _of_one_length(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``x`` and ``y``, checked before they are indexed with the same rows."""
    if x.ndim < 2 or y.ndim != 1 or len(x) != len(y):
        rule = "must be [N, *features] and y [N] with the same N, got"
        raise ArgumentError("x", f"{rule} {x.shape} and {y.shape}.")
    return x, y
