"""The privacy budget of a training with clipped and noised gradients."""

import math
import types

import numpy as np
from jaxtyping import Bool

from experiments.common.cells import Cell, Perturbation

DELTA = 1e-3
"""Probability that the guarantee may fail; below 1 over the size of a training set of
hundreds. Larger training sets need a smaller one."""


def accounting_library() -> types.ModuleType:
    """Returns ``dp_accounting``.

    Raises:
        ModuleNotFoundError: If it is not installed; says how to install it.
    """
    try:
        import dp_accounting.pld
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "epsilon of DP-SGD needs dp-accounting: pip install 'sam_jax[privacy]'."
        ) from error
    return dp_accounting


def num_private_gradients(
    cell: Cell, perturbation: Perturbation, keep: Bool[np.ndarray, "m n"]
) -> int:
    """Returns the largest number of private gradients that one example enters.

    An epoch goes through the training set in order, and starts again where its batches
    hold more examples than the smallest set; SAM takes two gradients on every batch.

    Raises:
        ValueError: If a batch is larger than a training set: an example twice in a
            batch would move the gradient twice as far.
    """
    smallest = int(keep.sum(axis=1).min())
    if cell.batch_size > smallest:
        raise ValueError(
            f"batch_size must be at most the {smallest} examples of the smallest "
            f"training set, got {cell.batch_size}."
        )
    in_an_epoch = cell.num_steps // cell.num_epochs * cell.batch_size
    passes = math.ceil(in_an_epoch / smallest)
    return cell.num_epochs * passes * perturbation.gradients


def epsilon(noise_multiplier: float, num_gradients: int, delta: float = DELTA) -> float:
    """Returns epsilon of Gaussian noise on every gradient, added or removed example.

    Nothing is gained from the random choice of batches, so that the bound holds for
    shuffled ones.

    Args:
        noise_multiplier: Standard deviation of the noise over the clipping norm.
        num_gradients: Gradients that one example enters.
        delta: Probability that the guarantee may fail.

    Raises:
        ModuleNotFoundError: If ``dp-accounting`` is not installed.
    """
    accounting = accounting_library()
    accountant = accounting.pld.PLDAccountant()
    event = accounting.GaussianDpEvent(noise_multiplier)
    accountant.compose(event, num_gradients)
    return accountant.get_epsilon(delta)
