"""Checks that an attack can run on an audit's signals, before there are any."""

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

    Args:
        name: How the user calls it.
        attack: The attack.
        num_models: Of the audit.
        num_examples: Columns of the audit.
        num_queries: Augmented queries of each example.

    Raises:
        ArgumentError: If it fails, or its scores have another shape or no numbers.
    """
    argument, size = f"attacks[{name!r}]", (num_models, num_examples)
    shapes = jax.eval_shape(lambda: _random_signals(*size, num_queries))
    try:
        try:
            target = jax.ShapeDtypeStruct((), jnp.int32)
            scores = jax.eval_shape(attack, shapes, target)
        except _NOT_TRACEABLE:
            size = SMALL_SIZE
            signals = jax.tree.map(np.asarray, _random_signals(*size, num_queries))
            scores = np.asarray(attack(signals, 0))
    except Exception as error:
        rule = f"must give scores from (signals, target): {type(error).__name__}:"
        raise ArgumentError(argument, f"{rule} {_checks.first_line(error)}") from error
    shape, dtype = getattr(scores, "shape", None), getattr(scores, "dtype", None)
    is_number = dtype is not None and jnp.issubdtype(dtype, jnp.number)
    if shape != size[1:] or not is_number or dtype.kind == "c":
        raise ArgumentError(
            argument,
            f"must return one number for each example, shape {size[1:]} for signals "
            f"[models, examples, queries] = {(*size, num_queries)}, got "
            f"{dtype or type(scores).__name__} of shape {shape}.",
        )


def _random_signals(num_models: int, num_examples: int, num_queries: int) -> Signals:
    keys, size = jax.random.split(jax.random.key(0), 5), (num_models, num_examples)
    return Signals(
        phi=jax.random.normal(keys[0], (*size, num_queries), jnp.float32),
        correct=jax.random.bernoulli(keys[1], shape=size),
        entropy=jax.random.uniform(keys[2], size, jnp.float32),
        modified_entropy=jax.random.uniform(keys[3], size, jnp.float32),
        keep=jnp.add.outer(jnp.arange(num_models), jnp.arange(num_examples)) % 2 == 0,
        labels=jax.random.randint(keys[4], (num_examples,), 0, 2, jnp.int32),
    )
