"""How much a training example is memorized, and means over examples that do not cheat.

Feldman and Zhang's subsampled estimator: models that trained on random subsets stand in
for retraining with and without each example. An estimate from M models at half the pool
is noisy (about ``1 / sqrt(M)`` for an example that is right half of the time), so
examples that are picked *because* their estimate is high are high by luck too. Hence
the halves: one half of the models picks, the other half measures. NumPy, float64.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import special, stats

from sam_jax import _checks, metrics
from sam_jax.metrics.estimate import Estimate
from sam_jax.types import Signals

OUTCOMES = {
    "correct": lambda signals: np.asarray(signals.correct),
    "probability": lambda signals: special.expit(np.asarray(signals.phi)[..., 0]),
}
"""What a model gets on an example: 1 for the right class, or its probability."""


class Estimates(NamedTuple):
    """Estimates by example, NaN where the models cannot give one.

    Attributes:
        value: P(correct given in) - P(correct given out), in [-1, 1].
        standard_error: From the sample variances of both sides; its square is
            unbiased. NaN with fewer than two models on a side; 0 where all models of
            a side agree, on both sides.
        num_in: Models that trained on the example.
        num_out: Models that did not.
    """

    value: Float[np.ndarray, " n"]
    standard_error: Float[np.ndarray, " n"]
    num_in: Int[np.ndarray, " n"]
    num_out: Int[np.ndarray, " n"]


class Halves(NamedTuple):
    """Estimates by example from each half of the models, and where their noise is from.

    Attributes:
        values: Row 0 from the first half, row 1 from the second. NaN with fewer than
            two models on a side.
        noise: What each model adds to the error of its own half's estimate; squares
            sum over models to the squared standard error.
        first: True for models of the first half.
    """

    values: Float[np.ndarray, "2 n"]
    noise: Float[np.ndarray, "m n"]
    first: Bool[np.ndarray, " m"]


def outcomes(signals: Signals, kind: str = "correct") -> Float[np.ndarray, "m n"]:
    """Returns what each model got on each example, float64 in [0, 1].

    Args:
        signals: Of M models on N examples.
        kind: ``"correct"``, 1 where the model is right (the definition), or
            ``"probability"``, the probability of the label: less noise, and another
            quantity, which also counts confidence gained on the right class.

    Raises:
        ValueError: If ``kind`` is another word.
    """
    return _checks.one_of(OUTCOMES, kind=kind)(signals).astype(np.float64)


def memorization(
    outcome: Float[np.ndarray, "m n"], keep: Bool[np.ndarray, "_ _"]
) -> Estimates:
    """Returns the mean outcome of models trained with less that of those without.

    It is linear: the outcomes of one optimizer less those of another on the same
    ``keep`` give the difference in memorization, with a standard error that knows that
    the models are paired.

    Args:
        outcome: Of M models on N examples; see ``outcomes``.
        keep: True where the model trained on the example.

    Returns:
        Estimates; NaN, not 0, for an example in all models or in none.

    Raises:
        ValueError: If the shapes differ.

    Example:
        >>> outcome = np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [1.0, 0.0]])
        >>> keep = np.array([[1, 0], [1, 0], [0, 0], [0, 0]]) > 0
        >>> estimates = memorization(outcome, keep)
        >>> estimates.value, estimates.standard_error
        (array([0.5, nan]), array([0.5, nan]))

    References:
        Feldman and Zhang, "What Neural Networks Memorize and Why", 2020,
        https://arxiv.org/abs/2008.03703, Equation 1 and Algorithm 1.
    """
    outcome, keep = _matching(outcome, keep)
    value, noise = _contrast(outcome, keep)
    num_in = keep.sum(axis=0)
    num_out = len(keep) - num_in
    known = np.minimum(num_in, num_out) > 1
    error = np.where(known, np.sqrt(np.sum(noise**2, axis=0)), np.nan)
    return Estimates(value, error, num_in, num_out)


def split_models(num_models: int, seed: int = 0) -> Bool[np.ndarray, " m"]:
    """Returns a random half of the models, True; the middle one of odd M is False.

    Raises:
        ValueError: If there are fewer than 4 models.
    """
    _checks.at_least(4, num_models=num_models)
    order = np.random.default_rng(seed).permutation(num_models)
    return order < num_models // 2


def memorization_halves(
    outcome: Float[np.ndarray, "m n"],
    keep: Bool[np.ndarray, "m n"],
    first: Bool[np.ndarray, " m"],
) -> Halves:
    """Returns memorization as each half of the models sees it.

    Args:
        outcome: Of M models on N examples, or a difference of two optimizers'.
        keep: True where the model trained on the example.
        first: From ``split_models``.

    Raises:
        ValueError: If the shapes differ.
    """
    outcome, keep = _matching(outcome, keep)
    parts = [_contrast(outcome[half], keep[half]) for half in (first, ~first)]
    return _join(parts, first)


def mean_halves(
    outcome: Float[np.ndarray, "m n"], first: Bool[np.ndarray, " m"]
) -> Halves:
    """Returns the mean outcome over each half of the models, as for test examples."""
    parts = []
    for half in (first, ~first):
        own, count = outcome[half], int(half.sum())
        mean = own.mean(axis=0)
        parts.append((mean, (own - mean) / np.sqrt(count * max(count - 1, 1))))
    return _join(parts, first)


def mean_by_bin(
    bins: Int[np.ndarray, "2 n"], halves: Halves, num_bins: int, level: float = 0.95
) -> list[Estimate]:
    """Returns the mean over the examples of each bin, picked by one half of the models.

    An example enters bin ``bins[0]`` with the value of the second half and bin
    ``bins[1]`` with that of the first: what picks never measures, so that luck in the
    picking does not show in the mean. Intervals are over new models and new examples,
    which are crossed: ``V = V_example + max(V_model - V_cell, 0)``, as in
    ``intervals``.

    Args:
        bins: Bin in ``[0, num_bins)`` of each example as each half sees it; -1 for
            none.
        halves: What is averaged.
        num_bins: Number of bins.
        level: Confidence level, in (0, 1).

    Returns:
        One estimate per bin, NaN where fewer than two examples are in it.

    Raises:
        ValueError: If ``level`` or ``num_bins`` is out of range.

    References:
        Cameron, Gelbach and Miller, "Robust Inference With Multiway Clustering", 2011,
        https://doi.org/10.1198/jbes.2010.07136, Equation 2.3.
    """
    metrics.check_level(level)
    _checks.at_least(1, num_bins=num_bins)
    usable = np.isfinite(halves.values)
    return [
        _crossed_mean(halves, (bins[::-1] == number) & usable, level)
        for number in range(num_bins)
    ]


def _crossed_mean(halves: Halves, chosen: np.ndarray, level: float) -> Estimate:
    """The mean of the chosen values [2, N], with its interval."""
    count, num_examples = int(chosen.sum()), int(chosen.any(axis=0).sum())
    if num_examples < 2:
        return Estimate(*[float("nan")] * 6)
    value = float(halves.values[chosen].mean())
    spread = np.where(chosen, halves.values - value, 0).sum(axis=0) / count
    example = float(np.sum(spread**2)) * num_examples / (num_examples - 1)
    noise = np.where(chosen[np.where(halves.first, 0, 1)], halves.noise, 0) / count
    model, cell = float(np.sum(noise.sum(axis=1) ** 2)), float(np.sum(noise**2))
    between = max(model - cell, 0.0)
    variance = example + between
    num_models = len(halves.first)
    doubt = example**2 / (num_examples - 1)
    doubt += model**2 / (num_models - 1) if between else 0.0
    degrees = variance**2 / doubt if doubt else float("inf")
    error = float(np.sqrt(variance))
    width = float(stats.t.isf((1 - level) / 2, degrees)) * error
    return Estimate(value, value - width, value + width, error, degrees, between)


def _matching(outcome, keep) -> tuple[np.ndarray, np.ndarray]:
    outcome, keep = np.asarray(outcome, np.float64), np.asarray(keep)
    if outcome.shape != keep.shape or outcome.ndim != 2:
        raise ValueError(
            "outcome and keep must have one shape [models, examples], got "
            f"{outcome.shape} and {keep.shape}."
        )
    return outcome, keep


def _contrast(outcome, keep) -> tuple[np.ndarray, np.ndarray]:
    """Mean in less mean out [N], and each model's part of the error [M, N]."""
    noise = np.full(outcome.shape, np.nan)
    means = []
    with np.errstate(invalid="ignore", divide="ignore"):
        for group in (keep, ~keep):
            count = group.sum(axis=0)
            mean = np.where(group, outcome, 0).sum(axis=0) / count
            scaled = (outcome - mean) / np.sqrt(count * (count - 1.0))
            noise = np.where(group, np.where(count > 1, scaled, np.nan), noise)
            means.append(mean)
    return means[0] - means[1], noise * np.where(keep, 1, -1)


def _join(parts, first) -> Halves:
    noise = np.empty((len(first), parts[0][1].shape[1]))
    noise[first], noise[~first] = parts[0][1], parts[1][1]
    known = [np.isfinite(part[1]).all(axis=0) for part in parts]
    values = [
        np.where(k, part[0], np.nan) for k, part in zip(known, parts, strict=True)
    ]
    return Halves(np.stack(values), noise, first)
