"""Intervals of rates over cells (target, example) without a bootstrap.

A rate is a mean over cells, and its variance under crossed clusters is a sum of squares
of its influence function: ``V = V_example + max(V_target - V_cell, 0)`` as in
``intervals``, here in closed form. Functions of rates follow by the delta method.
"""

import numpy as np
from jaxtyping import Bool, Float
from scipy import special, stats

from sam_jax.metrics import roc
from sam_jax.metrics.estimate import Estimate


def influence(
    called: Bool[np.ndarray, "t n"], group: Bool[np.ndarray, "t n"]
) -> tuple[float, Float[np.ndarray, "t n"]]:
    """Returns the rate of calls among a group of cells, and its influence by cell.

    The influences sum to 0; to first order the rate changes by a cell's influence when
    the cell is drawn once more.
    """
    count = int(group.sum())
    rate = float((called & group).sum() / count)
    return rate, np.where(group, called - rate, 0.0) / count


def estimate(
    value: float,
    by_cell: Float[np.ndarray, "t n"],
    level: float = 0.95,
    logit: bool = False,
) -> Estimate:
    """Returns a value with the interval that its influence by cell implies.

    Args:
        value: A rate, or a smooth function of rates.
        by_cell: Its influence function; of ``logit(value)`` where ``logit``.
        level: Confidence level, in (0, 1).
        logit: Whether to take the interval on the logit scale, so that it stays in
            (0, 1); the value must lie there.

    Returns:
        The estimate; with one target the interval is for that target alone.
    """
    num_targets, num_examples = by_cell.shape
    cell = float(np.sum(by_cell**2))
    example = float(np.sum(by_cell.sum(axis=0) ** 2))
    example *= num_examples / max(num_examples - 1, 1)
    target = float(np.sum(by_cell.sum(axis=1) ** 2))
    target *= num_targets / max(num_targets - 1, 1)
    between = max(target - cell, 0.0) if num_targets > 1 else 0.0
    noise = example**2 / max(num_examples - 1, 1)
    noise += target**2 / (num_targets - 1) if between > 0 else 0.0
    variance = example + between
    degrees = variance**2 / noise if noise > 0 else float("inf")
    error = float(np.sqrt(variance))
    width = quantile(degrees, level) * error
    falls = between + min(example, cell)
    if not logit:
        return Estimate(value, value - width, value + width, error, degrees, falls)
    centre, slope = float(special.logit(value)), value * (1 - value)
    low, high = special.expit([centre - width, centre + width])
    return Estimate(
        value, float(low), float(high), error * slope, degrees, falls * slope**2
    )


def rate(
    called: Bool[np.ndarray, "t n"], group: Bool[np.ndarray, "t n"], level: float = 0.95
) -> Estimate:
    """Returns the rate of calls among a group of cells, with its interval.

    On the logit scale; a rate of 0 or 1 has the Clopper-Pearson interval, which takes
    cells as independent.
    """
    value, by_cell = influence(called, group)
    if value in (0.0, 1.0):
        count = int(group.sum())
        low, high = roc.binomial_interval(round(value * count), count, level)
        return Estimate(value, low, high, 0.0, float("inf"), 0.0)
    return estimate(value, by_cell / (value * (1 - value)), level, logit=True)


def quantile(degrees: float, level: float) -> float:
    """Returns how many standard errors an interval reaches to either side."""
    return float(stats.t.isf((1 - level) / 2, degrees))
