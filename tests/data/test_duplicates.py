"""Examples that are there twice, exactly or nearly."""

import numpy as np
import pytest

from sam_jax.data import load
from sam_jax.data.duplicates import find_duplicates
from sam_jax.types import Dataset, Examples

RNG = np.random.default_rng(0)


def make(pool, test):
    labels = [np.zeros(len(x), np.int32) for x in (pool, test)]
    return Dataset("d", 2, Examples(pool, labels[0]), Examples(test, labels[1]))


def test_equal_rows_are_all_found():
    """Against the double loop."""
    pool = RNG.integers(0, 2, (60, 5)).astype(np.float32)
    test = RNG.integers(0, 2, (30, 5)).astype(np.float32)
    pool[3, 0], pool[4] = 0.0, pool[3]
    pool[4, 0] = -0.0
    found = find_duplicates(make(pool, test))
    later = {b for b in range(60) if any((pool[a] == pool[b]).all() for a in range(b))}
    assert {b for _, b in found.pool.tolist()} == later
    assert all((pool[a] == pool[b]).all() for a, b in found.pool)
    shared = {b for b in range(30) if any((x == test[b]).all() for x in pool)}
    assert {b for _, b in found.test.tolist()} == shared
    assert len(found.near_pool) == len(found.near_test) == 0


@pytest.mark.parametrize("noise", [0.002, 0.01, 0.02])
def test_images_with_a_little_noise_are_found_and_no_others(noise):
    whole = load("fashion_mnist_10k")
    pool, test = whole.train.x[:800].copy(), whole.test.x[:200].copy()

    def disturb(x):
        return np.clip(x + noise * RNG.normal(size=x.shape), 0, 1).astype(np.float32)

    pool[400:450] = disturb(pool[:50])
    test[:20] = disturb(pool[100:120])
    found = find_duplicates(make(pool, test))
    pairs = {(i, 400 + i) for i in range(50)}
    got = set(map(tuple, found.near_pool.tolist()))
    assert len(got & pairs) >= 48 and len(got - pairs) <= 1
    across = {(100 + i, i) for i in range(20)}
    got = set(map(tuple, found.near_test.tolist()))
    assert len(got & across) >= 19 and len(got - across) <= 1
    without_channel = find_duplicates(make(pool[:500, ..., 0], test[:20, ..., 0]))
    assert len(pairs & set(map(tuple, without_channel.near_pool.tolist()))) >= 48


def test_the_text_counts_rows_and_names_the_first():
    pool = np.arange(20, dtype=np.float32).reshape(10, 2)
    pool[[5, 6]] = pool[1]
    data = make(pool, pool[2:4])
    equal, shared = find_duplicates(data).texts(data)
    assert equal.startswith("2 of 10 pool examples are equal to an earlier example")
    assert "1 and 5, 1 and 6" in equal
    assert shared.startswith("2 of 10 pool examples are in the test set too")
    clean = make(pool[:5], pool[7:])
    assert find_duplicates(clean).texts(clean) == []
