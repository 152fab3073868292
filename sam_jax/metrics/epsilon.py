"""Lower bounds on the epsilon of differential privacy from an attack's success.

An (epsilon, delta)-private training algorithm bounds every membership attack, so an
attack that does better refutes it. The bounds hold with confidence ``level`` if the
guesses are independent given the algorithm: one example per target, or canaries put in
by independent coins. Scores of many examples of one target are not independent unless
the algorithm makes them so; use ``one_run_epsilon`` for those.
"""

import math
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float
from scipy import optimize, stats

from sam_jax import _checks
from sam_jax.metrics import roc


class EpsilonBound(NamedTuple):
    """A lower bound on epsilon and the decisions behind it.

    Attributes:
        epsilon: The bound in nats; 0 where nothing is shown.
        threshold: Chosen on the half of the scores that the bound does not count.
        counts: Decisions on the other half.
    """

    epsilon: float
    threshold: float
    counts: roc.Counts


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


def audited_epsilon(
    scores: Float[jax.Array | np.ndarray, "*shape"],
    keep: roc.Mask,
    delta: float = 0.0,
    level: float = 0.95,
    seed: int = 0,
    num_thresholds: int = 200,
) -> EpsilonBound:
    """Returns the lower bound at a threshold chosen on a random half of scores.

    The best threshold of the same scores would show privacy loss where there is none;
    the half that chooses it is therefore not counted.

    Args:
        scores: Higher means more likely a member.
        keep: True for members.
        delta: Privacy's additive slack, in [0, 1).
        level: Confidence level, in (0, 1).
        seed: Seed of the split.
        num_thresholds: Quantiles of the scores to choose from.

    Example:
        >>> keep = np.arange(2000) % 2 > 0
        >>> scores = 3.0 * keep + np.random.default_rng(0).normal(size=2000)
        >>> bound = audited_epsilon(scores, keep)
        >>> bound.epsilon > 1.5, bound.counts.num_members + bound.counts.num_non_members
        (True, 1000)

    Raises:
        ArgumentError: If a score is NaN, a half has no member or no non-member, or an
            option is out of range.
    """
    scores = np.asarray(scores, np.float64).ravel()
    keep = _checks.mask(keep=keep).ravel()
    roc.check_scores(scores, keep)
    _checks.at_least(1, num_thresholds=num_thresholds)
    order = np.random.default_rng(seed).permutation(scores.size)
    choose, count = order[: scores.size // 2], order[scores.size // 2 :]
    levels = np.linspace(0, 1, num_thresholds + 1)
    # "higher" gives scores that occur, each of which decides differently.
    candidates = np.unique(np.quantile(scores[choose], levels, method="higher"))
    bounds = [
        epsilon_lower_bound(
            *roc.counts_at(scores[choose], keep[choose], threshold), delta, level
        )
        for threshold in candidates
    ]
    threshold = float(candidates[int(np.argmax(bounds))])
    counts = roc.counts_at(scores[count], keep[count], threshold)
    return EpsilonBound(epsilon_lower_bound(*counts, delta, level), threshold, counts)


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

    References:
        Steinke, Nasr and Jagielski, "Privacy Auditing with One (1) Training Run", 2023,
        https://arxiv.org/abs/2305.08846, Theorem 5.2.

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
