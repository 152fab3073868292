"""The privacy budget of a training with clipped and noised gradients."""

import types

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


def num_private_gradients(cell: Cell, perturbation: Perturbation) -> int:
    """Returns the largest number of private gradients that one example enters.

    An epoch goes through an example once at most, as long as the training set holds all
    batches of an epoch; SAM takes two gradients on every batch.

    Raises:
        ValueError: If the batches of an epoch need a larger training set than the
            smallest one that is likely.
    """
    steps = cell.num_steps // cell.num_epochs
    # Sets are halves of the pool on average: 4 standard deviations of their size.
    smallest = (cell.pool_size - 4 * cell.pool_size**0.5) / 2
    if steps * cell.batch_size > smallest:
        raise ValueError(
            f"batch_size must let an epoch's {steps} batches fit in {smallest:.0f} "
            f"examples, got {cell.batch_size}."
        )
    return cell.num_epochs * perturbation.gradients


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
