"""Test labels in another order of classes than the pool's: told from the inputs."""

import dataclasses

import numpy as np
import pytest

from sam_jax.data.class_order import best_order, other_test_order
from sam_jax.types import Dataset, Examples

ORDER = np.array([2, 0, 3, 1, 4])


def made(test_labels, classes=5, distance=1.0, prior=None):
    rng = np.random.default_rng(0)
    y = rng.choice(classes, 400, p=prior)
    x = distance * rng.normal(size=(classes, 20))[y] + rng.normal(size=(400, 20))
    y_test = test_labels(y[200:])
    train = Examples(x[:200].astype(np.float32), y[:200])
    test = Examples(x[200:].astype(np.float32), y_test)
    return Dataset("made", int(max(y.max(), y_test.max())) + 1, train, test)


@pytest.mark.parametrize("labels", [lambda y: ORDER[y], lambda y: y + 1])
def test_another_order_of_test_labels_is_told(labels):
    assert "in another order than those of the pool" in other_test_order(made(labels))


def test_a_class_of_the_test_set_alone_is_told():
    data = made(lambda y: y)
    pool = Examples(*(a[data.train.y != 3] for a in data.train))
    text = other_test_order(dataclasses.replace(data, train=pool))
    assert "no pool example has class 3" in text


def test_two_swapped_classes_are_told():
    assert "0 is 1 of the pool" in other_test_order(made(lambda y: 1 - y, classes=2))


@pytest.mark.parametrize("distance", [0.0, 0.1, 1.0, 10.0])
@pytest.mark.parametrize("prior", [None, [0.9, 0.025, 0.025, 0.025, 0.025]])
def test_the_same_order_and_shuffled_labels_are_not(distance, prior):
    for labels in (lambda y: y, np.random.default_rng(1).permutation):
        assert other_test_order(made(labels, distance=distance, prior=prior)) is None


def test_the_best_order_undoes_a_permutation():
    labels = np.arange(50) % 5
    np.testing.assert_array_equal(best_order(ORDER[labels], labels, 5), ORDER)
