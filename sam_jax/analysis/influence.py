"""Influence of each training example on each test example, in blocks of test examples.

The whole matrix [T, N] is one product over models. Of outcomes that are whole numbers
(right or wrong) it is exact: counts of right models are whole numbers in float32, and
one division rounds, so that an influence of exactly 3/20 is the float nearest 0.15. Of
other outcomes it is ``c' w``, with ``c`` the outcomes minus their mean over models and
``w = keep (1 / n_in + 1 / n_out)``; centred sums cancel less. At 50,000 x 10,000 the
matrix fills 2 GB, so it only ever exists in blocks, which are reduced at once.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Shaped

from sam_jax import _checks

BLOCK_ELEMENTS = 2**24
"""Numbers in a block by default: 64 MiB of float32."""

MIN_INFLUENCE = np.float32(0.15)
"""Smallest influence of a pair, the paper's."""

EXACT_MODELS = 2**12
"""Up to so many models, products of two counts are whole numbers in float32."""


class Block(NamedTuple):
    """Influence on test examples ``start`` to ``start + b``.

    Attributes:
        start: The first test example.
        influence: P(correct on the test example given the training example in) minus
            that given out; NaN where the training example is in all models or none.
        standard_error: From the sample variances of both sides; None if not wanted.
    """

    start: int
    influence: Float[np.ndarray, "b n"]
    standard_error: Float[np.ndarray, "b n"] | None


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
    outcome: Shaped[np.ndarray, "m t"],
    keep: Shaped[np.ndarray, "m n"],
    *,
    block_size: int | None = None,
    standard_errors: bool = False,
) -> Iterator[Block]:
    """Yields the influence of N training examples on T test examples.

    Args:
        outcome: Outcomes of M models on the test examples, in [0, 1].
        keep: True where the model trained on the training example.
        block_size: Test examples at a time; memory grows with it. By default a block
            of influences takes 64 MiB.
        standard_errors: Whether to compute them too: no further product for outcomes
            of 0 and 1, one more for others. NaN with fewer than two models on a side.

    Yields:
        Blocks in order, each with new arrays.

    Raises:
        ValueError: If the numbers of models differ, ``keep`` is no mask or
            ``block_size`` is below 1.

    Example:
        >>> outcome = np.array([[True], [True], [False], [True]])
        >>> keep = np.array([[True], [True], [False], [False]])
        >>> next(influence_blocks(outcome, keep)).influence
        array([[0.5]], dtype=float32)

    References:
        Feldman and Zhang, "What Neural Networks Memorize and Why", 2020,
        https://arxiv.org/abs/2008.03703, Equation 2 and Algorithm 1.
    """
    keep = _checked_mask(outcome, keep)
    num_sources, num_targets = keep.shape[1], outcome.shape[1]
    if block_size is None:
        block_size = max(1, BLOCK_ELEMENTS // max(num_sources, 1))
    _checks.at_least(1, block_size=block_size)
    inside, weights = keep.astype(np.float32), _weights(keep)
    for start in range(0, num_targets, block_size):
        block = outcome[:, start : start + block_size].T
        rows = np.ascontiguousarray(block, np.float32)
        binary = bool(np.isin(rows, (0, 1)).all())
        mean = rows.mean(axis=1, keepdims=True)
        if binary and len(keep) <= EXACT_MODELS:
            influence = _influence_of_counts(rows, inside)
        else:
            influence = (rows - mean) @ weights
        error = None
        if standard_errors:
            # Squares of 0 and 1 are linear in the outcomes: no second product.
            squares = (1 - 2 * mean) * influence if binary else None
            error = _standard_errors(rows - mean, influence, squares, weights, keep)
        yield Block(start, influence, error)


def high_influence_pairs(
    outcome: Shaped[np.ndarray, "m t"],
    keep: Shaped[np.ndarray, "m n"],
    memorized: Float[np.ndarray, " n"],
    *,
    min_memorization: float = 0.25,
    limit: int = 1000,
    block_size: int | None = None,
) -> Pairs:
    """Returns pairs of a memorized training example and a test example that it helps.

    The influence is at least ``MIN_INFLUENCE``.
    Only the columns of memorized examples are multiplied.

    Args:
        outcome: Outcomes of M models on T test examples.
        keep: True where the model trained on the training example.
        memorized: Memorization of each training example; NaN never passes.
        min_memorization: Smallest memorization; the default is the paper's.
        limit: Pairs to keep.
        block_size: As in ``influence_blocks``.

    Raises:
        ValueError: As in ``influence_blocks``, or if ``limit`` is below 1.

    References:
        Feldman and Zhang, "What Neural Networks Memorize and Why", 2020,
        https://arxiv.org/abs/2008.03703, section 3.2.
    """
    _checks.at_least(1, limit=limit)
    keep = _checked_mask(outcome, keep)
    sources = np.flatnonzero(memorized >= min_memorization)
    highest = np.zeros((4, 0))
    num_pairs = num_mirrored = 0
    for block in influence_blocks(
        outcome, keep[:, sources], block_size=block_size, standard_errors=True
    ):
        errors = block.standard_error
        assert errors is not None
        target, column = np.nonzero(block.influence >= MIN_INFLUENCE)
        num_pairs += len(target)
        num_mirrored += int(np.count_nonzero(-block.influence >= MIN_INFLUENCE))
        values = block.influence[target, column], errors[target, column]
        rows = sources[column], target + block.start, *values
        passed = np.stack([np.asarray(row, np.float64) for row in rows])
        # Only the highest so far are held, whatever the number of pairs.
        joined = np.concatenate([highest, passed], axis=1)
        highest = joined[:, np.argsort(-joined[2], kind="stable")[:limit]]
    source, target, influence, error = highest
    return Pairs(
        source.astype(np.int64),
        target.astype(np.int64),
        influence,
        error,
        num_pairs,
        num_mirrored,
    )


def _checked_mask(outcome: np.ndarray, keep: np.ndarray) -> np.ndarray:
    """``keep`` as bool, with a row for each model of ``outcome``."""
    if len(outcome) != len(keep):
        raise _checks.ArgumentError(
            "keep",
            f"must have a row for each of the {len(outcome)} models of outcome, got "
            f"{len(keep)} rows.",
        )
    return _checks.mask(keep=keep)


def _influence_of_counts(rows: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """``(M c_in - c n_in) / (n_in n_out)``: whole numbers but for one division.

    It is ``c_in / n_in - c_out / n_out`` over a common denominator, for ``c`` right
    models, ``c_in`` of them trained on the example.
    """
    num_models = np.float32(len(inside))
    num_in = inside.sum(axis=0)
    size = num_in * (num_models - num_in)
    influence = rows @ inside
    influence *= num_models
    influence -= rows.sum(axis=1, keepdims=True) * num_in
    influence /= np.where(size > 0, size, np.float32(np.nan))
    return influence


def _weights(keep: np.ndarray) -> np.ndarray:
    """``keep (1 / n_in + 1 / n_out)``, NaN in columns without an estimate."""
    num_in = keep.sum(axis=0)
    num_out = len(keep) - num_in
    known = (num_in > 0) & (num_out > 0)
    scale = len(keep) / np.where(known, num_in * num_out, np.nan)
    return keep * scale.astype(np.float32)


def _standard_errors(
    centred: np.ndarray,
    influence: np.ndarray,
    squares: np.ndarray | None,
    weights: np.ndarray,
    keep: np.ndarray,
) -> np.ndarray:
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
        # The side's mean of the centred outcomes is `share * influence`.
        share = sign * (num_models - count) / num_models
        side_square = mean_square + share * squares
        freedom = np.where(count > 1, count - 1, np.nan).astype(np.float32)
        side_variance = np.maximum(side_square - np.square(share * influence), 0)
        # A mean square over n - 1 is the sample variance over n, that of the mean.
        variance += side_variance / freedom
    return np.sqrt(variance)
