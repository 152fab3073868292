"""Memorization of training examples, and means over selected examples without bias.

Feldman and Zhang's subsampled estimator: models that trained on random subsets stand in
for retraining with and without each example. An estimate from M models at half the pool
is noisy (about ``1 / sqrt(M)`` for an example that is right half of the time), so
examples that are selected *because* their estimate is high are high by luck too. Hence
the halves: one half of the models selects, the other half measures. NumPy, float64.
"""

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from scipy import special

from sam_jax import _checks
from sam_jax.metrics.estimate import MISSING, Estimate, crossed_variance, make_estimate
from sam_jax.types import Signals

Outcome = Literal["correct", "probability"]
"""Outcome of a model on an example: 1 for the right class, or its probability."""


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
        noise: What each model adds to the error of its half's estimate; squares
            sum over models to the squared standard error.
        first: True for models of the first half.
    """

    values: Float[np.ndarray, "2 n"]
    noise: Float[np.ndarray, "m n"]
    first: Bool[np.ndarray, " m"]


def outcomes(
    signals: Signals, outcome: Outcome = "correct"
) -> Float[np.ndarray, "m n"]:
    """Returns the outcome of each model on each example, float64 in [0, 1].

    Args:
        signals: Of M models on N examples.
        outcome: ``"correct"``, 1 where the model is right (the definition), or
            ``"probability"``, the probability of the label: less noise, and another
            quantity, which also counts confidence gained on the right class.

    Raises:
        ValueError: If ``outcome`` is another word.
    """
    _checks.literal(Outcome, outcome=outcome)
    if outcome == "correct":
        return np.asarray(signals.correct).astype(np.float64)
    return special.expit(np.asarray(signals.phi, np.float64)[..., 0])


def memorization(
    outcome: Float[np.ndarray, "m n"], keep: Shaped[np.ndarray, "_ _"]
) -> Estimates:
    """Returns the mean outcome of models trained with minus that of those without.

    It is linear: the outcomes of one optimizer minus those of another on the same
    ``keep`` give the difference in memorization, with a standard error that knows that
    the models are paired. Where outcomes are whole numbers (or halves of them) a value
    is one division of whole numbers: an estimate of exactly 1/4 is 0.25.

    Args:
        outcome: Of M models on N examples; see ``outcomes``.
        keep: True where the model trained on the example.

    Returns:
        Estimates; NaN, not 0, for an example in all models or in none.

    Raises:
        ValueError: If the shapes differ or ``keep`` is no mask.

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
    keep: Shaped[np.ndarray, "m n"],
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
    halves = [_contrast(outcome[half], keep[half]) for half in (first, ~first)]
    return _join(halves, first)


def mean_halves(
    outcome: Float[np.ndarray, "m n"], first: Bool[np.ndarray, " m"]
) -> Halves:
    """Returns the mean outcome over each half of the models, as for test examples."""
    halves = []
    for half in (first, ~first):
        values, count = outcome[half], int(half.sum())
        mean = values.mean(axis=0)
        noise = (values - mean) / np.sqrt(count * max(count - 1, 1))
        halves.append((mean, noise))
    return _join(halves, first)


def mean_by_bin(
    bins: Int[np.ndarray, "2 n"], halves: Halves, num_bins: int
) -> list[Estimate]:
    """Returns the mean over the examples of each bin, by a selection split.

    An example enters bin ``bins[0]`` with the value of the second half and bin
    ``bins[1]`` with that of the first: the half that selects never measures, so that
    luck in the selection does not show in the mean. Intervals are over new models and
    new examples (``metrics.estimate.crossed_variance``).

    Args:
        bins: Bin in ``[0, num_bins)`` of each example as each half sees it; -1 for
            none.
        halves: What is averaged.
        num_bins: Number of bins.

    Returns:
        One estimate per bin, NaN where fewer than two examples are in it.

    Raises:
        ValueError: If ``num_bins`` is below 1.
    """
    _checks.at_least(1, num_bins=num_bins)
    usable = np.isfinite(halves.values)
    return [
        _crossed_mean(halves, (bins[::-1] == number) & usable)
        for number in range(num_bins)
    ]


def _crossed_mean(halves: Halves, chosen: np.ndarray) -> Estimate:
    """The mean of the chosen values [2, N], with its interval."""
    count, num_examples = int(chosen.sum()), int(chosen.any(axis=0).sum())
    if num_examples < 2:
        return MISSING
    value = float(halves.values[chosen].mean())
    # What each example adds to the error of the mean: up to two values of it.
    deviation = np.where(chosen, halves.values - value, 0).sum(axis=0) / count
    example = float(np.sum(deviation**2)) * num_examples / (num_examples - 1)
    # What each (model, example) pair adds, where the model's half is measured.
    noise = np.where(chosen[np.where(halves.first, 0, 1)], halves.noise, 0) / count
    variance = crossed_variance(
        example,
        float(np.sum(noise.sum(axis=1) ** 2)),
        float(np.sum(noise**2)),
        example_degrees=num_examples - 1,
        target_degrees=len(halves.first) - 1,
    )
    return make_estimate(value, variance, level=0.95)


def _matching(
    outcome: np.ndarray, keep: np.ndarray
) -> tuple[Float[np.ndarray, "m n"], Bool[np.ndarray, "m n"]]:
    outcome, keep = np.asarray(outcome, np.float64), _checks.mask(keep=keep)
    if outcome.shape != keep.shape or outcome.ndim != 2:
        raise _checks.ArgumentError(
            "keep",
            "must have the shape [models, examples] of outcome, got "
            f"{keep.shape} and {outcome.shape}.",
        )
    return outcome, keep


def _contrast(outcome: np.ndarray, keep: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean in minus mean out [N], and each model's share of the error [M, N]."""
    noise = np.full(outcome.shape, np.nan)
    means = []
    with np.errstate(invalid="ignore", divide="ignore"):
        for group in (keep, ~keep):
            count = group.sum(axis=0)
            mean = np.where(group, outcome, 0).sum(axis=0) / count
            # Squares of these sum to the squared standard error of the mean.
            scaled = (outcome - mean) / np.sqrt(count * (count - 1.0))
            noise = np.where(group, np.where(count > 1, scaled, np.nan), noise)
            means.append(mean)
        value = means[0] - means[1]
        if np.array_equal(2 * outcome, np.rint(2 * outcome)):
            value = _contrast_of_counts(outcome, keep)
    return value, noise * np.where(keep, 1, -1)


def _contrast_of_counts(outcome: np.ndarray, keep: np.ndarray) -> np.ndarray:
    """The same over a common denominator, so that one division alone rounds."""
    num_models, num_in = len(keep), keep.sum(axis=0)
    total_in = np.where(keep, outcome, 0).sum(axis=0)
    numerator = num_models * total_in - outcome.sum(axis=0) * num_in
    return numerator / (num_in * (num_models - num_in))


def _join(
    halves: list[tuple[np.ndarray, np.ndarray]], first: Bool[np.ndarray, " m"]
) -> Halves:
    """Both halves' values, NaN where a model's share of the error is unknown."""
    noise = np.empty((len(first), halves[0][1].shape[1]))
    noise[first], noise[~first] = halves[0][1], halves[1][1]
    values = []
    for value, half_noise in halves:
        known = np.isfinite(half_noise).all(axis=0)
        values.append(np.where(known, value, np.nan))
    return Halves(np.stack(values), noise, first)
