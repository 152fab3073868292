"""Estimates with intervals, and what is read off them."""

from typing import NamedTuple

import numpy as np
from scipy import stats

from sam_jax import _checks
from sam_jax.metrics import roc


class Estimate(NamedTuple):
    """A number with its interval; all NaN where the data cannot resolve it.

    Attributes:
        value: The metric on the data as they are.
        low: Lower end of the interval.
        high: Upper end of the interval.
        standard_error: Over new targets and new examples.
        degrees: Degrees of freedom of ``standard_error``.
        target_variance: The part of ``standard_error ** 2`` that falls as 1 / T with
            more targets; the rest falls with more examples only.
    """

    value: float
    low: float
    high: float
    standard_error: float
    degrees: float
    target_variance: float


def p_value(estimate: Estimate, null: float = 0.0) -> float:
    """Returns the two-sided p-value of ``value == null``: Student-t, as the interval.

    NaN where the estimate is; 0 or 1 where its standard error is 0.
    """
    gap = abs(estimate.value - null)
    if estimate.standard_error == 0:
        return float(gap == 0)
    return float(2 * stats.t.sf(gap / estimate.standard_error, estimate.degrees))


def targets_to_settle(
    difference: Estimate, num_targets: int, level: float = 0.95
) -> float:
    """Returns how many targets would put 0 outside the interval of a difference.

    Assumes that the difference stays where it is and that its variance is ``target
    part * T / T' + the rest``. This plans a run; to add models until 0 is outside is
    no test at ``level``. More shadow models also sharpen an attack, which is left out.

    Args:
        difference: From ``paired_difference`` with ``num_targets`` targets.
        num_targets: T.
        level: Confidence level, in (0, 1).

    Returns:
        A whole number, at least 2; ``num_targets`` or fewer if settled already. ``inf``
        where the examples alone leave more uncertainty than the difference, or where
        it is 0 or NaN.

    Raises:
        ValueError: If ``num_targets`` or ``level`` is out of range.
    """
    _checks.at_least(1, num_targets=num_targets)
    roc.check_level(level)
    rest = max(difference.standard_error**2 - difference.target_variance, 0.0)
    quantile = float(stats.norm.isf((1 - level) / 2))
    allowed = (difference.value / quantile) ** 2 - rest
    if not allowed > 0:
        return float("inf")
    return float(max(2, np.ceil(num_targets * difference.target_variance / allowed)))


def mean_over_models(values: np.ndarray, level: float = 0.95) -> Estimate:
    """Returns the mean of one value a model, with Student's interval for new models.

    Args:
        values: One value for each of M independently trained models, at least 2.
        level: Confidence level, in (0, 1).
    """
    values = np.asarray(values, np.float64)
    mean, degrees = float(values.mean()), len(values) - 1
    error = float(values.std(ddof=1) / np.sqrt(len(values)))
    width = float(stats.t.isf((1 - level) / 2, degrees)) * error
    return Estimate(mean, mean - width, mean + width, error, float(degrees), error**2)
