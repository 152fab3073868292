import itertools

import numpy as np
import pytest

from sam_jax.analysis import influence, memorization
from sam_jax.analysis.influence_entropy import entropy_buckets, influence_entropy


def _random(num_models=20, num_sources=9, num_targets=13, seed=0):
    rng = np.random.default_rng(seed)
    outcome = rng.random((num_models, num_targets)) < 0.6
    keep = np.argsort(rng.random((num_models, num_sources)), axis=0) < num_models // 2
    return outcome, keep


def _plain(outcome, keep):
    """The published formula with its two products, float64: [T, N]."""
    outcome, inside = outcome.astype(float), keep.astype(float)
    outside = 1 - inside
    mean_in = (inside.T @ outcome) / inside.sum(0)[:, None]
    mean_out = (outside.T @ outcome) / outside.sum(0)[:, None]
    return (mean_in - mean_out).T


def _dense(outcome, keep, **options):
    blocks = list(influence.influence_blocks(outcome, keep, **options))
    assert [b.start for b in blocks] == list(
        np.cumsum([0, *(len(b.influence) for b in blocks)])[:-1]
    )
    return np.concatenate([b.influence for b in blocks])


@pytest.mark.parametrize("block_size", [1, 4, 13, 100, None])
def test_blocks_of_any_size_are_the_dense_product(block_size):
    outcome, keep = _random()
    found = _dense(outcome, keep, block_size=block_size)
    np.testing.assert_allclose(found, _plain(outcome, keep), atol=1e-6)


def test_influence_is_exact_for_all_training_sets_of_ridge_classifiers():
    rng = np.random.default_rng(0)
    y = np.where(np.arange(8) % 2 == 0, 1.0, -1.0)
    x = rng.normal(size=(8, 3)) + y[:, None]
    x_test, y_test = rng.normal(size=(5, 3)), np.sign(rng.normal(size=5))

    def right(rows):
        gram = x[rows].T @ x[rows] + 0.1 * np.eye(3)
        return np.sign(x_test @ np.linalg.solve(gram, x[rows].T @ y[rows])) == y_test

    subsets = [list(s) for s in itertools.combinations(range(8), 4)]
    keep = np.array([np.isin(np.arange(8), s) for s in subsets])
    found = _dense(np.array([right(s) for s in subsets]), keep)
    for i in range(8):
        others = [j for j in range(8) if j != i]
        inside = [right([*s, i]) for s in itertools.combinations(others, 3)]
        outside = [right(list(s)) for s in itertools.combinations(others, 4)]
        expected = np.mean(inside, axis=0) - np.mean(outside, axis=0)
        np.testing.assert_allclose(found[:, i], expected, atol=1e-6)


@pytest.mark.parametrize("kind", ["binary", "probability"])
def test_standard_errors_are_those_of_the_two_sample_means(kind):
    outcome, keep = _random()
    if kind == "probability":
        outcome = np.random.default_rng(3).random(outcome.shape)
    (block,) = influence.influence_blocks(outcome, keep, standard_errors=True)
    for t, i in itertools.product(range(13), range(9)):
        column = np.broadcast_to(outcome[:, t : t + 1].astype(float), (20, 1))
        one = memorization.memorization(column, keep[:, i : i + 1])
        error = block.standard_error[t, i]
        np.testing.assert_allclose(error, one.standard_error[0], atol=2e-4)


def test_sources_in_all_models_or_none_have_no_influence():
    outcome, keep = _random()
    keep[:, 0], keep[:, 1] = True, False
    found = _dense(outcome, keep)
    assert np.isnan(found[:, :2]).all() and np.isfinite(found[:, 2:]).all()
    whole = influence_entropy(outcome, keep)
    rest = influence_entropy(outcome, keep[:, 2:])
    np.testing.assert_allclose(whole.entropy, rest.entropy)


def test_entropy_is_that_of_the_positive_influences():
    outcome, keep = _random()
    found = influence_entropy(outcome, keep, block_size=5)
    for t, row in enumerate(_plain(outcome, keep)):
        positive = row[row > 1e-9]
        share = positive / positive.sum()
        np.testing.assert_allclose(
            found.entropy[t], -np.sum(share * np.log(share)), rtol=1e-5, atol=1e-6
        )


