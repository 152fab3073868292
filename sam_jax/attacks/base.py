"""The type of an attack, and its run on every target in bounded memory."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from sam_jax import _checks
from sam_jax.attacks.finite_phi import with_finite_phi
from sam_jax.types import AttackFn, Signals

NEEDS = {
    "in_models": "at least 2 models trained with each example, the target included "
    "(with fewer use offline attacks, such as lira_offline)",
    "out_models": "at least 2 models trained without each example, the target included "
    "(with fewer use attacks without shadow models, such as loss or attack_p)",
    "tuning": "the members of at least 4 models, to choose settings on",
    "population": "examples that no model trained on",
    "queries": "signals of more than one query of each example",
    "entropy": "all of the target's probabilities, or logits",
}
"""What an attack can need besides the target's signals on the examples."""

OPTIONAL_NEEDS = ("population", "queries")
"""Needs without which an attack still runs, as a simpler one."""

MIN_SHARE = 0.5
"""Share of the examples with enough models from which 'in' or 'out' models are met."""


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
        needs: What the attacker must hold besides the target's signals, of ``NEEDS``.
        name: How errors call the attack.
    """

    score: Callable[[Any, Signals, Any], Any]
    fit: Callable[[Signals, Any], Any] = no_fit
    needs: tuple[str, ...] = ()
    name: str = "attack"

    def __call__(
        self, signals: Signals, target: Int[Array, ""] | int
    ) -> Float[Array, "n"]:
        """Returns the score of each example against one target model.

        Raises:
            ArgumentError: If the signals do not meet the attack's needs; checked
                unless they are traced.
        """
        if not any(isinstance(field, jax.core.Tracer) for field in signals):
            signals = _concrete(signals)
            check_needs(self, signals)
        signals = with_finite_phi(signals)
        return self.score(self.fit(signals, target), signals, target)


def attack_name(attack: AttackFn) -> str:
    """Returns how errors call an attack: its name, or its function's."""
    name = getattr(attack, "name", None) or getattr(attack, "__name__", None)
    return str(name or type(attack).__name__)


def unmet_needs(attack: AttackFn, signals: Signals) -> list[str]:
    """Returns those of ``NEEDS`` that an attack has and the signals do not meet.

    An attack that needs a population or several queries runs without, as its docstring
    says (``OPTIONAL_NEEDS``). Without the others ``score_targets`` refuses it. Of the
    examples that some models had and some had not, half or more must have enough 'in'
    or 'out' models: the target, a member or not, is not one of its shadow models,
    and one is left out on the other side (``matching``).
    """
    keep = _checks.mask(keep=signals.keep)
    num_in = keep.sum(axis=0)
    num_in = num_in[(num_in > 0) & (num_in < len(keep))]

    def are_enough(count: np.ndarray) -> bool:
        return count.size > 0 and bool((count >= 2).mean() >= MIN_SHARE)

    met = {
        "in_models": are_enough(num_in),
        "out_models": are_enough(len(keep) - num_in),
        "tuning": len(keep) >= 4 and _halves_have_members(keep),
        "population": not keep.any(axis=0).all(),
        "queries": signals.phi.shape[-1] > 1,
        "entropy": not np.isnan(signals.entropy).any()
        and not np.isnan(signals.modified_entropy).any(),
    }
    return [need for need in getattr(attack, "needs", ()) if not met[need]]


def _halves_have_members(keep: np.ndarray) -> bool:
    """Whether settings can be chosen on either half of the models (``tuning``)."""
    half = len(keep) // 2
    return bool(keep[:half].any() and keep[half : 2 * half].any())


def missing_needs(attack: AttackFn, signals: Signals) -> list[str]:
    """Returns the unmet needs without which an attack does not run at all."""
    return [n for n in unmet_needs(attack, signals) if n not in OPTIONAL_NEEDS]


def check_needs(attack: AttackFn, signals: Signals) -> None:
    """Raises ``ArgumentError`` if an attack cannot run on the signals."""
    missing = missing_needs(attack, signals)
    if missing:
        listed = " and ".join(NEEDS[need] for need in missing)
        rule = f"{attack_name(attack)!r} needs {listed}."
        raise _checks.ArgumentError("attack", rule)


