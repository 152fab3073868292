"""How fast shadow models train: this library against PyTorch and sequential JAX.

    python -m benchmarks.shadow_training

Every contestant trains the same network on the same data with the same keep mask for
the same number of steps of SGD (momentum 0.9), in an interpreter of its own, data in
memory. They alternate over several rounds; ratios are taken within rounds, against the
faster of the two sequential PyTorch loops, so that slow drifts of the machine cancel.
Prints a table for each workload and writes it as JSON with machine and versions. The
networks with convolutions are run with ``--workloads small-cnn resnet18-16 --num-models
4 8 --contestants sam_jax jax-sequential torch-1-thread torch-2-threads
torch-2-processes``.
"""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from typing import Any, Literal

import numpy as np
import tyro

from benchmarks.machine import in_words, machine
from benchmarks.shadow.contestant import CONTESTANTS, LEAN_LOOPS
from benchmarks.shadow.workloads import WORKLOADS

TARGETS = {"mlp-128": 2.0, "mlp-256-128": 1.5, "small-cnn": 1.0, "resnet18-16": 1.0}


@dataclasses.dataclass(frozen=True)
class Config:
    """Sizes of the benchmark.

    Attributes:
        workloads: Networks to train, of mlp-128 (600-128-100, batch 64), mlp-256-128
            (600-256-128-100, batch 128), small-cnn and resnet18-16 (28 x 28).
        contestants: Who trains them; the sequential PyTorch loops are the yardstick.
        num_models: Numbers of models, each a multiple of 4.
        num_rounds: Times that every contestant runs.
        num_epochs: Passes over a model's own examples; the workload's own by default.
        device: Where JAX and PyTorch compute.
        quick: One round of 8 models and 2 epochs, to see that it works.
        output: Where the JSON goes.
    """

    workloads: tuple[str, ...] = ("mlp-128", "mlp-256-128")
    contestants: tuple[str, ...] = tuple(
        name for name, contestant in CONTESTANTS.items() if contestant.by_default
    )
    num_models: tuple[int, ...] = (8, 32, 64)
    num_rounds: int = 3
    num_epochs: int | None = None
    device: Literal["cpu", "cuda"] = "cpu"
    quick: bool = False
    output: pathlib.Path = pathlib.Path("benchmarks/results/shadow_training.json")


def main(config: Config) -> None:
    if config.quick:
        config = dataclasses.replace(
            config, num_models=(8,), num_rounds=1, num_epochs=2
        )
    begin = time.perf_counter()
    result: dict[str, Any] = {
        "command": " ".join(["python -m benchmarks.shadow_training", *sys.argv[1:]]),
        "machine": machine(config.device),
        "load_before": os.getloadavg(),
        "workloads": {},
    }
    for name in config.workloads:
        rounds = run_rounds(config, name)
        lean, rows = summarise(rounds)
        result["workloads"][name] = {
            "settings": dataclasses.asdict(WORKLOADS[name])
            | {"num_epochs": epochs(config, name)},
            "lean_loop": lean,
            "rows": rows,
            "rounds": rounds,
        }
        print_table(name, result["workloads"][name], config.device)
    result["load_after"] = os.getloadavg()
    result["minutes"] = (time.perf_counter() - begin) / 60
    config.output.parent.mkdir(parents=True, exist_ok=True)
    config.output.write_text(json.dumps(result, indent=1) + "\n")
    print(f"\n{result['minutes']:.1f} minutes; {in_words(result['machine'])}")
    print(f"Load average {result['load_before']} before, {result['load_after']} after.")
    print(f"Written to {config.output}")


def epochs(config: Config, workload: str) -> int:
    return config.num_epochs or WORKLOADS[workload].num_epochs


def run_rounds(config: Config, workload: str) -> list[dict[str, Any]]:
    """One dictionary a round: contestant -> what it measured. The order alternates."""
    names = [
        name
        for name in config.contestants
        if config.device == "cpu" or CONTESTANTS[name].on_gpu
    ]
    with tempfile.TemporaryDirectory() as folder:
        data = pathlib.Path(folder, "data.npz")
        arguments = [workload, str(max(config.num_models)), str(data)]
        subprocess.run(
            [sys.executable, "-m", "benchmarks.shadow.workloads", *arguments],
            check=True,
            env=environment("cpu"),
        )
        rounds = []
        for index in range(config.num_rounds):
            order = names if index % 2 == 0 else reversed(names)
            rounds.append({n: run_contestant(config, workload, n, data) for n in order})
            print(f"{workload}: round {index + 1} of {config.num_rounds}", flush=True)
    return rounds


