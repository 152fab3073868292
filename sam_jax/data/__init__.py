"""Data sets by name, by TFDS name, or from a user's arrays."""

import dataclasses
import os

from sam_jax._checks import ArgumentError, at_least
from sam_jax.data import hugging_face, tables, tfds
from sam_jax.data.arrays import dataset_from_arrays, split_rows
from sam_jax.data.npz_sets import load_npz
from sam_jax.data.preparation import download_and_prepare
from sam_jax.data.record_files import check_folder
from sam_jax.types import Dataset

__all__ = [
    "DATASETS",
    "TfdsSet",
    "dataset_from_arrays",
    "download_and_prepare",
    "load",
    "load_npz",
    "split_rows",
]


@dataclasses.dataclass(frozen=True)
class TfdsSet:
    """How to load a set through TFDS.

    Attributes:
        tfds_name: Name and, after a slash, config.
        train: TFDS split to draw training sets from.
        test: TFDS split of examples that no model trains on; None for ``"test"``,
            else ``"validation"``, else a fifth of ``train``.
        features: Input and label feature; None for the set's supervised keys.
        image_size: Height and width to which images are resized; None to keep them.
        source: Source and licence; empty for the home page that TFDS states.
    """

    tfds_name: str
    train: str = "train"
    test: str | None = None
    features: tuple[str, str] | None = None
    image_size: int | None = None
    source: str = ""


_PRIVACYTRUST = "https://github.com/privacytrustlab/datasets (no licence stated)"

DATASETS: dict[str, TfdsSet] = {
    "cifar10": TfdsSet("cifar10"),
    "cifar100": TfdsSet("cifar100", features=("image", "label")),
    "eyepacs": TfdsSet(
        "diabetic_retinopathy_detection/btgraham-300",
        test="validation+test",
        features=("image", "label"),
        image_size=64,
    ),
    "fashion_mnist": TfdsSet("fashion_mnist"),
    "fashion_mnist_10k": TfdsSet(
        "fashion_mnist_10k",
        source="https://github.com/zalandoresearch/fashion-mnist (MIT)",
    ),
    "hospital100": TfdsSet(
        "hospital100",
        source="UCI Diabetes 130-US Hospitals, https://doi.org/10.24432/C5230J "
        "(CC BY 4.0)",
    ),
    "location30": TfdsSet("location30", source=_PRIVACYTRUST),
    "mnist": TfdsSet("mnist"),
    "purchase100": TfdsSet("purchase100", source=_PRIVACYTRUST),
    "retinamnist": TfdsSet(
        "retinamnist",
        train="train+validation",
        source="MedMNIST v2, https://doi.org/10.5281/zenodo.10519652 (CC BY 4.0)",
    ),
    "svhn_cropped": TfdsSet("svhn_cropped"),
    "texas100": TfdsSet("texas100", source=_PRIVACYTRUST),
}
"""Name -> how to load; any other TFDS classification set loads by its TFDS name."""


def load(
    name: str,
    data_dir: str | os.PathLike[str] | None = None,
    manual_dir: str | os.PathLike[str] | None = None,
    image_size: int | None = None,
    label_column: str | None = None,
) -> Dataset:
    """Loads a data set; images lie in [0, 1], binary tables in {0, 1}, all float32.

    Embedded and prepared sets are read without TensorFlow and without network. A set
    that is not prepared is prepared first, where that is possible.

    Args:
        name: A key of ``DATASETS``; or the name of a TFDS classification set, with
            ``/config`` where it has several; or the path of an ``.npz`` file with
            ``x_train``, ``y_train``, ``x_test`` and ``y_test``, or ``x`` and ``y``; or
            of a ``.csv`` or ``.parquet`` table; or ``hf:NAME`` for a set of Hugging
            Face.
        data_dir: Where prepared TFDS sets lie; by default ``TFDS_DATA_DIR``, else
            ``~/tensorflow_datasets``.
        manual_dir: Holds source files that were downloaded by hand.
        image_size: Height and width to which images are resized; by default the size
            in ``DATASETS``, else the stored one.
        label_column: Column of the labels of a table or a set of Hugging Face;
            ``"label"`` by default.

    Returns:
        The data set: ``train`` is the pool that shadow models draw from.

    Raises:
        ValueError: If the name is unknown, or if the set is neither prepared nor can
            be prepared here: the message says where it was looked for and what to run.

    Example:
        >>> load("retinamnist").train.x.shape
        (1200, 28, 28, 3)
    """
    if image_size is not None:
        at_least(1, image_size=image_size)
    is_table = name.endswith(tables.SUFFIXES)
    is_hugging_face = name.startswith(hugging_face.PREFIX)
    if label_column is not None and not (is_table or is_hugging_face):
        rule = f"must be None but for tables, got {label_column!r}."
        raise ArgumentError("label_column", rule)
    # Files and sets of Hugging Face, recognised by the form of the name.
    if is_table or is_hugging_face or name.endswith(".npz"):
        if image_size is not None:
            rule = f"must be None but for TFDS sets, got {image_size}."
            raise ArgumentError("image_size", rule)
        try:
            return _load_file(name, label_column)
        except ArgumentError as error:
            rule = error.rule if name in error.rule else f"{error.rule} (File: {name})"
            raise ArgumentError(error.argument, rule) from error
    # TFDS sets: embedded ones first, then prepared ones, else prepared now.
    row = DATASETS.get(name, TfdsSet(name))
    directories = [tfds.EMBEDDED_DIR, tfds.data_dir_or_default(data_dir)]
    folders = (tfds.find_prepared(row.tfds_name, d) for d in directories)
    folder = next((f for f in folders if f is not None), None)
    if folder is None:
        if name not in DATASETS:
            _require_tfds_name(name)
        folder = download_and_prepare(row.tfds_name, data_dir, manual_dir)
    elif folder.is_relative_to(tfds.EMBEDDED_DIR):
        check_folder(tfds.EMBEDDED_DIR, folder)
    return tfds.load_prepared(
        name,
        folder,
        row.train,
        row.test,
        features=row.features,
        image_size=image_size or row.image_size,
        source=row.source,
    )


def _load_file(name: str, label_column: str | None) -> Dataset:
    if name.endswith(tables.SUFFIXES):
        return tables.load_table(name, label_column)
    if name.startswith(hugging_face.PREFIX):
        hub_name = name.removeprefix(hugging_face.PREFIX)
        return hugging_face.load_hugging_face(hub_name, label_column)
    return load_npz(name)


def _require_tfds_name(name: str) -> None:
    """Refuses a name that is neither in ``DATASETS`` nor of TFDS."""
    import tensorflow_datasets

    known = tensorflow_datasets.list_builders(with_community_datasets=False)
    if name.partition(":")[0].partition("/")[0] not in known:
        hint = ", which is a file of another kind" if os.path.isfile(name) else ""
        raise ArgumentError(
            "name",
            f"must be one of {', '.join(sorted(DATASETS))}, the name of a TFDS "
            "classification set (https://www.tensorflow.org/datasets/catalog), or the "
            f"path of an .npz, .csv or .parquet file, or hf:NAME; got {name!r}{hint}.",
        )
