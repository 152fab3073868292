"""The arguments of an audit, made from the options of `sam-jax audit`."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import sam_jax
from sam_jax import _checks
from sam_jax._checks import ArgumentError
from sam_jax.attacks import ATTACKS
from sam_jax.auditing.plan import make_plan
from sam_jax.cli.audit_options import Config
from sam_jax.cli.errors import as_option
from sam_jax.cli.named_code import ALL, choose_attacks, named_attack, named_model
from sam_jax.data import DATASETS
from sam_jax.data.augment import AUGMENTATIONS, chain
from sam_jax.data.label_noise import corrupt_labels
from sam_jax.models import MODELS
from sam_jax.optimizers import bases
from sam_jax.optimizers.registry import OPTIMIZERS, default_rho
from sam_jax.training.identity import hash_arrays
from sam_jax.training.trainer import check_train_config, num_steps_per_epoch
from sam_jax.types import AttackFn, AugmentFn


def _cosine(peak: float, num_steps: int) -> optax.Schedule:
    decay = optax.cosine_decay_schedule(peak, num_steps)

    # optax multiplies the whole-numbered count by pi, which strict promotion refuses.
    def schedule(count: jax.typing.ArrayLike) -> jax.Array:
        return jnp.asarray(decay(jnp.asarray(count, jnp.float32)))

    return schedule


SCHEDULES = {"cosine": _cosine, "constant": lambda peak, _: peak}
LEARNING_RATE, MOMENTUM, WEIGHT_DECAY = 0.1, 0.9, 5e-3
"""Of sgd, by default; what suits other bases differs too much to guess."""
KNOWN = {
    "dataset": DATASETS,
    "model": MODELS,
    "optimizers": OPTIMIZERS,
    "base": bases.base_factories(),
    "augment": AUGMENTATIONS,
    "attacks": [ALL, *ATTACKS],
}
"""Registered names of the options that take names."""


def make_arguments(config: Config) -> tuple[tuple[Any, ...], AugmentFn | None]:
    """Makes the arguments of ``sam_jax.audit``, checked, and the augmentation."""
    # Before data are loaded, which takes longer.
    attacks = {name: named_attack(name) for name in config.attacks if name != ALL}
    dataset = make_dataset(config)
    train_config = make_train_config(config)
    optimizers = make_optimizers(config, train_config, len(dataset.train.y))
    model = named_model(config.model, dataset.num_classes, config.precision)
    augment = make_augment(config, dataset.train.x.shape)
    if ALL in config.attacks:
        attacks = _all_attacks(config, dataset)
    attack_config = sam_jax.AttackConfig(
        attacks=attacks,
        num_models=config.num_models,
        num_queries=config.num_queries,
        num_canaries=config.num_canaries,
        seed=config.seed,
    )
    arguments = (model, optimizers, dataset, train_config, attack_config)
    with as_option("apply", "model"), as_option("init", "model"):
        sam_jax.check_audit(*arguments, augment)
    return arguments, augment


def _all_attacks(config: Config, dataset: sam_jax.Dataset) -> dict[str, AttackFn]:
    """Makes all attacks that can run, and prints which are left out, and why."""
    _checks.at_least(0, num_canaries=config.num_canaries)
    _checks.at_least(1, num_queries=config.num_queries)
    keep = make_plan(dataset, config.num_models, config.num_canaries, config.seed).keep
    zeros = np.broadcast_to(np.float32(0), (*keep.shape, config.num_queries))
    # What an attack needs is in the mask and the shapes, not in the values.
    signals = sam_jax.Signals(
        phi=zeros,
        correct=keep,
        entropy=zeros[..., 0],
        modified_entropy=zeros[..., 0],
        keep=keep,
        labels=np.concatenate([dataset.train.y, dataset.test.y]),
    )
    attacks, skipped = choose_attacks(config.attacks, signals)
    for name, why in skipped.items():
        print(f"{name} is left out: it needs {why}.")
    return attacks


def make_dataset(config: Config) -> sam_jax.Dataset:
    """Loads the data set, cut to the pool's size and with label noise."""
    with as_option("name", "dataset"), as_option("path", "dataset"):
        dataset = sam_jax.load(
            config.dataset,
            config.data_dir,
            config.manual_dir,
            config.image_size,
            config.label_column,
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
    # "sgd" stands for the base alone, and goes by the name of the base.
    names = [config.base if is_base(config, n) else n for n in config.optimizers]
    if len(set(names)) < len(names):
        raise ArgumentError("optimizers", f"must differ, got {config.optimizers}.")
    made = {}
    for name in names:
        if name == config.base:
            made[name] = OPTIMIZERS["sgd"](base)
            continue
        if name not in OPTIMIZERS and name in bases.base_factories():
            raise ArgumentError(
                "optimizers",
                f"must be methods before one base, got {name!r}, which is a base: pass "
                f"--base {name}, whose own name here is sgd or {name}.",
            )
        factory = _checks.one_of(OPTIMIZERS, optimizers=name)
        for rho in config.rho or (default_rho(name),):
            label = name if len(config.rho) < 2 else f"{name} rho={rho:g}"
            made[label] = factory(base, rho=rho)
    return made


def is_base(config: Config, name: str) -> bool:
    """Returns whether an optimizer of the audit is the base alone."""
    return name in ("sgd", config.base)


def make_base(
    config: Config, train_config: sam_jax.TrainConfig, pool_size: int
) -> optax.GradientTransformation:
    """Makes the base optimizer, with a schedule and weight decay."""
    decay = config.weight_decay
    if decay is None:
        decay = WEIGHT_DECAY if config.base == "sgd" else 0.0
    _checks.non_negative(weight_decay=decay)
    has_decay = "weight_decay" in bases.setting_names(config.base)
    settings = bases.parse_settings(config.base_settings)
    rate = config.learning_rate
    if config.base == "sgd":
        rate = LEARNING_RATE if rate is None else rate
        momentum = MOMENTUM if config.momentum is None else config.momentum
        _checks.in_unit_interval(momentum=momentum)
        # --base-settings wins over --momentum.
        settings = {"momentum": momentum} | settings
    elif config.momentum is not None:
        raise ArgumentError(
            "momentum", f"must be among the --base-settings of {config.base}."
        )
    if rate is None:
        raise ArgumentError("learning_rate", f"must be given for {config.base}.")
    _checks.positive(learning_rate=rate)
    num_steps = config.num_epochs * num_steps_per_epoch(train_config, pool_size)
    schedule = _checks.one_of(SCHEDULES, schedule=config.schedule)
    base = bases.make_base(config.base, schedule(rate, num_steps), settings)
    if decay and has_decay:
        raise ArgumentError(
            "weight_decay",
            f"must be 0 for {config.base}, which decays weights itself: pass "
            f"--base-settings weight_decay={decay:g}.",
        )
    return optax.chain(optax.add_decayed_weights(decay), base)


def make_train_config(config: Config) -> sam_jax.TrainConfig:
    """Makes the settings of training, checked."""
    train_config = sam_jax.TrainConfig(
        num_epochs=config.num_epochs,
        batch_size=config.batch_size,
        stop_accuracy=config.stop_accuracy,
        models_per_chunk=config.models_per_chunk,
        models_per_vmap=config.models_per_vmap,
        time_vmap=config.time_vmap,
        max_diverged=config.max_diverged,
    )
    check_train_config(train_config)
    return train_config
