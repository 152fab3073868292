"""The training of one model, as pure functions of its key, data and settings."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from sam_jax import _checks
from sam_jax._checks import ArgumentError
from sam_jax.training.membership import epoch_batches
from sam_jax.types import AugmentFn, Examples, Key, Model, TrainConfig, TrainState

MakeOptimizer: TypeAlias = Callable[[Any], optax.GradientTransformation]
"""``make_optimizer(hyperparams of one model) -> optimizer``; leaves may be traced."""

LossFn: TypeAlias = Callable[[Array, Array], Array]
"""``loss_fn(logits f32 [B, C], labels i32 [B]) -> losses f32 [B]``."""


class Training(NamedTuple):
    """Pure functions that train one model; lift them with ``vmap``.

    Attributes:
        init: ``init(hyperparams, params, state) -> TrainState``, from what
            ``model.init`` made.
        epoch: ``epoch(pool, key, index, hyperparams, keep [N], state) -> (TrainState,
            loss, accuracy)``. ``index`` is the epoch's number, the same for all
            models and so not batched under ``vmap``.
    """

    init: Callable[..., TrainState]
    epoch: Callable[..., tuple[TrainState, Array, Array]]


def cross_entropy(
    logits: Float[Array, "b c"], labels: Int[Array, "b"]
) -> Float[Array, "b"]:
    """Returns ``-log p_y`` in nats."""
    is_label = jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype)
    return -jnp.sum(is_label * jax.nn.log_softmax(logits), axis=-1)


def num_steps_per_epoch(config: TrainConfig, num_examples: int) -> int:
    """Whole batches in an epoch over half of the pool, or as the config says.

    Raises:
        ArgumentError: If an epoch holds less than one batch.
    """
    per_epoch = config.examples_per_epoch
    if per_epoch is None:
        per_epoch = num_examples // 2
    if per_epoch < config.batch_size:
        raise ArgumentError(
            "batch_size",
            "must be at most the examples of an epoch (half of the pool unless "
            f"examples_per_epoch says otherwise), got {config.batch_size} for "
            f"{per_epoch} of a pool of {num_examples}.",
        )
    return per_epoch // config.batch_size


@dataclasses.dataclass(frozen=True)
class TrainingTask:
    """What every model of a call has in common: network, optimizer and settings.

    Two tasks are equal where their functions are the same objects, and what was
    compiled for one then serves the other.

    Attributes:
        model: The network.
        make_optimizer: From one model's hyper-parameters to its optimizer.
        config: Settings; see ``TrainConfig``.
        loss_fn: Losses of a batch from logits and labels, in nats.
        augment: Applied to each batch before the clean pass.
    """

    model: Model
    make_optimizer: MakeOptimizer
    config: TrainConfig
    loss_fn: LossFn = cross_entropy
    augment: AugmentFn | None = None


def with_optimizer(
    model: Model, optimizer: Any, config: TrainConfig, augment: AugmentFn | None = None
) -> TrainingTask:
    """Returns the task of one optimizer for all models.

    That it is one is for ``optimizer_check.check_optimizer`` to see.
    """
    make_optimizer = functools.partial(_given, optimizer)
    return TrainingTask(model, make_optimizer, config, augment=augment)


def _given(optimizer: Any, _: Any) -> Any:
    return optimizer


def make_train(task: TrainingTask) -> Training:
    """Returns the training of one model as pure functions.

    The optimizer's ``update`` gets, beyond optax's arguments, ``grad_fn`` and
    ``group_grad_fn`` (gradients of the same batch elsewhere, for the SAM family),
    ``step`` (not batched), ``key`` and ``value`` (the loss). Batch statistics come
    from the clean pass; gradients elsewhere use the same dropout key and augmented
    batch and leave the statistics alone.

    Args:
        task: Network, optimizer and settings.

    Raises:
        ArgumentError: When it is traced, if the optimizer's number of groups (m-SAM)
            does not divide the batch.
    """
    config, make_optimizer = task.config, task.make_optimizer
    step_fn = _make_step(task)

    def init(hyperparams: Any, params: Any, state: Any) -> TrainState:
        opt_state = make_optimizer(hyperparams).init(params)
        return TrainState(params, state, opt_state, jnp.zeros((), jnp.bool_))

    def epoch(
        pool: Examples,
        key: Key,
        index: Int[Array, ""],
        hyperparams: Any,
        keep: Bool[Array, "n"],
        state: TrainState,
    ) -> tuple[TrainState, Array, Array]:
        num_steps = num_steps_per_epoch(config, keep.shape[0])
        # Made inside the trace, so that hyper-parameters may differ under `vmap`.
        tx = optax.with_extra_args_support(make_optimizer(hyperparams))
        order_key, steps_key = jax.random.split(jax.random.fold_in(key, index))
        batches = epoch_batches(order_key, keep, num_steps, config.batch_size)
        first = index * jnp.int32(num_steps)

        def body(state: TrainState, inputs: Any) -> Any:
            offset, indices = inputs
            batch = jax.tree.map(lambda a: a[indices], pool)
            step_key = jax.random.fold_in(steps_key, offset)
            state, loss, accuracy = step_fn(tx, state, batch, step_key, first + offset)
            return state, (loss, accuracy)

        offsets = jnp.arange(num_steps, dtype=jnp.int32)
        new, (losses, accuracies) = jax.lax.scan(body, state, (offsets, batches))
        loss, accuracy = jnp.mean(losses), jnp.mean(accuracies)
        if config.stop_accuracy is None:
            return new, loss, accuracy
        # Under `vmap` a frozen model takes the epoch along with the others, and is put
        # back: the state from before it is kept.
        frozen = state.done
        new = new._replace(done=frozen | (accuracy >= config.stop_accuracy))
        new = jax.tree.map(lambda old, fresh: jnp.where(frozen, old, fresh), state, new)
        nan = jnp.float32(jnp.nan)
        return new, jnp.where(frozen, nan, loss), jnp.where(frozen, nan, accuracy)

    return Training(init, epoch)


def _make_step(task: TrainingTask) -> Callable[..., tuple[TrainState, Array, Array]]:
    """Returns a step on a batch: the model after it, loss and accuracy before it."""
    model, loss_fn, augment = task.model, task.loss_fn, task.augment

    def step(
        tx: optax.GradientTransformationExtraArgs,
        state: TrainState,
        batch: Examples,
        key: Key,
        number: Array,
    ) -> tuple[TrainState, Array, Array]:
        augment_key, model_key, optimizer_key = jax.random.split(key, 3)
        x = jnp.asarray(batch.x)
        if augment is not None:
            x = augment(augment_key, x)

        # The same dropout and old batch statistics at any weights, clean or perturbed.
        def loss(params: Any, x: Array, y: Array) -> tuple[Array, Any]:
            logits, new_state = model.apply(params, state.state, x, True, model_key)
            return jnp.mean(loss_fn(logits, y)), (new_state, logits)

        def grad_fn(params: Any) -> Any:
            return jax.grad(loss, has_aux=True)(params, x, batch.y)[0]

        def group_grad_fn(params: Any, index: Array, num_groups: int) -> Any:
            _check_groups(num_groups, len(x))
            group = jax.tree.map(
                lambda a: a.reshape(num_groups, -1, *a.shape[1:])[index],
                Examples(x, batch.y),
            )
            return jax.grad(loss, has_aux=True)(params, group.x, group.y)[0]

        # The clean pass, then the optimizer with all that the SAM family may need.
        (value, (new_state, logits)), grads = jax.value_and_grad(loss, has_aux=True)(
            state.params, x, batch.y
        )
        updates, opt_state = tx.update(
            grads,
            state.opt_state,
            state.params,
            grad_fn=grad_fn,
            group_grad_fn=group_grad_fn,
            step=number,
            key=optimizer_key,
            value=value,
        )
        params = optax.apply_updates(state.params, updates)
        accuracy = jnp.mean(jnp.argmax(logits, -1) == batch.y, dtype=jnp.float32)
        return TrainState(params, new_state, opt_state, state.done), value, accuracy

    return step


def _check_groups(num_groups: int, batch_size: int) -> None:
    if batch_size % num_groups:
        raise ArgumentError(
            "num_groups",
            f"must divide batch_size, got {num_groups} groups for batches of "
            f"{batch_size}.",
        )


def check_train_config(config: TrainConfig) -> None:
    """Raises ``ArgumentError`` for settings out of range."""
    _checks.at_least(1, num_epochs=config.num_epochs, batch_size=config.batch_size)
    for name in ("examples_per_epoch", "models_per_chunk", "models_per_vmap"):
        if (value := getattr(config, name)) is not None:
            _checks.at_least(1, **{name: value})
    _checks.at_least(0, max_diverged=config.max_diverged)
    if config.stop_accuracy is not None:
        _checks.in_unit_interval(stop_accuracy=config.stop_accuracy)
