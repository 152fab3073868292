"""Random draws for models in blocks, so that more models leave the first ones alone."""

from collections.abc import Iterator

import jax

from sam_jax.types import Key

MODELS_PER_BLOCK = 64
"""An audit that grows keeps its models up to the last multiple of this."""


def model_blocks(key: Key, num_models: int) -> Iterator[tuple[Key, slice]]:
    """Yields a key and the rows of each block; the first has the key itself.

    Example:
        >>> [rows for _, rows in model_blocks(jax.random.key(0), 130)]
        [slice(0, 64, None), slice(64, 128, None), slice(128, 130, None)]
    """
    for number, start in enumerate(range(0, num_models, MODELS_PER_BLOCK)):
        stop = min(start + MODELS_PER_BLOCK, num_models)
        yield jax.random.fold_in(key, number) if number else key, slice(start, stop)
