"""The cost of a training on chips that are not here, from its compiled program."""

from typing import Any, NamedTuple

import jax

from sam_jax.training import chips, chunk_size
from sam_jax.training.chips import Chip
from sam_jax.training.compiled_training import (
    CompiledTraining,
    compile_epoch,
    epoch_shapes,
    tree_bytes,
)
from sam_jax.training.lifted_training import lift_training
from sam_jax.training.trainer import TrainingTask, num_steps_per_epoch
from sam_jax.types import Examples

RESERVE = 2**30
"""Bytes that are left for temporaries before they are known."""


class ChipPlan(NamedTuple):
    """How many models train at once on a chip, and how long.

    Attributes:
        target: The chip.
        chips: Chips that the program was compiled for.
        num_models: Models in all.
        models_per_chip: Models of a chip that train in one program.
        num_steps: Steps of one model's training.
        compiled: What the program takes.
    """

    target: Chip
    chips: int
    num_models: int
    models_per_chip: int
    num_steps: int
    compiled: CompiledTraining

    def hours(self, chips: int) -> float:
        """Returns the hours of the whole training on so many chips."""
        steps = -(-self.num_models // chips) * self.num_steps
        return steps * self.compiled.step.seconds(self.target) / 3600

    def __str__(self) -> str:
        """Returns the lines that ``sam-jax plan`` prints."""
        step, target, made = self.compiled.step, self.target, self.compiled
        roofline = f"roofline {1e3 * step.roofline(target):.3g} ms"
        how = "roofline of counted operations and bytes"
        if step.estimate:
            how = f"XLA's estimate of its kernels; {roofline}"
        elif step.seconds(target) > step.roofline(target):
            how = f"its {step.kernels:.0f} kernels at 2 us each, a guess; {roofline}"
        times = ", ".join(f"{self.hours(n):.3g} h on {n}" for n in (1, 8, 64))
        return (
            f"{self.models_per_chip} models at once on a {target.title}: "
            f"{made.needed_bytes / 2**30:.2f} of {target.memory / 2**30:.0f} GiB, "
            f"{made.model_bytes / 2**20:.1f} MiB a model\n"
            f"a step of one model: {step.operations / 1e9:.4g} GFLOP, "
            f"{step.traffic / 1e9:.3g} GB of memory traffic, "
            f"{1e3 * step.seconds(target):.3g} ms ({how})\n"
            f"{self.num_models} models of {self.num_steps:,} steps: {times} chips; "
            f"{self.hours(1):.3g} chip hours"
        )


def plan_for_chip(
    target: str, task: TrainingTask, hyperparams: Any, pool: Examples, num_models: int
) -> ChipPlan:
    """Compiles a training for a chip that is not attached, and plans with it.

    The time is that of training alone, without loading and attacks.

    Args:
        target: ``v5e``, ``v5p``, ``v6e``, ``a100`` or ``h100``; ``:chips`` compiles for
            so many at once.
        task: What is trained; its network in the precision that it has there.
        hyperparams: Pytree of one model's hyper-parameters, ``{}`` for none.
        pool: The examples, or their shapes.
        num_models: Models to train.

    Returns:
        The plan; its text says the models at once and the hours on 1, 8 and 64 chips.

    Raises:
        ValueError: If the target is unknown.
        ModuleNotFoundError: If what compiles for it is not installed.
    """
    chip, num_chips = chips.parse_chip(target)
    devices = chips.chip_devices(chip, num_chips)
    lifted, config = lift_training(task, tuple(devices)), task.config
    num_steps = num_steps_per_epoch(config, len(pool.y))
    room = chunk_size.HEADROOM * chip.memory
    # The first size to compile: what the states alone let fit, in even chunks.
    shapes = epoch_shapes(lifted, hyperparams, pool, num_chips, devices)
    each = tree_bytes(shapes[1:]) // num_chips
    most = max(int((room - tree_bytes(shapes[0]) - RESERVE) // each), 1)
    limit = min(config.models_per_chunk or chunk_size.ACCELERATOR_MODELS, most)
    share = -(-num_models // num_chips)
    size = -(-share // -(-share // limit))
    # Then smaller ones, until the compiled program fits.
    while True:
        shapes = epoch_shapes(lifted, hyperparams, pool, size * num_chips, devices)
        try:
            compiled = compile_epoch(lifted, shapes, chip, num_chips, num_steps)
        except jax.errors.JaxRuntimeError as error:
            # Compilers for TPUs refuse what does not fit.
            if not chunk_size.is_out_of_memory(error) or size == 1:
                raise
            size = chunk_size.smaller(size, 0.5, 1)
            continue
        if compiled.needed_bytes <= room or size == 1:
            break
        size = chunk_size.smaller(size, room / compiled.needed_bytes, 1)
    num_steps *= config.num_epochs
    return ChipPlan(chip, num_chips, num_models, size, num_steps, compiled)
