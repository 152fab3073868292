"""Data sets of the study: embedded ones, and subsets from files that a user has."""

import dataclasses
import pathlib

import jax
import numpy as np

import sam_jax
from sam_jax.data import dataset_from_arrays, split_rows
from sam_jax.data.label_noise import corrupt_labels
from sam_jax.types import Dataset

FILES = {
    "cifar10_subset": "cifar10_subset.npz",
    "cifar100_subset": "cifar100_subset.npz",
    "location30_table": "location30.npz",
    "retail100": "retail100_standin.npz",
}
"""File of each data set that is read from ``--data-dir``."""


def load_data(name: str, data_dir: str | None) -> Dataset:
    """Returns an embedded data set, or one of ``FILES`` from a folder.

    Args:
        name: A registered data set or a key of ``FILES``.
        data_dir: Folder of the files; needed for the latter.

    Raises:
        ValueError: If the folder or a file is missing.
    """
    if name not in FILES:
        return sam_jax.load(name)
    if data_dir is None:
        raise ValueError(f"data_dir must be the folder of {FILES[name]}, got None.")
    path = pathlib.Path(data_dir) / FILES[name]
    if not path.is_file():
        raise ValueError(f"data_dir must hold {FILES[name]}, got {data_dir!r}.")
    with np.load(path, allow_pickle=False) as arrays:
        return (
            read_images(name, arrays)
            if "train_d" in arrays
            else read_table(name, arrays)
        )


def read_images(name: str, arrays: np.lib.npyio.NpzFile) -> Dataset:
    """Returns images stored as differences: of colours, then of rows and columns."""
    train, test = (undo_differences(arrays[f"{s}_d"]) for s in ("train", "test"))
    return dataset_from_arrays(
        name, train, arrays["train_y"], test, arrays["test_y"], len(arrays["classes"])
    )


def read_table(name: str, arrays: np.lib.npyio.NpzFile) -> Dataset:
    """Returns 0/1 features stored as packed bits; a fifth of the rows is the test."""
    x = np.unpackbits(arrays["x"], axis=1, count=int(arrays["n_features"]))
    y = arrays["y"]
    train, test = split_rows(len(y))
    return dataset_from_arrays(name, x[train], y[train], x[test], y[test])


def undo_differences(d: np.ndarray) -> np.ndarray:
    """Returns RGB images u8 [N, H, W, 3] from their filtered planes u8 [3, N, H, W].

    The filter is a colour difference to green, then horizontal and vertical
    differences, all modulo 256, so that sums in uint8 undo it exactly.
    """
    sums = np.cumsum(np.cumsum(d, axis=3, dtype=np.uint8), axis=2, dtype=np.uint8)
    return np.stack([sums[0] + sums[1], sums[0], sums[0] + sums[2]], axis=-1)


def take_pool(
    dataset: Dataset, pool_size: int, num_test: int, label_noise: float, seed: int
) -> Dataset:
    """Returns the data set with a random pool, some wrong labels and fewer tests.

    Args:
        dataset: The whole data set.
        pool_size: Examples that training sets are drawn from, chosen at random.
        num_test: Test examples to keep at most.
        label_noise: Share of the pool's labels to replace by wrong ones.
        seed: Of the choice and of the wrong labels.

    Raises:
        ValueError: If the data set has fewer examples than ``pool_size``.
    """
    if pool_size > len(dataset.train.y):
        raise ValueError(
            f"pool_size must be at most the {len(dataset.train.y)} examples of "
            f"{dataset.name}, got {pool_size}."
        )
    order = np.random.default_rng(seed).permutation(len(dataset.train.y))
    dataset = dataset.take(pool=np.sort(order[:pool_size]), test=slice(num_test))
    pool = dataset.train
    if label_noise:
        pool = corrupt_labels(
            jax.random.key(seed), pool, dataset.num_classes, label_noise
        )
    return dataclasses.replace(dataset, train=pool)
