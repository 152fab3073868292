"""TPUs and GPUs to compile for without having them."""

import contextlib
import dataclasses
import importlib.util
import os
from collections.abc import Sequence
from typing import Any

import jax
from jax.experimental import topologies

from sam_jax import _checks
from sam_jax._checks import ArgumentError

GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Chip:
    """A chip, by what its maker publishes.

    Attributes:
        name: As in ``--target``.
        title: Its full name.
        platform: ``"tpu"`` or ``"gpu"``.
        peak_flops: Operations a second of bfloat16 matrix products, a sum and a
            product each counting as one.
        bandwidth: Bytes a second between the chip and its main memory.
        memory: Bytes of main memory.
        clock: Cycles a second, which turn XLA's estimates for a TPU into time.
        grids: Arrangements of TPU chips that XLA knows, by their number.
        processors: Of a GPU: number, lanes in each, L2 cache, shared memory of each
            and the most of a block, in bytes.
        capability: CUDA compute capability of a GPU.
    """

    name: str
    title: str
    platform: str
    peak_flops: float
    bandwidth: float
    memory: int
    clock: float
    grids: dict[int, str] = dataclasses.field(default_factory=dict)
    processors: tuple[int, int, int, int, int] = (0, 0, 0, 0, 0)
    capability: int = 0

    @property
    def requirement(self) -> str:
        """The extra of this package that compiling for the chip needs."""
        return "tpu-plan" if self.platform == "tpu" else "cuda"


FLAT = {
    1: "1x1",
    4: "2x2",
    8: "2x4",
    16: "4x4",
    32: "4x8",
    64: "8x8",
    128: "8x16",
    256: "16x16",
}
CUBE = {
    1: "1x1x1",
    4: "2x2x1",
    8: "2x2x2",
    16: "2x2x4",
    32: "2x4x4",
    64: "4x4x4",
    128: "4x4x8",
}

CHIPS: dict[str, Chip] = {
    target.name: target
    for target in (
        Chip("v5e", "TPU v5e", "tpu", 197e12, 819e9, 16 * GIB, 1.5e9, FLAT),
        Chip("v5p", "TPU v5p", "tpu", 459e12, 2765e9, 95 * GIB, 1.75e9, CUBE),
        Chip("v6e", "TPU v6e", "tpu", 918e12, 1640e9, 32 * GIB, 1.75e9, FLAT),
        Chip(
            *("a100", "NVIDIA A100-SXM4-80GB", "gpu", 312e12, 2039e9, 80 * GIB),
            clock=1.41e9,
            processors=(108, 64, 40 * 2**20, 164 * 2**10, 163 * 2**10),
            capability=8,
        ),
        Chip(
            *("h100", "NVIDIA H100 80GB HBM3", "gpu", 989e12, 3352e9, 80 * GIB),
            clock=1.98e9,
            processors=(132, 128, 50 * 2**20, 228 * 2**10, 227 * 2**10),
            capability=9,
        ),
    )
}
"""By name. Peaks, bandwidths and sizes are the makers' (dense, bfloat16)."""


def parse_chip(text: str) -> tuple[Chip, int]:
    """Returns the target and the number of chips of ``name[:chips]``.

    Raises:
        ValueError: If there is no such target, or XLA knows no such number of chips.

    Example:
        >>> target, chips = parse_chip("v5e:16")
        >>> target.title, chips
        ('TPU v5e', 16)
    """
    name, _, number = text.partition(":")
    target = _checks.one_of(CHIPS, target=name)
    if number and not number.isdecimal():
        raise ArgumentError("target", f"must be name or name:chips, got {text!r}.")
    chips = int(number or 1)
    _checks.at_least(1, chips=chips)
    if target.platform == "tpu" and chips not in target.grids:
        known = ", ".join(map(str, target.grids))
        raise ArgumentError(
            "chips", f"of a {target.title} must be {known}, got {chips}."
        )
    return target, chips


