"""Effect of the variance of unseen examples' confidence on attacks.

The theory's claim (``theory.advantage``): members score 1, non-members N(mu, s^2), and
a smaller ``s`` means more advantage, as long as ``s < |1 - mu|``. Here the same three
numbers are measured on trained networks: the gap of the means (``|1 - mu|``), the
standard deviation of non-members (``s``) and that of members (``tau``). The attack is
the likelihood-ratio test between two Gaussians; how far the scores are from Gaussian is
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


class GaussianFit(NamedTuple):
    """A score of members and of non-members, each as a Gaussian.

    Attributes:
        gap: Mean of the members minus mean of the non-members.
        std: Standard deviation of the non-members, the theory's ``s``.
        member_std: Standard deviation of the members, the theory's ``tau``.
    """

    gap: float
    std: float
    member_std: float


class Decomposition(NamedTuple):
    """Change of the advantage between two optimizers, one factor at a time.

    Each factor takes the second optimizer's value while the others stay at the first's.

    Attributes:
        before: Advantage under the first optimizer.
        after: Advantage under the second.
        shift: Change by the gap of the means alone.
        contraction: Change by the standard deviation of the non-members alone.
        member_std: Change by the standard deviation of the members alone.
        interaction: What the three do not add up to.
    """

    before: float
    after: float
    shift: float
    contraction: float
    member_std: float
    interaction: float


class TurningPoint(NamedTuple):
    """Where a problem lies with respect to the theory's turning point.

    Attributes:
        gap: ``|1 - mu|`` in units of the score.
        std: ``s``.
        turning: The standard deviation at which the advantage is smallest: the gap, up
            to the standard deviation of the members.
        contraction_helps: Whether ``s`` lies below it, where contraction raises the
            advantage.
    """

    gap: float
    std: float
    turning: float
    contraction_helps: bool


class ConfidenceVariances(NamedTuple):
    """Variance of the confidence of unseen examples.

    Attributes:
        total: Over examples, in the outputs of one model; the mean over models.
        examples: Over examples, of the mean output of the models.
        models: Over models, of one example; the mean over examples.
    """

    total: float
    examples: float
    models: float


def probability(signals: Signals) -> Float[np.ndarray, "m n"]:
    """Returns the probability of the label, of the first query."""
    return special.expit(np.asarray(signals.phi, np.float64)[..., 0])


def phi(signals: Signals) -> Float[np.ndarray, "m n"]:
    """Returns phi of the first query, in nats, finite as in the attacks."""
    return np.asarray(with_finite_phi(signals).phi, np.float64)[..., 0]


def calibrated_phi(signals: Signals) -> Float[np.ndarray, "m n"]:
    """Returns phi minus the mean of the other models that did not see the example.

    The difficulty of each example is taken out, as in LiRA. NaN where no other model is
    left.
    """
    values, outside = phi(signals), ~np.asarray(signals.keep)
    total = np.sum(values, axis=0, where=outside) - np.where(outside, values, 0)
    count = outside.sum(axis=0) - outside
    return values - total / np.where(count > 0, count, np.nan)


SCORES = {"probability": probability, "phi": phi, "calibrated_phi": calibrated_phi}
"""Scores of an example by each model, higher for members."""


def fit_gaussians(
    score: Float[np.ndarray, "m n"],
    keep: Bool[np.ndarray, "m n"],
    used: Bool[np.ndarray, "m n"] | None = None,
) -> GaussianFit:
    """Returns the Gaussian fit of all (model, example) pairs together.

    Args:
        score: Of N examples by M models; NaN does not count.
        keep: True where the model trained on the example.
        used: True for the pairs that count; all by default.
    """
    known = np.isfinite(score) if used is None else used & np.isfinite(score)
    means, deviations = [], []
    for side in (keep, ~keep):
        values = score[side & known]
        means.append(values.mean() if len(values) else np.nan)
        deviations.append(values.std() if len(values) else np.nan)
    gap = float(means[0] - means[1])
    return GaussianFit(gap, float(deviations[1]), float(deviations[0]))


def gaussian_advantage(fit: GaussianFit) -> float:
    """Returns the advantage of the likelihood-ratio attack on two Gaussians.

    It is their total variation distance, which knows no order: where the members vary
    more than the non-members, the two change places in the theory's formula.

    Example:
        >>> round(gaussian_advantage(GaussianFit(1.0, 0.5, 0.01)), 4)
        0.992
    """
    if not np.isfinite(fit).all() or min(fit[1:]) <= 0:
        return float("nan")
    narrow, wide = sorted(fit[1:])
    # Equal deviations are the limit of unequal ones; the formula needs wide > narrow.
    sigma = max(np.sqrt((wide - narrow) * (wide + narrow)), 1e-6 * narrow)
    mu = 1 - fit.gap
    return float(theory.likelihood_ratio_advantage(mu, sigma, narrow))


def decompose(first: GaussianFit, second: GaussianFit) -> Decomposition:
    """Returns the change of the advantage between two optimizers, by factor.

    Example:
        >>> change = decompose(GaussianFit(1.0, 0.5, 0.1), GaussianFit(1.0, 0.4, 0.1))
        >>> change.shift, change.contraction > 0, change.interaction
        (0.0, True, 0.0)
    """
    before, after = gaussian_advantage(first), gaussian_advantage(second)
    shift, contraction, member_std = (
        gaussian_advantage(first._replace(**{name: getattr(second, name)})) - before
        for name in GaussianFit._fields
    )
    rest = after - before - shift - contraction - member_std
    return Decomposition(before, after, shift, contraction, member_std, rest)


def turning_point(fit: GaussianFit) -> TurningPoint:
    """Returns on which side of ``s = |1 - mu|`` a problem lies.

    Contraction always helps where the non-members vary less than the members: the
    interval where the narrower Gaussian is the more likely holds its mean, so narrowing
    it puts more of it there.

    Raises:
        ValueError: If a standard deviation is not finite and above 0.

    Example:
        >>> fits = GaussianFit(1.0, 0.5, 0.01), GaussianFit(1.0, 2.0, 0.01)
        >>> [turning_point(fit).contraction_helps for fit in fits]
        [True, False]
    """
    _checks.positive(std=fit.std, member_std=fit.member_std)
    sigma = float(theory.turning_sigma(1 - fit.gap, fit.member_std))
    turning = float(np.hypot(sigma, fit.member_std))
    return TurningPoint(abs(fit.gap), fit.std, turning, fit.std < turning)


def confidence_variances(
    confidence: Float[np.ndarray, "m n"], unseen: Bool[np.ndarray, "m n"]
) -> ConfidenceVariances:
    """Returns the variance of confidence over examples and, per example, over models.

    The sample variance over models is unbiased, and what it adds to the variance of
    the mean outputs is subtracted there, so that ``total`` is about the sum of the
    other two. Sums of squares are divided by ``n - 1``.

    Args:
        confidence: Of M models on N examples, such as ``probability``.
        unseen: True where the model did not train on the example (and the pair
            counts). Examples with fewer than two such models, and models with fewer
            than two such examples, are left out.

    Returns:
        The variances; NaN where nothing is left to compute them from.
    """
    count = unseen.sum(axis=0)
    known = count > 1
    if known.sum() < 2:
        return ConfidenceVariances(*[float("nan")] * 3)
    values, mask = confidence[:, known], unseen[:, known]
    count = count[known]
    mean = np.sum(values, axis=0, where=mask) / count
    over_models = np.sum((values - mean) ** 2, axis=0, where=mask) / (count - 1)
    over_examples = np.var(mean, ddof=1) - np.mean(over_models / count)
    # The same within each model that has at least two of these examples.
    sizes = mask.sum(axis=1)
    usable = sizes > 1
    mask, values, sizes = mask[usable], values[usable], sizes[usable, None]
    centre = np.sum(values, axis=1, where=mask, keepdims=True) / sizes
    total = np.sum((values - centre) ** 2, axis=1, where=mask) / (sizes[:, 0] - 1)
    return ConfidenceVariances(
        float(total.mean()), float(over_examples), float(over_models.mean())
    )
