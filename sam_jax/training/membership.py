"""Keep masks, and equal-shape epochs of a model's training set."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from sam_jax import _checks
from sam_jax._checks import ArgumentError
from sam_jax.data.blocks import model_blocks
from sam_jax.types import Key


def balanced_keep(
    key: Key, num_models: int, num_examples: int
) -> Bool[np.ndarray, "m n"]:
    """Returns a mask in which each example is 'in' in exactly half of the models.

    Examples are assigned independently of one another, so two examples share a
    training set no more often than chance has it. Models are assigned in blocks of 64,
    each balanced, so that the first 64 of 256 are those of 64.

    Args:
        key: Random key; the same key gives the same mask.
        num_models: M, even and at least 4: each model in turn is the target, and its
            shadows must hold 'in' and 'out' models for every example.
        num_examples: N, the size of the pool.

    Returns:
        keep: True where model m trains on example n.

    Raises:
        ArgumentError: If ``num_models`` is odd or under 4, or ``num_examples`` under 1.

    References:
        Carlini et al., "Membership Inference Attacks From First Principles", 2022,
        https://arxiv.org/abs/2112.03570, section V-C.
    """
    _checks.at_least(4, num_models=num_models)
    _checks.at_least(1, num_examples=num_examples)
    if num_models % 2:
        raise ArgumentError(
            "num_models",
            "must be even, so that each example is 'in' in exactly half of the models, "
            f"got {num_models}.",
        )
    keep = np.empty((num_models, num_examples), np.bool_)
    for block_key, rows in model_blocks(key, num_models):
        size = rows.stop - rows.start
        # For each example a random permutation of the block's models, of which exactly
        # half of the entries are below size // 2.
        draws = np.asarray(jax.random.uniform(block_key, (num_examples, size)))
        order = np.argsort(draws, axis=1, kind="stable")
        keep[rows] = (order < size // 2).T
    return keep


def epoch_batches(
    key: Key, keep: Bool[Array, "n"], num_steps: int, batch_size: int
) -> Int[Array, "steps batch"]:
    """Returns one epoch: the model's training set in random order, cut into batches.

    The shape does not depend on how many examples the model has, so that models with
    different training sets share one program and a model is the same whatever the
    others are. A model with fewer examples than ``num_steps * batch_size`` starts its
    order again; one with more leaves the last ones out of this epoch.

    Args:
        key: Random key of this epoch.
        keep: True on the examples that the model trains on; at least one.
        num_steps: Batches in an epoch.
        batch_size: Examples in a batch.

    Returns:
        Indices into the pool, int32.
    """
    # The model's examples in random order first, all others after them.
    draws = jnp.where(keep, jax.random.uniform(key, keep.shape), jnp.inf)
    order = jnp.argsort(draws).astype(jnp.int32)
    position = jnp.arange(num_steps * batch_size, dtype=jnp.int32)
    position = position % jnp.sum(keep, dtype=jnp.int32)
    return order[position].reshape(num_steps, batch_size)
