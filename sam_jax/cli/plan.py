"""The cost of an audit on a TPU or GPU that is not here.

    sam-jax plan --target v5e --dataset cifar10 --model resnet18

compiles the training of `sam-jax audit` with the same options for that chip, and prints
how many models train at once, what a step takes, and the hours of all models on 1, 8
and 64 chips: of training, without loading, signals and attacks. Nothing is trained.
With --shape no data set is needed: the pool is --pool-size inputs of that shape. TPUs
need `pip install "sam_jax[tpu-plan]"`, GPUs `pip install "sam_jax[cuda]"`. Compiling a
residual network for a TPU takes minutes.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from sam_jax import _checks
from sam_jax._checks import ArgumentError
from sam_jax.cli import audit_arguments, audit_options
from sam_jax.cli.named_code import named_model
from sam_jax.cli.option_parsing import parse_options
from sam_jax.training import chips
from sam_jax.training.chip_plan import ChipPlan, plan_for_chip
from sam_jax.training.trainer import with_optimizer
from sam_jax.types import Examples


@dataclasses.dataclass(frozen=True)
class Config(audit_options.Config):
    """Plans an audit for a chip that is not attached."""

    target: str = "v5e"
    """v5e, v5p, v6e, a100 or h100; :8 compiles for eight of them at once."""
    shape: tuple[int, ...] = ()
    """Of an input, in place of a data set: 32 32 3 for CIFAR-10."""
    num_classes: int = 10
    """Classes of inputs of that shape."""


def main(config: Config) -> dict[str, ChipPlan]:
    """Prints a plan for each optimizer and the hours of all; returns the plans."""
    target, num_chips = chips.parse_chip(config.target)
    try:
        chips.chip_devices(target, num_chips)
    except ModuleNotFoundError as error:
        raise ArgumentError("target", f"must be installed. {error}") from error
    pool, num_classes = make_pool(config)
    train_config = audit_arguments.make_train_config(config)
    optimizers = audit_arguments.make_optimizers(config, train_config, len(pool.y))
    model = named_model(config.model, num_classes, config.precision, target.platform)
    augment = audit_arguments.make_augment(config, pool.x.shape)
    plans = {}
    for name, optimizer in optimizers.items():
        task = with_optimizer(model, optimizer, train_config, augment)
        plans[name] = plan_for_chip(config.target, task, {}, pool, config.num_models)
        print(f"{name}: {plans[name]}\n", flush=True)
    hours = [sum(plan.hours(n) for plan in plans.values()) for n in (1, 8, 64)]
    print(
        f"All {len(plans)} optimizers: {hours[0]:.3g} h on 1, {hours[1]:.3g} h on 8, "
        f"{hours[2]:.3g} h on 64 chips of {target.title}; training alone."
    )
    return plans


def make_pool(config: Config) -> tuple[Examples, int]:
    """Returns the shapes of the pool, and the number of classes.

    Raises:
        ArgumentError: If a shape is given without a number of inputs.
    """
    if not config.shape:
        dataset = audit_arguments.make_dataset(config)
        return dataset.train, dataset.num_classes
    _checks.at_least(1, pool_size=config.pool_size)
    for size in config.shape:
        _checks.at_least(1, shape=size)
    _checks.at_least(2, num_classes=config.num_classes)
    x: Any = jax.ShapeDtypeStruct((config.pool_size, *config.shape), np.float32)
    y: Any = jax.ShapeDtypeStruct((config.pool_size,), np.int32)
    return Examples(x, y), config.num_classes


def command(arguments: Sequence[str]) -> int:
    """Runs ``sam-jax plan`` with its options; returns the exit status."""
    # What is compiled here never runs here.
    jax.config.update("jax_platforms", "cpu")
    main(
        parse_options(
            Config, __doc__, arguments, prog="sam-jax plan", known=audit_arguments.KNOWN
        )
    )
    return 0
