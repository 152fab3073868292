import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sam_jax.training import membership

KEY = jax.random.key(0)


def test_every_example_is_in_exactly_half_of_the_models():
    keep = membership.balanced_keep(KEY, 10, 501)
    assert keep.shape == (10, 501) and keep.dtype == np.bool_
    np.testing.assert_array_equal(keep.sum(axis=0), 5)


def test_examples_are_assigned_independently():
    """Shared models of two examples follow the hypergeometric law of independence."""
    num_models, num_examples = 8, 2000
    keep = membership.balanced_keep(KEY, num_models, num_examples).astype(int)
    shared = (keep[:, ::2] * keep[:, 1::2]).sum(axis=0)
    # Hypergeometric(8, 4, 4): mean 2, variance 4/7; 1,000 pairs.
    assert abs(shared.mean() - 2) < 4 * np.sqrt(4 / 7 / 1000)
    assert abs(shared.var() - 4 / 7) < 0.1


def test_every_model_is_drawn_equally_often():
    keep = membership.balanced_keep(KEY, 6, 20_000)
    sizes = keep.sum(axis=1)
    assert np.all(np.abs(sizes - 10_000) < 4 * np.sqrt(20_000 / 4))


def test_the_mask_follows_from_the_key():
    first, again = (membership.balanced_keep(KEY, 4, 50) for _ in range(2))
    other = membership.balanced_keep(jax.random.key(1), 4, 50)
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize("num_models", [0, 2, 3, 7, -4, True])
def test_odd_or_too_few_models_are_rejected(num_models):
    with pytest.raises(ValueError, match="num_models"):
        membership.balanced_keep(KEY, num_models, 10)


@pytest.mark.parametrize("size", [0, 5, 40, 60])
def test_an_epoch_visits_own_examples_evenly(size):
    """Fewer examples than places are seen again, more are left out, none is foreign."""
    keep = jnp.arange(100) < max(size, 1)
    batches = membership.epoch_batches(KEY, keep, 5, 8)
    assert batches.shape == (5, 8) and batches.dtype == jnp.int32
    counts = np.bincount(batches.ravel(), minlength=100)
    own = max(size, 1)
    assert counts[own:].sum() == 0
    assert counts[:own].max() - counts[:own].min() <= 1


def test_epochs_differ_and_are_uniform_over_own_examples():
    keep = jnp.arange(30) % 3 == 0
    keys = jax.random.split(KEY, 3000)
    first = jax.vmap(lambda k: membership.epoch_batches(k, keep, 1, 1)[0, 0])(keys)
    counts = np.bincount(first, minlength=30)[::3]
    assert counts.sum() == 3000
    assert np.abs(counts - 300).max() < 4.5 * np.sqrt(300 * 0.9)


def test_more_models_leave_the_first_blocks_alone():
    key = jax.random.key(3)
    few, more = (membership.balanced_keep(key, m, 50) for m in (64, 200))
    np.testing.assert_array_equal(more[:64], few)
    np.testing.assert_array_equal(more.sum(axis=0), 100)
    assert np.abs(np.corrcoef(more[:64].ravel(), more[64:128].ravel())[0, 1]) < 0.06


def test_the_mask_of_up_to_64_models_is_one_draw():
    """The rule, written down again: the lower half of a uniform draw's ranks."""
    key = jax.random.key(3)
    for num_models in (4, 16, 64):
        draws = np.asarray(jax.random.uniform(key, (50, num_models)))
        ranks = np.argsort(draws, axis=1, kind="stable")
        np.testing.assert_array_equal(
            membership.balanced_keep(key, num_models, 50), (ranks < num_models // 2).T
        )
