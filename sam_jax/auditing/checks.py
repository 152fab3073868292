"""Checks of an audit's arguments: all that cannot work, before anything is trained."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sam_jax import _checks
from sam_jax._checks import ArgumentError
from sam_jax.auditing.attack_check import check_attack
from sam_jax.auditing.config import AttackConfig
from sam_jax.training.host_memory import free_host_bytes
from sam_jax.training.optimizer_check import check_optimizer
from sam_jax.training.trainer import (
    check_train_config,
    num_steps_per_epoch,
    with_optimizer,
)
from sam_jax.types import AugmentFn, Dataset, Model, TrainConfig


def check_audit(
    model: Model | tuple[Callable[..., Any], Callable[..., Any]],
    optimizers: Mapping[Any, Any],
    dataset: Dataset,
    train_config: TrainConfig,
    attack_config: AttackConfig,
    augment: AugmentFn | None = None,
) -> tuple[Model, TrainConfig, AttackConfig]:
    """Checks the arguments of ``audit``; nothing is trained.

    Args:
        model: As in ``audit``; traced on the data but not run.
        optimizers: As in ``audit``.
        dataset: Pool and test examples.
        train_config: Settings of the training.
        attack_config: Attacks and how they are evaluated.
        augment: As in ``audit``.

    Returns:
        The model, and the settings with ``examples_per_epoch`` and ``baseline`` filled
        in.

    Raises:
        ArgumentError: For an argument that makes no sense.
    """
    model = model if isinstance(model, Model) else Model(*model)
    _check_names("optimizers", optimizers)
    attack_config = check_attack_config(attack_config, optimizers)
    # Settings first, which cost nothing; then what has to be traced.
    check_train_config(train_config)
    pool_size = len(dataset.train.y)
    if (np.asarray(dataset.train.y) == dataset.train.y[0]).all():
        raise ArgumentError("dataset", "must have two classes in its pool, got one.")
    num_columns = pool_size + len(dataset.test.y)
    _check_counts(attack_config, pool_size, augment)
    _check_memory(attack_config.num_models, num_columns, attack_config.num_queries)
    num_steps_per_epoch(train_config, pool_size)
    _check_model(model, dataset)
    per_epoch = train_config.examples_per_epoch or pool_size // 2
    train_config = dataclasses.replace(train_config, examples_per_epoch=per_epoch)
    for name, optimizer in optimizers.items():
        task = with_optimizer(model, optimizer, train_config, augment)
        check_optimizer(task, dataset.train, argument=f"optimizers[{name!r}]")
    counts = (attack_config.num_models, num_columns, attack_config.num_queries)
    for name, attack in attack_config.attacks.items():
        check_attack(name, attack, *counts)
    return model, train_config, attack_config


def _check_counts(
    config: AttackConfig, pool_size: int, augment: AugmentFn | None
) -> None:
    """Refuses numbers of models, queries and canaries that do not fit."""
    _checks.at_least(4, num_models=config.num_models)
    if config.num_models % 2:
        raise ArgumentError("num_models", f"must be even, got {config.num_models}.")
    if config.num_queries > 1 and augment is None:
        rule = f"must be 1 without augment, got {config.num_queries}."
        raise ArgumentError("num_queries", rule)
    if config.num_canaries > pool_size:
        rule = f"must be at most the pool's size {pool_size}, got"
        raise ArgumentError("num_canaries", f"{rule} {config.num_canaries}.")


def _check_memory(num_models: int, num_columns: int, num_queries: int) -> None:
    """Refuses more models than the host has memory for their mask and phi."""
    needed = num_models * num_columns * (1 + 4 * num_queries)
    free = free_host_bytes()
    if free is not None and needed > free:
        raise ArgumentError(
            "num_models",
            f"must leave room for the signals: {num_models} models of {num_columns} "
            f"examples take {needed / 2**30:.0f} GiB or more, of {free / 2**30:.1f}.",
        )


def check_attack_config(
    config: AttackConfig, optimizers: Mapping[Any, Any]
) -> AttackConfig:
    """Checks settings that signals from anywhere have too; fills in the baseline.

    Args:
        config: The settings.
        optimizers: Whose names the baseline must be among.

    Raises:
        ArgumentError: For a setting that makes no sense.
    """
    _check_names("attacks", config.attacks)
    for name, attack in config.attacks.items():
        if not callable(attack):
            rule = f"must be callable, got {attack!r}."
            raise ArgumentError(f"attacks[{name!r}]", rule)
    _checks.at_least(0, seed=config.seed, num_canaries=config.num_canaries)
    _checks.at_least(1, num_queries=config.num_queries)
    _checks.confidence_level(config.level)
    fprs = _checks.false_positive_rates(config.fprs)
    baseline = next(iter(optimizers)) if config.baseline is None else config.baseline
    _checks.one_of(optimizers, baseline=baseline)
    return dataclasses.replace(config, fprs=fprs, baseline=baseline)


def _check_names(argument: str, things: Mapping[Any, Any]) -> None:
    if not isinstance(things, Mapping) or not things:
        one = argument.removesuffix("s")
        rule = f"must name at least one {one} as {{name: {one}}}, got {things!r}."
        raise ArgumentError(argument, rule)
    for name in things:
        _checks.display_name(**{argument: name})


def _check_model(model: Model, dataset: Dataset) -> None:
    key, num_examples = jax.random.key(0), 2

    def forward(x: Any) -> Any:
        params, state = model.init(key, x)
        return params, model.apply(params, state, x, False, key)[0]

    features = dataset.train.x.shape[1:]
    params, logits = jax.eval_shape(
        forward, jax.ShapeDtypeStruct((num_examples, *features), jnp.float32)
    )
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        if not jnp.issubdtype(leaf.dtype, jnp.inexact):
            raise ArgumentError(
                "init",
                "must return weights that have a gradient; what is not trained belongs "
                f"in its state: params{jax.tree_util.keystr(path)} is {leaf.dtype}.",
            )
    expected = (num_examples, dataset.num_classes)
    if logits.shape != expected:
        raise ArgumentError(
            "apply",
            f"must return logits [B, C] = {expected} for {num_examples} examples of "
            f"{dataset.num_classes} classes, got shape {logits.shape}.",
        )