def default_block_size(signals: Signals) -> int:
    """Examples per block so that one [M, block, Q] array holds about 4 MiB."""
    num_models, num_examples, num_queries = signals.phi.shape
    return max(1, min(num_examples, 2**20 // (num_models * num_queries)))


def take_block(signals: Signals, start: Any, size: int) -> Signals:
    """Returns columns ``start`` to ``start + size``; ``start`` may be traced."""

    def cut(field: Any, axis: int) -> Any:
        return jax.lax.dynamic_slice_in_dim(field, start, size, axis)

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
        attack: An ``Attack``, or any ``AttackFn``, in JAX or in NumPy, which is run as
            one block.
        signals: Signals of all models; NumPy or JAX arrays. ``keep`` may hold 1 and 0.
        targets: Models to attack, in ``[0, M)``; all of them by default.
        block_size: Examples at a time; memory grows with it. The default keeps one
            [M, block, Q] array at about 4 MiB.

    Returns:
        float32 scores in host memory; higher means more likely a member.

    Raises:
        ArgumentError: If a target is out of range, ``block_size`` is below 1, the
            attack needs what the signals do not hold (``unmet_needs``), or its scores
            are NaN or not one for each example.
    """
    num_models, num_examples, _ = signals.phi.shape
    targets = np.arange(num_models) if targets is None else np.asarray(targets)
    if targets.size and not (0 <= targets.min() and targets.max() < num_models):
        rule = f"must lie in [0, {num_models}), got {targets}."
        raise _checks.ArgumentError("targets", rule)
    block_size = default_block_size(signals) if block_size is None else block_size
    _checks.at_least(1, block_size=block_size)
    signals = _concrete(signals)
    check_needs(attack, signals)
    targets = targets.astype(np.int32)
    if not isinstance(attack, Attack):
        scores = _score_function(attack, signals, targets)
    else:
        scores = _score_attack(attack, signals, targets, block_size)
    _check_scores(attack, scores, (len(targets), num_examples))
    return scores.astype(np.float32, copy=False)


def _concrete(signals: Signals) -> Signals:
    """Arrays of the types that attacks expect, in native byte order."""
    with np.errstate(over="ignore"):  # too large for float32 is infinite
        phi, entropy, modified = (
            np.asarray(field).astype(np.float32, copy=False)
            for field in (signals.phi, signals.entropy, signals.modified_entropy)
        )
    correct = _checks.mask(correct=signals.correct)
    keep = _checks.mask(keep=signals.keep)
    labels = np.asarray(signals.labels).astype(np.int32, copy=False)
    return Signals(phi, correct, entropy, modified, keep, labels)


def _score_attack(
    attack: Attack, signals: Signals, targets: np.ndarray, block_size: int
) -> np.ndarray:
    """Scores in blocks of examples, or all at once where one block holds them."""
    signals = jax.jit(with_finite_phi)(jax.tree.map(jnp.asarray, signals))
    num_examples = signals.keep.shape[1]
    # One program for both steps, so that the sums over models are made once.
    if block_size >= num_examples:
        return np.asarray(_score_whole(attack, signals, targets))
    fitted = _fit_targets(attack, signals, targets)
    scores = np.empty((len(targets), num_examples), np.float32)
    for first in range(0, num_examples, block_size):
        start = min(first, num_examples - block_size)  # the last block overlaps
        block = _score_block(attack, fitted, signals, start, targets, block_size)
        scores[:, start : start + block_size] = block
    return scores


def _score_function(
    attack: AttackFn, signals: Signals, targets: np.ndarray
) -> np.ndarray:
    """Scores of any function of signals and target; NumPy code runs in a loop."""
    try:
        # NumPy code cannot be traced, which only shows when it is tried.
        run = jax.jit(jax.vmap(attack, (None, 0)))
        return np.asarray(run(jax.tree.map(jnp.asarray, signals), targets))
    except (jax.errors.JAXTypeError, jax.errors.JAXIndexError):
        rows = [np.asarray(attack(signals, int(target))) for target in targets]
        return np.stack(rows) if rows else np.zeros((0, signals.keep.shape[1]))


def _check_scores(attack: AttackFn, scores: np.ndarray, shape: tuple[int, int]) -> None:
    name = attack_name(attack)
    if scores.shape != shape:
        rule = f"{name!r} must return one score for each example,"
        hint = f"{shape[1:]} for a target; got {scores.shape[1:]}."
        raise _checks.ArgumentError("attack", f"{rule} {hint}")
    if np.isnan(scores).any():
        rule = f"{name!r} must return scores that are numbers, got"
        got = f"{np.isnan(scores).sum():,} NaN among {scores.size:,}."
        raise _checks.ArgumentError("attack", f"{rule} {got}")


@functools.partial(jax.jit, static_argnums=0)
def _score_whole(attack: Attack, signals: Signals, targets: Any) -> Any:
    def score(target: Any) -> Any:
        return attack.score(attack.fit(signals, target), signals, target)

    return jax.vmap(score)(targets)


@functools.partial(jax.jit, static_argnums=0)
def _fit_targets(attack: Attack, signals: Signals, targets: Any) -> Any:
    return jax.vmap(attack.fit, (None, 0))(signals, targets)


@functools.partial(jax.jit, static_argnums=(0, 5))
def _score_block(
    attack: Attack, fitted: Any, signals: Signals, start: Any, targets: Any, size: int
) -> Any:
    block = take_block(signals, start, size)
    return jax.vmap(attack.score, (0, None, 0))(fitted, block, targets)
