"""Attacks calibrated on a population: examples that no model trained on.

Their columns of ``keep`` are all False. A fit uses at most ``MAX_POPULATION`` of them,
evenly spaced, so that its memory is bounded.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from sam_jax.attacks import leave_one_out as loo
from sam_jax.attacks import matching
from sam_jax.attacks.base import Attack
from sam_jax.types import Signals

MAX_POPULATION = 10_000
"""Population points that a fit uses at most."""

NUM_TUNING = 2000
"""Examples, evenly spaced, on which settings are chosen on shadow models."""


class Sorted(NamedTuple):
    """Increasing values, the invalid ones +inf at the end, and the number of valid."""

    values: Float[Array, "*m p"]
    count: Int[Array, "*m"]


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

    return Attack(score, fit, needs=("population",))


def quantile_regression() -> Attack:
    """How far phi lies above its quantiles, regressed on the example's difficulty.

    A Gaussian location-scale model of the target's phi on the population: location and
    log-variance are linear in the mean phi of shadow models that did not train on the
    example, by least squares on phi and on the log of the squared residuals. The score
    is the z-score, which says which of the model's quantiles the example exceeds.

    Assumes: the target's phi, also on a population, and shadow models trained without
    the examples. The original regresses on the input itself and needs no shadow model;
    ``Signals`` hold no inputs, so their mean answer stands in for them. Bertran et al.,
    "Scalable Membership Inference Attacks via Quantile Regression", 2023,
    https://arxiv.org/abs/2307.03694, section 3.
    """

    def fit(signals: Signals, target: Any) -> tuple[Any, Any, Any]:
        probability = matching.fit_matching(signals.keep)
        population, is_valid = take_population(signals)
        features = _difficulty(population, target, probability)
        weight = is_valid.astype(features.dtype)
        phi = mean_phi(population)[target]
        location = least_squares(features, phi, weight)
        log_square = jnp.log(jnp.square(phi - features @ location) + 1e-12)
        return probability, location, least_squares(features, log_square, weight)

    def score(fitted: tuple[Any, Any, Any], signals: Signals, target: Any) -> Any:
        probability, location, log_variance = fitted
        features = _difficulty(signals, target, probability)
        residual = mean_phi(signals)[target] - features @ location
        return residual * jnp.exp(-0.5 * (features @ log_variance))

    return Attack(score, fit, needs=("population", "out_models"))


def spread_columns(
    mask: Bool[Array | np.ndarray, "n"], size: int
) -> tuple[Int[Array, "size"], Bool[Array, "size"]]:
    """Returns ``size`` columns where ``mask`` is True, and which of them are valid.

    Evenly spaced when there are more than ``size``; when fewer, all of them, and the
    rest of the indices is not valid.
    """
    ranks = jnp.cumsum(mask, dtype=jnp.int32)
    count = ranks[-1]
    k = jnp.arange(size, dtype=jnp.int32)
    whole, part = jnp.divmod(count, size)
    wanted = jnp.where(count > size, k * whole + k * part // size, k)
    columns = jnp.searchsorted(ranks, wanted + 1, side="left")
    return jnp.minimum(columns, len(mask) - 1).astype(jnp.int32), k < count


def other_halves(signals: Signals) -> Signals:
    """Returns the halves of the models, second first, with a leading axis of 2.

    A target in the first half is attacked with settings chosen on the second half
    alone, and the reverse: two tunings serve all targets, and no target enters its own.
    Of an odd number of models the last is in neither.

    Raises:
        ValueError: If there are fewer than 4 models.
    """
    num_models = signals.phi.shape[0]
    half = num_models // 2
    if half < 2:
        raise ValueError(
            "signals must have at least 4 models for an attack that is tuned on shadow "
            f"models (two in each half), got {num_models}."
        )
    fields = (jnp.stack([f[half : 2 * half], f[:half]]) for f in signals[:-1])
    return Signals(*fields, labels=jnp.stack([signals.labels] * 2))


def of_other_half(per_half: Any, signals: Signals, target: Any) -> Any:
    """Returns what was tuned on the half that the target is not in."""
    which = jnp.asarray(target >= signals.phi.shape[0] // 2, jnp.int32)
    return jax.tree.map(lambda leaf: leaf[which], per_half)


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
    below = jnp.minimum(jnp.searchsorted(points, values, side="left"), count)
    lowest, highest = points[0], points[jnp.maximum(count - 1, 0)]
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
) -> Float[Array, "n 2"]:
    """Features (1, mean phi of the target's 'out' models) of each example."""
    phi = mean_phi(signals)[..., None]
    mean = loo.moments_without_each(phi, ~signals.keep).mean
    models = matching.left_out(probability, signals, target).outside
    mean = matching.take_rows(mean, models)
    return jnp.concatenate([jnp.ones_like(mean), mean], axis=-1)
