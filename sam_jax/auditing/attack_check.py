"""Checks that an attack can run on an audit's signals, before there are any."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sam_jax import _checks
from sam_jax._checks import ArgumentError
from sam_jax.types import AttackFn, Signals

_NOT_TRACEABLE = (jax.errors.JAXTypeError, jax.errors.JAXIndexError)
"""What JAX raises where code needs values: an attack in NumPy."""

SMALL_SIZE = (6, 12)
"""Models and examples of the random signals that an attack in NumPy is run on."""


def check_attack(
    name: str, attack: AttackFn, num_models: int, num_examples: int, num_queries: int
) -> None:
    """Refuses an attack that does not give a score for each example.

    It is traced on the real shapes, which computes nothing; one that is made of NumPy
    is run on a few random signals instead.

    Raises:
        ArgumentError: If it fails, or its scores have another shape or no numbers.
    """
    argument, size = f"attacks[{name!r}]", (num_models, num_examples)
    target = jax.ShapeDtypeStruct((), jnp.int32)
    try:
        try:
            scores = jax.eval_shape(attack, _shapes(*size, num_queries), target)
        except _NOT_TRACEABLE:
            size = SMALL_SIZE
            scores = np.asarray(attack(_random_signals(*size, num_queries), 0))
    except Exception as error:
        raise ArgumentError(
            argument,
            f"must give scores from (signals, target): {type(error).__name__}: "
            f"{_checks.first_line(error)}",
        ) from error
    shape, dtype = getattr(scores, "shape", None), getattr(scores, "dtype", None)
    is_number = dtype is not None and jnp.issubdtype(dtype, jnp.number)
    if shape != size[1:] or not is_number or dtype.kind == "c":
        raise ArgumentError(
            argument,
            f"must return one number for each example, shape {size[1:]} for signals "
            f"[models, examples, queries] = {(*size, num_queries)}, got "
            f"{dtype or type(scores).__name__} of shape {shape}.",
        )


def _shapes(num_models: int, num_examples: int, num_queries: int) -> Signals:
    def of(dtype: Any, *shape: int) -> Any:
        return jax.ShapeDtypeStruct(shape, dtype)

    size = num_models, num_examples
    return Signals(
        phi=of(jnp.float32, *size, num_queries),
        correct=of(jnp.bool_, *size),
        entropy=of(jnp.float32, *size),
        modified_entropy=of(jnp.float32, *size),
        keep=of(jnp.bool_, *size),
        labels=of(jnp.int32, num_examples),
    )


def _random_signals(num_models: int, num_examples: int, num_queries: int) -> Signals:
    rng, size = np.random.default_rng(0), (num_models, num_examples)
    keep = (np.arange(num_models)[:, None] + np.arange(num_examples)) % 2 == 0
    return Signals(
        phi=rng.normal(size=(*size, num_queries)).astype(np.float32),
        correct=rng.random(size) < 0.5,
        entropy=rng.random(size).astype(np.float32),
        modified_entropy=rng.random(size).astype(np.float32),
        keep=keep,
        labels=rng.integers(0, 2, num_examples).astype(np.int32),
    )
