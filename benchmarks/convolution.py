"""How fast convolutional networks train many at once, and what sets the limit.

    python -m benchmarks.convolution

Every contestant trains the same networks on the same batches with SGD (momentum 0.9):
`jax.vmap` over `flax.linen.Conv`, the same model by model under `jit`, `lax.map` over
models, PyTorch model by model (channels-last, all cores), and this library. On a CPU
the first and third do so for fewer steps. Each runs in an interpreter of its own; they
alternate over rounds and ratios are taken within rounds. A second table has single
layers, forward and backward.
GFLOP/s are those of the network's convolutions and matrix products, counted without
what an implementation adds, and their fraction of the rate of one large product on the
same machine is the model FLOPs utilisation. Prints Markdown and writes JSON.

With ``--device cuda --num-models 64 --batch-size 128 --networks resnet18 fast_cifar``
it is the case of one GPU: the library computes in bfloat16, PyTorch in autocast.
"""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import time
from typing import Any, Literal

import numpy as np
import tyro

from benchmarks.convolution_contestants import CONTESTANTS, LAYERS, SLOW_ON_CPU
from benchmarks.machine import in_words, machine
from benchmarks.shadow_training import environment, spread


@dataclasses.dataclass(frozen=True)
class Config:
    """Sizes of the benchmark."""

    networks: tuple[str, ...] = ("cnn", "resnet18")
    """Networks to train: cnn (28 x 28), resnet18 (width 16), fast_cifar (width 16)."""
    contestants: tuple[str, ...] = tuple(CONTESTANTS)
    """Who trains them."""
    num_models: int = 4
    """Models, a multiple of the cores."""
    batch_size: int = 64
    """Examples in a step."""
    num_steps: int = 8
    """Steps of each model in a call, as in a short epoch."""
    slow_steps: int = 2
    """Steps of `vmap` and `lax.map` on a CPU, where one can take seconds."""
    num_rounds: int = 3
    """Times that every contestant runs."""
    layers: bool = True
    """Whether to time single layers, too."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where JAX and PyTorch compute."""
    precision: str = "auto"
    """Of networks: float32, bfloat16, or auto (bfloat16 on a GPU)."""
    output: pathlib.Path = pathlib.Path("benchmarks/results/convolution.json")
    """Where the JSON goes."""


def main(config: Config) -> None:
    begin, load = time.perf_counter(), os.getloadavg()
    results: dict[str, Any] = {
        "command": " ".join(["python -m benchmarks.convolution", *sys.argv[1:]]),
        "machine": machine(config.device),
        "settings": json.loads(json.dumps(dataclasses.asdict(config), default=str)),
        "rounds": {},
    }
    tasks = [*config.networks, *(LAYERS if config.layers else ())]
    rate = []
    for task in tasks:
        rounds = []
        for index in range(config.num_rounds):
            names = list(config.contestants)
            order = names if index % 2 == 0 else names[::-1]
            rate.append(run(config, "peak", task)["gflops_per_second"])
            rounds.append({name: run(config, name, task) for name in order})
            print(f"{task}: round {index + 1} of {config.num_rounds}", file=sys.stderr)
        results["rounds"][task] = rounds
    results["peak_gflops_per_second"] = spread(np.array(rate))
    results["load"] = {"before": load, "after": os.getloadavg()}
    results["minutes"] = (time.perf_counter() - begin) / 60
    config.output.parent.mkdir(parents=True, exist_ok=True)
    config.output.write_text(json.dumps(results, indent=1) + "\n")
    print_tables(config, results)


def run(config: Config, contestant: str, task: str) -> dict[str, float]:
    """One contestant on one task in a fresh interpreter."""
    is_slow = contestant in SLOW_ON_CPU and config.device == "cpu"
    settings = {
        "contestant": contestant,
        "task": task,
        "num_models": config.num_models,
        "batch_size": config.batch_size,
        "num_steps": config.slow_steps if is_slow else config.num_steps,
        "device": config.device,
        "precision": config.precision,
    }
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.convolution_contestants"],
        input=json.dumps(settings),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env=environment(config.device),
    )
    return json.loads(done.stdout.splitlines()[-1])


def print_tables(config: Config, results: dict[str, Any]) -> None:
    peak = results["peak_gflops_per_second"]
    print(
        f"\n{config.num_models} models, batch {config.batch_size}, {config.device}; "
        f"one large matrix product: {peak['median']:.0f} GFLOP/s "
        f"({peak['low']:.0f} to {peak['high']:.0f})\n"
    )
    print(
        "| task | contestant | ms per model and step | GFLOP/s | of the product "
        "| x naive vmap | x PyTorch | compiled GFLOP a step | compile s |"
    )
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for task, rounds in results["rounds"].items():
        for name in rounds[0]:
            get = lambda key, name=name, rounds=rounds: np.array(
                [one[name][key] for one in rounds]
            )
            rate = float(np.median(get("gflops") / get("seconds")))
            print(
                f"| {task} | {name} | {1e3 * np.median(get('seconds')):.1f} "
                f"| {rate:.0f} | {rate / peak['median']:.2f} "
                f"| {ratio(rounds, 'vmap', name)} | {ratio(rounds, 'torch', name)} "
                f"| {np.median(get('compiled_gflops')):.2f} "
                f"| {np.median(get('compile_seconds')):.1f} |"
            )
    print(f"\n{results['minutes']:.1f} minutes; {in_words(results['machine'])}")
    print(f"Load average {results['load']}. Written to {config.output}")


def ratio(rounds: list[dict[str, Any]], base: str, name: str) -> str:
    """How many times faster than ``base``, within rounds: median and range."""
    if base not in rounds[0]:
        return ""
    ratios = spread(
        np.array([one[base]["seconds"] / one[name]["seconds"] for one in rounds])
    )
    return f"{ratios['median']:.2f} ({ratios['low']:.2f}-{ratios['high']:.2f})"


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
