"""Label noise, which a model can only fit by memorizing."""

import jax
import numpy as np

from sam_jax import _checks
from sam_jax.types import Examples, Key


def corrupt_labels(
    key: Key, examples: Examples, num_classes: int, fraction: float
) -> Examples:
    """Returns the examples with a fraction of their labels replaced by wrong ones.

    The same examples are corrupted for every model that trains on them.

    Args:
        key: Random key: which labels, and what they become.
        examples: Inputs and labels; N examples.
        num_classes: C, at least 2.
        fraction: Share of the labels to replace, in [0, 1]; rounded to whole examples.

    Returns:
        The same inputs; labels int32, each replaced one uniform over the other classes.

    Raises:
        ValueError: If ``fraction`` lies outside [0, 1] or there is one class only.
    """
    _checks.in_unit_interval(fraction=fraction)
    _checks.at_least(2, num_classes=num_classes)
    labels = np.array(examples.y, np.int32)
    which_key, shift_key = jax.random.split(key)
    count = round(fraction * len(labels))
    which = np.asarray(jax.random.permutation(which_key, len(labels)))[:count]
    shift = np.asarray(jax.random.randint(shift_key, (count,), 1, num_classes))
    labels[which] = (labels[which] + shift) % num_classes
    return Examples(examples.x, labels)
