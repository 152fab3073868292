"""Agreement of simulation and theory, in standard errors over a grid of cells.

A check is a grid of cells. A claim holds on the grid when no cell deviates by more than
4 standard errors, raised for the number of cells (Bonferroni) so that the chance of a
false alarm over the whole grid is that of one cell at 4.
"""

import dataclasses
import math

import numpy as np
from scipy import special

from sam_jax import _checks
from sam_jax.theory import _arrays
from sam_jax.theory._arrays import Reals


@dataclasses.dataclass(frozen=True)
class GridCell:
    """One comparison.

    Attributes:
        label: Where on the grid.
        simulation: Monte Carlo estimate.
        theory: Its value by the theory.
        standard_error: Of their difference, > 0; for exact statements, what rounding
            may do.
        allowance: Distance from the theory that is not counted: 0, or the stated
            accuracy of an approximation.
    """

    label: str
    simulation: float
    theory: float
    standard_error: float
    allowance: float = 0.0

    @property
    def deviation(self) -> float:
        """Distance beyond the allowance, in standard errors; NaN counts as infinite."""
        distance = abs(self.simulation - self.theory) - self.allowance
        deviation = max(distance, 0.0) / self.standard_error
        return deviation if math.isfinite(distance) else math.inf


def paired_cell(
    label: str,
    samples: Reals,
    theory: Reals,
    smallest_error: float,
    relative_allowance: float = 0.0,
) -> GridCell:
    """Returns the comparison of the mean of ``samples`` with a theory.

    Args:
        label: Where on the grid.
        samples: One independent estimate for each training set, [S], S >= 2.
        theory: One value for all, or one for each training set: then the standard
            error is that of the paired differences.
        smallest_error: Floor of the standard error, > 0: for rates one over the number
            of draws, since no event among few has no measured variance.
        relative_allowance: ``GridCell.allowance`` as a fraction of the theory.

    Raises:
        ArgumentError: If there are fewer than 2 samples or ``smallest_error <= 0``.
    """
    _checks.positive(smallest_error=smallest_error)
    _checks.non_negative(relative_allowance=relative_allowance)
    samples = np.asarray(samples, np.float64)
    _checks.at_least(2, num_samples=samples.size)
    theory = np.broadcast_to(np.asarray(theory, np.float64), samples.shape)
    error = np.std(samples - theory, ddof=1) / math.sqrt(samples.size)
    mean = float(theory.mean())
    return GridCell(
        label,
        float(samples.mean()),
        mean,
        max(float(error), smallest_error),
        relative_allowance * abs(mean),
    )


def limit_cell(label: str, sizes: Reals, samples: Reals, theory: float) -> GridCell:
    """Returns the comparison of an asymptotic theory with simulations of several sizes.

    The means are fitted by ``limit + slope / n`` with weights from their standard
    errors; the limit is what the theory has to match, without allowance.

    Args:
        label: Where on the grid.
        sizes: The sizes n, at least 3, [L].
        samples: Estimates at each size, [L, S].
        theory: The limit.

    Raises:
        ArgumentError: If there are fewer than 3 sizes or 2 samples.
    """
    sizes, samples = _arrays.positive("sizes", sizes), np.asarray(samples, np.float64)
    _checks.at_least(3, num_sizes=sizes.size)
    _checks.at_least(2, num_samples=samples.shape[1])
    means = samples.mean(1)
    errors = samples.std(1, ddof=1) / math.sqrt(samples.shape[1])
    design = np.stack([np.ones_like(sizes), 1 / sizes], axis=1) / errors[:, None]
    covariance = np.linalg.inv(design.T @ design)
    limit, _ = covariance @ design.T @ (means / errors)
    return GridCell(label, float(limit), float(theory), math.sqrt(covariance[0, 0]))


def critical_deviation(num_cells: int) -> float:
    """Returns the deviation of any of ``num_cells`` as rare as one of 4 in one cell.

    Raises:
        ArgumentError: If ``num_cells`` is below 1.

    Example:
        >>> round(critical_deviation(1), 6), round(critical_deviation(100), 2)
        (4.0, 4.98)
    """
    _checks.at_least(1, num_cells=num_cells)
    return float(-special.ndtri(special.ndtr(-4.0) / num_cells))


def agrees(cells: list[GridCell]) -> bool:
    """Whether no cell deviates by more than ``critical_deviation(len(cells))``."""
    limit = critical_deviation(len(cells))
    return all(cell.deviation <= limit for cell in cells)
