"""A user's arrays as a data set: validated, scaled, split."""

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int, Integer

from sam_jax._checks import ArgumentError, at_least
from sam_jax.data import class_ids
from sam_jax.data.inputs import as_inputs
from sam_jax.types import Dataset, Examples, Origin

TEST_FRACTION = 0.2
"""Share of the examples that ``split_rows`` sets aside where no test set exists."""

MAX_CLASSES = 100_000
"""Every class is an output of every model."""


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

    Images are scaled by the rule of ``inputs.as_inputs``; tables are cast to float32 as
    they are. Labels that are texts are encoded as 0 to C - 1 in their order and kept as
    ``class_names``; and so are class ids that leave more numbers unused than used, that
    count from 1 to C, or are -1 and 1.

    Args:
        name: Short name for tables and file names.
        x: Training inputs [N, *features], any real dtype; JAX arrays too.
        y: Labels [N], whole numbers or texts.
        x_test: Test inputs, with the features and dtype of ``x``.
        y_test: Labels of ``x_test``.
        num_classes: Number of classes, and then labels lie in ``[0, num_classes)``; by
            default one more than the largest label, or the number of different ids.
        class_names: One name a class, or nothing.
        source: Where the data comes from, and its licence.

    Returns:
        The data set, with x in float32 and y in int32.

    Raises:
        ArgumentError: If an array is empty, not numeric, not finite in float32, or of
            the wrong shape; if images have their channels first or pixels in no known
            range; if a label is not a whole number in its range.

    Example:
        >>> x, y = np.eye(4, dtype=np.float32), np.array([0, 1, 0, 1])
        >>> dataset_from_arrays("eye", x, y, x[:2], y[:2]).num_classes
        2
        >>> ids = 300_000_007 * y
        >>> sparse = dataset_from_arrays("eye", x, ids, x[:2], ids[:2])
        >>> sparse.class_names, sparse.train.y
        (('0', '300000007'), array([0, 1, 0, 1], dtype=int32))
        >>> texts = np.array(["no", "yes", "no", "yes"])
        >>> dataset_from_arrays("eye", x, texts, x[:2], texts[:2]).class_names
        ('no', 'yes')
    """
    for argument, given in (("x", x), ("y", y), ("x_test", x_test), ("y_test", y_test)):
        if np.ma.is_masked(given):
            raise ArgumentError(argument, "must have no masked entries, got some.")
    inputs, test_inputs = as_inputs(x, x_test)
    y, y_test = np.asarray(y), np.asarray(y_test)
    # Texts and ids are encoded over both splits; a given number of classes means that
    # labels are numbers already.
    if num_classes is None and _are_texts(y) and _are_texts(y_test):
        class_names, (y, y_test) = _encode_texts(y, y_test)
        num_classes = len(class_names)
    labels = _whole_labels("y", y, "x", len(inputs))
    test_labels = _whole_labels("y_test", y_test, "x_test", len(test_inputs))
    both = np.concatenate([labels, test_labels])
    if num_classes is None and _are_ids(both):
        ids, (labels, test_labels) = class_ids.encode(labels, test_labels)
        num_classes = len(ids)
        class_names = class_names or tuple(str(i) for i in ids)
    elif num_classes is None:
        num_classes = int(both.max()) + 1
    _check_classes(num_classes, {"y": labels, "y_test": test_labels})
    if len(class_names) not in (0, num_classes):
        rule = f"must have one name a class ({num_classes}), got {len(class_names)}."
        raise ArgumentError("class_names", rule)
    return Dataset(
        name=name,
        num_classes=num_classes,
        train=Examples(inputs, labels.astype(np.int32)),
        test=Examples(test_inputs, test_labels.astype(np.int32)),
        class_names=tuple(class_names),
        source=source,
        train_origin=Origin("x", np.arange(len(labels))),
        test_origin=Origin("x_test", np.arange(len(test_labels))),
    )


def split_dataset(
    name: str, x: np.ndarray, y: np.ndarray, rows: Origin, **options: Any
) -> Dataset:
    """Returns a data set of all rows, of which ``split_rows`` chooses the test rows."""
    train, test = split_rows(len(x))
    arrays = x[train], y[train], x[test], y[test]
    dataset = dataset_from_arrays(name, *arrays, **options)
    origins = {"train_origin": rows.take(train), "test_origin": rows.take(test)}
    return dataclasses.replace(dataset, **origins)


def as_dataset(dataset: Dataset | Sequence[Any]) -> Dataset:
    """Returns the data set, made of arrays ``(x, y, x_test, y_test)`` if it is none."""
    if isinstance(dataset, Dataset):
        return dataset
    if not isinstance(dataset, (tuple, list)) or len(dataset) != 4:
        got = type(dataset).__name__
        rule = f"must be a Dataset or (x, y, x_test, y_test), got {got}."
        raise ArgumentError("dataset", rule)
    return dataset_from_arrays("arrays", *dataset)


def split_rows(
    num_rows: int,
) -> tuple[Int[np.ndarray, "train"], Int[np.ndarray, "test"]]:
    """Splits row numbers into train and test, the same way on every machine.

    Rows are ranked by the sha256 digest of their number in decimal; the lowest ones
    (``TEST_FRACTION``) are the test rows. Both keep the order of the source, and
    neither is empty.

    Example:
        >>> train, test = split_rows(10)
        >>> train.size, test.size
        (8, 2)
    """
    if num_rows < 2:
        rule = f"must have at least 2 rows to be split, got {num_rows}."
        raise ArgumentError("x", rule)
    num_test = min(max(round(TEST_FRACTION * num_rows), 1), num_rows - 1)
    ranked = np.array(sorted(range(num_rows), key=_digest))
    return np.sort(ranked[num_test:]), np.sort(ranked[:num_test])


def _digest(row: int) -> bytes:
    return hashlib.sha256(str(row).encode()).digest()


def _whole_labels(
    name: str, y: np.ndarray, x_name: str, num_rows: int
) -> Integer[np.ndarray, "n"]:
    """``y`` as integers; refuses what is no vector of whole numbers."""
    y = np.asarray(y)
    if y.shape != (num_rows,):
        hint = ""
        if y.ndim == 2 and len(y) == num_rows and y.shape[1] > 0:
            way = "argmax(axis=1)" if y.shape[1] > 1 else "ravel()"
            hint = f" Save {name}.{way}."
        rule = f"must have one label for each row of {x_name}, shape ({num_rows},), got"
        raise ArgumentError(name, f"{rule} shape {y.shape}.{hint}")
    if y.dtype.kind not in "biuf":
        raise ArgumentError(name, f"must hold whole numbers, got dtype {y.dtype}.")
    if y.dtype.kind in "biu":
        whole = y.astype(np.uint8) if y.dtype.kind == "b" else y
        return whole.astype(whole.dtype.newbyteorder("="))
    # Above 2**53 a float is no longer one whole number.
    whole = np.isfinite(y) & (np.abs(y) < 2**53) & (np.trunc(y) == y)
    if not whole.all():
        raise ArgumentError(name, f"must hold whole numbers, got {y[~whole][0]}.")
    return y.astype(np.int64)


def _are_ids(labels: Integer[np.ndarray, "n"]) -> bool:
    """Whether labels name classes instead of numbering them.

    A negative label among others more often marks a missing one, and is refused.
    """
    if labels.min() < 0:
        return bool(np.isin(labels, (-1, 1)).all())
    counts_from_one = labels.min() == 1 and labels.max() == len(np.unique(labels))
    return bool(counts_from_one) or class_ids.is_sparse(labels)


def _are_texts(y: np.ndarray) -> bool:
    is_object = y.dtype == object and all(isinstance(v, str) for v in y.flat)
    return y.size > 0 and (y.dtype.kind == "U" or is_object)


def _encode_texts(*labels: np.ndarray) -> tuple[tuple[str, ...], list[np.ndarray]]:
    """The different texts in order, without spaces around, and indices into them."""
    stripped = [np.strings.strip(array.astype(np.str_)) for array in labels]
    texts = np.unique(np.concatenate(stripped))
    return tuple(map(str, texts)), [np.searchsorted(texts, a) for a in stripped]


def _check_classes(num_classes: int, labels: dict[str, np.ndarray]) -> None:
    """Refuses too few or too many classes, and labels outside of them."""
    if isinstance(num_classes, (int, np.integer)) and num_classes > MAX_CLASSES:
        rule = f"must be at most {MAX_CLASSES:,}, got {num_classes:,}."
        raise ArgumentError("num_classes", rule)
    both = np.concatenate(list(labels.values()))
    num_labels = len(np.unique(both))
    if num_labels > max(len(both) / 2, 32):  # few labels may be all different
        raise ArgumentError(
            "y",
            f"must name classes, got {num_labels:,} different labels for {len(both):,} "
            "examples, as names of rows and quantities are.",
        )
    for name, values in labels.items():
        outside = values[(values < 0) | (values >= num_classes)]
        if outside.size:
            rule = f"must lie in [0, {num_classes}) (num_classes = {num_classes}), got"
            raise ArgumentError(name, f"{rule} {outside[0]}.")
    at_least(2, num_classes=num_classes)
