"""Recognition of a mask whose rows belong to the models in another order."""

import numpy as np
from jaxtyping import Bool, Float
from scipy import optimize, stats

from sam_jax.metrics.roc import varying_columns

MAX_EXAMPLES = 4096
"""Examples that are looked at, evenly spaced, where there are more."""

CLEAR, NONE = 6.0, 2.0
"""Mean standard score of a model's fit to a row of the mask: clear by chance never, as
the best of 1,000 rows scores 3.2; and none."""


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
