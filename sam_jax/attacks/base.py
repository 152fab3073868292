"""What an attack is, and how one is run on every target in bounded memory."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from sam_jax import _checks
from sam_jax.types import AttackFn, Signals

PHI_LIMIT = 1000.0
"""Attacks clip phi to +-this many nats, so that infinite values stay in order."""


NEEDS = {
    "in_models": "shadow models trained with each example",
    "out_models": "shadow models trained without each example",
    "tuning": "the members of at least 4 models, to choose settings on",
    "population": "examples that no model trained on",
    "queries": "the target's answers on more than one view of each example",
    "entropy": "all of the target's probabilities, or logits",
}
"""What an attack can need besides the target's answers."""


def no_fit(signals: Signals, target: Any) -> tuple[()]:
    """The fit of an attack that pools nothing over examples."""
    del signals, target
    return ()


@dataclasses.dataclass(frozen=True)
class Attack:
    """An ``AttackFn`` in two steps, so that examples can be streamed in blocks.

    Calling it is the whole attack: ``attack(signals, target) -> scores [N]``. Sums and
    sorts over models do not depend on the target, so ``vmap(attack, (None, 0))``
    computes them once for all targets.

    Attributes:
        score: ``score(fitted, signals, target) -> scores [N]``, each example by
            itself: a block of columns has the scores it has among all columns.
        fit: ``fit(signals, target) -> fitted``, a small pytree of whatever is pooled
            over examples or chosen on shadow models, without the target.
        needs: What the attacker must hold besides the target's answers, of ``NEEDS``.
    """

    score: Callable[[Any, Signals, Any], Any]
    fit: Callable[[Signals, Any], Any] = no_fit
    needs: tuple[str, ...] = ()

    def __call__(
        self, signals: Signals, target: Int[Array, ""] | int
    ) -> Float[Array, "n"]:
        """Returns the score of each example against one target model."""
        return self.score(self.fit(signals, target), signals, target)


def unmet_needs(attack: AttackFn, signals: Signals) -> list[str]:
    """Returns those of ``NEEDS`` that an attack has and the signals do not meet.

    An attack that needs a population or several views runs without, as its docstring
    says; without the others its scores are NaN or it is refused.
    """
    keep = np.asarray(signals.keep)
    met = {
        "in_models": True,
        "out_models": True,
        "tuning": len(keep) >= 4,
        "population": not keep.any(axis=0).all(),
        "queries": signals.phi.shape[-1] > 1,
        "entropy": not np.isnan(signals.entropy).any()
        and not np.isnan(signals.modified_entropy).any(),
    }
    return [need for need in getattr(attack, "needs", ()) if not met[need]]


def default_block_size(signals: Signals) -> int:
    """Examples per block so that one [M, block, Q] array holds about 4 MiB."""
    num_models, num_examples, num_queries = signals.phi.shape
    return max(1, min(num_examples, 2**20 // (num_models * num_queries)))


def take_block(signals: Signals, start: Any, size: int) -> Signals:
    """Returns columns ``start`` to ``start + size``; ``start`` may be traced."""
    cut = lambda a, axis: jax.lax.dynamic_slice_in_dim(a, start, size, axis)
    columns = (cut(field, axis=1) for field in signals[:-1])
    return Signals(*columns, labels=cut(signals.labels, axis=0))


def score_targets(
    attack: AttackFn,
    signals: Signals,
    targets: Int[Array | np.ndarray, "t"] | None = None,
    block_size: int | None = None,
) -> Float[np.ndarray, "t n"]:
    """Returns the scores of every example against every target model.

    One compiled program scores each block of examples against all targets; what the
    attack pools over examples is fitted once before. The scores do not depend on the
    block size.

    Args:
        attack: An ``Attack``, or any ``AttackFn``, which is run as one block.
        signals: What the models answered; NumPy or JAX arrays.
        targets: Models to attack, in ``[0, M)``; all of them by default.
        block_size: Examples at a time; memory grows with it. The default keeps one
            [M, block, Q] array at about 4 MiB.

    Returns:
        float32 scores in host memory; higher means more likely a member.

    Raises:
        ValueError: If a target is out of range or ``block_size`` is below 1.
    """
    num_models, num_examples, _ = signals.phi.shape
    targets = np.arange(num_models) if targets is None else np.asarray(targets)
    if targets.size and not (0 <= targets.min() and targets.max() < num_models):
        raise ValueError(f"targets must lie in [0, {num_models}), got {targets}.")
    block_size = default_block_size(signals) if block_size is None else block_size
    _checks.at_least(1, block_size=block_size)
    signals = Signals(*(jnp.asarray(field) for field in signals))
    targets = jnp.asarray(targets, jnp.int32)
    if block_size >= num_examples or not isinstance(attack, Attack):
        return np.asarray(_score_whole(attack, signals, targets))
    fitted = _fit_targets(attack, signals, targets)
    scores = np.empty((len(targets), num_examples), np.float32)
    for first in range(0, num_examples, block_size):
        start = min(first, num_examples - block_size)  # the last block overlaps
        block = _score_block(attack, fitted, signals, start, targets, block_size)
        scores[:, start : start + block_size] = block
    return scores


@functools.partial(jax.jit, static_argnums=0)
def _score_whole(attack, signals, targets):
    return jax.vmap(attack, (None, 0))(signals, targets)


@functools.partial(jax.jit, static_argnums=0)
def _fit_targets(attack, signals, targets):
    return jax.vmap(attack.fit, (None, 0))(signals, targets)


@functools.partial(jax.jit, static_argnums=(0, 5))
def _score_block(attack, fitted, signals, start, targets, block_size):
    block = take_block(signals, start, block_size)
    return jax.vmap(attack.score, (0, None, 0))(fitted, block, targets)
