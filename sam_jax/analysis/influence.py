"""How much each training example helps each test example, in blocks of test examples.

One matrix product over models for the whole matrix [T, N]: with ``c`` the outcomes
less their mean over models, the influence is ``c' w``, ``w = keep (1 / n_in + 1 /
n_out)``. Half of the work of the two products of the formula as it is published, and no
masked copies; centred sums cancel less, and not at all where all models agree. At
50,000 x 10,000 the matrix fills 2 GB, so it only ever exists in blocks, float32, which
are reduced at once.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from sam_jax import _checks

BLOCK_ELEMENTS = 2**24
"""Numbers in a block by default: 64 MiB of float32."""

CACHE_ELEMENTS = 2**17
"""Numbers that are reduced at once: half a MiB of float32 stays in a core's cache."""

ROUNDING = np.float32(2**-18)
"""Influence up to this is rounding: that of equal means in and out."""


class Block(NamedTuple):
    """Influence on test examples ``start`` to ``start + b``.

    Attributes:
        start: The first test example.
        influence: P(correct on the test example given the training example in) less
            that given out; NaN where the training example is in all models or none.
        standard_error: From the sample variances of both sides, or None if not asked.
    """

    start: int
    influence: Float[np.ndarray, "b n"]
    standard_error: Float[np.ndarray, "b n"] | None


class Entropies(NamedTuple):
    """Influence entropy of T test examples.

    Attributes:
        entropy: In nats; NaN where no influence is positive.
        num_positive: Training examples whose influence counts.
    """

    entropy: Float[np.ndarray, " t"]
    num_positive: Int[np.ndarray, " t"]


class Pairs(NamedTuple):
    """Pairs of high influence, the highest first.

    Attributes:
        source: The training example of each pair kept.
        target: The test example.
        influence: Its influence on the test example.
        standard_error: Of that influence.
        num_pairs: All pairs that pass, also those not kept.
        num_mirrored: Pairs that would pass with the sign of influence turned. Noise
            has no sign, so about as many of ``num_pairs`` are noise, if training
            examples never harm.
    """

    source: Int[np.ndarray, " p"]
    target: Int[np.ndarray, " p"]
    influence: Float[np.ndarray, " p"]
    standard_error: Float[np.ndarray, " p"]
    num_pairs: int
    num_mirrored: int


