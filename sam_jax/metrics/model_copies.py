"""Recognition of a model that is there twice."""

import numpy as np
from jaxtyping import Bool, Float

NEAR_COPY = 0.01
"""Outputs this close, of the usual distance between two models, are those of one model:
stored in half precision, or computed twice."""

NUM_FIRST = 64


def near_copies(
    phi: Float[np.ndarray, "m n q"], others: Float[np.ndarray, "k n q"]
) -> Bool[np.ndarray, "m k"]:
    """Returns which models have the outputs of which others, exactly or nearly.

    Args:
        phi: Of some models.
        others: Of further models, or the same.

    Example:
        >>> phi = np.random.default_rng(0).normal(size=(3, 50, 1))
        >>> near_copies(phi[:1] + 1e-4, phi)
        array([[ True, False, False]])
    """
    first, second = (a.reshape(len(a), -1).astype(np.float64) for a in (phi, others))
    # Few models agree in the first values, and only these are compared in all.
    heads = first[:, None, :NUM_FIRST], second[None, :, :NUM_FIRST]
    exact = (heads[0] == heads[1]).all(axis=2)
    for m, k in np.argwhere(exact):
        exact[m, k] = np.array_equal(first[m], second[k])
    # Squares of the largest float32 are no problem in float64; infinities would be.
    is_finite = np.isfinite(first).all(axis=0) & np.isfinite(second).all(axis=0)
    if not is_finite.all():  # a copy of all
        first, second = first[:, is_finite], second[:, is_finite]
    squares = (first**2).sum(1)[:, None] + (second**2).sum(1) - 2 * first @ second.T
    distance = np.sqrt(np.maximum(squares, 0))
    return exact | (distance < NEAR_COPY * np.median(distance))