def test_threshold_counts_only_influence_above_its_standard_errors():
    outcome, keep = _random()
    (block,) = influence.influence_blocks(outcome, keep, standard_errors=True)
    found = influence_entropy(outcome, keep, threshold=1.0)
    clear = (block.influence > block.standard_error) & (block.influence > 0)
    np.testing.assert_array_equal(found.num_positive, clear.sum(1))
    assert (np.isnan(found.entropy) == (clear.sum(1) == 0)).all()


@pytest.mark.parametrize("right", [True, False])
def test_a_test_example_on_which_all_models_agree_has_no_entropy(right):
    outcome, _ = _random()
    keep = np.random.default_rng(1).random((20, 300)) < 0.5  # 1 / n_in often rounds
    outcome[:, 0] = right
    found = influence_entropy(outcome, keep)
    assert np.isnan(found.entropy[0]) and found.num_positive[0] == 0
    assert entropy_buckets(found.entropy)[0] == 0


def test_buckets_are_equal_and_ordered():
    entropy = np.random.default_rng(0).random(103)
    buckets = entropy_buckets(entropy)
    sizes = np.bincount(buckets)[1:]
    assert sizes.max() - sizes.min() <= 1 and sizes.sum() == 103
    means = [entropy[buckets == b].mean() for b in range(1, 6)]
    assert means == sorted(means)


def test_a_minority_subclass_lands_in_the_lowest_bucket():
    """Its examples are right exactly where a model trained on half of the subclass."""
    rng = np.random.default_rng(0)
    keep = np.argsort(rng.random((400, 300)), axis=0) < 200
    kinds = np.where(np.arange(300) < 6, 0, 1)
    of_minority = keep[:, kinds == 0].sum(1, keepdims=True)
    of_majority = rng.random((400, 100)) < 0.8
    outcome = np.where(np.arange(100) < 20, of_minority >= 3, of_majority)
    entropy = influence_entropy(outcome, keep).entropy
    lowest = entropy_buckets(entropy) == 1
    assert lowest[:20].mean() > 0.8 and lowest[20:].mean() < 0.1


def test_pairs_are_those_of_the_dense_matrix_highest_first():
    outcome, keep = _random()
    memorized = np.linspace(0, 1, 9)
    memorized[5] = np.nan
    found = influence.high_influence_pairs(
        outcome, keep, memorized, min_memorization=0.5, block_size=4
    )
    dense = _dense(outcome, keep)
    passes = (dense >= np.float32(0.15)) & (memorized >= 0.5)
    assert found.num_pairs == passes.sum() == len(found.source)
    assert passes[found.target, found.source].all()
    np.testing.assert_allclose(
        found.influence, dense[found.target, found.source], atol=1e-6
    )
    assert (np.diff(found.influence) <= 0).all()
    mirrored = (dense <= -np.float32(0.15)) & (memorized >= 0.5)
    assert found.num_mirrored == mirrored.sum()
    few = influence.high_influence_pairs(
        outcome, keep, memorized, min_memorization=0.5, limit=3
    )
    np.testing.assert_array_equal(few.influence, found.influence[:3])
    assert few.num_pairs == found.num_pairs


def test_bad_input_is_named():
    outcome, keep = _random()
    with pytest.raises(ValueError, match="block_size must be a whole number >= 1"):
        next(influence.influence_blocks(outcome, keep, block_size=0))
    with pytest.raises(ValueError, match="threshold must be finite and >= 0"):
        influence_entropy(outcome, keep, threshold=-1.0)
    with pytest.raises(ValueError, match="num_buckets must be"):
        entropy_buckets(np.ones(3), 0)


@pytest.mark.parametrize("num_models", [40, 80, 200])
def test_pairs_exactly_at_the_threshold_are_found(num_models):
    rng = np.random.default_rng(num_models)
    keep = np.argsort(rng.random((num_models, 150)), axis=0) < num_models // 2
    correct = rng.random((num_models, 100)) < 0.5
    inside = keep.astype(int)
    count = correct.T.astype(int) @ inside - correct.T.astype(int) @ (1 - inside)
    # The influence is count / (M / 2) and the threshold 3 / 20.
    assert (40 * count == 3 * num_models).any()
    pairs = influence.high_influence_pairs(
        correct, inside, np.ones(150), limit=count.size
    )
    passed = np.zeros(count.shape, np.bool_)
    passed[pairs.target, pairs.source] = True
    np.testing.assert_array_equal(passed, 40 * count >= 3 * num_models)
    assert pairs.num_pairs == passed.sum()
    assert pairs.num_mirrored == (-40 * count >= 3 * num_models).sum()
