"""The number of models that train at once, measured from the compiled program."""

from typing import NamedTuple

import jax

from sam_jax.training.host_memory import free_host_bytes
from sam_jax.training.vmap_times import VmapTimes

CPU_MODELS_PER_CORE = 8
"""On a CPU few models share a ``vmap`` anyway; more would only report less often."""

ACCELERATOR_MODELS = 256
"""The most models of one device that are tried at once."""

HEADROOM = 0.9
"""Share of the free memory that a plan may fill: allocators fragment."""


class Plan(NamedTuple):
    """How a call trains its models.

    Attributes:
        models_per_chunk: Models that train at once, over all devices.
        num_chunks: Chunks of that many models, the last one filled up.
        needed_bytes: Memory that training takes on a device beyond what it holds
            already: temporaries and results, from the compiled program.
        free_bytes: Free memory of a device before; None where it is not known.
        seconds: Expected time of the whole call, from its first epoch; None before.
        vmap_times: Times by the number of models under one ``vmap``, the fastest of
            which trains; None where none were taken.
    """

    models_per_chunk: int
    num_chunks: int
    needed_bytes: int
    free_bytes: int | None
    seconds: float | None = None
    vmap_times: VmapTimes | None = None

    def __str__(self) -> str:
        needed, chunks = self.needed_bytes / 2**30, self.num_chunks
        plural = "s" if chunks > 1 else ""
        timed = "" if self.vmap_times is None else f"; {self.vmap_times}"
        if self.seconds is not None:
            return (
                f"at most {_duration(self.seconds)}, by the pace of the first epoch"
                f"{timed}"
            )
        free = "" if self.free_bytes is None else f" of {self.free_bytes / 2**30:.1f}"
        return (
            f"{self.models_per_chunk} models at once in {chunks} chunk{plural}, "
            f"{needed:.2f}{free} GiB of free memory on a device{timed}"
        )


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


class DoesNotFit(Exception):
    """A chunk needs more memory than there is; ``size`` models should fit."""

    def __init__(self, size: int):
        super().__init__(f"try {size} models")
        self.size = size


def first_guess(
    models_per_chunk: int | None, num_models: int, devices: list[jax.Device]
) -> int:
    """Returns the size to try first, a multiple of the number of devices.

    Args:
        models_per_chunk: What the user set; wins over any other rule.
        num_models: Models to train; they are evened out over the chunks.
        devices: Devices that split a chunk.
    """
    size = models_per_chunk
    if size is None:
        on_cpu = devices[0].platform == "cpu"
        limit = CPU_MODELS_PER_CORE if on_cpu else ACCELERATOR_MODELS
        # As few chunks as the limit allows, evened out: all chunks are filled up to one
        # size, so a nearly empty last one would take as long as a full one.
        num_chunks = -(-num_models // (limit * len(devices)))
        size = -(-num_models // num_chunks)
    return -(-size // len(devices)) * len(devices)


def make_plan(
    program: jax.stages.Compiled,
    size: int,
    num_models: int,
    devices: list[jax.Device],
    *,
    fixed: bool = False,
) -> Plan:
    """Returns the plan of a compiled chunk of ``size`` models.

    Args:
        program: The compiled program; where it does not tell its memory, the plan
            needs 0 bytes and running out of it is what makes chunks smaller.
        size: Models of a chunk.
        num_models: Models in all.
        devices: Devices that split a chunk.
        fixed: Whether the user set ``size``, to be tried whatever it needs.

    Raises:
        DoesNotFit: If it needs more than the free memory and can be made smaller.
    """
    memory = program.memory_analysis()
    needed = 0
    if memory is not None:
        needed = memory.temp_size_in_bytes + memory.output_size_in_bytes
        # Results that overwrite donated arguments need no further memory.
        needed -= memory.alias_size_in_bytes
    free = free_bytes(devices[0], len(devices))
    too_large = free is not None and needed > HEADROOM * free
    if too_large and size > len(devices) and not fixed:
        raise DoesNotFit(smaller(size, HEADROOM * free / needed, len(devices)))
    return Plan(size, -(-num_models // size), needed, free)


def smaller(size: int, factor: float, num_devices: int) -> int:
    """Returns ``size * factor`` as a smaller multiple of the devices, 1 each at least.

    Example:
        >>> smaller(64, 0.4, 2), smaller(4, 0.99, 2), smaller(8, 0.01, 2)
        (24, 2, 2)
    """
    each = min(int(size * factor), size - 1) // num_devices
    return max(each, 1) * num_devices


def is_out_of_memory(error: Exception) -> bool:
    """Whether XLA ran out of memory."""
    return isinstance(error, jax.errors.JaxRuntimeError) and any(
        words in str(error) for words in ("RESOURCE_EXHAUSTED", "Out of memory")
    )


def free_bytes(device: jax.Device, num_devices: int) -> int | None:
    """Returns the free memory of a device in bytes; None where it is unknown.

    CPU devices share the memory that is left to the process (``host_memory``).
    """
    stats = device.memory_stats()
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"] - stats["bytes_in_use"]
    if device.platform != "cpu":
        return None
    free = free_host_bytes()
    return None if free is None else free // num_devices
