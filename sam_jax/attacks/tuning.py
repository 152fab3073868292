"""Settings that are chosen on shadow models: of other models, on other examples.

A target in one half of the models is attacked with settings chosen on the other half:
two tunings serve all targets, and no target enters its tuning. Of an odd number of
models the last is in neither. Where each example is in half of the models, an example
that was a member more often there is one less often here, so that what is chosen by
the levels of examples would be wrong on the same examples more often than right. So
examples are dealt into two folds too, and one of a fold is scored by what was chosen
on the other.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from sam_jax._checks import ArgumentError
from sam_jax.attacks.equal_counts import pseudo_uniform
from sam_jax.types import Signals

NUM_TUNING = 2000
"""Examples, evenly spaced, on which settings are chosen."""


def tune(
    choose: Callable[[Signals, Bool[Array, "k"]], Any],
    signals: Signals,
    target: Any,
    with_population: bool = False,
) -> Any:
    """Returns what is chosen for each fold of examples: leaves with a leading [2].

    Args:
        choose: ``choose(half, is_valid) -> chosen``, of the signals of one half of the
            models on some examples, of which the valid ones count.
        signals: All signals.
        target: The model to attack.
        with_population: Whether ``half`` also holds population points, never valid.

    Raises:
        ArgumentError: If there are fewer than 4 models.
    """
    is_member = jnp.any(signals.keep, axis=0)
    size = min(NUM_TUNING, signals.keep.shape[1])
    columns, is_valid = spread_columns(is_member, size)
    if with_population:
        others, _ = spread_columns(~is_member, size)
        columns = jnp.concatenate([columns, others])
        is_valid = jnp.concatenate([is_valid, jnp.zeros(size, bool)])
    sample = signals.select(examples=columns)
    fold = example_folds(sample)
    # What scores one fold is chosen on the examples of the other.
    of_fold = jnp.stack([is_valid & (fold != index) for index in (0, 1)])
    of_folds = jax.vmap(choose, (None, 0))
    # Index 0 serves targets of the first half: it is chosen on the second.
    per_half = jax.vmap(of_folds, (0, None))(other_halves(sample), of_fold)
    which = jnp.asarray(target >= len(signals.phi) // 2, jnp.int32)
    return jax.tree.map(lambda leaf: leaf[which], per_half)


def example_folds(signals: Signals) -> Int[Array, "n"]:
    """Returns the fold of each example, 0 or 1, mixed from the bits of its phi."""
    return (pseudo_uniform(signals) < 0.5).astype(jnp.int32)


def other_halves(signals: Signals) -> Signals:
    """Returns the halves of the models, second first, with a leading axis of 2."""
    num_models = signals.phi.shape[0]
    half = num_models // 2
    if half < 2:
        raise ArgumentError(
            "signals",
            "must have at least 4 models for an attack that is tuned on shadow models "
            f"(two in each half), got {num_models}.",
        )
    fields = (jnp.stack([f[half : 2 * half], f[:half]]) for f in signals[:-1])
    return Signals(*fields, labels=jnp.stack([signals.labels] * 2))


def spread_columns(
    mask: Bool[Array | np.ndarray, "n"], size: int
) -> tuple[Int[Array, "size"], Bool[Array, "size"]]:
    """Returns ``size`` columns where ``mask`` is True, and which of them are valid.

    Evenly spaced when there are more than ``size``; when fewer, all of them, and the
    rest of the indices is not valid.
    """
    ranks = jnp.cumsum(mask, dtype=jnp.int32)
    count = ranks[-1]
    k = jnp.arange(size, dtype=jnp.int32)
    # k * count // size, in two terms so that int32 does not overflow.
    whole, rest = jnp.divmod(count, size)
    wanted = jnp.where(count > size, k * whole + k * rest // size, k)
    columns = jnp.searchsorted(ranks, wanted + 1, side="left")
    return jnp.minimum(columns, len(mask) - 1).astype(jnp.int32), k < count


def robust_center_and_scale(
    values: Float[Array, "k *f"], is_valid: Bool[Array, "k"]
) -> tuple[Float[Array, "*f"], Float[Array, "*f"]]:
    """Returns median, and standard deviation by the range of the central 98 %.

    The scale is consistent for Gaussian values and 0 for constant ones; 0 and 0 of no
    values at all.
    """
    mask = is_valid.reshape(is_valid.shape + (1,) * (values.ndim - 1))
    known = jnp.where(mask, values, jnp.nan)
    quantiles = jnp.asarray([0.01, 0.5, 0.99], values.dtype)
    low, center, high = jnp.nan_to_num(jnp.nanquantile(known, quantiles, axis=0))
    # 2.3263 is the normal quantile of 0.99.
    return center, (high - low) / (2 * 2.3263)
