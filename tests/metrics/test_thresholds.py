"""Decisions at shadow-model thresholds; intervals against simulation."""

import math

import numpy as np
import pytest
from scipy import stats

from sam_jax import metrics
from sam_jax.metrics import (
    decision_variance,
    epsilon,
    replicates,
    shadow_thresholds,
    thresholds,
)
from sam_jax.metrics.decision_variance import DecisionVariances
from sam_jax.metrics.estimate import CrossedVariance


def audit(rng, num_targets=8, num_examples=300, shift=1.0, row=0.0, column=0.0):
    keep = rng.random((num_targets, num_examples)) < 0.5
    noise = rng.normal(size=keep.shape)
    common = row * rng.normal(size=(num_targets, 1))
    common = common + column * rng.normal(size=num_examples)
    return noise + common + shift * keep, keep


@pytest.mark.parametrize("fpr", [0.02, 0.3, 1.0])
def test_the_fpr_threshold_is_the_lowest_that_the_other_targets_allow(fpr):
    scores, keep = audit(np.random.default_rng(0), 4, 40)
    scores = scores.round(1)  # with ties
    found = shadow_thresholds.shadow_fpr_thresholds(scores, keep, fpr)
    for target in range(4):
        others = np.arange(4) != target
        pool = scores[others][~keep[others]]
        candidates = [-np.inf, *np.unique(pool), np.inf]
        decided = [np.mean(pool >= t) for t in candidates]
        expected = next(c for c, t in zip(decided, candidates, strict=True) if c <= fpr)
        assert np.mean(pool >= found[target]) == expected


def test_rates_are_counts_and_precision_is_bayes():
    scores, keep = audit(np.random.default_rng(1))
    labels = np.arange(300) % 2
    found = thresholds.shadow_threshold_decisions(scores, keep, labels, fprs=(0.05,))
    assert [own.rule for own in found] == [
        shadow_thresholds.BEST,
        shadow_thresholds.BEST_PER_CLASS,
        "FPR 5 % on shadow models",
    ]
    decided = (
        scores >= shadow_thresholds.shadow_fpr_thresholds(scores, keep, 0.05)[:, None]
    )
    tpr, fpr = decided[keep].mean(), decided[~keep].mean()
    own = found[-1]
    assert own.tpr.value == pytest.approx(tpr) and own.fpr.value == pytest.approx(fpr)
    assert own.counts.true_positives == decided[keep].sum()
    right = 0.1 * tpr / (0.1 * tpr + 0.9 * fpr)
    assert own.precision["0.1"].value == pytest.approx(right)
    assert own.precision["0.1"].low < right < own.precision["0.1"].high
    first = shadow_thresholds.shadow_thresholds(scores, keep)
    expected = ((scores >= first)[keep].mean() + (scores < first)[~keep].mean()) / 2
    assert found[0].balanced_accuracy.value == pytest.approx(expected)


def test_rules_that_the_shadow_models_cannot_resolve_are_left_out():
    scores, keep = audit(np.random.default_rng(2), 3, 20)
    found = thresholds.shadow_threshold_decisions(scores, keep, fprs=(0.1, 0.001))
    assert [own.rule for own in found] == [
        shadow_thresholds.BEST,
        "FPR 10 % on shadow models",
    ]


def test_planted_gaussians_have_the_power_of_the_closed_form():
    scores, keep = audit(np.random.default_rng(3), 16, 2000, shift=1.5)
    best, at_rate = thresholds.shadow_threshold_decisions(scores, keep, fprs=(0.01,))
    power = stats.norm.cdf(1.5 - stats.norm.isf(0.01))
    assert at_rate.tpr.low < power < at_rate.tpr.high
    assert at_rate.fpr.low < 0.01 < at_rate.fpr.high
    accuracy = stats.norm.cdf(0.75)
    assert abs(best.balanced_accuracy.value - accuracy) < 0.008
    for prior in thresholds.PRIORS:
        expected = metrics.precision_at_prior(power, 0.01, prior)
        estimate = at_rate.precision[f"{prior:g}"]
        assert estimate.low < expected < estimate.high


