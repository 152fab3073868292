"""Attacks calibrated on a population: examples that no model trained on.

Their columns of ``keep`` are all False. A fit uses at most ``MAX_POPULATION`` of them,
evenly spaced, so that its memory is bounded.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from sam_jax.attacks import equal_counts
from sam_jax.attacks import leave_one_out as loo
from sam_jax.attacks.base import Attack
from sam_jax.attacks.tuning import robust_center_and_scale, spread_columns
from sam_jax.types import Signals

MAX_POPULATION = 10_000
"""Population points that a fit uses at most."""

OUTLIER_LIMIT = 8.0
"""A fit takes values of more standard deviations than this for this many."""

TINY = 1e-30
"""Added to squares before their logarithm, so that no residual at all is finite."""


class Sorted(NamedTuple):
    """Increasing values, the invalid ones +inf at the end, and the number of valid."""

    values: Float[Array, "*m p"]
    count: Int[Array, "*m"]


class Difficulty(NamedTuple):
    """Mean phi of the 'out' models of each example, and their number."""

    mean: Float[Array, "*m n"]
    count: Float[Array, "*m n"]


class QuantileFit(NamedTuple):
    """A location-scale model in units of the target's standardised phi.

    Attributes:
        matching: How often references are left out (``equal_counts.fit_matching``).
        phi: Center and scale of the target's phi.
        difficulty: Center and scale of the difficulty.
        location: Intercept and slope of the location.
        log_variance: Intercept and slope of the log-variance.
    """

    matching: Float[Array, "*t 2 m"]
    phi: Float[Array, "*t 2"]
    difficulty: Float[Array, "*t 2"]
    location: Float[Array, "*t 2"]
    log_variance: Float[Array, "*t 2"]


def population_attack() -> Attack:
    """Attack-P: where the target's phi ranks among its phi on the population.

    For one target the order is that of ``confidence``; over targets, scores become
    comparable (1 minus the false-positive rate at which the example is accused).

    Assumes: the target's phi, also on a population it did not train on; no shadow
    models. Ye et al., "Enhanced Membership Inference Attacks against Machine Learning
    Models", 2022, https://arxiv.org/abs/2111.09679, section 4.
    """

    def fit(signals: Signals, target: Any) -> Sorted:
        population, is_valid = take_population(signals)
        return sort_valid(mean_phi(population)[target], is_valid)

    def score(population: Sorted, signals: Signals, target: Any) -> Any:
        return population_rank(mean_phi(signals)[target], population)

    return Attack(score, fit, ("population",), "attack_p")


def quantile_regression() -> Attack:
    """How far phi lies above its quantiles, regressed on the example's difficulty.

    A Gaussian location-scale model of the target's phi on the population: location and
    log-variance are linear in the mean phi of shadow models that did not train on the
    example. The score is the z-score: of Gaussian phi, a fraction alpha of non-members
    is above the normal quantile of 1 - alpha.

    Assumes: the target's phi, also on a population, and shadow models trained without
    the examples. The original regresses on the input itself and needs no shadow model;
    ``Signals`` hold no inputs, so their mean phi stands in for them. Bertran et al.,
    "Scalable Membership Inference Attacks via Quantile Regression", 2023,
    https://arxiv.org/abs/2307.03694, section 3.
    """

    def fit(signals: Signals, target: Any) -> QuantileFit:
        probability = equal_counts.fit_matching(signals.keep, target)
        population, is_valid = take_population(signals)
        phi = mean_phi(population)[target]
        difficulty = _difficulty(population, target, probability)
        return _fit_quantiles(phi, difficulty, is_valid, probability)

    def score(fitted: QuantileFit, signals: Signals, target: Any) -> Any:
        difficulty = _difficulty(signals, target, fitted.matching)
        phi = standardised(mean_phi(signals)[target], fitted.phi)
        log_variance = _features(fitted, difficulty) @ fitted.log_variance
        return _residual(fitted, phi, difficulty) * jnp.exp(-0.5 * log_variance)

    needs = ("population", "out_models")
    return Attack(score, fit, needs, "quantile_regression")


def take_population(
    signals: Signals, max_population: int = MAX_POPULATION
) -> tuple[Signals, Bool[Array, "p"]]:
    """Returns the signals of population points, and which of them are valid."""
    size = min(max_population, signals.keep.shape[1])
    columns, is_valid = spread_columns(~jnp.any(signals.keep, axis=0), size)
    return signals.select(examples=columns), is_valid


def sort_valid(values: Float[Array, "p"], is_valid: Bool[Array, "p"]) -> Sorted:
    """Returns the valid values in increasing order, padded with +inf."""
    ordered = jnp.sort(jnp.where(is_valid, values, jnp.inf))
    return Sorted(ordered, jnp.sum(is_valid, dtype=jnp.int32))


def strict_fraction(values: Float[Array, "n"], population: Sorted) -> Float[Array, "n"]:
    """Returns the fraction of the population strictly below each value."""
    below = jnp.searchsorted(population.values, values, side="left")
    below = jnp.minimum(below, population.count).astype(values.dtype)
    return below / jnp.maximum(population.count, 1).astype(values.dtype)


def population_rank(values: Float[Array, "n"], population: Sorted) -> Float[Array, "n"]:
    """Returns the fraction of the population strictly below, minus 1, ties broken.

    Values in one gap between population points are ordered by their place in it, those
    above all points by their distance above (so scores above 0), those below all by
    their distance below. Without population the score is the value itself.
    """
    points, count = population
    # Invalid points are +inf at the end: none of them is below a value.
    below = jnp.minimum(jnp.searchsorted(points, values, side="left"), count)
    lowest, highest = points[0], points[jnp.maximum(count - 1, 0)]
    # Indices of values outside are wrapped to any point: they are not used.
    left, right = points[jnp.maximum(below - 1, 0)], points[below % len(points)]
    is_inside = (below > 0) & (below < count)
    width = jnp.where(is_inside, right - left, 1)
    place = jnp.where(width > 0, (values - left) / width, 0)
    total = jnp.maximum(count, 1).astype(values.dtype)
    inside = (below - count).astype(values.dtype) / total + place / total
    outside = jnp.where(below == 0, values - lowest - 1, values - highest)
    return jnp.where(count == 0, values, jnp.where(is_inside, inside, outside))


def mean_phi(signals: Signals) -> Float[Array, "m n"]:
    """Returns phi averaged over queries."""
    return jnp.mean(signals.phi, axis=-1)


def least_squares(
    features: Float[Array, "n f"], values: Float[Array, "n"], weight: Float[Array, "n"]
) -> Float[Array, "f"]:
    """Returns the weighted least-squares coefficients, with a trace of ridge."""
    weighted = features * weight[:, None]
    gram = weighted.T @ features
    ridge = 1e-6 * (jnp.trace(gram) + 1) * jnp.eye(len(gram), dtype=gram.dtype)
    return jnp.linalg.solve(gram + ridge, weighted.T @ values)


def _difficulty(
    signals: Signals, target: Any, probability: Float[Array, "2 m"]
) -> Difficulty:
    phi = mean_phi(signals)[..., None]
    others = loo.moments_without_each(phi, ~signals.keep)
    models = equal_counts.left_out(probability, signals, target).outside
    others = equal_counts.take_rows(others, models)
    return Difficulty(others.mean[:, 0], others.count)


def _fit_quantiles(
    phi: Float[Array, "p"],
    difficulty: Difficulty,
    is_valid: Bool[Array, "p"],
    probability: Float[Array, "2 m"],
) -> QuantileFit:
    """The location-scale model, on standardised values that no outlier moves far."""
    weight = is_valid.astype(phi.dtype)
    fitted = QuantileFit(
        probability,
        standardisation(phi, is_valid),
        standardisation(difficulty.mean, is_valid),
        location=jnp.zeros(2, phi.dtype),
        log_variance=jnp.zeros(2, phi.dtype),
    )
    features = _features(fitted, difficulty)
    values = clipped(phi, fitted.phi)
    fitted = fitted._replace(location=least_squares(features, values, weight))
    # The log-variance: its slope from the log of the squared residuals, then its level
    # from their mean square, which is the better estimate of one number.
    residual = _residual(fitted, values, difficulty)
    tiny = 1e-12 * _weighted_mean(jnp.square(residual), weight) + TINY
    log_variance = least_squares(features, jnp.log(jnp.square(residual) + tiny), weight)
    squared = jnp.square(residual) * jnp.exp(-(features @ log_variance))
    # Gaussian residuals have a log square of mean -(gamma + log 2), and so a square of
    # e^1.27 = 3.56 here; what is far above that is an outlier.
    level = _weighted_mean(jnp.minimum(squared, 3.56 * OUTLIER_LIMIT**2), weight)
    level = jnp.where(level > 0, jnp.log(level), 0)
    return fitted._replace(log_variance=log_variance.at[0].add(level))


def _residual(
    fitted: QuantileFit, values: Float[Array, "n"], difficulty: Difficulty
) -> Float[Array, "n"]:
    """Residuals of one variance for any number of models behind the difficulty.

    A mean over k models adds ``slope^2 / k`` of the variance of phi.
    """
    slope = fitted.location[1] * fitted.phi[1] / fitted.difficulty[1]
    inflation = 1 + jnp.square(slope) / jnp.maximum(difficulty.count, 1)
    residual = values - _features(fitted, difficulty) @ fitted.location
    return residual / jnp.sqrt(inflation)


def _features(fitted: QuantileFit, difficulty: Difficulty) -> Float[Array, "n 2"]:
    """1 and the standardised difficulty, clipped."""
    x = clipped(difficulty.mean, fitted.difficulty)
    return jnp.stack([jnp.ones_like(x), x], axis=-1)


def standardisation(
    values: Float[Array, "p"], is_valid: Bool[Array, "p"]
) -> Float[Array, "2"]:
    """Returns center and scale; 1 in place of a scale of 0."""
    center, scale = robust_center_and_scale(values, is_valid)
    return jnp.stack([center, jnp.where(scale > 0, scale, 1)])


def standardised(values: Float[Array, "n"], scaling: Float[Array, "2"]) -> Any:
    """Returns values in units of a center and scale."""
    return (values - scaling[0]) / scaling[1]


def clipped(values: Float[Array, "n"], scaling: Float[Array, "2"]) -> Any:
    """Returns standardised values, none further out than ``OUTLIER_LIMIT``."""
    return jnp.clip(standardised(values, scaling), -OUTLIER_LIMIT, OUTLIER_LIMIT)


def _weighted_mean(values: Float[Array, "n"], weight: Float[Array, "n"]) -> Any:
    return jnp.sum(values * weight) / jnp.maximum(jnp.sum(weight), 1)
