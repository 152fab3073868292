"""Members and non-members are compared with reference models in equal numbers."""

import jax
import numpy as np
import pytest

from sam_jax.attacks import equal_counts
from tests.attacks.examples import balanced_keep, make_signals
from tests.attacks.naive import references

RNG = np.random.default_rng(0)


def signals_with(keep):
    return make_signals(RNG.normal(size=(*keep.shape, 1)), keep)


def fixed_keep(num_models, num_examples, num_in):
    order = RNG.random((num_models, num_examples)).argsort(axis=0)
    return order < num_in


def reference_counts(keep):
    """Number of 'in' and of 'out' references of each (target, example) pair."""
    signals = signals_with(keep)
    targets = range(len(keep))
    groups = [references(signals, target) for target in targets]
    return [np.stack([g[side].sum(axis=0) for g in groups]) for side in (0, 1)]


@pytest.mark.parametrize(("num_models", "num_in"), [(4, 2), (8, 4), (9, 2), (6, 5)])
def test_with_k_in_models_each_pair_has_k_minus_1_in_and_the_out_likewise(
    num_models, num_in
):
    inside, outside = reference_counts(fixed_keep(num_models, 30, num_in))
    assert (inside == num_in - 1).all()
    assert (outside == num_models - num_in - 1).all()


def test_the_extra_model_left_out_is_the_next_of_its_group():
    keep = np.array([[1, 1], [0, 1], [1, 0], [0, 0]], bool)
    signals = signals_with(keep)
    probability = equal_counts.fit_matching(signals.keep)
    inside, outside = jax.vmap(equal_counts.left_out, (None, None, 0))(
        probability, signals, np.arange(4)
    )
    np.testing.assert_array_equal(inside, [[0, 0], [2, 1], [2, 0], [0, 0]])
    np.testing.assert_array_equal(outside, [[1, 2], [1, 2], [3, 2], [3, 3]])


@pytest.mark.parametrize("rate", [0.2, 0.5])
@pytest.mark.parametrize("num_models", [4, 8])
def test_independent_masks_have_counts_of_one_distribution(num_models, rate):
    keep = RNG.random((num_models, 20_000)) < rate
    varies = keep.any(axis=0) & ~keep.all(axis=0)
    inside, outside = reference_counts(keep)
    pairs = inside * num_models + outside
    shares = [
        np.bincount(pairs[group & varies], minlength=num_models**2)
        / (group & varies).sum()
        for group in (keep, ~keep)
    ]
    # Pairs of one example share a number: as if there were one pair an example.
    error = np.sqrt(sum(shares) / varies.sum())
    assert (np.abs(shares[0] - shares[1]) < 4.5 * error + 1e-3).all()


def test_independent_masks_of_many_models_lose_next_to_nothing():
    keep = RNG.random((16, 5_000)) < 0.5
    inside, outside = reference_counts(keep)
    assert (inside + outside == 15).mean() > 0.97


def test_the_order_of_the_examples_and_blocks_do_not_matter():
    signals = signals_with(RNG.random((5, 200)) < 0.3)
    order = RNG.permutation(200)
    moved = signals.select(examples=order)
    for a, b in zip(references(signals, 2), references(moved, 2), strict=True):
        np.testing.assert_array_equal(a[:, order], b)


def test_examples_that_all_or_no_models_had_lose_no_model():
    keep = np.pad(balanced_keep(6, 20, RNG), ((0, 0), (1, 1)))
    keep[:, 0] = True
    inside, outside = reference_counts(keep)
    assert (inside[:, 0] == 5).all() and (outside[:, -1] == 5).all()


def test_the_numbers_mixed_from_phi_are_uniform():
    signals = make_signals(RNG.normal(size=(3, 20_000, 1)), np.zeros((3, 20_000)))
    uniform = np.asarray(equal_counts.pseudo_uniform(signals))
    counts = np.histogram(uniform, 20, (0, 1))[0]
    assert np.square((counts - 1000) / np.sqrt(950)).sum() < 50  # chi-square of 19
