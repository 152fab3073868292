"""Main effects of a design's factors by least squares, with intervals by cell."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy import stats


class Effect(NamedTuple):
    """What one step of a factor adds to a response, the others held.

    Attributes:
        factor: Name of the factor and of its step.
        value: Change of the response.
        low: Lower end of the interval.
        high: Upper end.
    """

    factor: str
    value: float
    low: float
    high: float


def main_effects(
    names: Sequence[str],
    design: Float[np.ndarray, "n p"],
    response: Float[np.ndarray, " n"],
    groups: Int[np.ndarray, " n"],
) -> list[Effect]:
    """Fits ``response = intercept + design @ effects``.

    Rows of one group (radii of one cell, which share an SGD) are not independent: the
    covariance is the sandwich summed by group, with the correction
    ``G / (G - 1) * (n - 1) / (n - p)``, and limits of 95 % are Student-t
    with G - 1 degrees.

    Args:
        names: Of the P columns of the design.
        design: Levels of each factor, one row an observation.
        response: One value an observation.
        groups: Number of the group of each observation.

    Returns:
        The effects in the order of ``names``, the intercept (at the mean of every
        factor) first.

    Raises:
        ValueError: If the design does not determine the effects, or there are fewer
            groups than effects.
    """
    # Centred, so that the intercept is the response at the mean of every factor.
    centred = design - design.mean(axis=0)
    x = np.column_stack([np.ones(len(design)), centred])
    num_groups = len(np.unique(groups))
    if np.linalg.matrix_rank(x) < x.shape[1] or num_groups <= x.shape[1]:
        raise ValueError(
            f"design must determine {x.shape[1]} effects from more groups than that, "
            f"got rank {np.linalg.matrix_rank(x)} and {num_groups} groups."
        )
    inverse = np.linalg.inv(x.T @ x)
    beta = inverse @ x.T @ response
    # The middle of the sandwich: residuals are summed within a group first, which
    # keeps what its rows share.
    weighted = x * (response - x @ beta)[:, None]
    sums = np.stack([weighted[groups == g].sum(axis=0) for g in np.unique(groups)])
    correction = num_groups / (num_groups - 1) * (len(x) - 1) / (len(x) - x.shape[1])
    covariance = correction * inverse @ sums.T @ sums @ inverse
    width = stats.t.isf(0.025, num_groups - 1) * np.sqrt(np.diag(covariance))
    return [
        Effect(name, float(b), float(b - w), float(b + w))
        for name, b, w in zip(["mean", *names], beta, width, strict=True)
    ]
