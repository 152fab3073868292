"""Variance of unseen confidence under two optimizers, and its effect on the attack."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from sam_jax.analysis import output_variance
from sam_jax.analysis.comparison import Comparison
from sam_jax.analysis.output_variance import (
    ConfidenceVariances,
    Decomposition,
    GaussianFit,
)
from sam_jax.metrics import jackknife
from sam_jax.metrics.estimate import Estimate


class VarianceComparison(NamedTuple):
    """Effect of variance on the attack, by score (``output_variance.SCORES``).

    Attributes:
        fits: Gaussian fits of baseline and compared.
        decomposition: Fields of ``output_variance.Decomposition`` with intervals.
        unseen: Fields of ``output_variance.ConfidenceVariances`` of the probability
            of the label on unseen examples: baseline, compared, difference.
    """

    fits: dict[str, tuple[GaussianFit, ...]]
    decomposition: dict[str, dict[str, Estimate]]
    unseen: tuple[dict[str, Estimate], ...]


def compare_variance(comparison: Comparison) -> VarianceComparison:
    """Returns the variance of unseen confidence and its effect on the attack."""
    fits, decomposition = {}, {}
    for name, score_fn in output_variance.SCORES.items():
        pair = [score_fn(s)[:, comparison.pool] for s in comparison.signals]
        fits[name] = tuple(
            output_variance.fit_gaussians(score, comparison.keep) for score in pair
        )
        decomposition[name] = _decomposition(pair, comparison.keep)
    return VarianceComparison(fits, decomposition, _unseen_variances(comparison))


def _decomposition(
    scores: list[Float[np.ndarray, "m n"]], keep: Bool[np.ndarray, "m n"]
) -> dict[str, Estimate]:
    """The change of the Gaussian advantage by factor, with intervals."""

    def decompose(used: Bool[np.ndarray, "m n"]) -> Decomposition:
        first, second = (
            output_variance.fit_gaussians(score, keep, used) for score in scores
        )
        return output_variance.decompose(first, second)

    estimates = jackknife.crossed_jackknife(decompose, *keep.shape)
    return dict(zip(Decomposition._fields, estimates, strict=True))


def _unseen_variances(comparison: Comparison) -> tuple[dict[str, Estimate], ...]:
    """Variances of unseen confidence of baseline, compared, and their difference."""
    confidence = [output_variance.probability(s) for s in comparison.signals]
    unseen = ~np.asarray(comparison.signals[0].keep)

    def variances(used: Bool[np.ndarray, "m n"]) -> Float[np.ndarray, " 9"]:
        first, second = (
            np.array(output_variance.confidence_variances(c, unseen & used))
            for c in confidence
        )
        # In one jackknife, so that the difference leaves out the same pairs of both.
        return np.concatenate([first, second, second - first])

    estimates = jackknife.crossed_jackknife(variances, *unseen.shape)
    fields = ConfidenceVariances._fields
    thirds = [estimates[:3], estimates[3:6], estimates[6:]]
    return tuple(dict(zip(fields, third, strict=True)) for third in thirds)
