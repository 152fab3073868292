"""LiRA, the likelihood-ratio attack: Gaussians fitted to phi over shadow models.

Carlini et al., "Membership Inference Attacks From First Principles", 2022,
https://arxiv.org/abs/2112.03570, algorithm 1 (online) and section VI (offline).

For every example, location and variance of phi over the shadow models that trained on
it ('in') and that did not ('out'), the target left out. Where no shadow model is 'in'
(or 'out') the location is that of the other side moved by the median shift between the
two over all examples, so that every score is finite.

Matched references (the default) are as many 'in' and 'out' models for members as for
non-members (``matching``), and the Gaussians are predictive: squared distances from a
mean over k models are of variance ``1 + 1/k`` times that of phi. On noise the scores
then do not tell members, with any number of models. The paper's plain form takes all
models and neglects the uncertainty of the means; with a balanced mask it scores members
of pure noise lower (docs/choosing.md).
"""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sam_jax import _checks
from sam_jax.attacks import equal_counts, gaussian
from sam_jax.attacks.base import Attack
from sam_jax.attacks.gaussian import Gaussian
from sam_jax.attacks.shadow_statistics import (
    Pooled,
    Side,
    fill_side,
    pool_sides,
    shadow_sides,
)
from sam_jax.types import Signals

Variance = Literal["per_example", "global"]
Location = Literal["mean", "median"]
Queries = Literal["mean", "joint"]


class Fitted(NamedTuple):
    """What LiRA needs besides an example's phi."""

    pooled: Pooled
    matching: Float[Array, "*t 2 m"]


class Options(NamedTuple):
    """The options of ``lira_online``, which all forms share."""

    variance: str
    location: str
    queries: str
    prior_count: float
    matched: bool


def lira_online(
    variance: Variance = "per_example",
    location: Location = "mean",
    queries: Queries = "mean",
    prior_count: float = 4.0,
    matched: bool = True,
) -> Attack:
    """Returns online LiRA: ``log N(phi; in) - log N(phi; out)``, in nats.

    Assumes: the target's phi, and shadow models trained with and without each example
    (so the examples are known before the shadow models are trained).

    Args:
        variance: ``"per_example"``, shrunk towards the pooled variance, or
            ``"global"``, one pooled variance for all examples; each from the residuals
            of its side. Global is better with few shadow models.
        location: Mean, or median as in the authors' script (the variance is about the
            mean either way).
        queries: ``"mean"`` of the log-ratio of each query, as in the authors' script,
            or ``"joint"``, one Q-variate Gaussian, as in the paper (in float32:
            relative error about 1e-7 times the condition number of its covariance).
        prior_count: Strength of the shrinkage: the pooled variance weighs as much as
            this many shadow models. A trace of it (1e-6) is the raw variance.
        matched: Whether references are matched and Gaussians predictive, as above;
            False is the paper's plain form, which is biased with few models.

    Returns:
        The attack.

    Raises:
        ArgumentError: If an option is not one of those above or ``prior_count`` <= 0.

    Example:
        >>> lira_online(variance="global").needs
        ('in_models', 'out_models')
    """
    joint = queries == "joint"
    log_density = gaussian.joint_log_density if joint else gaussian.log_density

    def score(phi: Any, inside: Gaussian, outside: Gaussian) -> Any:
        return log_density(phi, inside) - log_density(phi, outside)

    options = Options(variance, location, queries, prior_count, matched)
    return _make_lira("lira_online", score, options, ("in_models", "out_models"))


def lira_offline(
    variance: Variance = "per_example",
    location: Location = "mean",
    queries: Queries = "mean",
    prior_count: float = 4.0,
    matched: bool = True,
    two_sided: bool = False,
) -> Attack:
    """Returns offline LiRA: ``(phi - mean_out) / sigma_out``, one-sided.

    The z-score has the order of the paper's ``P(Z < phi)`` and does not tie where that
    rounds to 1. Joint queries: ``gaussian.joint_z_score``.

    Assumes: the target's phi, and shadow models trained without the examples.

    Args:
        variance: As in ``lira_online``.
        location: As in ``lira_online``.
        queries: Mean of each query's z-score, or joint.
        prior_count: As in ``lira_online``.
        matched: As in ``lira_online``.
        two_sided: Whether the score is ``-log N(phi; out)``, the form of the authors'
            script, for comparison: it takes an example that is *less* confident than
            the 'out' models for a member too, and so loses to the one-sided form.

    Returns:
        The attack.

    Raises:
        ArgumentError: As in ``lira_online``.
    """
    joint = queries == "joint"
    z_score = gaussian.joint_z_score if joint else gaussian.z_score
    log_density = gaussian.joint_log_density if joint else gaussian.log_density

    def score(phi: Any, _: Gaussian, outside: Gaussian) -> Any:
        return -log_density(phi, outside) if two_sided else z_score(phi, outside)

    options = Options(variance, location, queries, prior_count, matched)
    return _make_lira("lira_offline", score, options, ("out_models",))


def _make_lira(
    name: str, score_sides: Any, options: Options, needs: tuple[str, ...]
) -> Attack:
    _checks.literal(Variance, variance=options.variance)
    _checks.literal(Location, location=options.location)
    _checks.literal(Queries, queries=options.queries)
    _checks.positive(prior_count=options.prior_count)
    location, joint = options.location, options.queries == "joint"

    def fit(signals: Signals, target: Any) -> Fitted:
        pooled = pool_sides(signals, location, joint)
        probability = equal_counts.fit_matching(signals.keep, target)
        return Fitted(
            jax.tree.map(lambda a: a[target], pooled),
            probability if options.matched else jnp.zeros_like(probability),
        )

    def score(fitted: Fitted, signals: Signals, target: Any) -> Any:
        pooled = fitted.pooled
        phi, inside, outside = shadow_sides(signals, location, joint)
        # Row m of a statistic leaves model m out: the target where it is of the group,
        # else the model, if any, that makes the numbers match.
        left_out = equal_counts.left_out(fitted.matching, signals, target)
        inside = equal_counts.take_rows(inside, left_out.inside)
        outside = equal_counts.take_rows(outside, left_out.outside)
        phi = phi[target]
        shift = jnp.broadcast_to(pooled.shift, phi.shape)
        filled = fill_side(inside, outside, shift), fill_side(outside, inside, -shift)
        return score_sides(
            phi,
            _fit_gaussian(filled[0], pooled.in_variance, options),
            _fit_gaussian(filled[1], pooled.out_variance, options),
        )

    return Attack(score, fit, needs + ("queries",) * joint, name)


def _fit_gaussian(side: Side, pooled: Any, options: Options) -> Gaussian:
    """The Gaussian of a side: its variance pooled, or shrunk towards the pooled one."""
    count = jnp.maximum(side.count, 1)
    inflation = 1 + 1 / count if options.matched else jnp.ones_like(count)
    pooled = jnp.broadcast_to(pooled, side.scatter.shape)
    if options.variance == "global":
        return Gaussian(side.location, pooled, inflation)
    freedom = jnp.maximum(side.count - 1, 0)
    freedom = freedom.reshape(freedom.shape + (1,) * (pooled.ndim - freedom.ndim))
    prior = options.prior_count
    shrunk = (prior * pooled + side.scatter) / (prior + freedom)
    return Gaussian(side.location, shrunk, inflation)
