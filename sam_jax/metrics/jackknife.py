"""Intervals for any statistic of a table of models and examples, by deletion.

Models and examples are both samples, and crossed: groups of models, of examples and of
single (model, example) pairs are left out in turn, and ``crossed_variance`` combines
the three. A bootstrap draws with replacement, which repeats a model, and two copies of
one model look like two that agree. Leaving out does not, so it also suits what compares
models with each other, such as memorization and what is made of it.
"""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool, Float
from scipy import stats

from sam_jax import _checks
from sam_jax.metrics.estimate import Estimate, crossed_variance, make_estimate

Statistic = Callable[[Bool[np.ndarray, "m n"]], Sequence[float] | np.ndarray]
"""``statistic(used [M, N]) -> values [P]`` from the pairs that are True alone."""


def crossed_jackknife(
    statistic: Statistic,
    num_models: int,
    num_examples: int,
    *,
    level: float = 0.95,
    num_groups: int = 32,
) -> list[Estimate]:
    """Returns P statistics with intervals over new models and new examples.

    The statistic is computed once for every group left out, at most ``3 * num_groups``
    times. It must be smooth: the jackknife is wrong for a median or a maximum.

    Args:
        statistic: Called with the (model, example) pairs to use. Whatever of a model
            or of an example has no pair must not count.
        num_models: M.
        num_examples: N.
        level: Confidence level, in (0, 1).
        num_groups: Groups of examples and of pairs, and of models where there are
            more; at least 2.

    Returns:
        One estimate for each of the P values, NaN where the statistic is. Limits are
        Student-t with Satterthwaite's degrees of freedom.

    Raises:
        ArgumentError: If a number is too small or ``level`` out of range.

    Example:
        >>> table = np.add.outer(np.arange(4.0), np.zeros(50))
        >>> mean = lambda used: [table[used].mean()]
        >>> (estimate,) = crossed_jackknife(mean, 4, 50)
        >>> estimate.value, round(estimate.standard_error, 2)  # of four models
        (1.5, 0.64)

    References:
        Shao and Tu, "The Jackknife and Bootstrap", 1995,
        https://doi.org/10.1007/978-1-4612-0795-5, section 2.3.
    """
    _checks.at_least(2, num_models=num_models, num_examples=num_examples)
    _checks.at_least(2, num_groups=num_groups)
    _checks.confidence_level(level)
    rng = np.random.default_rng(0)
    shape = (num_models, num_examples)
    value = np.asarray(statistic(np.ones(shape, np.bool_)), np.float64)
    variances, degrees = [], []
    # Groups of examples, of models, of single pairs: each spreads over the table.
    for axis_shape in ((1, num_examples), (num_models, 1), shape):
        size = int(np.prod(axis_shape))
        count = min(num_groups, size)
        groups = rng.permutation(np.arange(size) % count).reshape(axis_shape)
        without = np.array(
            [
                statistic(np.broadcast_to(groups != group, shape))
                for group in range(count)
            ],
            np.float64,
        )
        variances.append(jackknife_variance(without))
        degrees.append(count - 1)
    return [
        make_estimate(
            float(one),
            crossed_variance(
                *by_cluster, example_degrees=degrees[0], target_degrees=degrees[1]
            ),
            level,
        )
        for one, by_cluster in zip(value, zip(*variances, strict=True), strict=True)
    ]


def jackknife_variance(without: Float[np.ndarray, "g p"]) -> Float[np.ndarray, " p"]:
    """Returns the variances of P statistics from their values without each of G groups.

    About the mean of these values, so that a bias which falls with the sample's size
    is no variance.
    """
    count = len(without)
    squares = np.sum((without - without.mean(axis=0)) ** 2, axis=0)
    return squares * (count - 1) / count


def pearson(first: Float[np.ndarray, " n"], second: Float[np.ndarray, " n"]) -> float:
    """Returns Pearson's correlation of the pairs without NaN; NaN if one is constant.

    Example:
        >>> round(pearson(np.array([1.0, 2.0, np.nan]), np.array([5.0, 3.0, 0.0])), 12)
        -1.0
    """
    known = np.isfinite(first) & np.isfinite(second)
    first, second = first[known], second[known]
    if len(first) < 2 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return float("nan")
    return float(np.corrcoef(first, second)[0, 1])


def spearman(first: Float[np.ndarray, " n"], second: Float[np.ndarray, " n"]) -> float:
    """Returns Spearman's rank correlation of the pairs without NaN."""
    known = np.isfinite(first) & np.isfinite(second)
    ranks = (stats.rankdata(values[known]) for values in (first, second))
    return pearson(*ranks)
