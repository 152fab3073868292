"""How long `import sam_jax` takes beyond JAX and optax.

    python -m benchmarks.import_time

Fresh interpreters import JAX and optax, then sam_jax, and time each; the first round,
which fills the disk cache, is not counted. Ten seconds on 2 CPU cores.
"""

import dataclasses
import statistics
import subprocess
import sys

import tyro

CODE = """
import time
start = time.perf_counter()
import jax, optax
between = time.perf_counter()
import sam_jax
sam_jax.sam
end = time.perf_counter()
print(between - start, end - between)
"""
TARGET = 0.3


@dataclasses.dataclass(frozen=True)
class Config:
    """Size of the benchmark.

    Attributes:
        num_rounds: Interpreters that are timed.
    """

    num_rounds: int = 5


def main(config: Config) -> None:
    times = [measured() for _ in range(config.num_rounds + 1)][1:]
    for index, name in enumerate(("jax, optax", "sam_jax")):
        values = [pair[index] for pair in times]
        print(
            f"{name:<12} {statistics.median(values):.3f} s "
            f"({min(values):.3f}-{max(values):.3f})"
        )
    print(f"target for sam_jax: {TARGET} s")


def measured() -> tuple[float, float]:
    """Seconds of the two imports in one fresh interpreter."""
    command = [sys.executable, "-c", CODE]
    shown = subprocess.run(command, check=True, capture_output=True, text=True)
    base, library = map(float, shown.stdout.split())
    return base, library


if __name__ == "__main__":
    main(tyro.cli(Config))
