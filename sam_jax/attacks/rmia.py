"""RMIA: the target's likelihood ratio of an example against that of a population.

Zarifzadeh et al., "Low-Cost High-Power Membership Inference Attacks", 2024,
https://arxiv.org/abs/2312.03262, equations 2 to 4 and appendix B.

``ratio(x) = P(x | target) / P(x)`` with ``P(x | model) = p_y``; the score is the
fraction of population points z with ``ratio(x) / ratio(z) > gamma``, strictly: the rank
of ``ratio(x) / gamma`` among the sorted ``ratio(z)``. For one target that is a step
function of the ratio alone, and many examples tie at the top, so that the rate at low
false-positive rates reads 0; the ratio breaks the ties by default. All
reference models are used, in numbers that do not tell members (``matching``). Over
queries, log-ratios are averaged. Where one of mean_in and mean_out has no model, the
other takes its place.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from sam_jax import _checks
from sam_jax.attacks import equal_counts
from sam_jax.attacks import leave_one_out as loo
from sam_jax.attacks.base import Attack
from sam_jax.attacks.population import (
    MAX_POPULATION,
    Sorted,
    population_rank,
    sort_valid,
    strict_fraction,
    take_population,
)
from sam_jax.attacks.tuning import example_folds, tune
from sam_jax.types import Signals

A_GRID = np.arange(11) / 10
"""Values of a that are tried."""


class Fitted(NamedTuple):
    """Fitted before any example is scored.

    Attributes:
        a: One for all examples, or one for each fold of them (``tuning``).
        matching: How often references are left out (``equal_counts.fit_matching``).
        population: The population's sorted log-ratios for each a.
    """

    a: Float[Array, "*t folds"]
    matching: Float[Array, "*t 2 m"]
    population: tuple[Sorted, ...]


def rmia_online(
    gamma: float = 1.0, tie_break: bool = True, max_population: int = MAX_POPULATION
) -> Attack:
    """Returns online RMIA: ``P(x) = (mean_in + mean_out) / 2``.

    Assumes: the target's p_y on the examples and on a population, and shadow models
    trained with and without each example.

    Args:
        gamma: How many times likelier x must be than z; 1, or 2 as in parts of the
            paper. Without ties broken it only quantises; with them it moves the scale.
        tie_break: Whether equal fractions are ordered by the ratio. If not, the score
            is the paper's fraction; else that fraction minus 1, refined (see
            ``population.population_rank``).
        max_population: Population points used at most, evenly spaced.

    Returns:
        The attack. Without population columns its score is the log of the ratio.

    Raises:
        ArgumentError: If ``gamma`` <= 0 or ``max_population`` < 1.
    """
    _check_options(gamma, max_population)

    def log_prior(log_in: Array, log_out: Array, _: Any) -> Array:
        return jnp.logaddexp(log_in, log_out) - jnp.log(2.0).astype(log_in.dtype)

    def no_choice(signals: Signals, target: Any) -> Float[Array, "1"]:
        del target
        return jnp.zeros(1, signals.phi.dtype)

    score, fit = _score_and_fit(log_prior, no_choice, gamma, tie_break, max_population)
    needs = ("in_models", "out_models", "population")
    return Attack(score, fit, needs, "rmia_online")


def rmia_offline(
    a: float | None = None,
    gamma: float = 1.0,
    tie_break: bool = True,
    max_population: int = MAX_POPULATION,
) -> Attack:
    """Returns offline RMIA: ``P(x) = ((1 + a) mean_out + (1 - a)) / 2``.

    Assumes: the target's p_y on the examples and on a population, and shadow models
    trained without the examples; choosing a also uses the members of the shadow models.

    Args:
        a: In [0, 1], how far mean_in lies above mean_out; by default chosen among 0 to
            1 by 0.1 as the best mean AUC of attacks on shadow models, each attacked by
            the others of its half (``tuning``).
        gamma: As in ``rmia_online``.
        tie_break: As in ``rmia_online``.
        max_population: As in ``rmia_online``.

    Returns:
        The attack.

    Raises:
        ArgumentError: If a setting is out of range; when run, if a is to be chosen and
            there are fewer than 4 models.
    """
    _check_options(gamma, max_population)
    if a is not None:
        _checks.in_unit_interval(a=a)

    def log_prior(_: Array, log_out: Array, a: Any) -> Array:
        return _offline_log_prior(log_out, a)

    def given(signals: Signals, target: Any) -> Float[Array, "1"]:
        del target
        return jnp.asarray([a], signals.phi.dtype)

    # The best a for each fold of examples, unless it is given.
    choose = functools.partial(tune, _best_a) if a is None else given
    score, fit = _score_and_fit(log_prior, choose, gamma, tie_break, max_population)
    needs = ("out_models", "population") + ("tuning",) * (a is None)
    return Attack(score, fit, needs, "rmia_offline")


def _check_options(gamma: float, max_population: int) -> None:
    _checks.positive(gamma=gamma)
    _checks.at_least(1, max_population=max_population)


def _score_and_fit(
    log_prior: Callable[[Array, Array, Any], Array],
    choose: Callable[[Signals, Any], Float[Array, "folds"]],
    gamma: float,
    tie_break: bool,
    max_population: int,
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Both steps of the attack with ``log P(x) = log_prior(log_in, log_out, a)``.

    ``choose`` returns one a for all examples, or one for each fold of them.
    """
    rank = population_rank if tie_break else strict_fraction

    def log_ratio(signals: Signals, target: Any, a: Any, probability: Any) -> Any:
        log_p, log_in, log_out = _log_means(signals)
        left_out = equal_counts.left_out(probability, signals, target)
        log_in, log_out = _filled(
            equal_counts.take_rows(log_in, left_out.inside),
            equal_counts.take_rows(log_out, left_out.outside),
        )
        return jnp.mean(log_p[target] - log_prior(log_in, log_out, a), axis=-1)

    def fit(signals: Signals, target: Any) -> Fitted:
        chosen = choose(signals, target)
        probability = equal_counts.fit_matching(signals.keep, target)
        population, is_valid = take_population(signals, max_population)
        # One a, or two: short enough to be written out in the program.
        ordered = [
            sort_valid(log_ratio(population, target, a, probability), is_valid)
            for a in chosen
        ]
        return Fitted(chosen, probability, tuple(ordered))

    def score(fitted: Fitted, signals: Signals, target: Any) -> Any:
        ranks = []
        for a, population in zip(fitted.a, fitted.population, strict=True):
            ratio = log_ratio(signals, target, a, fitted.matching)
            ranks.append(rank(ratio - jnp.log(gamma).astype(ratio.dtype), population))
        if len(ranks) == 1:
            return ranks[0]
        # Each example by the a that was chosen on the other fold.
        return jnp.where(example_folds(signals) == 0, *ranks)

    return score, fit


