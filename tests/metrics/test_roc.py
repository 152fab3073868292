import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sklearn_metrics

from sam_jax import metrics


def _case(ties, seed=0, n=400):
    rng = np.random.default_rng(seed)
    keep = rng.random(n) < 0.4
    scores = rng.normal(size=n) + keep
    return (np.round(scores, 1) if ties else scores), keep


def _quantile_spaced(n, shift):
    """Members and non-members at the quantiles of two unit Gaussians."""
    quantiles = stats.norm.ppf((np.arange(n) + 0.5) / n)
    return np.append(quantiles + shift, quantiles), np.arange(2 * n) < n


@pytest.mark.parametrize("ties", [False, True])
def test_roc_and_auc_equal_scikit_learn(ties):
    scores, keep = _case(ties)
    roc = metrics.roc_curve(scores, keep)
    fpr, tpr, thresholds = sklearn_metrics.roc_curve(
        keep, scores, drop_intermediate=False
    )
    np.testing.assert_allclose(roc.fpr, fpr)
    np.testing.assert_allclose(roc.tpr, tpr)
    np.testing.assert_allclose(roc.thresholds, thresholds)
    expected = sklearn_metrics.roc_auc_score(keep, scores)
    np.testing.assert_allclose(metrics.auc(roc), expected, rtol=1e-12)


@pytest.mark.parametrize("ties", [False, True])
def test_metrics_equal_a_loop_over_thresholds(ties):
    scores, keep = _case(ties, seed=1)
    rates = [(0.0, 0.0)] + [
        (np.mean(scores[~keep] >= c), np.mean(scores[keep] >= c)) for c in scores
    ]
    roc = metrics.roc_curve(scores, keep)
    best = max(tpr - fpr for fpr, tpr in rates)
    np.testing.assert_allclose(metrics.advantage(roc), best)
    np.testing.assert_allclose(metrics.balanced_accuracy(roc), (1 + best) / 2)
    for alpha in (0.01, 0.05, 0.3, 1.0):
        allowed = max(tpr for fpr, tpr in rates if fpr <= alpha)
        np.testing.assert_allclose(metrics.tpr_at_fpr(roc, alpha), allowed)


@pytest.mark.parametrize("shift", [0.0, 0.5, 2.0])
def test_quantile_spaced_gaussians_have_the_closed_form_metrics(shift):
    roc = metrics.roc_curve(*_quantile_spaced(20_000, shift))
    expected = stats.norm.cdf(shift / np.sqrt(2))
    np.testing.assert_allclose(metrics.auc(roc), expected, atol=1e-4)
    accuracy = stats.norm.cdf(shift / 2)
    np.testing.assert_allclose(metrics.balanced_accuracy(roc), accuracy, atol=1e-3)
    for alpha in (0.01, 0.001):
        power = stats.norm.cdf(shift - stats.norm.isf(alpha))
        np.testing.assert_allclose(metrics.tpr_at_fpr(roc, alpha), power, atol=2e-3)


def test_equal_scores_are_one_step_and_know_nothing():
    keep = np.array([True, False, True, False])
    roc = metrics.roc_curve(np.ones(4), keep)
    assert roc.fpr.tolist() == roc.tpr.tolist() == [0.0, 1.0]
    assert metrics.auc(roc) == 0.5
    assert metrics.balanced_accuracy(roc) == 0.5
    assert metrics.tpr_at_fpr(roc, 0.5) == 0.0


def test_reversed_scores_reflect_the_auc():
    scores, keep = _case(ties=True, seed=2)
    forward = metrics.auc(metrics.roc_curve(scores, keep))
    backward = metrics.auc(metrics.roc_curve(-scores, keep))
    np.testing.assert_allclose(forward + backward, 1)


def test_perfect_and_infinite_scores_separate():
    roc = metrics.roc_curve(
        np.array([np.inf, 5.0, 0.0, -np.inf]), np.array([True, True, False, False])
    )
    assert metrics.auc(roc) == metrics.balanced_accuracy(roc) == 1.0


