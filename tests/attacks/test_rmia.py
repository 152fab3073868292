"""RMIA against the pairwise test written from the paper, in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sam_jax import metrics
from sam_jax.attacks import ATTACKS, rmia, score_targets, tuning
from tests.attacks.examples import CASES, planted_signals, random_signals
from tests.attacks.naive import log_p, references

ONLINE_FRACTION = rmia.rmia_online(tie_break=False)
ONLINE = ATTACKS["rmia_online"]


def naive_ratios(signals, target, a=None, matched=True):
    """``P(x | target) / P(x)`` of every column, in float64 logs; geometric over views.

    Offline where ``a`` is given. A missing mean is replaced by the other one.
    """
    log_probability = log_p(signals)
    log_ratio = np.empty(log_probability.shape[1:])
    groups = references(signals, target, matched)
    for i, q in np.ndindex(log_ratio.shape):
        sides = [log_probability[group[:, i], i, q] for group in groups]
        log_in, log_out = (
            np.logaddexp.reduce(x) - np.log(len(x)) if len(x) else None for x in sides
        )
        log_in = log_out if log_in is None else log_in
        log_out = log_in if log_out is None else log_out
        if a is None:
            prior = np.logaddexp(log_in, log_out) - np.log(2)
        else:
            terms = [np.log((1 + a) / 2) + log_out]
            terms += [np.log((1 - a) / 2)] if a < 1 else []
            prior = np.logaddexp.reduce(terms)
        log_ratio[i, q] = log_probability[target, i, q] - prior
    return log_ratio.mean(axis=1)


def naive_fraction(ratios, is_population, gamma):
    wins = ratios[:, None] - ratios[None, is_population] > np.log(gamma)
    return wins.mean(axis=1)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(
    ("attack", "a", "gamma"),
    [
        (ONLINE_FRACTION, None, 1.0),
        (rmia.rmia_offline(a=0.3, gamma=2.0, tie_break=False), 0.3, 2.0),
    ],
)
def test_the_fraction_equals_the_pairwise_test(case, attack, a, gamma):
    signals = CASES[case]
    is_population = ~signals.keep.any(axis=0)
    scores = score_targets(attack, signals)
    for target in range(len(signals.phi)):
        ratios = naive_ratios(signals, target, a)
        expected = naive_fraction(ratios, is_population, gamma)
        # Ratios within float32 of a tie may fall on either side of it.
        gaps = np.abs(ratios[:, None] - ratios[is_population] - np.log(gamma))
        is_clear = gaps.min(axis=1) > 1e-5 * (1 + np.abs(ratios))
        assert is_clear.sum() > 30
        np.testing.assert_allclose(scores[target, is_clear], expected[is_clear], 1e-6)


def test_without_population_the_score_is_the_log_ratio():
    signals = random_signals(num_population=0)
    scores = score_targets(ONLINE, signals)
    for target in range(len(signals.phi)):
        expected = naive_ratios(signals, target)
        np.testing.assert_allclose(scores[target], expected, rtol=1e-5, atol=1e-5)


def test_broken_ties_keep_the_fractions_and_order_by_the_ratio():
    signals = CASES["random"]
    refined, fraction = (score_targets(a, signals) for a in (ONLINE, ONLINE_FRACTION))
    for target in range(len(signals.phi)):
        ratios = naive_ratios(signals, target)
        order = np.argsort(ratios)
        assert (np.diff(refined[target, order]) >= -1e-6).all()
        assert len(np.unique(refined[target])) > 1.5 * len(np.unique(fraction[target]))
        gap = refined[target] - (fraction[target] - 1)
        inside = (fraction[target] > 0) & (fraction[target] < 1)
        assert ((gap[inside] > -1e-6) & (gap[inside] <= 1 / 20 + 1e-6)).all()


def test_the_chosen_a_is_the_best_by_brute_force_on_the_other_half():
    signals = planted_signals(1.5, 1.0, num_models=8, num_examples=24, num_population=9)
    fit = jax.jit(jax.vmap(ATTACKS["rmia_offline"].fit, (None, 0)))
    chosen = fit(signals, jnp.array([0, 7])).a.tolist()
    fold, pool = tuning.example_folds(signals), signals.keep.any(axis=0)
    for of_folds, models in zip(chosen, (slice(4, None), slice(4)), strict=True):
        for index, a in enumerate(of_folds):
            half = signals.select(models=models, examples=pool & (fold != index))
            best = max(mean_auc(half, value) for value in rmia.A_GRID)
            assert mean_auc(half, round(a, 1)) == pytest.approx(best, abs=0.005)


def mean_auc(signals, a):
    """Mean over models, each attacked by all the others."""
    rocs = [
        metrics.roc_curve(naive_ratios(signals, t, a, matched=False), signals.keep[t])
        for t in range(len(signals.phi))
    ]
    return np.mean([metrics.auc(roc) for roc in rocs])


def test_choosing_a_needs_four_models_and_settings_have_ranges():
    signals = random_signals(num_models=3)
    with pytest.raises(ValueError, match="at least 4 models"):
        score_targets(rmia.rmia_offline(), signals)
    with pytest.raises(ValueError, match=r"a must lie in \[0, 1\]"):
        rmia.rmia_offline(a=1.5)
    with pytest.raises(ValueError, match="gamma must be"):
        rmia.rmia_online(gamma=0.0)


@functools.cache
def planted_auc(shift):
    signals = planted_signals(shift, 1.0)
    scores = score_targets(ONLINE, signals)
    pool = metrics.varying_columns(signals.keep)
    roc = metrics.roc_curve(scores[:, pool].ravel(), signals.keep[:, pool].ravel())
    return metrics.auc(roc)


def test_rmia_finds_a_planted_shift_and_nothing_where_there_is_none():
    assert abs(planted_auc(0.0) - 0.5) < 0.012
    assert 0.7 < planted_auc(1.0) < 0.77  # no attack exceeds Phi(1 / sqrt 2) = 0.760


@pytest.mark.parametrize("count", [0, 3, 5, 11])
def test_columns_are_spread_evenly_or_all_taken(count):
    mask = np.zeros(30, bool)
    mask[2 : 2 + count] = True
    columns, is_valid = tuning.spread_columns(jnp.asarray(mask), 5)
    chosen = np.asarray(columns)[np.asarray(is_valid)]
    assert len(chosen) == min(count, 5) == len(np.unique(chosen))
    assert mask[chosen].all()
    if count == 11:
        np.testing.assert_array_equal(chosen, [2, 4, 6, 8, 10])
