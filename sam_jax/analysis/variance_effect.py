"""The variance of unseen confidence, and what it does to the attack."""

from typing import NamedTuple

import numpy as np

from sam_jax.analysis import output_variance
from sam_jax.analysis.comparison import Comparison
from sam_jax.metrics import jackknife
from sam_jax.metrics.estimate import Estimate


class Spreads(NamedTuple):
    """What variance does to the attack, by score; keys of ``output_variance.SCORES``.

    Attributes:
        laws: Gaussians of baseline and compared.
        decomposition: Fields of ``output_variance.Decomposition`` with intervals.
        unseen: Fields of ``output_variance.Variances`` of the probability of the label on
            unseen examples: baseline, compared, difference.
    """

    laws: dict[str, tuple[output_variance.Laws, ...]]
    decomposition: dict[str, dict[str, Estimate]]
    unseen: tuple[dict[str, Estimate], ...]


def spreads(comparison: Comparison, *, level: float = 0.95) -> Spreads:
    """Returns the variance of unseen confidence and what it does to the attack."""
    keep = comparison.keep
    laws, decomposition = {}, {}
    for name, score in output_variance.SCORES.items():
        pair = [score(s)[:, comparison.pool] for s in comparison.signals]
        laws[name] = tuple(output_variance.fit_laws(p, keep) for p in pair)

        def decomposed(used, pair=pair):
            first, second = (output_variance.fit_laws(p, keep, used) for p in pair)
            return output_variance.decompose(first, second)

        found = jackknife.crossed_jackknife(decomposed, *keep.shape, level=level)
        fields = output_variance.Decomposition._fields
        decomposition[name] = dict(zip(fields, found, strict=True))
    confidence = [output_variance.probability(s) for s in comparison.signals]
    unseen = ~np.asarray(comparison.signals[0].keep)

    def variances(used):
        first, second = (
            np.array(output_variance.confidence_variances(c, unseen & used))
            for c in confidence
        )
        return np.concatenate([first, second, second - first])

    found = jackknife.crossed_jackknife(variances, *unseen.shape, level=level)
    fields = output_variance.Variances._fields
    parts = [found[:3], found[3:6], found[6:]]
    unseen_variances = tuple(dict(zip(fields, p, strict=True)) for p in parts)
    return Spreads(laws, decomposition, unseen_variances)
