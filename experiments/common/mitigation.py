"""Mitigations of leakage: changes of a training, or of what its models put out."""

import dataclasses
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from sam_jax.training import TrainingTask
from sam_jax.types import Key, Model, TrainState

Mitigation = Literal[
    "none",
    "early_stop",
    "label_smoothing",
    "mixup",
    "temperature",
    "weight_averaging",
    "dp",
]
"""Weight decay and length of training are settings of every cell, and not here."""

CLIP_NORM = 1.0
"""Largest norm of an example's gradient under ``dp``."""


def mitigated(
    task: TrainingTask, mitigation: Mitigation, strength: float
) -> TrainingTask:
    """Returns a task with a mitigation.

    Args:
        task: The training without it.
        mitigation: Which one.
        strength: The training accuracy that stops a model (``early_stop``), the share
            of a label that goes to all classes (``label_smoothing``), alpha of the Beta
            distribution (``mixup``), the decay of the average (``weight_averaging``),
            or the noise multiplier (``dp``). Not used by the others.

    Raises:
        ValueError: If the mitigation is unknown.
    """
    if mitigation not in get_args(Mitigation):
        raise ValueError(
            f"mitigation must be one of {get_args(Mitigation)}, got {mitigation!r}."
        )
    config, make_optimizer = task.config, task.make_optimizer
    if mitigation == "early_stop":
        config = dataclasses.replace(config, stop_accuracy=strength)
        return dataclasses.replace(task, config=config)
    if mitigation == "label_smoothing":

        def smoothed(logits: Array, labels: Array) -> Array:
            return smoothed_cross_entropy(logits, labels, strength)

        return dataclasses.replace(task, loss_fn=smoothed)
    if mitigation == "mixup":
        first = task.augment

        def augment(key: Key, x: Array) -> Array:
            first_key, mixup_key = jax.random.split(key)
            x = x if first is None else first(first_key, x)
            return mixup(mixup_key, x, strength)

        return dataclasses.replace(task, augment=augment)
    if mitigation == "weight_averaging":
        return dataclasses.replace(
            task, make_optimizer=lambda h: averaged(make_optimizer(h), strength)
        )
    if mitigation == "dp":
        # The gradient of each example exists at once: one model at a time.
        config = dataclasses.replace(config, models_per_vmap=1)
        return dataclasses.replace(
            task,
            config=config,
            make_optimizer=lambda h: private(
                make_optimizer(h), config.batch_size, strength
            ),
        )
    return task


def released_model(model: Model, mitigation: Mitigation, strength: float) -> Model:
    """Returns the network as it is released: ``temperature`` divides its logits."""
    if mitigation != "temperature":
        return model

    def apply(*args: Any) -> tuple[Array, Any]:
        logits, state = model.apply(*args)
        return logits / strength, state

    return dataclasses.replace(model, apply=apply)


def released_weights(
    trained: TrainState, mitigation: Mitigation, strength: float
) -> TrainState:
    """Returns trained models as they are released: averaged ones with the average."""
    if mitigation != "weight_averaging":
        return trained
    average: Any = trained.opt_state.average
    # The average starts at 0, and all models have taken the same number of steps.
    weight = 1 - strength ** float(average.count[0])
    return trained._replace(params=jax.tree.map(lambda a: a / weight, average.ema))


def smoothed_cross_entropy(
    logits: Float[Array, "b c"], labels: Int[Array, "b"], share: float
) -> Float[Array, "b"]:
    """Returns the cross-entropy with a share of each label spread over all classes.

    References:
        Szegedy et al., "Rethinking the Inception Architecture for Computer Vision",
        2016, https://arxiv.org/abs/1512.00567, section 7.
    """
    one_hot = jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype)
    smooth = optax.smooth_labels(one_hot, share)
    return optax.softmax_cross_entropy(logits, smooth)


def mixup(key: Key, x: Float[Array, "b ..."], alpha: float) -> Float[Array, "b ..."]:
    """Returns each input mixed with another of the batch; the label stays its first's.

    With a weight from Beta(alpha + 1, alpha) in place of Beta(alpha, alpha), and no
    mixed labels, the expected loss is that of mixup: the cross-entropy is linear in the
    label, and the two inputs of a pair are exchangeable.

    References:
        Zhang et al., "mixup: Beyond Empirical Risk Minimization", 2018,
        https://arxiv.org/abs/1710.09412.
    """
    weight_key, order_key = jax.random.split(key)
    weight = jax.random.beta(weight_key, alpha + 1, alpha, (len(x),), x.dtype)
    weight = weight.reshape(-1, *[1] * (x.ndim - 1))
    return weight * x + (1 - weight) * jax.random.permutation(order_key, x)


class AveragedState(NamedTuple):
    """State of the optimizer, and the running average of the weights."""

    optimizer: Any
    average: Any


def averaged(
    optimizer: optax.GradientTransformation, decay: float
) -> optax.GradientTransformationExtraArgs:
    """Returns an optimizer that keeps an exponential average of the weights."""
    base = optax.with_extra_args_support(optimizer)
    mean = optax.ema(decay, debias=False)

    def init(params: Any) -> AveragedState:
        return AveragedState(base.init(params), mean.init(params))

    def update(
        updates: Any, state: Any, params: Any = None, **extra: Any
    ) -> tuple[Any, AveragedState]:
        updates, new = base.update(updates, state.optimizer, params, **extra)
        weights = optax.apply_updates(params, updates)
        return updates, AveragedState(new, mean.update(weights, state.average)[1])

    return optax.GradientTransformationExtraArgs(init, update)


def private(
    optimizer: optax.GradientTransformation, batch_size: int, noise_multiplier: float
) -> optax.GradientTransformationExtraArgs:
    """Returns an optimizer that sees clipped and noised gradients alone.

    Each gradient is the sum over examples of their gradients, clipped to ``CLIP_NORM``,
    with Gaussian noise of standard deviation ``noise_multiplier * CLIP_NORM``, over the
    batch size. SAM so takes two private gradients a step: the one it perturbs along and
    the one it descends along, with different noise.

    Args:
        optimizer: Any optimizer; one of the SAM family gets a private ``grad_fn``.
        batch_size: Examples in a batch.
        noise_multiplier: Standard deviation of the noise over the clipping norm.

    References:
        Abadi et al., "Deep Learning with Differential Privacy", 2016,
        https://arxiv.org/abs/1607.00133, algorithm 1; Park et al., "Differentially
        Private Sharpness-Aware Training", 2023, https://arxiv.org/abs/2306.05651, on
        the price of the second gradient.
    """
    base = optax.with_extra_args_support(optimizer)

    def update(
        updates: Any,
        state: Any,
        params: Any = None,
        *,
        group_grad_fn: Any = None,
        key: Any = None,
        **extra: Any,
    ) -> tuple[Any, Any]:
        def gradient(weights: Any, draw: Key) -> Any:
            def of_example(index: Array) -> Any:
                return group_grad_fn(weights, index, batch_size)

            indices = jnp.arange(batch_size, dtype=jnp.int32)
            aggregate = optax.contrib.differentially_private_aggregate(
                CLIP_NORM, noise_multiplier, draw
            )
            of_examples = jax.vmap(of_example)(indices)
            return aggregate.update(of_examples, aggregate.init(weights))[0]

        del updates  # Not private.
        first, second, rest = jax.random.split(key, 3)
        extra["grad_fn"] = lambda weights: gradient(weights, second)
        return base.update(gradient(params, first), state, params, key=rest, **extra)

    return optax.GradientTransformationExtraArgs(base.init, update)
