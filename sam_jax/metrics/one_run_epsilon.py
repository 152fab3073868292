"""Lower bounds on epsilon from single training runs with canaries.

A canary is an example of the pool with a wrong label, which only memorization can
learn, and each model has it by a separate fair coin. (Examples of a balanced mask
will not do: who knows the other models' masks knows the target's.) The attacker guesses
for the canaries of the highest and the lowest scores; differential privacy limits how
many guesses of one run can be right.

References:
    Steinke, Nasr and Jagielski, "Privacy Auditing with One (1) Training Run", 2023,
    https://arxiv.org/abs/2305.08846, Algorithm 1 and Theorem 5.2.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from sam_jax import _checks
from sam_jax.metrics import epsilon, roc

GUESS_SHARES = (0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0)
"""Shares of the canaries to guess for; chosen for each target on the others."""


class OneRun(NamedTuple):
    """Lower bounds on epsilon, one for each target's training run.

    Each entry of ``epsilon`` holds with confidence ``level`` by itself; ``largest``
    holds with it as the best of all targets.

    Attributes:
        epsilon: The bound from each target's run alone.
        num_correct: Right guesses.
        num_guesses: Guesses made.
        num_canaries: Canaries of the target, guessed or not.
        largest: The best of the bounds at ``1 - (1 - level) / T``.
        delta: Privacy's additive slack.
        level: Confidence level.
    """

    epsilon: Float[np.ndarray, " t"]
    num_correct: Int[np.ndarray, " t"]
    num_guesses: Int[np.ndarray, " t"]
    num_canaries: Int[np.ndarray, " t"]
    largest: float
    delta: float
    level: float


def one_run_audit(
    scores: Float[np.ndarray, "t c"],
    keep: roc.Mask,
    delta: float = 0.0,
    level: float = 0.95,
    seed: int = 0,
) -> OneRun:
    """Returns a lower bound on epsilon from each target's run.

    For how many canaries to guess is chosen by the mean bound of the other targets, so
    that the guesses on a target do not choose it. A canary that all other models have,
    or none, is not counted: its coin is known, as constant columns were drawn again.

    Args:
        scores: Score of each canary against each target; higher is member.
        keep: The coins.
        delta: Privacy's additive slack, in [0, 1).
        level: Confidence level, in (0, 1).
        seed: Seed of the order among equal scores.

    Raises:
        ArgumentError: If there are fewer than 3 targets or an option is out of range.
    """
    _checks.at_least(3, num_targets=len(scores))
    _checks.confidence_level(level)
    scores, keep = np.asarray(scores, np.float64), _checks.mask(keep=keep)
    roc.check_scores(scores, keep)
    generator = np.random.default_rng(seed)
    outcomes = []
    for target, (row, kept) in enumerate(zip(scores, keep, strict=True)):
        # Canaries whose coin the other models do not give away.
        counted = roc.varying_columns(np.delete(keep, target, axis=0))
        outcomes.append(_guesses(row[counted], kept[counted], generator))
    corrected = 1 - (1 - level) / len(scores)
    # By target and share: at the level of a single run, and corrected for their number.
    bounds, strict = (
        np.array([[_bound(o, delta, at) for o in by_share] for by_share in outcomes])
        for at in (level, corrected)
    )
    # Each target's share is the one that is best for the others.
    others = bounds.sum(axis=0) - bounds
    chosen = np.argmax(others, axis=1)
    rows = np.arange(len(scores))
    correct, guesses, canaries = np.array(outcomes)[rows, chosen].T
    return OneRun(
        epsilon=bounds[rows, chosen],
        num_correct=correct,
        num_guesses=guesses,
        num_canaries=canaries,
        largest=float(strict[rows, chosen].max()),
        delta=delta,
        level=level,
    )


def _guesses(
    row: np.ndarray, kept: np.ndarray, generator: np.random.Generator
) -> list[tuple[int, int, int]]:
    """(Right guesses, guesses, canaries) for each share; equal scores at random."""
    shuffled = generator.permutation(len(row))
    order = shuffled[np.argsort(-row[shuffled], kind="stable")]
    outcomes = []
    for share in GUESS_SHARES:
        half = int(share * len(row)) // 2
        top, bottom = order[:half], order[len(order) - half :]
        right = int(kept[top].sum() + (~kept[bottom]).sum())
        outcomes.append((right, 2 * half, len(row)))
    return outcomes


def _bound(outcome: tuple[int, int, int], delta: float, level: float) -> float:
    correct, guesses, canaries = outcome
    if guesses == 0:
        return 0.0
    return epsilon.one_run_epsilon(correct, guesses, canaries, delta, level)