def influence_blocks(
    outcome: Float[np.ndarray, "m t"] | Bool[np.ndarray, "m t"],
    keep: Bool[np.ndarray, "m n"],
    *,
    block_size: int | None = None,
    standard_errors: bool = False,
) -> Iterator[Block]:
    """Yields the influence of N training examples on T test examples.

    Args:
        outcome: What M models got on the test examples, in [0, 1].
        keep: True where the model trained on the training example.
        block_size: Test examples at a time; memory grows with it. By default a block
            of influences takes 64 MiB.
        standard_errors: Whether to compute them too: no further product for outcomes
            of 0 and 1, one more for others. NaN with fewer than two models on a side.

    Yields:
        Blocks in order, each with new arrays.

    Raises:
        ValueError: If the numbers of models differ or ``block_size`` is below 1.

    Example:
        >>> outcome = np.array([[True], [True], [False], [True]])
        >>> keep = np.array([[True], [True], [False], [False]])
        >>> next(influence_blocks(outcome, keep)).influence
        array([[0.5]], dtype=float32)

    References:
        Feldman and Zhang, "What Neural Networks Memorize and Why", 2020,
        https://arxiv.org/abs/2008.03703, Equation 2 and Algorithm 1.
    """
    _check_models(outcome, keep)
    num_sources, num_targets = keep.shape[1], outcome.shape[1]
    if block_size is None:
        block_size = max(1, BLOCK_ELEMENTS // max(num_sources, 1))
    _checks.at_least(1, block_size=block_size)
    weights = _weights(keep)
    for start in range(0, num_targets, block_size):
        own = np.ascontiguousarray(outcome[:, start : start + block_size].T, np.float32)
        mean = own.mean(axis=1, keepdims=True)
        centred = own - mean
        influence = centred @ weights
        error = None
        if standard_errors:
            # Of 0 and 1: the squares are linear in the outcomes.
            binary = bool(np.isin(own, (0, 1)).all())
            squares = (1 - 2 * mean) * influence if binary else None
            error = _standard_errors(centred, influence, squares, weights, keep)
        yield Block(start, influence, error)


def influence_entropy(
    outcome: Float[np.ndarray, "m t"] | Bool[np.ndarray, "m t"],
    keep: Bool[np.ndarray, "m n"],
    *,
    threshold: float = 0.0,
    block_size: int | None = None,
) -> Entropies:
    """Returns the entropy of where each test example's positive influence comes from.

    With ``a_i = max(influence of i, 0)`` and ``p = a / sum a`` it is ``-sum p log p``:
    low for an atypical example that few training examples support. Noise looks like
    high entropy: thousands of training examples without influence each have a little
    by chance. The threshold leaves out what is not clearly there; then few count where
    nothing is there, which lowers the entropy in its turn: look at ``num_positive``.

    Args:
        outcome: What M models got on T test examples.
        keep: True where the model trained on the training example.
        threshold: Count an influence only above so many of its standard errors.
        block_size: As in ``influence_blocks``.

    Raises:
        ValueError: As in ``influence_blocks``, or for a threshold below 0.
    """
    _checks.non_negative(threshold=threshold)
    parts = []
    for block in influence_blocks(
        outcome, keep, block_size=block_size, standard_errors=threshold > 0
    ):
        positive = block.influence
        if block.standard_error is not None:
            clear = np.float32(threshold) * block.standard_error
            positive = np.where(positive > clear, positive, 0)
        rows = max(1, CACHE_ELEMENTS // max(positive.shape[1], 1))
        for first in range(0, len(positive), rows):
            parts.append(_entropy(positive[first : first + rows]))
    entropy, num_positive = (np.concatenate(p) for p in zip(*parts, strict=True))
    return Entropies(entropy, num_positive)


def _entropy(influence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Entropy of the positive part of each row, and how many entries it has."""
    counts = influence > ROUNDING
    positive = np.where(counts, influence, 0)
    total = positive.sum(axis=1, dtype=np.float64)
    logs = np.log(np.where(counts, influence, 1))
    moment = np.einsum("bn,bn->b", positive, logs)
    known = np.where(total > 0, total, np.nan)
    entropy = np.maximum(np.log(known) - moment / known, 0)
    return entropy, np.count_nonzero(counts, axis=1)


def entropy_buckets(
    entropy: Float[np.ndarray, " t"], num_buckets: int = 5
) -> Int[np.ndarray, " t"]:
    """Returns equal buckets: 1 for the lowest entropy (atypical), 0 where it is NaN.

    Equal values are kept in order, so that buckets differ by one example at most.

    Raises:
        ValueError: If ``num_buckets`` is below 1.

    Example:
        >>> entropy_buckets(np.array([3.0, 1.0, np.nan, 2.0, 4.0]), 2).tolist()
        [2, 1, 0, 1, 2]
    """
    _checks.at_least(1, num_buckets=num_buckets)
    known = np.flatnonzero(~np.isnan(entropy))
    order = known[np.argsort(entropy[known], kind="stable")]
    buckets = np.zeros(len(entropy), np.int64)
    buckets[order] = 1 + np.arange(len(order)) * num_buckets // max(len(order), 1)
    return buckets


def high_influence_pairs(
    outcome: Float[np.ndarray, "m t"] | Bool[np.ndarray, "m t"],
    keep: Bool[np.ndarray, "m n"],
    memorized: Float[np.ndarray, " n"],
    *,
    min_memorization: float = 0.25,
    min_influence: float = 0.15,
    threshold: float = 0.0,
    limit: int = 1000,
    block_size: int | None = None,
) -> Pairs:
    """Returns pairs of a memorized training example and a test example that it helps.

    Only the columns of memorized examples are multiplied.

    Args:
        outcome: What M models got on T test examples.
        keep: True where the model trained on the training example.
        memorized: Memorization of each training example; NaN never passes.
        min_memorization: Smallest memorization; the default is the paper's.
        min_influence: Smallest influence; the default is the paper's.
        threshold: Also ask for so many standard errors of influence.
        limit: Pairs to keep.
        block_size: As in ``influence_blocks``.

    Raises:
        ValueError: As in ``influence_blocks``, or for a negative option.

    References:
        Feldman and Zhang, "What Neural Networks Memorize and Why", 2020,
        https://arxiv.org/abs/2008.03703, section 3.2.
    """
    _checks.non_negative(min_influence=min_influence, threshold=threshold)
    _checks.at_least(1, limit=limit)
    sources = np.flatnonzero(memorized >= min_memorization)
    found = [np.zeros((4, 0))]
    num_pairs = num_mirrored = 0
    for block in influence_blocks(
        outcome, keep[:, sources], block_size=block_size, standard_errors=True
    ):
        errors = block.standard_error
        assert errors is not None
        clear = np.float32(threshold) * errors
        bar = np.fmax(np.float32(min_influence), clear)
        target, column = np.nonzero(block.influence >= bar)
        num_pairs += len(target)
        num_mirrored += int(np.count_nonzero(-block.influence >= bar))
        own = block.influence[target, column], errors[target, column]
        rows = sources[column], target + block.start, *own
        found.append(np.stack([np.asarray(row, np.float64) for row in rows]))
        joined = np.concatenate(found, axis=1)
        found = [joined[:, np.argsort(-joined[2], kind="stable")[:limit]]]
    source, target, influence, error = found[0]
    return Pairs(
        source.astype(np.int64),
        target.astype(np.int64),
        influence,
        error,
        num_pairs,
        num_mirrored,
    )


def _check_models(outcome, keep) -> None:
    if len(outcome) != len(keep):
        raise ValueError(
            "outcome and keep must have a row for each model, got "
            f"{len(outcome)} and {len(keep)} rows."
        )


def _weights(keep) -> np.ndarray:
    """``keep (1 / n_in + 1 / n_out)``, NaN in columns without an estimate."""
    num_in = keep.sum(axis=0)
    num_out = len(keep) - num_in
    known = (num_in > 0) & (num_out > 0)
    scale = len(keep) / np.where(known, num_in * num_out, np.nan)
    return keep * scale.astype(np.float32)


def _standard_errors(centred, influence, squares, weights, keep) -> np.ndarray:
    """Standard errors [b, N] from sums that the product already holds.

    ``influence = mean_in - mean_out`` and ``n_in mean_in + n_out mean_out = 0`` give
    both means; the same of the squares gives the mean squares.
    """
    square = np.square(centred)
    mean_square = square.mean(axis=1, keepdims=True)
    if squares is None:
        squares = (square - mean_square) @ weights
    num_in = keep.sum(axis=0).astype(np.float32)
    num_models = np.float32(len(keep))
    num_out = num_models - num_in
    variance = np.zeros_like(influence)
    for count, sign in ((num_in, 1), (num_out, -1)):
        share = sign * (num_models - count) / num_models
        own_square = mean_square + share * squares
        freedom = np.where(count > 1, count - 1, np.nan).astype(np.float32)
        own = np.maximum(own_square - np.square(share * influence), 0)
        variance += own / freedom
    return np.sqrt(variance)
