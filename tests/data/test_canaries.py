import jax
import numpy as np
import pytest

import sam_jax
from sam_jax.data import canaries
from sam_jax.metrics import epsilon, one_run_epsilon


def dataset(num_examples=300, num_classes=4):
    x = np.arange(num_examples, dtype=np.float32)[:, None]
    y = np.arange(num_examples, dtype=np.int32) % num_classes
    examples = sam_jax.Examples(x, y)
    return sam_jax.Dataset("arrays", num_classes, examples, examples)


def test_planted_labels_are_wrong_and_the_rest_is_untouched():
    before = dataset()
    after, rows = canaries.plant(jax.random.key(0), before, 50)
    changed = np.flatnonzero(after.train.y != before.train.y)
    np.testing.assert_array_equal(changed, rows)
    assert len(rows) == 50 and 0 <= after.train.y.min() and after.train.y.max() < 4
    np.testing.assert_array_equal(after.test.y, before.test.y)
    with pytest.raises(ValueError, match="num_canaries must be at most"):
        canaries.plant(jax.random.key(0), before, 301)


def test_coins_are_fair_independent_and_never_all_alike():
    keep = np.zeros((4, 400), bool)
    columns = np.arange(100, 400)
    flipped = canaries.flip_coins(jax.random.key(1), keep, columns)
    assert not flipped[:, :100].any()
    coins = flipped[:, 100:]
    assert coins.any(axis=0).all() and not coins.all(axis=0).any()
    assert abs(coins.mean() - 0.5) < 4 * 0.5 / np.sqrt(1200)
    # Of the 14 outcomes left, 6 are balanced: not all columns are.
    assert 0.3 < (coins.sum(axis=0) == 2).mean() < 0.55


def test_the_bound_is_that_of_the_counts_it_states():
    rng = np.random.default_rng(2)
    keep = rng.random((8, 200)) < 0.5
    found = one_run_epsilon.one_run_audit(3 * keep + rng.normal(size=keep.shape), keep)
    for t in range(8):
        sizes = [
            int(part[t])
            for part in (found.num_correct, found.num_guesses, found.num_canaries)
        ]
        assert found.epsilon[t] == epsilon.one_run_epsilon(*sizes)
    assert found.epsilon.min() > 1 and found.largest < found.epsilon.max()
    with_delta = one_run_epsilon.one_run_audit(
        3 * keep + rng.normal(size=keep.shape), keep, delta=1e-3
    )
    assert np.median(with_delta.epsilon) < np.median(found.epsilon)


def test_randomized_response_shows_no_more_than_its_epsilon():
    rng = np.random.default_rng(3)
    keep = rng.random((6, 3000)) < 0.5
    truth = rng.random(keep.shape) < np.e / (1 + np.e)
    scores = np.where(truth, keep, ~keep) + 0.1 * rng.random(keep.shape)
    found = one_run_epsilon.one_run_audit(scores, keep)
    assert 0.8 < np.median(found.epsilon) and found.largest < 1


def test_null_scores_raise_few_false_alarms_although_the_guesses_were_chosen():
    rng = np.random.default_rng(4)
    single, any_of_all = [], []
    for _ in range(60):
        keep = rng.random((5, 100)) < 0.5
        found = one_run_epsilon.one_run_audit(rng.normal(size=keep.shape), keep)
        single.extend(found.epsilon > 0)
        any_of_all.append(found.largest > 0)
    for alarms in (single, any_of_all):
        allowed = 0.05 + 3 * np.sqrt(0.05 * 0.95 / len(alarms))
        assert np.mean(alarms) <= allowed


def test_a_coin_that_the_other_models_give_away_is_not_counted():
    keep = np.array([[True, False, True], [False, False, True], [False, True, False]])
    scores = np.zeros((3, 3))
    found = one_run_epsilon.one_run_audit(scores, keep)
    # Column 0 without row 0 is constant, column 1 without row 2, column 2 likewise.
    np.testing.assert_array_equal(found.num_canaries, [2, 3, 1])
    with pytest.raises(ValueError, match="num_targets must be"):
        one_run_epsilon.one_run_audit(scores[:2], keep[:2])


def test_coins_of_the_first_64_models_do_not_depend_on_how_many_follow():
    columns = np.arange(0, 300, 3)
    key = jax.random.key(5)
    masks = [
        canaries.flip_coins(key, np.zeros((m, 300), bool), columns) for m in (64, 200)
    ]
    np.testing.assert_array_equal(masks[1][:64], masks[0])
    later = masks[1][64:][:, columns]
    assert abs(later.mean() - 0.5) < 4 * 0.5 / np.sqrt(later.size)
