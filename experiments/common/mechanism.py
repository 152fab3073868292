"""Change of an attack's advantage by the gap of the means and by each deviation."""

from collections.abc import Iterator

import numpy as np
from scipy import stats

from sam_jax.analysis import output_variance
from sam_jax.types import Signals

FACTORS = ("gap of the means", "unseen sd", "member sd", "interaction", "total")
"""What the change of the advantage is due to."""


def mechanism_of(
    sgd: Signals, sam: Signals
) -> Iterator[tuple[str, str, float, float, float]]:
    """Yields score, factor, change of the advantage and limits.

    The change of the advantage of the likelihood-ratio attack on two Gaussians, one
    factor at a time (``output_variance.decompose``); limits of 95 % by the paired
    jackknife over models.
    """
    keep = np.asarray(sgd.keep)
    pool = keep.any(axis=0)
    for name, score in output_variance.SCORES.items():
        before, after = (score(s)[:, pool] for s in (sgd, sam))
        inside = keep[:, pool]
        whole = _changes(before, after, inside)
        num_models = len(inside)
        left_out = np.stack(
            [
                _changes(*(np.delete(a, m, axis=0) for a in (before, after, inside)))
                for m in range(num_models)
            ]
        )
        error = np.sqrt((num_models - 1) * left_out.var(axis=0))
        width = stats.t.isf(0.025, num_models - 1) * error
        for factor, value, half in zip(FACTORS, whole, width, strict=True):
            yield name, factor, float(value), float(value - half), float(value + half)


def _changes(before: np.ndarray, after: np.ndarray, inside: np.ndarray) -> np.ndarray:
    change = output_variance.decompose(
        output_variance.fit_gaussians(before, inside),
        output_variance.fit_gaussians(after, inside),
    )
    total = change.after - change.before
    factors = change.shift, change.contraction, change.member_std, change.interaction
    return np.array([*factors, total])