def test_nobody_accused_has_no_precision_and_no_false_alarm_leaves_it_uncertain():
    keep = np.array([[True, False] * 10] * 3)
    still = DecisionVariances(*[CrossedVariance(0.0, float("inf"), 0.0)] * 4)
    options = (keep, 0.95, still)
    silent = thresholds._decisions("rule", np.zeros_like(keep), *options)
    assert math.isnan(silent.precision["0.5"].value)
    perfect = thresholds._decisions("rule", keep, *options).precision["0.5"]
    assert perfect.value == perfect.high == 1 and perfect.low < 0.95


def _naive_rates(scores, keep, fpr):
    """TPR and FPR at each target's exact threshold from the others."""
    if fpr is None:
        decided = scores >= shadow_thresholds.shadow_thresholds(scores, keep)
    else:
        at_rate = shadow_thresholds.shadow_fpr_thresholds(scores, keep, fpr)
        decided = scores >= at_rate[:, None]
    return decided[keep].mean(), decided[~keep].mean()


@pytest.mark.parametrize("fpr", [None, 0.1])
def test_models_left_out_choose_the_thresholds_again(fpr):
    """Bins hold one score each here, so that the jackknife is that of exact rates."""
    rng = np.random.default_rng(5)
    scores, keep = audit(rng, 6, 40, row=0.5)
    groups = np.broadcast_to(np.arange(6)[:, None], keep.shape)
    counts = decision_variance._counts(*replicates.bin_codes(scores, keep), groups, 6)
    counted = decision_variance._outcomes_without(counts, [fpr])[:, 0]
    for left_out, (true, members, false, others) in enumerate(counted):
        rest = np.delete(np.arange(6), left_out)
        tpr, far = _naive_rates(scores[rest], keep[rest], fpr)
        assert members == keep[rest].sum() and others == (~keep[rest]).sum()
        assert true / members == pytest.approx(tpr, abs=0.03)
        assert false / others == pytest.approx(far, abs=0.03)


def _covered(shift, fpr, num_audits=80):
    """How often intervals of TPR, FPR and balanced accuracy hold their means."""
    rng, estimates = np.random.default_rng(4), []
    for _ in range(num_audits):
        scores, keep = audit(rng, 8, 150, shift, row=0.3, column=0.5)
        found = thresholds.shadow_threshold_decisions(scores, keep, fprs=(fpr,))
        rates = [(d.tpr[:3], d.fpr[:3], d.balanced_accuracy[:3]) for d in found]
        estimates.append(rates)
    value, low, high = np.moveaxis(np.array(estimates), -1, 0)
    truth = value.mean(axis=0)
    return np.mean((low <= truth) & (truth <= high), axis=0)


@pytest.mark.parametrize("shift", [0.0, 0.7])
def test_intervals_count_the_choice_of_the_threshold(shift):
    # 3 standard errors of a fraction over 80 audits below 95 %.
    assert (_covered(shift, 0.05) >= 0.95 - 3 * np.sqrt(0.05 * 0.95 / 80)).all()


def test_epsilon_is_corrected_for_the_rules_and_bounded_by_the_truth():
    """Randomized response at epsilon 1: an attack can show no more than 1."""
    rng = np.random.default_rng(6)
    keep = rng.random((20, 1000)) < 0.5
    truth = rng.random(keep.shape) < math.e / (1 + math.e)
    scores = np.where(truth, keep, ~keep) * 1.0
    found = thresholds.shadow_threshold_decisions(scores, keep, fprs=(0.01,))
    bound = thresholds.epsilon_of_decisions(found)
    assert 0.85 < bound.epsilon < 1 and 0.85 < bound.epsilon_independent < 1
    independent = epsilon.epsilon_lower_bound(*found[0].counts, 0.0, 0.975)
    assert bound.epsilon_independent == pytest.approx(independent)
    assert thresholds.epsilon_of_decisions(found, delta=0.1).epsilon < bound.epsilon
    null, keep = audit(rng, shift=0.0)
    assert (
        thresholds.epsilon_of_decisions(
            thresholds.shadow_threshold_decisions(null, keep)
        ).epsilon
        == 0
    )


def test_shared_noise_widens_the_bound_that_knows_of_it():
    scores, keep = audit(np.random.default_rng(7), 12, 200, 2.0, row=0.7, column=0.7)
    bound = thresholds.epsilon_of_decisions(
        thresholds.shadow_threshold_decisions(scores, keep)
    )
    assert 0 < bound.epsilon < bound.epsilon_independent
