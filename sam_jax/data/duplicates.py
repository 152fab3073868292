"""Examples that are in a data set twice: in the pool, or in the pool and the test set.

A duplicate in the pool is a member whenever its twin is, and a pool example in the test
set is a member among the non-members: both make an audit say too little.
"""

import hashlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt64

from sam_jax.types import Dataset

NEAR = 0.03
"""Images whose pixels differ by less than this share of the range (root mean square)
count as near duplicates."""

SIDE = 8
"""Images are screened at this many pixels a side."""

NUM_TABLES, NUM_PROJECTIONS = 6, 6
"""Of the screen: more tables find more pairs, more projections compare fewer."""


class Duplicates(NamedTuple):
    """Pairs of equal or nearly equal inputs, as rows of pool and test.

    Attributes:
        pool: Two rows of the pool each; of more than two equal rows, the first with
            each of the others.
        test: A row of the pool and one of the test examples each.
        near_pool: As ``pool``, for images that differ a little.
        near_test: As ``test``, likewise.
    """

    pool: Int[np.ndarray, "a 2"]
    test: Int[np.ndarray, "b 2"]
    near_pool: Int[np.ndarray, "c 2"]
    near_test: Int[np.ndarray, "d 2"]

    def texts(self, dataset: Dataset) -> list[str]:
        """Returns a sentence for each field that holds pairs."""
        size = len(dataset.train.y)
        texts = []
        for pairs, what in (
            (self.pool, "are equal to an earlier example of the pool"),
            (self.near_pool, "are nearly the image of an earlier example of the pool"),
            (self.test, "are in the test set too"),
            (self.near_test, "are nearly the image of a test example"),
        ):
            if not len(pairs):
                continue
            # Of a pair within the pool the later one, of another the pool's.
            column = 1 if "earlier" in what else 0
            rows = np.unique(pairs[:, column])
            first = ", ".join(f"{a} and {b}" for a, b in pairs[:3])
            texts.append(
                f"{len(rows)} of {size} pool examples {what} (pairs of rows: {first}"
                f"{', ...' if len(pairs) > 3 else ''}); what they leak is understated."
            )
        return texts


def find_duplicates(dataset: Dataset) -> Duplicates:
    """Returns equal inputs and, of images, nearly equal ones.

    Equal ones are all detected (by a hash of their values; labels are not looked at),
    near duplicates with high probability: by random projections of the images at 8 x 8
    pixels, checked on all pixels.

    Args:
        dataset: Pool and test examples.

    Example:
        >>> from sam_jax.types import Examples
        >>> x = np.array([[1.0, 2], [3, 4], [1, 2]], np.float32)
        >>> y = np.zeros(3, np.int32)
        >>> data = Dataset("d", 2, Examples(x, y), Examples(x[1:2], y[:1]))
        >>> find_duplicates(data).pool, find_duplicates(data).test
        (array([[0, 2]]), array([[1, 0]]))
    """
    pool, test = (np.asarray(e.x, np.float32) for e in (dataset.train, dataset.test))
    exact_pool, exact_test = _equal(pool, test)
    near: set[tuple[int, int]] = set()
    if pool.ndim == 3:  # images of one channel
        pool, test = pool[..., None], test[..., None]
    if pool.ndim == 4 and min(pool.shape[1:3]) >= SIDE:
        near = set(_near(np.concatenate([pool, test])))
    size = len(pool)
    exact = set(map(tuple, exact_pool.tolist()))
    exact |= {(a, size + b) for a, b in exact_test.tolist()}
    left = sorted(near - exact)
    return Duplicates(
        exact_pool,
        exact_test,
        _pairs([(a, b) for a, b in left if b < size]),
        _pairs([(a, b - size) for a, b in left if a < size <= b]),
    )


def _equal(pool: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    first: dict[bytes, int] = {}
    within, across = [], []
    for row, digest in enumerate(_digests(pool)):
        if first.setdefault(digest, row) != row:
            within.append((first[digest], row))
    for row, digest in enumerate(_digests(test)):
        if digest in first:
            across.append((first[digest], row))
    return _pairs(within), _pairs(across)


def _digests(x: np.ndarray) -> Iterator[bytes]:
    for row in x:
        # Adding zero turns -0.0 into 0.0, which equals it.
        yield hashlib.blake2b((row + 0.0).tobytes(), digest_size=16).digest()


def _near(images: Float[np.ndarray, "n h w c"]) -> Iterator[tuple[int, int]]:
    """Pairs of rows, the smaller first, whose images differ by less than ``NEAR``."""
    flat = images.reshape(len(images), -1)
    limit = NEAR * (float(flat.max()) - float(flat.min()))
    small = _shrink(images)
    seen: set[tuple[int, int]] = set()
    for keys in _hash_tables(small, limit):
        # Rows of one key are neighbours; the first difference is never 0.
        order = np.argsort(keys, kind="stable")
        starts = np.flatnonzero(np.diff(keys[order], prepend=keys[order[:1]] + 1))
        for rows in np.split(order, starts[1:]):
            # A crowd of alike images (blank ones) is compared with its first alone.
            partners = rows[1:] if len(rows) <= 64 else rows[1:64]
            for row in partners:
                pair = (int(min(rows[0], row)), int(max(rows[0], row)))
                if pair in seen:
                    continue
                seen.add(pair)
                difference = flat[pair[0]] - flat[pair[1]]
                if np.sqrt(np.mean(difference**2)) < limit:
                    yield pair


def _shrink(images: Float[np.ndarray, "n h w c"]) -> Float[np.ndarray, "n p"]:
    """Means over blocks and channels; a rim that fills no block is left out."""
    n, h, w, _ = images.shape
    bh, bw = h // SIDE, w // SIDE
    cut = images[:, : SIDE * bh, : SIDE * bw].mean(axis=-1)
    return cut.reshape(n, SIDE, bh, SIDE, bw).mean(axis=(2, 4)).reshape(n, -1)


def _hash_tables(
    small: Float[np.ndarray, "n p"], limit: float
) -> Iterator[UInt64[np.ndarray, " n"]]:
    """Keys that near images share in most tables, and others in few."""
    rng = np.random.default_rng(0)
    for _ in range(NUM_TABLES):
        directions = rng.normal(size=(small.shape[1], NUM_PROJECTIONS))
        # Two images at the limit differ by about this along a direction.
        width = 8 * limit * np.sqrt(small.shape[1]) / 2
        cells = np.floor(small @ directions / width + rng.uniform(size=NUM_PROJECTIONS))
        # Cells of the grid as one key; odd factors lose no bits.
        factors = rng.integers(1, 2**63, NUM_PROJECTIONS, dtype=np.uint64)
        whole = cells.astype(np.int64).astype(np.uint64)
        yield (whole * (factors | np.uint64(1))).sum(axis=1, dtype=np.uint64)


def _pairs(pairs: list[tuple[int, int]]) -> Int[np.ndarray, "k 2"]:
    return np.asarray(pairs, np.int64).reshape(-1, 2)