def chip_devices(target: Chip, chips: int = 1) -> Sequence[jax.Device]:
    """Returns stand-ins for chips that are not attached, to compile for.

    Nothing can run on them. A process that only compiles should stay on the CPU:
    ``jax.config.update("jax_platforms", "cpu")`` before anything uses JAX.

    Args:
        target: The chip.
        chips: How many of them; see ``parse_chip``.

    Raises:
        ModuleNotFoundError: If what compiles for the chip is not installed; the
            message has the line that installs it.
    """
    needed = "libtpu" if target.platform == "tpu" else "jax_plugins.xla_cuda13"
    if not _is_installed(needed):
        raise ModuleNotFoundError(
            f"Compiling for {target.title} needs {needed}: "
            f'pip install "sam_jax[{target.requirement}]"'
        )
    # Plugins read these when they are loaded; what the user set stays.
    for name, value in _environment(target).items():
        os.environ.setdefault(name, value)
    if target.platform == "tpu":
        # By default a host has four chips, of which a single one would be a part.
        host = {"chips_per_host_bounds": (1, 1, 1)} if chips == 1 else {}
        name = f"{target.name}:{target.grids[chips]}"
        topology = topologies.get_topology_desc(
            platform="tpu", topology_name=name, **host
        )
    else:
        topology = topologies.get_topology_desc(
            platform="cuda",
            topology_name=target.name,
            topology=f"1x1x{chips}",
            target_config=_gpu_config(target),
        )
    return topology.devices


def compiler_options(target: Chip) -> dict[str, Any]:
    """Returns options for ``Lowered.compile``: a GPU's kernels cannot be timed here."""
    return {} if target.platform == "tpu" else {"xla_gpu_autotune_level": 0}


def _is_installed(module: str) -> bool:
    with contextlib.suppress(ModuleNotFoundError):
        return importlib.util.find_spec(module) is not None
    return False


def _environment(target: Chip) -> dict[str, str]:
    """What libtpu and the CUDA plugin read when they start without a device."""
    if target.platform == "tpu":
        return {
            "TPU_SKIP_MDS_QUERY": "1",
            "TPU_WORKER_HOSTNAMES": "localhost",
            "TPU_ACCELERATOR_TYPE": "v5litepod-4",
            "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
        }
    return {"JAX_SKIP_CUDA_CONSTRAINTS_CHECK": "1"}


def _gpu_config(target: Chip) -> str:
    """The description of a GPU that XLA reads, as the text of a protocol buffer."""
    number, lanes, l2_cache, shared, most_shared = target.processors
    # Limits of blocks and grids are those of CUDA; the rest is the chip's.
    limits = {
        "threads_per_block_limit": 1024,
        "threads_per_warp": 32,
        "shared_memory_per_block": 48 * 2**10,
        "shared_memory_per_core": shared,
        "shared_memory_per_block_optin": most_shared,
        "threads_per_core_limit": 2048,
        "core_count": number,
        "fpus_per_core": lanes,
        "block_dim_limit_x": 2**31 - 1,
        "block_dim_limit_y": 2**16 - 1,
        "block_dim_limit_z": 2**16 - 1,
        "memory_bandwidth": int(target.bandwidth),
        "l2_cache_size": l2_cache,
        "clock_rate_ghz": target.clock / 1e9,
        "device_memory_size": target.memory,
        "registers_per_core_limit": 2**16,
        "registers_per_block_limit": 2**16,
        "thread_dim_limit_x": 1024,
        "thread_dim_limit_y": 1024,
        "thread_dim_limit_z": 64,
    }
    fields = " ".join(f"{name}: {value}" for name, value in limits.items())
    return (
        f"gpu_device_info {{ {fields} "
        f"cuda_compute_capability {{ major: {target.capability} }} "
        'runtime_version: "13.0.0" driver_version: "13.0.0" '
        'compile_time_toolkit_version: "13.0.0" dnn_version: "9.10.0" '
        f'name: "{target.title}" }} platform_name: "CUDA" '
        "dnn_version_info { major: 9 minor: 10 patch: 0 } "
        "runtime_version { major: 13 minor: 0 patch: 0 } "
        f'device_description_str: "{target.title}"'
    )
