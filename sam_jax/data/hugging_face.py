"""Data sets of Hugging Face, by name or saved to a folder."""

import dataclasses
import importlib.util
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from sam_jax._checks import ArgumentError
from sam_jax.data.arrays import dataset_from_arrays, split_dataset
from sam_jax.data.tables import LABEL_COLUMN, table_arrays
from sam_jax.types import Dataset, Origin

PREFIX = "hf:"


def load_hugging_face(name: str, label_column: str | None = None) -> Dataset:
    """Loads a set with the ``datasets`` package; its cache, or the network, has it.

    Args:
        name: ``NAME`` or ``NAME:CONFIG`` of the hub, or a folder of ``save_to_disk``.
            Split ``train`` is the pool; ``test``, else ``validation``, holds the test
            examples, else ``split_rows`` chooses them.
        label_column: Column of the labels; by default the only class label, else
            ``"label"``. Features are one column of images, or all other columns, which
            are numbers.

    Raises:
        ArgumentError: If ``datasets`` is not installed, the set cannot be loaded, or
            its columns cannot be used.
    """
    if importlib.util.find_spec("datasets") is None:
        raise ArgumentError(
            "name",
            f"must be of an installed source: {PREFIX}{name} needs the Hugging Face "
            'package, pip install "sam_jax[huggingface]".',
        )
    splits = _load_splits(name)
    pool = splits.get("train", next(iter(splits.values())))
    test = splits.get("test", splits.get("validation"))
    label_column = _label_column(pool, label_column)
    x, y, ids = _arrays(pool, label_column)
    label_feature = pool.features[label_column]
    if test is None or test is pool:
        rows = Origin("rows", np.arange(len(x)), ids)
        dataset = split_dataset(name, x, y, rows, source=f"Hugging Face, {name}")
    else:
        x_test, y_test, _ = _arrays(test, label_column)
        dataset = dataset_from_arrays(
            name, x, y, x_test, y_test, source=f"Hugging Face, {name}"
        )
    names = tuple(getattr(label_feature, "names", ()))
    if len(names) == dataset.num_classes:
        return dataclasses.replace(dataset, class_names=names)
    return dataset


def _load_splits(name: str) -> dict[Any, Any]:
    """The splits by name; a set without splits is its training split."""
    import datasets  # pyrefly: ignore[missing-import]

    folder = pathlib.Path(name).expanduser()
    hub_name, _, config = name.partition(":")
    loaded: Any
    try:
        if folder.is_dir():
            loaded = datasets.load_from_disk(str(folder))
        else:
            loaded = datasets.load_dataset(hub_name, config or None)
    except Exception as error:
        rule = "must be a set that Hugging Face's datasets can load, got"
        got = f"{name!r}: {type(error).__name__}: {error}"
        raise ArgumentError("name", f"{rule} {got}") from error
    return dict(loaded) if isinstance(loaded, Mapping) else {"train": loaded}


def _label_column(split: Any, label_column: str | None) -> str:
    if label_column is None:
        labels = [n for n, f in split.features.items() if hasattr(f, "str2int")]
        label_column = labels[0] if len(labels) == 1 else LABEL_COLUMN
    if label_column not in split.features:
        rule = f"must be one of the set's columns, {', '.join(split.features)}; got"
        raise ArgumentError("label_column", f"{rule} {label_column!r}.")
    return label_column


def _arrays(
    split: Any, label_column: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    images = [n for n, f in split.features.items() if type(f).__name__ == "Image"]
    if not images:
        return table_arrays(split.with_format("arrow")[:], label_column)
    if len(images) > 1:
        rule = f"must have one column of images, got {', '.join(images)}."
        raise ArgumentError("name", rule)
    pictures = [np.asarray(image) for image in split[images[0]]]
    shapes = {picture.shape for picture in pictures}
    if len(shapes) > 1:
        shown = ", ".join(map(str, sorted(shapes)[:5]))
        raise ArgumentError("name", f"must have images of one size, got {shown}.")
    x = np.stack(pictures)
    return (x[..., None] if x.ndim == 3 else x), np.asarray(split[label_column]), None