def _log_means(signals: Signals) -> tuple[Array, Array, Array]:
    """Log p_y, and log of its mean over the other 'in' and 'out' models, [M, N, Q]."""
    log_p = jax.nn.log_sigmoid(signals.phi)
    log_in = loo.log_mean_without_each(log_p, signals.keep)
    log_out = loo.log_mean_without_each(log_p, ~signals.keep)
    return log_p, log_in, log_out


def _filled(log_in: Array, log_out: Array) -> tuple[Array, Array]:
    """Both means, the other one in the place of a mean over no model."""
    return (
        jnp.where(jnp.isneginf(log_in), log_out, log_in),
        jnp.where(jnp.isneginf(log_out), log_in, log_out),
    )


def _offline_log_prior(log_out: Array, a: Any) -> Array:
    """``log(((1 + a) mean_out + 1 - a) / 2)``."""
    # For a = 1 the last term is -inf, which `logaddexp` takes as nothing to add.
    return jnp.log((1 + a) / 2) + jnp.logaddexp(log_out, jnp.log((1 - a) / (1 + a)))


def _best_a(signals: Signals, is_valid: Bool[Array, "k"]) -> Float[Array, ""]:
    """The a of the best mean AUC over models, each attacked by the others."""
    log_p, *means = _log_means(signals)
    _, log_out = _filled(*means)
    grid = jnp.asarray(A_GRID, log_p.dtype)
    members, others = (
        (group & is_valid[None]).astype(log_p.dtype)
        for group in (jnp.asarray(signals.keep), ~jnp.asarray(signals.keep))
    )

    def rank_gap(a: Any) -> Any:
        """Mean rank of members minus that of others: linear in each model's AUC."""
        ratio = jnp.mean(log_p - _offline_log_prior(log_out, a), axis=-1)
        # The same number of lowest ranks in each model: no difference is changed.
        ratio = jnp.where(is_valid[None], ratio, -jnp.inf)
        rank = jax.scipy.stats.rankdata(ratio, axis=1).astype(ratio.dtype)
        return jnp.mean(_mean(rank, members) - _mean(rank, others))

    return grid[jnp.argmax(jax.lax.map(rank_gap, grid))]


def _mean(values: Float[Array, "m k"], weight: Float[Array, "m k"]) -> Array:
    return jnp.sum(values * weight, axis=1) / jnp.maximum(jnp.sum(weight, axis=1), 1)
