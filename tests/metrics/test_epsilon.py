import math

import numpy as np
import pytest
from scipy import stats

from sam_jax import metrics
from sam_jax.metrics import epsilon


def test_bound_is_the_log_ratio_of_the_clopper_pearson_limits():
    low, _ = metrics.binomial_interval(400, 1000)
    _, high = metrics.binomial_interval(20, 1000)
    got = epsilon.epsilon_lower_bound(400, 1000, 20, 1000, delta=0.01)
    np.testing.assert_allclose(got, math.log((low - 0.01) / high))


def test_bound_also_uses_members_that_are_never_missed():
    mirrored = epsilon.epsilon_lower_bound(tp=980, p=1000, fp=600, n=1000)
    direct = epsilon.epsilon_lower_bound(tp=400, p=1000, fp=20, n=1000)
    np.testing.assert_allclose(mirrored, direct)


def test_bound_is_zero_for_guessing_and_grows_towards_the_truth():
    assert epsilon.epsilon_lower_bound(50, 1000, 50, 1000) == 0
    assert epsilon.epsilon_lower_bound(0, 10, 0, 10) == 0
    bounds = [
        epsilon.epsilon_lower_bound(n // 2, n, n // 10, n) for n in (100, 10_000, 10**6)
    ]
    assert bounds[0] < bounds[1] < bounds[2] < math.log(5)
    np.testing.assert_allclose(bounds[2], math.log(5), atol=0.02)


def test_null_scores_raise_a_false_alarm_at_most_as_often_as_stated():
    rng = np.random.default_rng(0)
    alarms = []
    for seed in range(120):
        keep = rng.random(200) < 0.5
        bound = epsilon.audited_epsilon(
            rng.normal(size=200), keep, seed=seed, num_thresholds=10
        )
        alarms.append(bound.epsilon > 0)
    # 5 % plus 3 standard errors; choosing on all scores gives several times that.
    assert np.mean(alarms) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 120)


def test_randomized_response_is_bounded_by_its_epsilon_and_detected():
    rng = np.random.default_rng(1)
    keep = rng.random(20_000) < 0.5
    truth = rng.random(20_000) < math.e / (1 + math.e)
    scores = np.where(truth, keep, ~keep) * 1.0
    bound = epsilon.audited_epsilon(scores, keep)
    assert 0.8 < bound.epsilon < 1.0
    assert bound.counts.num_members + bound.counts.num_non_members == 10_000


@pytest.mark.parametrize("correct", [60, 80, 99, 100])
def test_one_run_bound_without_delta_is_where_the_binomial_tail_is_5_percent(correct):
    got = epsilon.one_run_epsilon(correct, 100, 1000)
    tail = stats.binom.sf(correct - 1, 100, 1 / (1 + math.exp(-got)))
    assert tail == pytest.approx(0.05) or (got == 0 and tail > 0.05)
    nearly = epsilon.one_run_epsilon(correct, 100, 1000, delta=1e-13)
    np.testing.assert_allclose(got, nearly, atol=1e-6)


def test_one_run_bound_shrinks_with_delta_and_is_zero_at_chance():
    bounds = [epsilon.one_run_epsilon(95, 100, 1000, d) for d in (0.0, 1e-5, 1e-2)]
    assert bounds[0] > bounds[1] > bounds[2] == 0
    assert epsilon.one_run_epsilon(50, 100, 100) == 0


def test_bad_counts_are_named():
    with pytest.raises(ValueError, match="k must be at most n"):
        epsilon.epsilon_lower_bound(11, 10, 0, 10)
    with pytest.raises(ValueError, match="delta must lie in"):
        epsilon.epsilon_lower_bound(1, 10, 0, 10, delta=-0.1)
    with pytest.raises(ValueError, match="num_correct <= num_guesses"):
        epsilon.one_run_epsilon(5, 4, 10)
