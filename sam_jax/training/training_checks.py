"""Checks of a training: of its arguments before it, of its losses in it."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from sam_jax._checks import ArgumentError
from sam_jax.training.trainer import check_train_config, num_steps_per_epoch
from sam_jax.types import Examples, TrainConfig


def check_training(
    keep: np.ndarray, hyperparams: Any, pool: Examples, config: TrainConfig
) -> None:
    """Raises ``ArgumentError`` for arguments that training could not make sense of."""
    check_train_config(config)
    if keep.ndim != 2 or keep.dtype != np.bool_:
        raise ArgumentError(
            "keep",
            f"must be a bool [M, N] array, got {keep.dtype} of shape {keep.shape}.",
        )
    if keep.shape[1] != len(pool.x) or len(pool.x) != len(pool.y):
        raise ArgumentError(
            "keep",
            "must have a column for each example of the pool, got "
            f"{keep.shape[1]} columns for {len(pool.x)} inputs and {len(pool.y)} "
            "labels.",
        )
    if not keep.any(axis=1).all():
        raise ArgumentError(
            "keep",
            "must give every model at least one example; row "
            f"{int(np.argmin(keep.any(axis=1)))} has none.",
        )
    num_steps_per_epoch(config, keep.shape[1])
    for path, leaf in jax.tree_util.tree_leaves_with_path(hyperparams):
        name = f"hyperparams{jax.tree_util.keystr(path)}"
        if leaf.ndim < 1 or leaf.shape[0] != keep.shape[0]:
            raise ArgumentError(
                name,
                f"must hold one value for each of the {keep.shape[0]} models, got "
                f"shape {leaf.shape}.",
            )
        if not (np.isfinite(leaf) & (leaf >= 0)).all():
            raise ArgumentError(name, f"must be finite and >= 0, got {leaf.tolist()}.")


def check_diverged(diverged: Mapping[int, int], config: TrainConfig) -> None:
    """Raises an error if more models diverged than may.

    Args:
        diverged: Number of a model -> the epoch, from 1, in which it diverged.
        config: Settings of the training.

    Raises:
        FloatingPointError: Names the models and their epochs.
    """
    if len(diverged) <= config.max_diverged:
        return
    listed = [
        f"model {model} diverged: its training loss is not finite in epoch {epoch} of "
        f"{config.num_epochs}"
        for model, epoch in sorted(diverged.items())[:3]
    ]
    more = len(diverged) - len(listed)
    listed += [f"{more} more"] if more else []
    raise FloatingPointError(
        f"{'; '.join(listed)}. A lower learning rate or rho may help."
    )
