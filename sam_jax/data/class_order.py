"""Recognition of labels that count the classes in another order."""

import numpy as np
from jaxtyping import Int
from scipy import optimize

from sam_jax.types import Dataset, Examples

MAX_CLASSES = 1000
"""Classes among which another order is searched; it takes time cubic in them."""

MAX_ENTRIES = 20_000_000
"""Numbers of each set that are looked at, of evenly spaced examples."""

STANDARD_ERRORS = 4.0
"""By which another order must be more accurate."""


def best_order(
    predicted: Int[np.ndarray, "..."], labels: Int[np.ndarray, "..."], num_classes: int
) -> Int[np.ndarray, " c"]:
    """Returns the prediction that fits each class best, one each.

    Example:
        >>> best_order(np.array([1, 2, 0, 1]), np.array([0, 1, 2, 0]), 3)
        array([1, 2, 0])
    """
    pairs = np.broadcast_to(labels, predicted.shape) * num_classes + predicted
    confusion = np.bincount(pairs.ravel(), minlength=num_classes**2)
    confusion = confusion.reshape(num_classes, num_classes)
    return optimize.linear_sum_assignment(-confusion)[1]


def other_test_order(dataset: Dataset) -> str | None:
    """Returns what is wrong if test labels count other classes than training labels.

    Test examples are given the class of the nearest mean of training examples. An order
    of the classes is chosen on half of them and judged on the other half.

    Args:
        dataset: Pool and test examples.
    """
    num_classes = dataset.num_classes
    if num_classes > MAX_CLASSES:
        return None
    x, y = _looked_at(dataset.train)
    x_test, y_test = _looked_at(dataset.test)
    known = np.unique(y)
    means = np.stack([x[y == label].mean(axis=0) for label in known])
    squares = (means**2).sum(axis=1)
    predicted = known[(squares - 2 * x_test @ means.T).argmin(axis=1)]
    half = np.arange(len(y_test)) % 2 == 0
    order = best_order(predicted[half], y_test[half], num_classes)
    given = float((predicted == y_test)[~half].mean()) if len(y_test) > 1 else 1.0
    better = float((predicted == order[y_test])[~half].mean()) if given < 1 else 1.0
    noise = STANDARD_ERRORS / np.sqrt(max(len(y_test) // 2, 1))
    if better - given < max(noise, given, 0.2):
        is_new = ~np.isin(y_test, known)
        text = "no pool example has class {}, but test examples do."
        return text.format(y_test[is_new][0]) if is_new.mean() > 0.05 else None
    moved = int(np.flatnonzero(order != np.arange(num_classes))[0])
    return (
        "labels of the test set seem to count the classes in another order than those "
        f"of the pool: {100 * given:.0f} % of test examples are nearest to the mean of "
        f"their own class, {100 * better:.0f} % where test label {moved} is "
        f"{order[moved]} of the pool and so on. Figures with test examples would mean "
        "nothing."
    )


def _looked_at(examples: Examples) -> tuple[np.ndarray, np.ndarray]:
    """Flat inputs and labels, of all examples or evenly spaced ones."""
    step = -(-examples.x.size // MAX_ENTRIES) or 1
    x, y = np.asarray(examples.x[::step], np.float32), np.asarray(examples.y[::step])
    return x.reshape(len(x), -1), y
