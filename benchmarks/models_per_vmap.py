"""How many MLPs a CPU core should train under one ``vmap``: 1, 2, 4, 8 or 16.

    python -m benchmarks.models_per_vmap

trains 16 models by the library with each number, alternating, on one core; processor
seconds without compilation. ``--models-per-vmap`` of the audit sets the number;
``sam_jax.training.vmap_models`` chooses it.
"""

import dataclasses
import statistics
import time

import jax
import numpy as np
import tyro

from benchmarks.machine import in_words, machine
from benchmarks.shadow.jax_contestants import (
    make_model,
    make_optimizer_of,
    train_config,
)
from benchmarks.shadow.workloads import Workload, make_data
from sam_jax.training.shadow_models import train_shadow_models
from sam_jax.training.trainer import TrainingTask
from sam_jax.types import Examples

NUM_MODELS = 16
WIDTHS = (1, 2, 4, 8, 16)

# Features, hidden layers, classes, batch.
NETWORKS = (
    (20, (32,), 2, 16),
    (60, (64,), 10, 64),
    (60, (64, 64, 64, 64), 10, 32),
    (100, (128,), 10, 16),
    (100, (128,), 10, 64),
    (200, (128,), 10, 64),
    (784, (64,), 10, 64),
    (784, (128,), 10, 8),
    (784, (128,), 10, 64),
    (784, (256,), 10, 64),
    (600, (256, 128), 100, 128),
    (784, (512, 512), 10, 64),
)


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings.

    Attributes:
        rounds: Trainings of each network with each number.
        examples: Examples that a model goes through, about.
    """

    rounds: int = 5
    examples: int = 20_000


def main(config: Config) -> None:
    """Prints the table."""
    print(in_words(machine("cpu, one core")), "\n")
    print("| features | hidden | classes | batch | weights |", end="")
    print("".join(f" {width} |" for width in WIDTHS))
    print("|" + " ---: |" * (5 + len(WIDTHS)))
    for features, hidden, classes, batch in NETWORKS:
        speeds, weights = measure(features, hidden, classes, batch, config)
        layers = "-".join(map(str, hidden))
        cells = f"| {features} | {layers} | {classes} | {batch} | {weights:,} |"
        best = max(speeds.values())
        for speed in speeds.values():
            cells += f" {'**' * (speed == best)}{speed:.0f}{'**' * (speed == best)} |"
        print(cells, flush=True)


def measure(
    features: int, hidden: tuple[int, ...], classes: int, batch: int, config: Config
) -> tuple[dict[int, float], int]:
    """Returns thousands of examples a second by width, and a model's weights."""
    pool = 1000
    epochs = max(1, config.examples // (pool // 2))
    workload = Workload(
        "mlp", hidden, (features,), classes, 0.35, pool, batch, epochs, 0.05
    )
    data = make_data(workload, NUM_MODELS)
    model = make_model(workload)
    weights, _ = jax.eval_shape(model.init, jax.random.key(0), data.x[:1])
    trained = NUM_MODELS * workload.examples_per_model
    tasks = {}
    for width in WIDTHS:
        chosen = dataclasses.replace(train_config(workload), models_per_vmap=width)
        tasks[width] = TrainingTask(model, make_optimizer_of(workload), chosen)

    def seconds(width: int) -> float:
        start = time.process_time()
        train_shadow_models(
            *(jax.random.key(0), tasks[width], {}, data.keep),
            Examples(data.x, data.y),
            models=np.arange(NUM_MODELS),
        )
        return time.process_time() - start

    times = {width: [seconds(width)] for width in WIDTHS}  # The first compiles.
    for _ in range(config.rounds):
        for width in WIDTHS:
            times[width].append(seconds(width))
    speeds = {w: trained / statistics.median(t[1:]) / 1e3 for w, t in times.items()}
    return speeds, sum(leaf.size for leaf in jax.tree.leaves(weights))


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
