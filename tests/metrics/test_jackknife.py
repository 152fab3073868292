import numpy as np
import pytest
from scipy import stats

from sam_jax.analysis import memorization
from sam_jax.metrics import jackknife


def test_without_examples_in_common_it_is_the_error_of_independent_models():
    rng = np.random.default_rng(0)
    table = np.repeat(rng.normal(size=(9, 1)), 40, axis=1)
    (found,) = jackknife.crossed_jackknife(lambda used: [table[used].mean()], 9, 40)
    error = table[:, 0].std(ddof=1) / 3
    assert found.value == pytest.approx(table.mean())
    assert found.standard_error == pytest.approx(error, rel=0.02)
    half = stats.t.isf(0.025, 8) * error
    assert found.high - found.value == pytest.approx(half, rel=0.03)


@pytest.mark.parametrize("spread", [(0.0, 0.0), (0.6, 0.0), (0.0, 0.6), (0.5, 0.5)])
def test_intervals_cover_new_models_and_new_examples(spread):
    rng = np.random.default_rng(1)
    covered = []
    for _ in range(200):
        model = spread[0] * rng.normal(size=(12, 1))
        table = model + spread[1] * rng.normal(size=50) + rng.normal(size=(12, 50))
        mean = lambda used, table=table: [np.sum(table, where=used) / used.sum()]
        (found,) = jackknife.crossed_jackknife(mean, 12, 50, num_groups=25)
        covered.append(found.low < 0 < found.high)
    assert 0.90 <= np.mean(covered) <= 0.99


def test_intervals_of_a_correlation_of_estimates_cover_what_new_runs_give():
    """Memorization of two optimizers whose models are paired, from 12 models."""
    rng = np.random.default_rng(2)

    def run():
        difficulty = rng.beta(0.5, 0.5, size=80)
        keep = np.argsort(rng.random((12, 80)), axis=0) < 6
        draws = rng.random((12, 80))
        outcomes = []
        for _ in range(2):
            own = np.where(rng.random((12, 80)) < 0.7, draws, rng.random((12, 80)))
            outcomes.append((keep | (own > difficulty)).astype(float))
        return outcomes, keep

    def correlate(outcomes, keep, used):
        pair = []
        for outcome in outcomes:
            means = [
                np.sum(outcome, axis=0, where=k) / np.maximum(k.sum(axis=0), 1)
                for k in (keep & used, ~keep & used)
            ]
            pair.append(np.where(used.any(axis=0), means[0] - means[1], np.nan))
        return [jackknife.pearson(*pair), jackknife.spearman(*pair)]

    values, found = [], []
    for _ in range(80):
        outcomes, keep = run()
        statistic = lambda used, run=(outcomes, keep): correlate(*run, used)
        found.append(jackknife.crossed_jackknife(statistic, 12, 80, num_groups=16))
        pair = [memorization.memorization(o, keep).value for o in outcomes]
        values.append([jackknife.pearson(*pair), jackknife.spearman(*pair)])
    for which, truth in enumerate(np.mean(values, axis=0)):
        own = [f[which] for f in found]
        assert 0.88 <= np.mean([e.low < truth < e.high for e in own])
        assert [e.value for e in own] == pytest.approx([v[which] for v in values])
        width = np.mean([e.high - e.low for e in own])
        assert width < 6 * np.std(values, axis=0)[which]


def test_correlations_are_scipys_on_the_pairs_without_nan():
    rng = np.random.default_rng(0)
    first, second = np.round(rng.normal(size=(2, 60)), 1)
    second = second + first
    first[3], second[8] = np.nan, np.nan
    known = np.isfinite(first + second)
    expected = stats.pearsonr(first[known], second[known]).statistic
    assert jackknife.pearson(first, second) == pytest.approx(expected)
    expected = stats.spearmanr(first[known], second[known]).statistic
    assert jackknife.spearman(first, second) == pytest.approx(expected)
    assert np.isnan(jackknife.pearson(np.ones(5), np.arange(5.0)))


def test_bad_input_is_named():
    mean = lambda used: [used.mean()]
    with pytest.raises(ValueError, match="num_models must be a whole number >= 2"):
        jackknife.crossed_jackknife(mean, 1, 5)
    with pytest.raises(ValueError, match="level must lie strictly"):
        jackknife.crossed_jackknife(mean, 4, 5, level=1.0)
