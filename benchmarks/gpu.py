"""Networks with convolutions on a GPU: this library against two sequential loops.

    python -m benchmarks.gpu --card h100

64 ResNet-18 of width 16, 64 fast CIFAR networks and 16 ResNet-18 of width 64, batch
128, bfloat16, on 10,000 noisy images: trained by the library, by its step for one model
under ``jit``, and by PyTorch (channels-last, bfloat16, ``torch.compile``). Prints
models a minute without compilation, and the share of the card's peak. ``--device cpu
--workloads gpu-tiny --num-models 4`` shows that it works; shares of the peak of a card
mean nothing there.
"""

import dataclasses
import json
import os
import pathlib
import sys
from typing import Any, Literal

import jax
import numpy as np
import tyro

from benchmarks import shadow_training
from benchmarks.machine import in_words, machine
from benchmarks.shadow.jax_contestants import (
    make_model,
    make_optimizer_of,
    train_config,
)
from benchmarks.shadow.workloads import WORKLOADS, Workload
from sam_jax.training.chips import CHIPS
from sam_jax.training.compiled_training import epoch_shapes
from sam_jax.training.lifted_training import lift_training
from sam_jax.training.operation_count import count_operations
from sam_jax.training.trainer import TrainingTask
from sam_jax.types import Examples

NUM_MODELS = {"gpu-resnet18-16": 64, "gpu-fast-cifar": 64, "gpu-resnet18-64": 16}
CONTESTANTS = ("sam_jax", "jax-sequential", "torch-compiled")


@dataclasses.dataclass(frozen=True)
class Config:
    """Sizes of the benchmark.

    Attributes:
        workloads: Networks to train, of ``benchmarks.shadow.workloads``.
        num_models: Models of each, at least 4; 64, 64 and 16 by default.
        num_rounds: Times that every contestant runs; they alternate.
        card: Whose peak the share is of.
        device: Where JAX and PyTorch compute.
        output: Where the JSON goes.
    """

    workloads: tuple[str, ...] = tuple(NUM_MODELS)
    num_models: int | None = None
    num_rounds: int = 3
    card: Literal["h100", "a100"] = "h100"
    device: Literal["cpu", "cuda"] = "cuda"
    output: pathlib.Path = pathlib.Path("benchmarks/results/gpu.json")


def main(config: Config) -> list[dict[str, Any]]:
    """Runs the contest, prints its table and writes it; returns the rows."""
    # This process only counts operations; the contestants have the card to themselves.
    jax.config.update("jax_platforms", "cpu")
    rows = []
    print(
        "| network | models | contestant | models a minute | x one by one | of peak |"
    )
    print("| --- | ---: | --- | ---: | ---: | ---: |")
    for name in config.workloads:
        num_models = config.num_models or NUM_MODELS[name]
        contest = shadow_training.Config(
            workloads=(name,),
            contestants=CONTESTANTS,
            num_models=(num_models,),
            num_rounds=config.num_rounds,
            device=config.device,
        )
        rounds = shadow_training.run_rounds(contest, name)
        rows += summarise(name, num_models, rounds, CHIPS[config.card].peak_flops)
        for row in rows[-len(CONTESTANTS) :]:
            print(table_row(row), flush=True)
    report = {
        "command": " ".join(["python -m benchmarks.gpu", *sys.argv[1:]]),
        "machine": machine(config.device),
        "card": config.card,
        "load_after": os.getloadavg(),
        "rows": rows,
    }
    config.output.parent.mkdir(parents=True, exist_ok=True)
    config.output.write_text(json.dumps(report, indent=1) + "\n")
    print(f"\n{in_words(report['machine'])}\nWritten to {config.output}")
    return rows


def step_operations(workload: Workload) -> float:
    """Operations of the convolutions and matrix products of a step of one model."""
    task = TrainingTask(
        make_model(workload), make_optimizer_of(workload), train_config(workload)
    )
    devices = jax.devices("cpu")[:1]
    lifted = lift_training(task, tuple(devices))
    pool: Any = Examples(
        jax.ShapeDtypeStruct((workload.pool_size, *workload.features), np.float32),
        jax.ShapeDtypeStruct((workload.pool_size,), np.int32),
    )
    arguments = epoch_shapes(lifted, {}, pool, 1, devices)
    epoch = count_operations(lifted.epoch.trace(*arguments).jaxpr)
    return epoch / workload.steps_per_epoch


def summarise(
    name: str, num_models: int, rounds: list[dict[str, Any]], peak_flops: float
) -> list[dict[str, Any]]:
    """Returns medians over the rounds; ratios to one model after the other within."""
    workload = WORKLOADS[name]
    steps = workload.num_epochs * workload.steps_per_epoch
    operations = num_models * steps * step_operations(workload)
    seconds = {
        contestant: np.array([one[contestant]["rows"][0]["seconds"] for one in rounds])
        for contestant in CONTESTANTS
    }
    return [
        {
            "network": name,
            "models": num_models,
            "contestant": contestant,
            "seconds": shadow_training.spread(times),
            "models_a_minute": float(np.median(60 * num_models / times)),
            "ratio": shadow_training.spread(seconds["jax-sequential"] / times),
            "share_of_peak": float(np.median(operations / times / peak_flops)),
            "device_peak_mib": rounds[0][contestant]["device_peak_mib"],
            "test_accuracy": rounds[0][contestant]["rows"][0]["test_accuracy"],
        }
        for contestant, times in seconds.items()
    ]


def table_row(row: dict[str, Any]) -> str:
    """A line of the table."""
    ratio = row["ratio"]
    return (
        f"| {row['network']} | {row['models']} | {row['contestant']} "
        f"| {row['models_a_minute']:.3g} | {ratio['median']:.2f} "
        f"({ratio['low']:.2f}-{ratio['high']:.2f}) | {row['share_of_peak']:.2g} |"
    )


if __name__ == "__main__":
    main(tyro.cli(Config))
