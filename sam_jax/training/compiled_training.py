"""The training of a chunk compiled for devices that need not be there, and its cost."""

import functools
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, SingleDeviceSharding
from jax.sharding import PartitionSpec as P

from sam_jax._checks import ArgumentError
from sam_jax.training import chips
from sam_jax.training.chips import Chip
from sam_jax.training.lifted_training import LiftedTraining
from sam_jax.training.operation_count import count_operations
from sam_jax.training.program_cost import program_cost
from sam_jax.types import Examples

COLLECTIVES = re.compile(
    r" (all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter)"
    r"(?:-start)?\("
)

KERNEL_SECONDS = 2e-6
"""A guess: the least time from one kernel of a GPU to the next."""


class StepCost(NamedTuple):
    """What a training step of one model takes of a chip.

    Attributes:
        operations: Sums and products of matrix products and convolutions.
        traffic: Bytes between the chip and its main memory.
        accessed: Bytes read and written in any memory, on the chip too.
        kernels: Operations that are launched one by one.
        estimate: Seconds by XLA's estimate for its kernels; 0 where it has none.
    """

    operations: float
    traffic: float
    accessed: float
    kernels: float
    estimate: float

    def roofline(self, target: Chip) -> float:
        """Returns seconds: the larger of operations over peak, bytes over bandwidth."""
        arithmetic = self.operations / target.peak_flops
        return max(arithmetic, self.traffic / target.bandwidth)

    def seconds(self, target: Chip) -> float:
        """Returns the expected seconds: the larger of roofline and XLA's estimate.

        Without an estimate (on a GPU) every kernel takes ``KERNEL_SECONDS`` at least.
        """
        least = self.estimate or self.kernels * KERNEL_SECONDS
        return max(self.roofline(target), least)


class CompiledTraining(NamedTuple):
    """An epoch of a chunk of models, compiled for a target.

    Attributes:
        step: Cost of a step of one model, with its share of what an epoch does once.
        model_bytes: Weights, statistics and optimizer memory of one model.
        needed_bytes: Memory of a chip that the program takes: what it is given, what
            it returns and its temporaries.
        temporary_bytes: The temporaries of these.
        collectives: Operations of the program that wait for other chips.
    """

    step: StepCost
    model_bytes: int
    needed_bytes: int
    temporary_bytes: int
    collectives: int


def epoch_shapes(
    lifted: LiftedTraining,
    hyperparams: Any,
    pool: Examples,
    num_models: int,
    devices: Sequence[jax.Device],
) -> tuple[Any, ...]:
    """Returns the shapes of an epoch's arguments, placed on the devices.

    Args:
        lifted: The training.
        hyperparams: Hyper-parameters of one model.
        pool: The examples, or their shapes.
        num_models: Models of a chunk, a multiple of the number of devices.
        devices: What to compile for.
    """
    # Shapes of all that an epoch takes; weights and memory from the functions that
    # make them, evaluated without computing.
    shape = functools.partial(jax.ShapeDtypeStruct, dtype=jnp.int32)
    key = jax.eval_shape(lambda: jax.random.key(0))
    models = shape((num_models,))
    keep = jax.ShapeDtypeStruct((num_models, len(pool.y)), jnp.bool_)
    many = jax.tree.map(
        lambda a: jax.ShapeDtypeStruct((num_models, *np.shape(a)), jnp.float32),
        hyperparams,
    )
    x = jax.ShapeDtypeStruct((1, *pool.x.shape[1:]), pool.x.dtype)
    variables = jax.eval_shape(lifted.init, (key, x), models)
    state = jax.eval_shape(lifted.init_optimizer, (), models, many, variables)
    # Every device holds the shared arguments; the others are split by model.
    together, apart = SingleDeviceSharding(devices[0]), SingleDeviceSharding(devices[0])
    if len(devices) > 1:
        mesh = Mesh(np.asarray(devices), ("models",))
        together, apart = NamedSharding(mesh, P()), NamedSharding(mesh, P("models"))

    def place(tree: Any, sharding: Any) -> Any:
        return jax.tree.map(
            lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=sharding), tree
        )

    shared = place((pool, key, shape(())), together)
    return shared, *place((models, many, keep, state), apart)


def compile_epoch(
    lifted: LiftedTraining,
    arguments: tuple[Any, ...],
    target: Chip,
    num_chips: int,
    num_steps: int,
) -> CompiledTraining:
    """Compiles an epoch and counts what it takes.

    Args:
        lifted: The training.
        arguments: From ``epoch_shapes``.
        target: The chip.
        num_chips: Chips that share the models.
        num_steps: Steps of an epoch.

    Raises:
        ArgumentError: If the compiler of the chip is that of another version of JAX,
            whose programs this one cannot read.
    """
    traced = lifted.epoch.trace(*arguments)
    program = traced.lower().compile(chips.compiler_options(target))
    try:
        text, memory = program.as_text(), program.memory_analysis()
    except jax.errors.JaxRuntimeError as error:
        raise ArgumentError(
            "target",
            f"must have the compiler of jax {jax.__version__}; the programs of the "
            "one that is installed cannot be read. "
            f'pip install "sam_jax[{target.requirement}]".',
        ) from error
    assert text is not None and memory is not None
    models = arguments[1].shape[0] // num_chips
    cost = program_cost(text)
    # The program trains all models of a chip for an epoch: costs are divided.
    each = 1 / (models * num_steps)
    step = StepCost(
        each * count_operations(traced.jaxpr),
        each * cost.traffic,
        each * cost.accessed,
        each * cost.kernels,
        each * cost.cycles / target.clock,
    )
    # The state is donated: its memory is counted as argument and as result.
    needed = memory.argument_size_in_bytes + memory.output_size_in_bytes
    needed += memory.temp_size_in_bytes - memory.alias_size_in_bytes
    return CompiledTraining(
        step,
        tree_bytes(arguments[4]) // arguments[1].shape[0],
        needed,
        memory.temp_size_in_bytes,
        len(COLLECTIVES.findall(text)),
    )


def tree_bytes(tree: Any) -> int:
    """Returns the bytes of a tree of arrays or shapes."""
    return sum(a.size * a.dtype.itemsize for a in jax.tree.leaves(tree))
