"""Checks that an optimizer can train a model, by tracing an epoch and running none."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from sam_jax import _checks
from sam_jax._checks import ArgumentError
from sam_jax.training.trainer import Training, TrainingTask, make_train
from sam_jax.types import Examples

PASSED = "grad_fn, group_grad_fn, step, key and value"
"""Names of what ``update`` gets beyond gradients, state and weights."""

NOT_EVALUATED = {
    "ScheduleFreeState": "the weights to evaluate come from "
    "optax.contrib.schedule_free_eval_params, which training does not call",
    "LookaheadState": "it needs optax.LookaheadParams for weights",
    "SAMState": "of its weights only those after a synchronisation are meant to be "
    "evaluated; sam_jax.sam is the same method with one update a step",
}
"""Optimizer states by class name -> why the last weights are not the model's."""


def check_optimizer(
    task: TrainingTask,
    pool: Examples,
    hyperparams: Any = None,
    *,
    argument: str = "optimizer",
) -> None:
    """Refuses an optimizer that cannot train this model on these shapes.

    Its ``init`` and an epoch of its ``update`` are traced, with the arguments that
    training passes: nothing is computed or compiled.

    Args:
        task: Network, optimizer and settings of the training.
        pool: The examples; only shapes and dtypes are looked at.
        hyperparams: Those of one model, where the optimizer takes any.
        argument: What to call the optimizer in an error, as ``optimizers['adam']``.

    Raises:
        ArgumentError: If it is no optax transformation, takes other arguments, changes
            the structure of its state from step to step, or leaves weights that are
            not meant to be evaluated.

    Example:
        >>> import functools, numpy as np
        >>> from sam_jax.models import mlp
        >>> from sam_jax.types import TrainConfig
        >>> adam = functools.partial(optax.adam, 1e-3)
        >>> task = TrainingTask(mlp(2), lambda _: adam, TrainConfig(batch_size=2))
        >>> pool = Examples(np.zeros((8, 3), np.float32), np.zeros(8, np.int32))
        >>> check_optimizer(task, pool, argument="optimizers['adam']")
        ... # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        sam_jax._checks.ArgumentError: optimizers['adam'] must be an optax ...
    """
    hyperparams = {} if hyperparams is None else hyperparams
    optimizer = task.make_optimizer(hyperparams)
    functions = [getattr(optimizer, name, None) for name in ("init", "update")]
    if not all(map(callable, functions)):
        raise ArgumentError(
            argument,
            "must be an optax transformation (init, update), got "
            f"{optimizer!r}{'; it has to be called' if callable(optimizer) else ''}.",
        )
    try:
        state = _trace_epoch(make_train(task), task, pool, hyperparams)
    except Exception as error:
        # What fails with plain SGD too is the fault of the model or the augmentation.
        plain = TrainingTask(
            task.model, _plain_sgd, task.config, task.loss_fn, task.augment
        )
        _trace_epoch(make_train(plain), plain, pool, hyperparams)
        raise ArgumentError(
            argument,
            f"must take a step on the weights of this model where update gets {PASSED} "
            f"beyond optax's arguments: {_first_line(error)}",
        ) from error
    for name in sorted(_class_names(state) & NOT_EVALUATED.keys()):
        raise ArgumentError(
            argument,
            "must leave weights that can be evaluated as they are, got one with "
            f"{name}: {NOT_EVALUATED[name]}.",
        )


def _plain_sgd(_: Any) -> optax.GradientTransformation:
    return optax.sgd(0.1)


def _trace_epoch(
    training: Training, task: TrainingTask, pool: Examples, hyperparams: Any
) -> Any:
    """The shapes of the optimizer's state after an epoch."""
    x = jax.ShapeDtypeStruct(pool.x.shape, jnp.float32)
    y = jax.ShapeDtypeStruct(pool.y.shape, jnp.int32)

    def epoch(x: jax.Array, y: jax.Array, keep: jax.Array) -> Any:
        pool, key = Examples(x, y), jax.random.key(0)
        state = training.init(hyperparams, *task.model.init(key, pool.x[:1]))
        return training.epoch(pool, key, jnp.int32(0), hyperparams, keep, state)

    keep = jax.ShapeDtypeStruct((len(pool.x),), jnp.bool_)
    trained, _, _ = jax.eval_shape(epoch, x, y, keep)
    return trained.opt_state


def _class_names(state: Any) -> set[str]:
    """Class names of all nodes of an optimizer's state."""
    names = {type(state).__name__}
    # `is_leaf` stops below the node itself: these are its direct children.
    children = jax.tree.leaves(state, is_leaf=lambda node: node is not state)
    for child in children if isinstance(state, (tuple, list, dict)) else ():
        names |= _class_names(child)
    return names


def _first_line(error: Exception) -> str:
    """The error in one line."""
    return f"{type(error).__name__}: {_checks.first_line(error)}"[:300]
