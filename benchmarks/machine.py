"""What a benchmark ran on."""

import importlib.metadata
import os
import pathlib
import platform
from typing import Any

PACKAGES = ("jax", "jaxlib", "libtpu", "flax", "optax", "numpy", "torch")


def machine(device: str) -> dict[str, Any]:
    """Platform, cores, device and the versions of the packages that are installed."""
    installed = {}
    for name in PACKAGES:
        try:
            installed[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "platform": platform.platform(),
        "cpu": cpu_name(),
        "cpu_cores": len(os.sched_getaffinity(0)),
        "device": device,
        "python": platform.python_version(),
        **installed,
    }


def in_words(facts: dict[str, Any]) -> str:
    """What `machine` returned, on a line."""
    return ", ".join(f"{key} {value}" for key, value in facts.items())


def cpu_name() -> str:
    """The processor's name, as far as the system tells."""
    info = pathlib.Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":")[1].strip() for line in lines if "model name" in line]
    return names[0] if names else platform.processor()
