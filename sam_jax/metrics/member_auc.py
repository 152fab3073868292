"""How well values of each model tell its members from other examples."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Real
from scipy import stats

STANDARD_ERRORS = 4.0
"""Of a mean AUC over models, before it counts as above or below 1/2."""


class MeanAuc(NamedTuple):
    """How well values tell members from others, over models.

    Attributes:
        value: Mean of the models' AUCs; NaN if no model has both sides.
        error: Its standard error, at least that of values without any signal.
    """

    value: float
    error: float

    @property
    def is_above(self) -> bool:
        """Whether members have clearly larger values."""
        return self.value - STANDARD_ERRORS * self.error > 0.5

    @property
    def is_below(self) -> bool:
        """Whether members have clearly smaller values."""
        return self.value + STANDARD_ERRORS * self.error < 0.5


def member_aucs(
    values: Float[np.ndarray, "m n"], keep: Bool[np.ndarray, "m n"]
) -> Float[np.ndarray, " m"]:
    """Returns P(member's value > other's) of each model, ties counting one half.

    NaN for a model that has all examples or none, or a value that is NaN.
    """
    num_in, num_out = keep.sum(axis=1), (~keep).sum(axis=1)
    ranks = stats.rankdata(values, axis=1)
    above = np.sum(ranks, axis=1, where=keep) - num_in * (num_in + 1) / 2
    with np.errstate(invalid="ignore"):
        return above / (num_in * num_out)


def mean_member_auc(
    values: Float[np.ndarray, "m n"], keep: Bool[np.ndarray, "m n"]
) -> MeanAuc:
    """Returns the mean of ``member_aucs`` over the models that have both sides."""
    num_in, num_out = keep.sum(axis=1), (~keep).sum(axis=1)
    return mean_of_aucs(member_aucs(values, keep), num_in, num_out)


def mean_of_aucs(
    aucs: Float[np.ndarray, " m"],
    num_in: Real[np.ndarray, " m"],
    num_out: Real[np.ndarray, " m"],
) -> MeanAuc:
    """Returns the mean of AUCs over the models that have both sides.

    Args:
        aucs: From ``member_aucs``.
        num_in: Members of each model.
        num_out: Its other examples.
    """
    has_both = (num_in > 0) & (num_out > 0)
    if not has_both.any():
        return MeanAuc(float("nan"), float("nan"))
    aucs, num_in, num_out = aucs[has_both], num_in[has_both], num_out[has_both]
    # The Mann-Whitney variance of an AUC where values know nothing.
    without_signal = (num_in + num_out) / (12 * num_in * num_out)
    # Few models may agree by chance: never less than without any signal.
    variance = max(
        float(np.var(aucs, ddof=1)) if len(aucs) > 1 else 0.0,
        float(without_signal.mean()),
    )
    return MeanAuc(float(aucs.mean()), float(np.sqrt(variance / len(aucs))))
