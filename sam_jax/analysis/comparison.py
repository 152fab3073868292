"""Two optimizers on the same models and examples."""

from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from sam_jax import _checks
from sam_jax.analysis import memorization
from sam_jax.analysis.memorization import Outcome
from sam_jax.metrics.roc import varying_columns
from sam_jax.types import Signals

SelectedBy = Literal["both", "baseline", "compared"]
"""Whose models select the bin or bucket of an example; "both" favours neither."""


class Comparison(NamedTuple):
    """Two optimizers on the same models and examples.

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


def compare_optimizers(
    signals: Mapping[str, Signals], baseline: str, compared: str, seed: int = 0
) -> Comparison:
    """Returns the comparison of two optimizers of an audit.

    Args:
        signals: By optimizer.
        baseline: The one to compare with.
        compared: The other.
        seed: Seed of the halves of the models.

    Raises:
        ValueError: If a name is not there, both are the same, their masks differ,
            there are fewer than 8 models, or no test or no pool example.
    """
    pair = (
        _checks.one_of(signals, baseline=baseline),
        _checks.one_of(signals, compared=compared),
    )
    if baseline == compared:
        raise _checks.ArgumentError(
            "compared", f"must not be the baseline, got {compared!r}."
        )
    keep = _checks.mask(keep=pair[0].keep)
    if not np.array_equal(keep, pair[1].keep):
        raise _checks.ArgumentError(
            "signals", f"must share one keep mask; {baseline} and {compared} do not."
        )
    # Each half has four models then, about two of which trained on a given example.
    _checks.at_least(8, num_models=len(keep))
    pool, test = varying_columns(keep), np.asarray(~keep.any(axis=0))
    for name, columns in (("pool", pool), ("test", test)):
        if not columns.any():
            raise _checks.ArgumentError(
                "signals", f"must hold {name} examples, got none."
            )
    halves = memorization.split_models(len(keep), seed)
    return Comparison((baseline, compared), pair, pool, test, halves)


def pool_outcomes(
    comparison: Comparison, outcome: Outcome
) -> list[Float[np.ndarray, "m n"]]:
    """Returns ``memorization.outcomes`` on the pool, of both optimizers."""
    return [
        memorization.outcomes(signals, outcome)[:, comparison.pool]
        for signals in comparison.signals
    ]


def selection_outcome(
    baseline: Float[np.ndarray, "m n"],
    compared: Float[np.ndarray, "m n"],
    selected_by: SelectedBy,
) -> Float[np.ndarray, "m n"]:
    """Returns the outcomes that select: one optimizer's, or the mean of both.

    Raises:
        ValueError: If ``selected_by`` is another word.
    """
    _checks.literal(SelectedBy, selected_by=selected_by)
    if selected_by == "both":
        return (baseline + compared) / 2
    return baseline if selected_by == "baseline" else compared
