"""The variance of unseen confidence, and what it does to the attack."""

from typing import NamedTuple

import numpy as np

from sam_jax import crossed, variance
from sam_jax.explaining.comparison import Comparison
from sam_jax.intervals import Estimate


class Spreads(NamedTuple):
    """What variance does to the attack, by score; keys of ``variance.SCORES``.

    Attributes:
        laws: Gaussians of baseline and compared.
        decomposition: Fields of ``variance.Decomposition`` with intervals.
        unseen: Fields of ``variance.Variances`` of the probability of the label on
            unseen examples: baseline, compared, difference.
    """

    laws: dict[str, tuple[variance.Laws, ...]]
    decomposition: dict[str, dict[str, Estimate]]
    unseen: tuple[dict[str, Estimate], ...]


def spreads(comparison: Comparison, *, level: float = 0.95) -> Spreads:
    """Returns the variance of unseen confidence and what it does to the attack."""
    keep = comparison.keep
    laws, decomposition = {}, {}
    for name, score in variance.SCORES.items():
        pair = [score(s)[:, comparison.pool] for s in comparison.signals]
        laws[name] = tuple(variance.fit_laws(p, keep) for p in pair)

        def decomposed(used, pair=pair):
            first, second = (variance.fit_laws(p, keep, used) for p in pair)
            return variance.decompose(first, second)

        found = crossed.crossed_jackknife(decomposed, *keep.shape, level=level)
        fields = variance.Decomposition._fields
        decomposition[name] = dict(zip(fields, found, strict=True))
    confidence = [variance.probability(s) for s in comparison.signals]
    unseen = ~np.asarray(comparison.signals[0].keep)

    def variances(used):
        first, second = (
            np.array(variance.confidence_variances(c, unseen & used))
            for c in confidence
        )
        return np.concatenate([first, second, second - first])

    found = crossed.crossed_jackknife(variances, *unseen.shape, level=level)
    fields = variance.Variances._fields
    parts = [found[:3], found[3:6], found[6:]]
    unseen_variances = tuple(dict(zip(fields, p, strict=True)) for p in parts)
    return Spreads(laws, decomposition, unseen_variances)
