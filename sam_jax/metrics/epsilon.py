"""Lower bounds on the epsilon of differential privacy from an attack's success.

An (epsilon, delta)-private training algorithm bounds every membership attack, so an
attack that does better refutes it. The bounds of ``epsilon_lower_bound`` hold with
confidence ``level`` if the guesses are independent given the algorithm: one example per
target, or canaries put in by independent coins. Scores of many examples of one target
are not independent unless the algorithm makes them so; ``one_run_audit`` is for those.

A canary is an example of the pool with a wrong label, which only memorization can
learn, and each model has it by a separate fair coin. (Examples of a balanced mask
will not do: who knows the other models' masks knows the target's.) The attacker guesses
for the canaries of the highest and the lowest scores; differential privacy limits how
many guesses of one run can be right.

References:
    Steinke, Nasr and Jagielski, "Privacy Auditing with One (1) Training Run", 2023,
    https://arxiv.org/abs/2305.08846, Algorithm 1 and Theorem 5.2.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy import optimize, stats

from sam_jax import _checks
from sam_jax.metrics import roc

GUESS_SHARES = (0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0)
"""Shares of the canaries to guess for; chosen for each target on the others."""


def epsilon_lower_bound(
    tp: int, p: int, fp: int, n: int, delta: float = 0.0, level: float = 0.95
) -> float:
    """Returns a lower bound on epsilon from right and wrong "member" decisions.

    By definition ``TPR <= e^eps FPR + delta`` and ``TNR <= e^eps FNR + delta``. TPR
    from below and FPR from above are Clopper-Pearson limits that miss with ``(1 -
    level) / 2`` each, and both inequalities use the same two limits.

    Args:
        tp: Members decided to be members.
        p: Members.
        fp: Non-members decided to be members.
        n: Non-members.
        delta: Privacy's additive slack, in [0, 1).
        level: Confidence level, in (0, 1).

    Returns:
        Epsilon in nats, at least 0. It holds for a threshold that was fixed before
        these scores were seen.

    Raises:
        ArgumentError: If a count or option is out of range.

    References:
        Jagielski et al., "Auditing Differentially Private Machine Learning: How Private
        is Private SGD?", 2020, https://arxiv.org/abs/2006.07709, Algorithm 1.

    Example:
        >>> round(epsilon_lower_bound(tp=500, p=1000, fp=10, n=1000), 2)
        3.24
    """
    _checks.in_unit_interval(delta=delta)
    tpr_low, _ = roc.binomial_interval(tp, p, level)
    _, fpr_high = roc.binomial_interval(fp, n, level)
    return bound_from_limits(tpr_low, fpr_high, delta)


def bound_from_limits(tpr_low: float, fpr_high: float, delta: float = 0.0) -> float:
    """Returns the bound that a least TPR and a greatest FPR imply; at least 0.

    ``log((TPR - delta) / FPR)``, or the same of the non-members' side if larger.
    """
    ratios = ((tpr_low, fpr_high), (1 - fpr_high, 1 - tpr_low))
    bounds = [math.log((a - delta) / b) for a, b in ratios if a > delta and b > 0]
    return max(0.0, *bounds) if bounds else 0.0


def one_run_epsilon(
    num_correct: int,
    num_guesses: int,
    num_canaries: int,
    delta: float = 0.0,
    level: float = 0.95,
) -> float:
    """Returns a lower bound on epsilon from one training run with many canaries.

    Each canary was in or out by a separate fair coin; the attacker guesses for some
    (the most and the least member-like) and abstains on the others. How many guesses to
    make must not depend on which were right.

    Args:
        num_correct: Right guesses.
        num_guesses: Guesses made.
        num_canaries: Canaries, guessed or not.
        delta: Privacy's additive slack, in [0, 1).
        level: Confidence level, in (0, 1).

    Raises:
        ArgumentError: Unless ``num_correct <= num_guesses <= num_canaries``, or if an
            option is out of range.

    Example:
        >>> round(one_run_epsilon(95, num_guesses=100, num_canaries=1000), 2)
        2.17
    """
    _checks.at_least(0, num_correct=num_correct)
    _checks.at_least(1, num_guesses=num_guesses)
    _checks.in_unit_interval(delta=delta)
    _checks.confidence_level(level)
    if not num_correct <= num_guesses <= num_canaries:
        rule = "must satisfy num_correct <= num_guesses <= num_canaries, got"
        got = f"{num_correct}, {num_guesses} and {num_canaries}"
        raise _checks.ArgumentError("num_guesses", f"{rule} {got}.")

    if delta == 0:
        # The p-value is a binomial tail: its inverse is a Clopper-Pearson limit.
        low = stats.beta.ppf(1 - level, num_correct, num_guesses - num_correct + 1)
        return math.log(low / (1 - low)) if num_correct and low > 0.5 else 0.0

    def excess(epsilon: float) -> float:
        sizes = (num_correct, num_guesses, num_canaries)
        return _one_run_p_value(epsilon, *sizes, delta) - (1 - level)

    # The p-value grows with epsilon; at 50 nats every guess is allowed to be right.
    if excess(0.0) >= 0 or excess(50.0) <= 0:
        return 0.0
    return optimize.root_scalar(excess, bracket=(0.0, 50.0), xtol=1e-9).root


def _one_run_p_value(
    epsilon: float, correct: int, guesses: int, canaries: int, delta: float
) -> float:
    """P(at least this many right guesses) that (epsilon, delta)-privacy allows."""
    chance = 1 / (1 + math.exp(-epsilon))
    exceed = float(stats.binom.sf(correct - 1, guesses, chance))
    if delta == 0 or correct == 0:
        return exceed
    # What delta adds: P(correct - i <= right guesses < correct) / i, at its largest.
    losses = np.arange(1, correct + 1)
    near = np.cumsum(stats.binom.pmf(correct - losses, guesses, chance))
    return min(1.0, exceed + 2 * canaries * delta * float(np.max(near / losses)))


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
    """(Right guesses, guesses, canaries) for each share of the canaries.

    Equal scores are guessed in random order: the order of the columns may tell members.
    """
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
    return one_run_epsilon(correct, guesses, canaries, delta, level)