def test_tpr_below_one_false_positive_is_not_resolvable():
    scores, keep = _quantile_spaced(1000, shift=1.0)
    roc = metrics.roc_curve(scores, keep)
    assert roc.num_non_members == 1000
    assert np.isnan(metrics.tpr_at_fpr(roc, 0.0009))
    # One false positive of 1,000 is allowed, and no more.
    expected = np.mean(scores[keep] >= np.sort(scores[~keep])[-1])
    above = np.mean(scores[keep] > np.sort(scores[~keep])[-2])
    assert expected <= metrics.tpr_at_fpr(roc, 0.001) == above


def test_bad_input_is_named():
    scores, keep = np.array([1.0, 2.0]), np.array([True, False])
    with pytest.raises(ValueError, match="one member and one non-member, got 2"):
        metrics.roc_curve(scores, np.array([True, True]))
    with pytest.raises(ValueError, match="one member and one non-member, got 0"):
        metrics.roc_curve(scores, np.array([False, False]))
    with pytest.raises(ValueError, match="must not be NaN, got 1 of 2"):
        metrics.roc_curve(np.array([1.0, np.nan]), keep)
    with pytest.raises(ValueError, match="keep must have the shape of scores"):
        metrics.check_scores(scores, keep[:1])
    roc = metrics.roc_curve(scores, keep)
    with pytest.raises(ValueError, match="alpha must be finite and > 0"):
        metrics.tpr_at_fpr(roc, 0.0)
    with pytest.raises(ValueError, match=r"alpha must lie in \[0, 1\]"):
        metrics.tpr_at_fpr(roc, 1.5)


def test_counts_at_a_threshold_include_equal_scores():
    scores = np.array([3.0, 2.0, 2.0, 1.0])
    keep = np.array([True, True, False, False])
    assert metrics.counts_at(scores, keep, 2.0) == (2, 2, 1, 2)
    assert metrics.counts_at(scores, keep, 2.5) == (1, 2, 0, 2)


def test_precision_follows_bayes_and_the_prior():
    np.testing.assert_allclose(metrics.precision_at_prior(0.6, 0.2, 0.5), 0.75)
    assert metrics.precision_at_prior(0.3, 0.0, 0.01) == 1.0
    assert np.isnan(metrics.precision_at_prior(0.0, 0.0, 0.5))
    for prior in (0.01, 0.1, 0.5):
        chance = metrics.precision_at_prior(0.4, 0.4, prior)
        np.testing.assert_allclose(chance, prior)
    with pytest.raises(ValueError, match="prior must lie in"):
        metrics.precision_at_prior(0.5, 0.5, 1.2)


@pytest.mark.parametrize("k", [0, 1, 7, 20])
def test_binomial_interval_equals_scipys_exact_interval(k):
    exact = stats.binomtest(k, 20).proportion_ci(0.9, method="exact")
    got = metrics.binomial_interval(k, 20, 0.9)
    np.testing.assert_allclose(got, (exact.low, exact.high), rtol=1e-6)


def test_binomial_interval_covers_at_least_its_level():
    for rate in (0.001, 0.05, 0.5):
        limits = [metrics.binomial_interval(k, 50, 0.95) for k in range(51)]
        covered = np.array([low <= rate <= high for low, high in limits])
        assert stats.binom.pmf(np.arange(51), 50, rate) @ covered >= 0.95


def test_binomial_interval_rejects_impossible_counts():
    with pytest.raises(ValueError, match="k must be at most n"):
        metrics.binomial_interval(3, 2)
    with pytest.raises(ValueError, match="level must lie strictly"):
        metrics.binomial_interval(1, 2, 1.0)


def test_varying_columns_leave_out_constant_ones():
    keep = np.array([[True, False, True], [True, False, False]])
    assert metrics.varying_columns(keep).tolist() == [False, False, True]
