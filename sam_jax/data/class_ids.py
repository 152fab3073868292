"""Class ids of any size, encoded as 0 to C - 1."""

import numpy as np
from jaxtyping import Int, Integer


def is_sparse(ids: Integer[np.ndarray, "..."]) -> bool:
    """Returns whether ids leave more numbers unused than they use, or are negative.

    Labels of a few missing classes are no reason to renumber the others.

    Example:
        >>> is_sparse(np.array([0, 2, 3])), is_sparse(np.array([7, 900_000_007]))
        (False, True)
    """
    if ids.size == 0:
        return False
    return int(ids.min()) < 0 or int(ids.max()) + 1 > 2 * len(np.unique(ids)) + 10


def encode(
    *labels: Integer[np.ndarray, "..."],
) -> tuple[Integer[np.ndarray, " c"], tuple[Int[np.ndarray, "..."], ...]]:
    """Returns the different ids in order, and labels as indices into them.

    The order is that of the numbers, as in scikit-learn's ``classes_``, so that column
    c of a classifier's outputs is class ``ids[c]``.

    Args:
        *labels: Arrays of whole numbers, of any integer dtype.

    Returns:
        The ids, int64 unless one is larger, and for each array int32 of its shape.

    Example:
        >>> ids, (labels,) = encode(np.array([300_000_007, 7, 7]))
        >>> ids, labels
        (array([        7, 300000007]), array([1, 0, 0], dtype=int32))
    """
    is_large = any(array.size and int(array.max()) >= 2**63 for array in labels)
    whole = [array.astype(np.uint64 if is_large else np.int64) for array in labels]
    ids = np.unique(np.concatenate([np.unique(array) for array in whole]))
    return ids, tuple(np.searchsorted(ids, a).astype(np.int32) for a in whole)
