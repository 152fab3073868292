"""Canaries: mislabelled examples with independent membership."""

import dataclasses

import jax
import numpy as np
from jaxtyping import Bool, Int

from sam_jax import _checks
from sam_jax._checks import ArgumentError
from sam_jax.data.blocks import model_blocks
from sam_jax.data.label_noise import corrupt_labels
from sam_jax.types import Dataset, Examples, Key


def plant(
    key: Key, dataset: Dataset, num_canaries: int
) -> tuple[Dataset, Int[np.ndarray, " c"]]:
    """Returns the data with random pool examples mislabelled, and which they are.

    Args:
        key: Random key of the choice and of the labels.
        dataset: Pool and test examples.
        num_canaries: How many.

    Raises:
        ValueError: If there are more canaries than examples in the pool.
    """
    pool, size = dataset.train, len(dataset.train.y)
    _checks.at_least(1, num_canaries=num_canaries)
    if num_canaries > size:
        rule = f"must be at most the pool's size {size}, got {num_canaries}."
        raise ArgumentError("num_canaries", rule)
    row_key, label_key = jax.random.split(key)
    rows = np.sort(np.asarray(jax.random.permutation(row_key, size))[:num_canaries])
    chosen = Examples(pool.x[rows], pool.y[rows])
    y = np.array(pool.y)
    y[rows] = corrupt_labels(label_key, chosen, dataset.num_classes, 1.0).y
    return dataclasses.replace(dataset, train=Examples(pool.x, y)), rows


def flip_coins(
    key: Key, keep: Bool[np.ndarray, "m n"], columns: Int[np.ndarray, " c"]
) -> Bool[np.ndarray, "m n"]:
    """Returns the mask with independent fair coins in the canaries' columns.

    A column that came out the same for the first 64 models is drawn again, so that
    every canary has models with and without it.

    Args:
        key: Random key of the coins.
        keep: Which pool example each model trains on.
        columns: The canaries' columns of ``keep``.
    """
    keep = np.array(keep)
    for block_key, rows in model_blocks(key, len(keep)):
        missing = np.asarray(columns)
        while missing.size:
            block_key, draw_key = jax.random.split(block_key)
            shape = (rows.stop - rows.start, missing.size)
            coins = np.asarray(jax.random.bernoulli(draw_key, 0.5, shape))
            keep[rows, missing] = coins
            # A later block may be small, where conditions would make coins dependent.
            is_constant = coins.all(axis=0) | ~coins.any(axis=0)
            missing = missing[is_constant & (rows.start == 0)]
    return keep
