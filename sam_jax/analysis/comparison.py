"""Two recipes on the same models and examples."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from sam_jax import _checks
from sam_jax.analysis import memorization
from sam_jax.metrics.roc import varying_columns
from sam_jax.types import Signals

PICKERS = {
    "both": lambda first, second: (first + second) / 2,
    "baseline": lambda first, second: first,
    "compared": lambda first, second: second,
}
"""Whose models say in which bin or bucket an example is; "both" favours neither."""


class Comparison(NamedTuple):
    """Two recipes on the same models and examples.

    Attributes:
        names: The baseline and what is compared with it.
        signals: Of both, in that order, with one ``keep``.
        pool: True for examples that some models kept and others did not.
        test: True for examples that no model kept.
        first: True for the models of the first half.
    """

    names: tuple[str, str]
    signals: tuple[Signals, Signals]
    pool: Bool[np.ndarray, " n"]
    test: Bool[np.ndarray, " n"]
    first: Bool[np.ndarray, " m"]

    @property
    def keep(self) -> Bool[np.ndarray, "m n"]:
        """The mask of the pool."""
        return np.asarray(self.signals[0].keep)[:, self.pool]


def compare(
    signals: Mapping[str, Signals], baseline: str, compared: str, seed: int = 0
) -> Comparison:
    """Returns the comparison of two recipes of an audit.

    Args:
        signals: By recipe, as in ``AuditResult.signals``.
        baseline: The one to compare with.
        compared: The other.
        seed: Seed of the halves of the models.

    Raises:
        ValueError: If a name is not there, both are the same, their masks differ,
            there are fewer than 8 models, or no test or no pool example.
    """
    first, second = (
        _checks.one_of(signals, baseline=baseline),
        _checks.one_of(signals, compared=compared),
    )
    if baseline == compared:
        raise ValueError(f"compared must not be the baseline, got {compared!r}.")
    keep = np.asarray(first.keep)
    if not np.array_equal(keep, second.keep):
        raise ValueError(
            f"signals must share one keep mask; {baseline} and {compared} do not."
        )
    _checks.at_least(8, num_models=len(keep))
    pool, test = varying_columns(keep), np.asarray(~keep.any(axis=0))
    for name, mask in (("pool", pool), ("test", test)):
        if not mask.any():
            raise ValueError(f"signals must hold {name} examples, got none.")
    halves = memorization.split_models(len(keep), seed)
    return Comparison((baseline, compared), (first, second), pool, test, halves)


def pool_outcomes(comparison: Comparison, kind: str) -> list[Float[np.ndarray, "m n"]]:
    """Returns ``memorization.outcomes`` on the pool, of both recipes."""
    return [
        memorization.outcomes(signals, kind)[:, comparison.pool]
        for signals in comparison.signals
    ]
