"""RMIA: the target's likelihood ratio of an example against that of a population.

Zarifzadeh et al., "Low-Cost High-Power Membership Inference Attacks", 2024,
https://arxiv.org/abs/2312.03262, equations 2 to 4 and appendix B.

``ratio(x) = P(x | target) / P(x)`` with ``P(x | model) = p_y``; the score is the
fraction of population points z with ``ratio(x) / ratio(z) > gamma``, strictly: the rank
of ``ratio(x) / gamma`` among the sorted ``ratio(z)``. For one target that is a step
function of the ratio alone, and many examples tie at the top, so that the rate at low
false-positive rates reads 0; the ratio breaks the ties unless told not to. All
reference models of the right kind are used. Over views, log-ratios are averaged. Where
one of mean_in and mean_out has no model, the other takes its place.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sam_jax import _checks
from sam_jax.attacks import leave_one_out as loo
from sam_jax.attacks import matching
from sam_jax.attacks.base import Attack
from sam_jax.attacks.population import (
    MAX_POPULATION,
    NUM_TUNING,
    Sorted,
    of_other_half,
    other_halves,
    population_rank,
    sort_valid,
    spread_columns,
    strict_fraction,
    take_population,
)
from sam_jax.types import Signals


class Fitted(NamedTuple):
    """What RMIA fits: a, how often references are left out, the population's ratios."""

    a: Float[Array, "*t"]
    matching: Float[Array, "*t 2 m"]
    population: Sorted


A_GRID = np.arange(11) / 10
"""Values of a that are tried."""


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
        ValueError: If ``gamma`` <= 0 or ``max_population`` < 1.
    """

    def log_prior(log_in, log_out, _):
        return jnp.logaddexp(log_in, log_out) - jnp.log(2.0).astype(log_in.dtype)

    no_choice = lambda signals, target: jnp.zeros((), signals.phi.dtype)
    needs = ("in_models", "out_models", "population")
    return _make_rmia(
        "rmia_online", log_prior, no_choice, gamma, tie_break, max_population, needs
    )


def rmia_offline(
    a: float | None = None,
    gamma: float = 1.0,
    tie_break: bool = True,
    max_population: int = MAX_POPULATION,
) -> Attack:
    """Returns offline RMIA: ``P(x) = ((1 + a) mean_out + (1 - a)) / 2``.

    Assumes: the target's p_y on the examples and on a population, and shadow models
    trained without the examples; choosing a also uses the shadow models' own members.

    Args:
        a: In [0, 1], how far mean_in lies above mean_out; by default chosen among 0 to
            1 by 0.1 as the best mean AUC of attacks on shadow models: on the half of
            the models that the target is not in, each attacked by the others of it.
        gamma: As in ``rmia_online``.
        tie_break: As in ``rmia_online``.
        max_population: As in ``rmia_online``.

    Returns:
        The attack.

    Raises:
        ValueError: If a setting is out of range; when run, if a is to be chosen and
            there are fewer than 4 models.
    """

    def log_prior(log_in, log_out, a):
        del log_in
        return _offline_log_prior(log_out, a)

    choose, needs = _choose_a, ("out_models", "population", "tuning")
    if a is not None:
        needs = needs[:-1]
        _checks.in_unit_interval(a=a)
        choose = lambda signals, target: jnp.full((), a, signals.phi.dtype)
    return _make_rmia(
        "rmia_offline", log_prior, choose, gamma, tie_break, max_population, needs
    )


def _make_rmia(
    name: str,
    log_prior: Any,
    choose: Any,
    gamma: float,
    tie_break: bool,
    max_population: int,
    needs: tuple[str, ...],
) -> Attack:
    _checks.positive(gamma=gamma)
    _checks.at_least(1, max_population=max_population)
    rank = population_rank if tie_break else strict_fraction

    def log_ratio(signals: Signals, target: Any, a: Any, probability: Any) -> Any:
        log_p, log_in, log_out = _log_means(signals)
        left_out = matching.left_out(probability, signals, target)
        log_in, log_out = _filled(
            matching.take_rows(log_in, left_out.inside),
            matching.take_rows(log_out, left_out.outside),
        )
        return jnp.mean(log_p[target] - log_prior(log_in, log_out, a), axis=-1)

    def fit(signals: Signals, target: Any) -> Fitted:
        a = choose(signals, target)
        probability = matching.fit_matching(signals.keep)
        population, is_valid = take_population(signals, max_population)
        ratio = log_ratio(population, target, a, probability)
        return Fitted(a, probability, sort_valid(ratio, is_valid))

    def score(fitted: Fitted, signals: Signals, target: Any) -> Any:
        ratio = log_ratio(signals, target, fitted.a, fitted.matching)
        return rank(ratio - jnp.log(gamma).astype(ratio.dtype), fitted.population)

    return Attack(score, fit, needs, name)


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


def _offline_log_prior(log_out, a):
    """``log(((1 + a) mean_out + 1 - a) / 2)``."""
    return jnp.log((1 + a) / 2) + jnp.logaddexp(log_out, jnp.log((1 - a) / (1 + a)))


def _choose_a(signals, target):
    """The best a for the half of the models that the target is not in."""
    size = min(NUM_TUNING, signals.keep.shape[1])
    columns, is_valid = spread_columns(jnp.any(signals.keep, axis=0), size)
    tuning = signals.select(examples=columns)
    best = jax.vmap(_best_a, (0, None))(other_halves(tuning), is_valid)
    return of_other_half(best, signals, target)


def _best_a(signals, is_valid):
    """The a of the best mean AUC over models, each attacked by the others."""
    log_p, *means = _log_means(signals)
    _, log_out = _filled(*means)
    grid = jnp.asarray(A_GRID, log_p.dtype)

    def mean_auc(a):
        ratio = jnp.mean(log_p - _offline_log_prior(log_out, a), axis=-1)
        ratio = jnp.where(is_valid[None], ratio, -jnp.inf)
        rank = jax.scipy.stats.rankdata(ratio, axis=1).astype(ratio.dtype)
        members, others = (
            (group & is_valid[None]).astype(ratio.dtype)
            for group in (signals.keep, ~signals.keep)
        )
        gap = _mean(rank, members) - _mean(rank, others)
        return jnp.mean(gap)

    return grid[jnp.argmax(jax.lax.map(mean_auc, grid))]


def _mean(values, weight):
    return jnp.sum(values * weight, axis=1) / jnp.maximum(jnp.sum(weight, axis=1), 1)
