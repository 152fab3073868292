"""Recognition of models that are there twice, or in another order than the mask."""

import numpy as np
from jaxtyping import Bool, Float
from scipy import optimize, stats

from sam_jax.metrics.roc import varying_columns

NEAR_COPY = 0.01
"""Outputs this close, of the usual distance between two models, are those of one model:
stored in half precision, or computed twice."""

NUM_FIRST = 64
"""Outputs in which two models must agree before all are compared."""

MAX_EXAMPLES = 4096
"""Examples that are looked at, evenly spaced, where there are more."""

CLEAR, NONE = 6.0, 2.0
"""Mean standard score of a model's fit to a row of the mask: clear by chance never, as
the best of 1,000 rows scores 3.2; and none."""


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


def check_order(
    phi: Float[np.ndarray, "m n"], keep: Bool[np.ndarray, "m n"]
) -> str | None:
    """Returns what is wrong if models fit the rows of other models, and not theirs.

    A model fits a row of the mask if it is more confident than the other models of the
    examples in the row. The scores of all models on all rows are standard normal
    without a relation; the assignment of rows with the largest sum is compared with the
    order that is given.

    Args:
        phi: Values of one query.
        keep: True where the model trained on the example, supposedly.
    """
    columns = np.flatnonzero(varying_columns(keep))
    # Every k-th of them, with k rounded up.
    columns = columns[:: -(-len(columns) // MAX_EXAMPLES) or 1]
    # Ranks among the models, so that the difficulty of an example drops out.
    ranks = stats.rankdata(phi[:, columns], axis=0)
    ranks -= ranks.mean(axis=0)
    rows = keep[:, columns] - keep[:, columns].mean(axis=0)
    norms = np.linalg.norm(ranks, axis=1)[:, None] * np.linalg.norm(rows, axis=1)
    scores = np.sqrt(len(columns)) * (ranks @ rows.T) / np.maximum(norms, 1e-12)
    models, order = optimize.linear_sum_assignment(-scores)
    best, given = scores[models, order].mean(), np.diag(scores).mean()
    moved = np.flatnonzero(order != models)
    if best < CLEAR or given > NONE or not moved.size:
        return None
    return (
        f"{len(moved)} models fit the training set of another row of keep, such as "
        f"model {moved[0]} that of row {order[moved[0]]}: rows and models are in "
        "different orders"
    )
