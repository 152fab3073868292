import itertools

import numpy as np
import pytest

from sam_jax import types
from sam_jax.analysis import memorization


def _random(num_models=12, num_examples=7, seed=0):
    rng = np.random.default_rng(seed)
    outcome = (rng.random((num_models, num_examples)) < 0.6).astype(float)
    keep = rng.random((num_models, num_examples)) < 0.5
    return outcome, keep


def _ridge_right(x, y, rows, x_test, y_test):
    """Whether the closed-form ridge classifier trained on some rows is right."""
    gram = x[rows].T @ x[rows] + 0.1 * np.eye(x.shape[1])
    weights = np.linalg.solve(gram, x[rows].T @ y[rows])
    return np.sign(x_test @ weights) == y_test


def _all_half_subsets(x, y, x_test, y_test):
    """Every training set of half the pool: keep, and answers on pool and test."""
    count = len(x)
    keep, pool, test = [], [], []
    for rows in itertools.combinations(range(count), count // 2):
        rows = list(rows)
        keep.append(np.isin(np.arange(count), rows))
        pool.append(_ridge_right(x, y, rows, x, y))
        test.append(_ridge_right(x, y, rows, x_test, y_test))
    return np.array(keep), np.array(pool, float), np.array(test, float)


def _two_classes(count, seed):
    rng = np.random.default_rng(seed)
    y = np.where(np.arange(count) % 2 == 0, 1.0, -1.0)
    x = rng.normal(size=(count, 4))
    x[:, 0] += 1.5 * y
    return x, y


def test_all_subsets_give_the_leave_one_out_difference_of_retrained_ridge():
    x, y = _two_classes(10, seed=1)
    y[3] = -y[3]
    keep, pool, _ = _all_half_subsets(x, y, x, y)
    found = memorization.memorization(pool, keep)
    for i in range(10):
        others = [j for j in range(10) if j != i]
        inside = [
            _ridge_right(x, y, [*rest, i], x[i], y[i])
            for rest in itertools.combinations(others, 4)
        ]
        outside = [
            _ridge_right(x, y, list(rest), x[i], y[i])
            for rest in itertools.combinations(others, 5)
        ]
        np.testing.assert_allclose(
            found.value[i], np.mean(inside) - np.mean(outside), atol=1e-12
        )
    assert np.argmax(found.value) == 3


def test_a_sample_of_subsets_is_unbiased_and_its_standard_error_is_right():
    x, y = _two_classes(10, seed=2)
    y[0] = -y[0]
    keep, pool, _ = _all_half_subsets(x, y, x, y)
    truth = memorization.memorization(pool, keep).value
    rng = np.random.default_rng(0)
    deviations, variances = [], []
    for _ in range(600):
        rows = rng.integers(len(keep), size=24)
        found = memorization.memorization(pool[rows], keep[rows])
        deviations.append(found.value - truth)
        variances.append(found.standard_error**2)
    deviations, variances = np.array(deviations), np.array(variances)
    standard_error = deviations.std(0) / np.sqrt(600)
    assert (np.abs(deviations.mean(0)) < 4.5 * standard_error + 1e-12).all()
    np.testing.assert_allclose(variances.mean(0), deviations.var(0), rtol=0.2)


def test_duplicates_have_low_memorization_and_mislabelled_examples_high():
    x, y = _two_classes(40, seed=3)
    x[1:4], y[1:4] = x[0], y[0] = x[0] * 2, y[0]
    y[10] = -y[10]
    x[10] *= 3
    rng = np.random.default_rng(0)
    keep = np.argsort(rng.random((60, 40)), axis=1) < 20
    pool = np.array(
        [_ridge_right(x, y, np.flatnonzero(k), x, y) for k in keep], dtype=float
    )
    value = memorization.memorization(pool, keep).value
    assert np.abs(value[:4]).max() < 0.2
    assert value[10] == value.max() > 0.5


def test_memorization_is_the_mean_over_in_models_minus_that_over_out_models():
    outcome, keep = _random()
    found = memorization.memorization(outcome, keep)
    for i in range(7):
        ins, outs = outcome[keep[:, i], i], outcome[~keep[:, i], i]
        assert found.value[i] == pytest.approx(ins.mean() - outs.mean())
        expected = ins.var(ddof=1) / len(ins) + outs.var(ddof=1) / len(outs)
        assert found.standard_error[i] ** 2 == pytest.approx(expected)
        assert (found.num_in[i], found.num_out[i]) == (len(ins), len(outs))


def test_an_example_in_all_models_or_in_none_has_no_estimate_but_a_count():
    outcome, keep = _random(num_examples=3)
    keep[:, 0], keep[:, 1] = True, False
    found = memorization.memorization(outcome, keep)
    assert np.isnan(found.value).tolist() == [True, True, False]
    assert np.isnan(found.standard_error).tolist() == [True, True, False]
    assert (found.num_in[0], found.num_out[0]) == (12, 0)


def test_one_model_on_a_side_gives_a_value_without_a_standard_error():
    outcome, keep = _random(num_examples=1)
    keep[:] = False
    keep[4] = True
    found = memorization.memorization(outcome, keep)
    assert np.isfinite(found.value).all() and np.isnan(found.standard_error).all()


def test_difference_of_outcomes_gives_the_difference_of_memorization():
    ours, keep = _random()
    theirs, _ = _random(seed=5)
    difference = memorization.memorization(ours - theirs, keep)
    separate = [memorization.memorization(o, keep).value for o in (ours, theirs)]
    np.testing.assert_allclose(difference.value, separate[0] - separate[1])


def test_outcomes_are_correctness_or_probabilities_of_the_first_query():
    phi = np.array([[[0.0, 9.0], [2.0, 9.0]]], np.float32)
    correct = np.array([[True, False]])
    entropy = np.zeros((1, 2), np.float32)
    labels = np.zeros(2, np.int32)
    signals = types.Signals(phi, correct, entropy, entropy, correct, labels)
    assert memorization.outcomes(signals).tolist() == [[1.0, 0.0]]
    probability = memorization.outcomes(signals, "probability")
    np.testing.assert_allclose(probability, [[0.5, 1 / (1 + np.exp(-2))]])
    with pytest.raises((ValueError, TypeError), match="outcome"):
        memorization.outcomes(signals, "loss")


def test_halves_are_the_estimates_of_each_half_and_noise_sums_to_their_variance():
    outcome, keep = _random(num_models=24)
    first = memorization.split_models(24)
    halves = memorization.memorization_halves(outcome, keep, first)
    assert first.sum() == 12
    for row, half in enumerate((first, ~first)):
        alone = memorization.memorization(outcome[half], keep[half])
        np.testing.assert_allclose(halves.values[row], alone.value)
        squares = np.sum(halves.noise[half] ** 2, axis=0)
        np.testing.assert_allclose(squares, alone.standard_error**2)


def test_the_half_that_selects_never_measures():
    """With no signal at all, picking the top by the same models would show a gain."""
    rng = np.random.default_rng(0)
    outcome = (rng.random((16, 3000)) < 0.5).astype(float)
    keep = np.argsort(rng.random((16, 3000)), axis=0) < 8
    first = memorization.split_models(16, seed=1)
    halves = memorization.memorization_halves(outcome, keep, first)
    bins = np.where(halves.values > 0.5, 0, -1)
    honest = memorization.mean_by_bin(bins, halves, 1)[0]
    naive = memorization.mean_by_bin(bins[::-1], halves, 1)[0]
    assert honest.low < 0 < honest.high and naive.low > 0.5


def test_intervals_of_bin_means_cover_new_models_and_examples():
    rng = np.random.default_rng(1)
    covered = []
    for _ in range(400):
        model, example = rng.normal(size=(12, 1)), rng.normal(size=60)
        outcome = 0.5 * model + example + rng.normal(size=(12, 60))
        halves = memorization.mean_halves(outcome, memorization.split_models(12))
        bins = np.zeros((2, 60), int)
        found = memorization.mean_by_bin(bins, halves, 1)[0]
        assert found.value == pytest.approx(outcome.mean())
        covered.append(found.low < 0 < found.high)
    assert 0.92 <= np.mean(covered) <= 0.98


def test_bins_without_examples_have_no_estimate():
    outcome, keep = _random(num_models=24)
    halves = memorization.memorization_halves(
        outcome, keep, memorization.split_models(24)
    )
    found = memorization.mean_by_bin(np.zeros((2, 7), int), halves, 2)
    assert np.isfinite(found[0].value) and np.isnan(found[1]).all()


def test_bad_input_is_named():
    outcome, keep = _random()
    with pytest.raises(ValueError, match="keep must have the shape"):
        memorization.memorization(outcome[:, :-1], keep)
    with pytest.raises(ValueError, match="num_models must be a whole number >= 4"):
        memorization.split_models(3)


@pytest.mark.parametrize("num_models", [8, 16, 40, 80, 200])
def test_an_estimate_of_exactly_a_quarter_is_a_quarter(num_models):
    rng = np.random.default_rng(num_models)
    keep = np.argsort(rng.random((num_models, 4000)), axis=0) < num_models // 2
    outcome = (rng.random(keep.shape) < np.where(keep, 0.75, 0.5)).astype(float)
    count = (outcome * keep).sum(0) - (outcome * ~keep).sum(0)
    exact = 8 * count == num_models
    value = memorization.memorization(outcome, keep).value
    assert exact.any() and (value[exact] == 0.25).all()
    np.testing.assert_array_equal(value >= 0.25, 8 * count >= num_models)


def test_a_mask_of_integers_is_the_mask():
    rng = np.random.default_rng(0)
    keep, outcome = rng.random((12, 30)) < 0.5, rng.random((12, 30))
    expected = memorization.memorization(outcome, keep)
    for dtype in (np.int64, np.uint8, np.float32):
        estimates = memorization.memorization(outcome, keep.astype(dtype))
        np.testing.assert_array_equal(estimates.value, expected.value)
        np.testing.assert_array_equal(estimates.num_out, expected.num_out)
    with pytest.raises(ValueError, match="keep must be a mask"):
        memorization.memorization(outcome, keep + 1)
