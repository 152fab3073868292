"""Signals of trained models: of one, of a chunk of them, and from logits."""

import functools
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Inexact, Int, Integer

from sam_jax import _checks
from sam_jax._checks import ArgumentError
from sam_jax.signals import statistics
from sam_jax.signals.checks import (
    check_labels,
    check_logit_values,
    check_logits,
    check_signals,
    plain_array,
)
from sam_jax.signals.statistics import (
    entropy,
    logit_scaled_confidence,
    modified_entropy,
)
from sam_jax.training import chunk_size, vmap_models
from sam_jax.training.saved_models import SavedModels
from sam_jax.types import AugmentFn, Examples, Key, Model, Signals, TrainState


class ModelSignals(NamedTuple):
    """The signals of models without the mask and the labels; see ``Signals``."""

    phi: Float[Array | np.ndarray, "*m n q"]
    correct: Bool[Array | np.ndarray, "*m n"]
    entropy: Float[Array | np.ndarray, "*m n"]
    modified_entropy: Float[Array | np.ndarray, "*m n"]


def model_signals(
    model: Model,
    params: Any,
    state: Any,
    examples: Examples,
    *,
    batch_size: int = 500,
    num_queries: int = 1,
    augment: AugmentFn | None = None,
    key: Key | None = None,
) -> ModelSignals:
    """Returns one model's signals on N examples, a batch of logits at a time.

    Args:
        model: The network, applied with ``train=False``.
        params: Its weights.
        state: Its batch statistics.
        examples: Inputs and labels.
        batch_size: Examples whose logits exist at the same time.
        num_queries: Q, the augmented queries of each example; the first is the example
            itself.
        augment: Makes the other queries, the same for every model.
        key: Random key of the queries; needed where ``num_queries`` is above 1.

    Raises:
        ArgumentError: If there are several queries and nothing to make them with.
    """
    _checks.at_least(1, batch_size=batch_size, num_queries=num_queries)
    if num_queries > 1 and (augment is None or key is None):
        rule = f"must be 1 without augment and key, got {num_queries}."
        raise ArgumentError("num_queries", rule)

    # Evaluation draws nothing, but `apply` takes a key.
    no_key = query_root = jax.random.key(0)
    if key is not None:
        query_root = key
    num_examples = len(examples.y)
    size = min(batch_size, num_examples)
    num_batches = -(-num_examples // size)
    # The last batch repeats the last example, so that all batches have one shape.
    padded = jnp.minimum(
        jnp.arange(num_batches * size, dtype=jnp.int32), jnp.int32(num_examples - 1)
    )

    def on_batch(index: Array) -> ModelSignals:
        rows = jax.lax.dynamic_slice_in_dim(padded, index * size, size)
        x, y = (jnp.asarray(a)[rows] for a in examples)
        logits, _ = model.apply(params, state, x, False, no_key)
        phi = [statistics.logit_scaled_confidence(logits, y)]
        for query in range(1, num_queries):
            query_key = jax.random.fold_in(query_root, query)
            query_x = _augmented(augment, query_key, rows, x)
            query_logits, _ = model.apply(params, state, query_x, False, no_key)
            phi.append(statistics.logit_scaled_confidence(query_logits, y))
        return ModelSignals(
            jnp.stack(phi, axis=-1),
            jnp.argmax(logits, axis=-1) == y,
            statistics.entropy(logits),
            statistics.modified_entropy(logits, y),
        )

    batches = jax.lax.map(on_batch, jnp.arange(num_batches, dtype=jnp.int32))
    return jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:])[:num_examples], batches)


def _augmented(augment: AugmentFn | None, key: Key, rows: Array, x: Array) -> Array:
    """Each example augmented by itself, whichever examples are beside it."""
    assert augment is not None
    # Keyed by the example's row: another batch size gives the same queries.
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, rows)
    return jax.vmap(lambda key, one: augment(key, one[None])[0])(keys, x)


