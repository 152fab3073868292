"""The crossed variance against simulation, and its degrees of freedom."""

import numpy as np
import pytest
from scipy import stats

from sam_jax.metrics.estimate import (
    MISSING,
    CrossedVariance,
    IntervalConfig,
    crossed_variance,
    independent_difference,
    make_estimate,
    mean_over_models,
)
from sam_jax.metrics.one_run_epsilon import one_run_audit


def _table_variance(table):
    """Of the mean of a table of targets and examples, from its sums of squares."""
    gaps = (table - table.mean()) / table.size
    targets, examples = table.shape
    return crossed_variance(
        np.sum(gaps.sum(axis=0) ** 2) * examples / (examples - 1),
        np.sum(gaps.sum(axis=1) ** 2) * targets / (targets - 1),
        np.sum(gaps**2),
        example_degrees=examples - 1,
        target_degrees=targets - 1,
    )


@pytest.mark.parametrize("row,column", [(0.0, 0.0), (0.5, 0.0), (0.0, 0.5), (0.5, 0.5)])
def test_the_crossed_variance_is_that_of_simulated_means(row, column):
    rng, means, variances, covered = np.random.default_rng(0), [], [], []
    for _ in range(1500):
        table = row * rng.normal(size=(10, 1)) + column * rng.normal(size=40)
        table = table + rng.normal(size=(10, 40))
        variance = _table_variance(table)
        estimate = make_estimate(float(table.mean()), variance, 0.95)
        means.append(estimate.value)
        variances.append(variance.variance)
        covered.append(estimate.low < 0 < estimate.high)
    expected = row**2 / 10 + column**2 / 40 + 1 / 400
    # The part of targets is cut at 0, which adds where there is none.
    assert expected * 0.9 < np.mean(variances) < expected * 1.25
    assert 0.93 <= np.mean(covered) <= 0.985


def test_degrees_are_never_fewer_than_those_of_the_scarcer_cluster():
    rng = np.random.default_rng(1)
    for example, target, pair in rng.exponential(size=(500, 3)) ** 3:
        degrees = crossed_variance(
            example, target, pair, example_degrees=200, target_degrees=3
        ).degrees
        assert 3 <= degrees <= 203 + 1e-9


def test_an_interval_of_a_small_error_is_never_the_whole_range():
    """An AUC of 0.498 with an error of 0.003, from four targets that nearly agree."""
    variance = crossed_variance(
        1e-8, 9.1e-4, 9.01e-4, example_degrees=255, target_degrees=3
    )
    assert np.sqrt(variance.variance) == pytest.approx(0.003, rel=0.01)
    estimate = make_estimate(0.498, variance, 0.95, "logit")
    assert 0.48 < estimate.low < 0.498 < estimate.high < 0.51


def test_what_models_share_counts_and_a_single_target_has_no_part():
    plain = crossed_variance(1.0, 0.5, 0.6, example_degrees=99, target_degrees=7)
    assert plain == pytest.approx(CrossedVariance(1.0, 99.0, 0.6))
    shared = crossed_variance(1.0, 0.5, 0.6, 2.0, example_degrees=99, target_degrees=7)
    assert shared.variance == 3.0
    width = stats.t.isf(0.025, [99, 7]) ** 2 @ [1.0, 2.0]
    assert stats.t.isf(0.025, shared.degrees) ** 2 * 3.0 == pytest.approx(width)
    capped = crossed_variance(
        1.0, 0.5, 0.6, example_degrees=99, target_degrees=7, max_degrees=7.0
    )
    assert capped.degrees == pytest.approx(7)
    alone = crossed_variance(1.0, 9.0, 0.5, example_degrees=99, target_degrees=0)
    assert alone.variance == 1.0


def test_the_difference_of_independent_means_is_welchs():
    rng = np.random.default_rng(0)
    a, b = rng.normal(1, 2, 7), rng.normal(0, 1, 12)
    ours = independent_difference(mean_over_models(a), mean_over_models(b), 0.95)
    welch = stats.ttest_ind(a, b, equal_var=False)
    low, high = welch.confidence_interval(0.95)
    np.testing.assert_allclose(ours[:3], [a.mean() - b.mean(), low, high])
    assert ours.degrees == pytest.approx(welch.df)
    assert np.isnan(independent_difference(MISSING, mean_over_models(b), 0.95).value)


def test_accuracies_stay_in_their_bounds():
    estimate = mean_over_models(np.array([1.0, 0.9]), bounds=(0.0, 1.0))
    assert estimate.high == 1.0 and estimate.low > 0.0
    assert mean_over_models(np.array([1.0, 0.9])).high > 1


def test_interval_settings_are_checked():
    with pytest.raises(ValueError, match="num_replicates must be a whole number >= 20"):
        IntervalConfig(num_replicates=5)
    with pytest.raises(ValueError, match="level must lie strictly"):
        IntervalConfig(level=1.0)


def test_equal_scores_show_no_epsilon_in_whatever_order_the_canaries_stand():
    """Members first: guessing in the order of the columns would always be right."""
    rng, shown = np.random.default_rng(2), []
    for seed in range(60):
        keep = np.sort(rng.random((4, 60)) < 0.5, axis=1)[:, ::-1]
        keep[:, 20:40] = rng.random((4, 20)) < 0.5
        found = one_run_audit(np.zeros(keep.shape), keep, seed=seed)
        shown.append((found.epsilon > 0).mean())
    assert np.mean(shown) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 240)