def run_contestant(
    config: Config, workload: str, name: str, data: pathlib.Path
) -> dict[str, Any]:
    """Starts the processes of a contestant together; its time is the slowest's."""
    num_processes = CONTESTANTS[name].num_processes
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "benchmarks.shadow.contestant"]
            + ["--contestant", name, "--workload", workload, "--data", str(data)]
            + ["--sizes", *map(str, sorted(config.num_models))]
            + ["--num-epochs", str(epochs(config, workload))]
            + ["--device", config.device]
            + ["--first", str(first), "--stride", str(num_processes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(config.device),
        )
        for first in range(num_processes)
    ]
    for process in processes:
        process.stdout.readline()
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    outputs = [process.communicate()[0] for process in processes]
    for process in processes:
        if process.returncode:
            raise RuntimeError(f"contestant {name} failed; see above.")
    return merged([json.loads(output) for output in outputs])


def merged(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Processes side by side as one: times of the slowest, memory of all together."""
    how = {
        "num_models": sum,
        "seconds_with_start": max,
        "seconds": max,
        "cpu_seconds": sum,
        "peak_mib": sum,
        "train_accuracy": np.mean,
        "test_accuracy": np.mean,
    }
    rows = [
        {key: merge([row[key] for row in rows]) for key, merge in how.items()}
        for rows in zip(*(part["rows"] for part in parts), strict=True)
    ]
    return {
        "imported_mib": sum(part["imported_mib"] for part in parts),
        "device_peak_mib": parts[0]["device_peak_mib"],
        "rows": rows,
    }


def environment(device: str) -> dict[str, str]:
    """Of a contestant: the device, and no compilations kept from earlier runs."""
    inherited = {
        k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"
    }
    return inherited | {"JAX_PLATFORMS": device}


def summarise(rounds: list[dict[str, Any]]) -> tuple[str | None, list[dict[str, Any]]]:
    """The faster sequential PyTorch loop, and median and spread of every contestant."""
    sizes = [row["num_models"] for row in next(iter(rounds[0].values()))["rows"]]

    def values(name: str, position: int, key: str) -> np.ndarray:
        return np.array([one[name]["rows"][position][key] for one in rounds])

    loops = [name for name in LEAN_LOOPS if name in rounds[0]]
    lean = min(loops, key=lambda n: np.median(values(n, -1, "seconds")), default=None)
    rows = []
    for position, size in enumerate(sizes):
        for name in rounds[0]:
            get = lambda key, name=name, position=position: values(name, position, key)
            row = {"contestant": name, "num_models": size}
            row |= {
                key: spread(get(key))
                for key in ("seconds", "seconds_with_start", "cpu_seconds")
            }
            row["start_seconds"] = spread(get("seconds_with_start") - get("seconds"))
            if lean is not None:
                for ratio, key in (
                    ("ratio", "seconds"),
                    ("ratio_with_start", "seconds_with_start"),
                    ("cpu_ratio", "cpu_seconds"),
                ):
                    row[ratio] = spread(values(lean, position, key) / get(key))
            for key in ("peak_mib", "train_accuracy", "test_accuracy"):
                row[key] = float(np.median(get(key)))
            rows.append(row)
    return lean, rows


def spread(values: np.ndarray) -> dict[str, float]:
    return {
        "median": float(np.median(values)),
        "low": float(values.min()),
        "high": float(values.max()),
    }


def print_table(name: str, workload: dict[str, Any], device: str) -> None:
    per_model = dataclasses.replace(
        WORKLOADS[name], num_epochs=workload["settings"]["num_epochs"]
    ).examples_per_model
    print(
        f"\n{name}, {device}: {per_model} examples a model; target "
        f"{TARGETS[name]} x the lean loop, here {workload['lean_loop']}"
    )
    print(
        f"{'models':>6} {'contestant':<17} {'seconds':>8} {'examples/s':>10}"
        f" {'x lean':>6} {'range':>11} {'start':>6} {'x with start':>12}"
        f" {'CPU s':>6} {'x CPU':>5} {'MiB':>6} {'train':>6} {'test':>6}"
    )
    for row in workload["rows"]:
        median = lambda key, row=row: row.get(key, {}).get("median", float("nan"))
        ratio = row.get("ratio", {"low": float("nan"), "high": float("nan")})
        rate = row["num_models"] * per_model / median("seconds")
        print(
            f"{row['num_models']:>6} {row['contestant']:<17} {median('seconds'):>8.2f}"
            f" {rate:>10.0f} {median('ratio'):>6.2f}"
            f" {ratio['low']:>5.2f}-{ratio['high']:<5.2f}"
            f" {median('start_seconds'):>6.2f} {median('ratio_with_start'):>12.2f}"
            f" {median('cpu_seconds'):>6.2f} {median('cpu_ratio'):>5.2f}"
            f" {row['peak_mib']:>6.0f} {row['train_accuracy']:>6.3f}"
            f" {row['test_accuracy']:>6.3f}"
        )


if __name__ == "__main__":
    main(tyro.cli(Config))