@functools.lru_cache(maxsize=16)
def _of_many_models(
    model: Model, models_per_vmap: int | None, **options: Any
) -> Callable[..., ModelSignals]:
    """``model_signals`` of many; cached, so that a second call compiles nothing."""

    def fn(shared: Any, params: Any, state: Any) -> ModelSignals:
        examples, key = shared
        return model_signals(model, params, state, examples, key=key, **options)

    return vmap_models.over_models(fn, models_per_vmap=models_per_vmap)


def chunk_signals(
    model: Model,
    trained: TrainState | SavedModels,
    examples: Examples,
    *,
    models_per_vmap: int | None = None,
    batch_size: int = 500,
    num_queries: int = 1,
    augment: AugmentFn | None = None,
    key: Key | None = None,
) -> ModelSignals:
    """Returns the signals of a chunk of models, on the host.

    Args:
        model: The network.
        trained: The models, with a leading axis K.
        examples: Inputs and labels, N of them.
        models_per_vmap: Models under one ``vmap``; see ``vmap_models.over_models``.
        batch_size: Examples whose logits exist at the same time, for each model; halved
            as long as the device runs out of memory.
        num_queries: Q, augmented queries of each example; the first is the example
            itself.
        augment: Makes the other queries.
        key: Random key of the queries.

    Returns:
        ModelSignals with a leading axis K, in NumPy.

    Raises:
        RuntimeError: The device's, if not even one example fits into its memory.
    """
    shared = (
        jax.tree.map(jnp.asarray, examples),
        jax.random.key(0) if key is None else key,
    )
    while True:
        try:
            of_many = _of_many_models(
                model,
                models_per_vmap,
                batch_size=batch_size,
                num_queries=num_queries,
                augment=augment,
            )
            return jax.tree.map(
                np.asarray, of_many(shared, trained.params, trained.state)
            )
        except jax.errors.JaxRuntimeError as error:
            if not chunk_size.is_out_of_memory(error) or batch_size == 1:
                raise
            batch_size //= 2
            warnings.warn(
                f"Out of memory: going on with batches of {batch_size} examples.",
                stacklevel=2,
            )


def signals_from_logits(
    logits: Inexact[Array | np.ndarray, "m n *queries c"],
    labels: Integer[Array | np.ndarray, "n"],
    keep: Any,
) -> Signals:
    """Returns the signals of M models on N examples, one model at a time.

    Args:
        logits: [M, N, C], or [M, N, Q, C] with Q augmented queries, the first of which
            is the example itself.
        labels: Class of each example, in ``[0, C)``.
        keep: Mask [M, N], true where the model trained on the example.

    Returns:
        Signals whose arrays are in host memory (NumPy), ``phi`` as float32 [M, N, Q].

    Raises:
        ArgumentError: If shapes or values cannot be those of an audit (see
            ``check_signals``), or a label is out of range.
    """
    logits = check_logits(plain_array(logits=logits))
    labels = check_labels(labels, logits.shape[1], num_classes=logits.shape[-1])
    checked = [check_logit_values(f"logits[{m}]", z) for m, z in enumerate(logits)]
    of_one_model = jax.jit(_statistics)
    outputs = [of_one_model(z, labels) for z in checked]
    stacked = [np.stack(field) for field in zip(*outputs, strict=True)]
    return check_signals(Signals(*stacked, keep=keep, labels=labels))


def _statistics(
    logits: Float[Array, "n *queries c"], labels: Int[Array, "n"]
) -> tuple[Array, ...]:
    """One model's phi, correct, entropy, modified entropy."""
    queries = logits if logits.ndim == 3 else logits[:, None]
    first = queries[:, 0]
    query_labels = jnp.broadcast_to(labels[:, None], queries.shape[:2])
    return (
        logit_scaled_confidence(queries, query_labels),
        jnp.argmax(first, axis=-1) == labels,
        entropy(first),
        modified_entropy(first, labels),
    )
