"""The arguments of an audit, made from the options of `sam-jax audit`."""

import dataclasses
from typing import Any

import jax
import numpy as np
import optax

import sam_jax
from sam_jax import _checks
from sam_jax._checks import ArgumentError
from sam_jax.attacks import ATTACKS
from sam_jax.cli import run_folder
from sam_jax.cli.audit_options import Config
from sam_jax.cli.errors import as_option
from sam_jax.data import DATASETS
from sam_jax.data.augment import AUGMENTATIONS, chain
from sam_jax.data.noise import corrupt_labels
from sam_jax.models import MODELS, compute_dtype
from sam_jax.optimizers.registry import OPTIMIZERS, default_rho
from sam_jax.training.identity import hash_arrays
from sam_jax.training.trainer import check_train_config, num_steps_per_epoch
from sam_jax.types import AugmentFn

SCHEDULES = {
    "cosine": optax.cosine_decay_schedule,
    "constant": lambda peak, _: optax.constant_schedule(peak),
}
CHOICES = run_folder.list_choices(
    dataset=DATASETS,
    model=MODELS,
    optimizers=OPTIMIZERS,
    schedule=SCHEDULES,
    augment=AUGMENTATIONS,
    attacks=ATTACKS,
)


def make_arguments(config: Config) -> tuple[tuple[Any, ...], AugmentFn | None]:
    """Makes the arguments of ``sam_jax.audit``, checked, and the augmentation."""
    attacks = {name: _checks.one_of(ATTACKS, attacks=name) for name in config.attacks}
    dataset = make_dataset(config)
    train_config = make_train_config(config)
    optimizers = make_optimizers(config, train_config, len(dataset.train.y))
    model = make_model(config, dataset.num_classes)
    augment = make_augment(config, dataset.train.x.shape)
    attack_config = sam_jax.AttackConfig(
        attacks=attacks,
        num_models=config.num_models,
        num_queries=config.num_queries,
        num_canaries=config.num_canaries,
        seed=config.seed,
    )
    arguments = (model, optimizers, dataset, train_config, attack_config)
    sam_jax.check_audit(*arguments, augment)
    return arguments, augment


def make_dataset(config: Config) -> sam_jax.Dataset:
    """Loads the data set, cut to the pool's size and with label noise."""
    with as_option("name", "dataset"):
        dataset = sam_jax.load(
            config.dataset, config.data_dir, config.manual_dir, config.image_size
        )
    _checks.at_least(0, pool_size=config.pool_size, seed=config.seed)
    _checks.in_unit_interval(label_noise=config.label_noise)
    pool = dataset.train
    if 0 < config.pool_size < len(pool.y):
        order = np.random.default_rng(config.seed).permutation(len(pool.y))
        dataset = dataset.take(pool=np.sort(order[: config.pool_size]))
        pool = dataset.train
    if config.label_noise:
        key = jax.random.key(config.seed)
        pool = corrupt_labels(key, pool, dataset.num_classes, config.label_noise)
    return dataclasses.replace(dataset, train=pool)


def data_hash(dataset: sam_jax.Dataset) -> str:
    """Returns the hash of all inputs and labels that a run uses."""
    return hash_arrays(*dataset.train, *dataset.test)


def make_model(config: Config, num_classes: int) -> sam_jax.Model:
    """Makes the network, computing in the chosen precision."""
    factory = _checks.one_of(MODELS, model=config.model)
    return factory(num_classes, dtype=compute_dtype(config.precision))


def make_augment(config: Config, shape: tuple[int, ...]) -> AugmentFn | None:
    """Makes the augmentation of images [N, H, W, C]; None without any."""
    augments = [_checks.one_of(AUGMENTATIONS, augment=n) for n in config.augment]
    if augments and len(shape) != 4:
        raise ArgumentError(
            "augment", f"must be empty where x is no images [N, H, W, C], got {shape}."
        )
    return chain(*augments) if augments else None


def make_optimizers(
    config: Config, train_config: sam_jax.TrainConfig, pool_size: int
) -> dict[str, optax.GradientTransformationExtraArgs]:
    """Makes each optimizer by name; one a radius for those that have one."""
    for rho in config.rho:
        _checks.non_negative(rho=rho)
    if len(set(config.rho)) < len(config.rho):
        raise ArgumentError("rho", f"must be different radii, got {config.rho}.")
    base = make_base(config, train_config, pool_size)
    if len(set(config.optimizers)) < len(config.optimizers):
        raise ArgumentError("optimizers", f"must differ, got {config.optimizers}.")
    made = {}
    for name in config.optimizers:
        factory = _checks.one_of(OPTIMIZERS, optimizers=name)
        if name == "sgd":
            made[name] = factory(base)
            continue
        for rho in config.rho or (default_rho(name),):
            label = name if len(config.rho) < 2 else f"{name} rho={rho:g}"
            made[label] = factory(base, rho=rho)
    return made


def make_base(
    config: Config, train_config: sam_jax.TrainConfig, pool_size: int
) -> optax.GradientTransformation:
    """Makes the base optimizer: momentum SGD with a schedule and weight decay."""
    _checks.positive(learning_rate=config.learning_rate)
    _checks.in_unit_interval(momentum=config.momentum)
    _checks.non_negative(weight_decay=config.weight_decay)
    num_steps = config.num_epochs * num_steps_per_epoch(train_config, pool_size)
    schedule = _checks.one_of(SCHEDULES, schedule=config.schedule)
    return optax.chain(
        optax.add_decayed_weights(config.weight_decay),
        optax.sgd(schedule(config.learning_rate, num_steps), config.momentum),
    )


def make_train_config(config: Config) -> sam_jax.TrainConfig:
    """Makes the settings of training, checked."""
    train_config = sam_jax.TrainConfig(
        num_epochs=config.num_epochs,
        batch_size=config.batch_size,
        stop_accuracy=config.stop_accuracy,
        models_per_chunk=config.models_per_chunk,
        models_per_vmap=config.models_per_vmap,
        max_diverged=config.max_diverged,
    )
    check_train_config(train_config)
    return train_config
