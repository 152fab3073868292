"""What the spread of unseen examples' confidence does to attacks.

The theory's claim (``theory.advantage``): members score 1, others N(mu, s^2), and less
spread of the others means more advantage, as long as ``s < |1 - mu|``. Here the same
three numbers are measured on trained networks: the gap of the means (``|1 - mu|``), the
spread of the others (``s``) and that of the members (``tau``). The attack is the
likelihood-ratio test between two Gaussians; how far Gaussians are from the scores is
for the caller to show, with ``metrics.advantage`` of the scores themselves. NumPy,
float64.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy import special

from sam_jax import _checks, theory
from sam_jax.attacks.finite_phi import with_finite_phi
from sam_jax.types import Signals


class Laws(NamedTuple):
    """A score of members and of others, each as a Gaussian.

    Attributes:
        gap: Mean of the members less mean of the others.
        spread: Standard deviation of the others, the theory's ``s``.
        member_spread: Standard deviation of the members, the theory's ``tau``.
    """

    gap: float
    spread: float
    member_spread: float


class Decomposition(NamedTuple):
    """Change of the advantage from one recipe to another, one factor at a time.

    Each factor takes the second recipe's value while the others stay at the first's.

    Attributes:
        before: Advantage under the first recipe.
        after: Advantage under the second.
        shift: Change by the gap of the means alone.
        contraction: Change by the spread of the others alone.
        member_spread: Change by the spread of the members alone.
        interaction: What the three do not add up to.
    """

    before: float
    after: float
    shift: float
    contraction: float
    member_spread: float
    interaction: float


class Side(NamedTuple):
    """Where a problem lies with respect to the theory's turning point.

    Attributes:
        gap: ``|1 - mu|`` in units of the score.
        spread: ``s``.
        turning: The spread at which the advantage is smallest: the gap, up to the
            spread of the members.
        near: Whether ``s`` lies below it, where contraction raises the advantage.
    """

    gap: float
    spread: float
    turning: float
    near: bool


class Variances(NamedTuple):
    """Variance of the confidence of unseen examples.

    Attributes:
        total: Over examples, in the answers of one model; the mean over models.
        examples: Over examples, of the mean answer of the models.
        models: Over models, of one example; the mean over examples.
    """

    total: float
    examples: float
    models: float


def probability(signals: Signals) -> Float[np.ndarray, "m n"]:
    """Returns the probability of the label, of the first view."""
    return special.expit(np.asarray(signals.phi, np.float64)[..., 0])


def phi(signals: Signals) -> Float[np.ndarray, "m n"]:
    """Returns phi of the first view, in nats, finite as in the attacks."""
    return np.asarray(with_finite_phi(signals).phi, np.float64)[..., 0]


def calibrated_phi(signals: Signals) -> Float[np.ndarray, "m n"]:
    """Returns phi less the mean of the other models that did not see the example.

    What LiRA sees: an example's own difficulty is taken out. NaN where no other model
    is left.
    """
    values, outside = phi(signals), ~np.asarray(signals.keep)
    total = np.sum(values, axis=0, where=outside) - np.where(outside, values, 0)
    count = outside.sum(axis=0) - outside
    return values - total / np.where(count > 0, count, np.nan)


SCORES = {
    "probability": probability,
    "phi": phi,
    "calibrated phi": calibrated_phi,
}
"""Scores of an example by each model, higher for members."""


def fit_laws(
    score: Float[np.ndarray, "m n"],
    keep: Bool[np.ndarray, "m n"],
    used: Bool[np.ndarray, "m n"] | None = None,
) -> Laws:
    """Returns the gap and the spreads of all cells together.

    Args:
        score: Of N examples by M models; NaN does not count.
        keep: True where the model trained on the example.
        used: True for the cells that count; all by default.
    """
    known = np.isfinite(score) if used is None else used & np.isfinite(score)
    means, spreads = [], []
    for side in (keep, ~keep):
        values = score[side & known]
        means.append(values.mean() if len(values) else np.nan)
        spreads.append(values.std() if len(values) else np.nan)
    return Laws(float(means[0] - means[1]), float(spreads[1]), float(spreads[0]))


def gaussian_advantage(laws: Laws) -> float:
    """Returns the advantage of the likelihood-ratio attack on two Gaussians.

    It is their total variation distance, which knows no order: where the members
    spread more than the others, the two change places in the theory's formula.

    Example:
        >>> round(gaussian_advantage(Laws(1.0, 0.5, 0.01)), 4)
        0.992
    """
    if not np.isfinite(laws).all() or min(laws[1:]) <= 0:
        return float("nan")
    narrow, wide = sorted(laws[1:])
    # Equal spreads are the limit of unequal ones; the formula needs wide > narrow.
    sigma = max(np.sqrt((wide - narrow) * (wide + narrow)), 1e-6 * narrow)
    mu = 1 - laws.gap
    return float(theory.likelihood_ratio_advantage(mu, sigma, narrow))


def decompose(first: Laws, second: Laws) -> Decomposition:
    """Returns what the change from one recipe to another does to the advantage.

    Example:
        >>> found = decompose(Laws(1.0, 0.5, 0.1), Laws(1.0, 0.4, 0.1))
        >>> found.shift, found.contraction > 0, found.interaction
        (0.0, True, 0.0)
    """
    before, after = gaussian_advantage(first), gaussian_advantage(second)
    shift, contraction, member_spread = (
        gaussian_advantage(first._replace(**{name: getattr(second, name)})) - before
        for name in Laws._fields
    )
    rest = after - before - shift - contraction - member_spread
    return Decomposition(before, after, shift, contraction, member_spread, rest)


def side_of_turning(laws: Laws) -> Side:
    """Returns on which side of ``s = |1 - mu|`` a problem lies.

    Others that spread less than the members are always on the near side: the interval
    where the narrower law is the more likely holds that law's mean, so narrowing it
    puts more of it there.

    Raises:
        ValueError: If a number is not finite or a spread is not above 0.

    Example:
        >>> side_of_turning(Laws(gap=1.0, spread=0.5, member_spread=0.01)).near
        True
        >>> side_of_turning(Laws(gap=1.0, spread=2.0, member_spread=0.01)).near
        False
    """
    _checks.positive(spread=laws.spread, member_spread=laws.member_spread)
    sigma = float(theory.turning_sigma(1 - laws.gap, laws.member_spread))
    turning = float(np.hypot(sigma, laws.member_spread))
    return Side(abs(laws.gap), laws.spread, turning, laws.spread < turning)


def confidence_variances(
    confidence: Float[np.ndarray, "m n"],
    unseen: Bool[np.ndarray, "m n"],
) -> Variances:
    """Returns the variance of confidence over examples and, per example, over models.

    The sample variance over models is unbiased, and what it adds to the variance of
    the mean answers is taken off there, so that ``total`` is about the sum of the
    other two.

    Args:
        confidence: Of M models on N examples, such as ``probability``.
        unseen: True where the model did not train on the example (and the cell
            counts). Examples with fewer than two such models, and models with fewer
            than two such examples, are left out.

    Returns:
        The variances; NaN where nothing is left to compute them from.
    """
    count = unseen.sum(axis=0)
    known = count > 1
    if known.sum() < 2:
        return Variances(*[float("nan")] * 3)
    values, mask = confidence[:, known], unseen[:, known]
    count = count[known]
    mean = np.sum(values, axis=0, where=mask) / count
    over_models = np.sum((values - mean) ** 2, axis=0, where=mask) / (count - 1)
    over_examples = np.var(mean, ddof=1) - np.mean(over_models / count)
    own = mask.sum(axis=1)
    mask, values, own = mask[own > 1], values[own > 1], own[own > 1, None]
    centre = np.sum(values, axis=1, where=mask, keepdims=True) / own
    total = np.sum((values - centre) ** 2, axis=1, where=mask) / (own[:, 0] - 1)
    return Variances(
        float(total.mean()), float(over_examples), float(over_models.mean())
    )
