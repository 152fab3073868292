"""Membership from predicted labels alone."""

from typing import Any

import jax.numpy as jnp

from sam_jax.attacks.base import Attack
from sam_jax.types import Signals


def augmentation_robustness() -> Attack:
    """The fraction of augmented queries that the target still labels right.

    ``Signals`` hold correctness of the first query only. Of the others one counts as
    right where phi > 0 (p_y above one half), which implies a right label but misses
    right labels of lower confidence; with two classes the two agree. One query makes it
    the ``correctness`` attack.

    Assumes: the label that the target predicts for copies of the example, no
    probabilities, no shadow models. Choquette-Choo et al., "Label-Only Membership
    Inference Attacks", 2021, https://arxiv.org/abs/2007.14321, section 3.2 (there the
    right and wrong labels feed a classifier; here they are counted).
    """

    def score(_: Any, signals: Signals, target: Any) -> Any:
        phi = signals.phi[target]
        num_right = signals.correct[target].astype(phi.dtype)
        num_right += jnp.sum(phi[:, 1:] > 0, axis=-1).astype(phi.dtype)
        return num_right / phi.shape[-1]

    return Attack(score, needs=("queries",), name="label_only")
