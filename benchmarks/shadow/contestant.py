"""One contestant in a fresh interpreter: waits for the start, prints one JSON line."""

import dataclasses
import importlib
import json
import pathlib
import resource
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tyro

from benchmarks.shadow import workloads


@dataclasses.dataclass(frozen=True)
class Contestant:
    """How to run a contestant.

    Attributes:
        module: Module of ``benchmarks.shadow`` that it lives in.
        factory: ``factory(workload, data, device) -> (train, evaluate)``.
        lifted: Whether ``train`` takes many models at once, not one.
        cores: Threads of PyTorch, or JAX devices where there is more than one.
        num_processes: Processes that share the models.
        on_gpu: Whether it also makes sense on a GPU.
        by_default: Whether ``benchmarks.shadow_training`` runs it unasked.
    """

    module: str
    factory: str
    lifted: bool
    cores: int = 1
    num_processes: int = 1
    on_gpu: bool = True
    by_default: bool = True


CONTESTANTS = {
    "sam_jax": Contestant("jax_contestants", "library", True, cores=2),
    "jax-sequential": Contestant("jax_contestants", "sequential", False),
    "torch-1-thread": Contestant("torch_contestants", "sequential", False),
    "torch-2-threads": Contestant(
        "torch_contestants", "sequential", False, cores=2, on_gpu=False
    ),
    "torch-2-processes": Contestant(
        "torch_contestants", "sequential", False, num_processes=2, on_gpu=False
    ),
    "torch-vmap": Contestant("torch_contestants", "vmapped", True, cores=2),
    "torch-compiled": Contestant(
        "torch_contestants", "compiled", False, by_default=False
    ),
}
LEAN_LOOPS = ("torch-1-thread", "torch-2-threads")


@dataclasses.dataclass(frozen=True)
class Args:
    """What the contest tells a contestant; every ``stride``-th model is its own."""

    contestant: str
    workload: str
    data: pathlib.Path
    sizes: tuple[int, ...]
    num_epochs: int
    device: str = "cpu"
    first: int = 0
    stride: int = 1


def main(args: Args) -> None:
    chosen = CONTESTANTS[args.contestant]
    workload = dataclasses.replace(
        workloads.WORKLOADS[args.workload], num_epochs=args.num_epochs
    )
    module = importlib.import_module(f"benchmarks.shadow.{chosen.module}")
    module.use_cores(chosen.cores)
    data = workloads.load(args.data)
    make = lambda: getattr(module, chosen.factory)(workload, data, args.device)
    models = np.arange(args.first, max(args.sizes), args.stride)
    sizes = [size // args.stride for size in args.sizes]
    print("ready", flush=True)
    sys.stdin.readline()
    imported_mib = peak_mib()
    rows = (lifted_rows if chosen.lifted else sequential_rows)(make, models, sizes)
    result = {
        "imported_mib": imported_mib,
        "device_peak_mib": module.device_peak_mib(),
        "rows": rows,
    }
    print(json.dumps(result), flush=True)


def lifted_rows(
    make: Callable[[], Any], models: np.ndarray, sizes: Sequence[int]
) -> list[dict[str, Any]]:
    """Trains each number of models twice: first with all compilation, then without."""
    rows = []
    for size in sizes:
        train, evaluate = make()
        first = Stopwatch()
        train(models[:size])
        first.stop()
        again = Stopwatch()
        trained = train(models[:size])
        again.stop()
        peak = peak_mib()
        accuracies = [
            evaluate(*one) for one in zip(trained, models[:size], strict=True)
        ]
        rows.append(
            row(size, first.seconds, again.seconds, again.cpu_seconds, peak, accuracies)
        )
    return rows


def sequential_rows(
    make: Callable[[], Any], models: np.ndarray, sizes: Sequence[int]
) -> list[dict[str, Any]]:
    """Trains the models in turn; the first one's excess over the median is start-up."""
    train, evaluate = make()
    seconds, cpu_seconds, accuracies, rows = [], [], [], []
    for number in models:
        watch = Stopwatch()
        trained = train(number)
        watch.stop()
        seconds.append(watch.seconds)
        cpu_seconds.append(watch.cpu_seconds)
        accuracies.append(evaluate(trained, number))
        size = len(seconds)
        if size in sizes:
            steady, steady_cpu = (
                float(np.median(times[1:])) + sum(times[1:])
                for times in (seconds, cpu_seconds)
            )
            rows.append(
                row(size, sum(seconds), steady, steady_cpu, peak_mib(), accuracies)
            )
    return rows


def row(
    num_models: int,
    with_start: float,
    seconds: float,
    cpu_seconds: float,
    peak: float,
    accuracies: list[tuple[float, float]],
) -> dict[str, Any]:
    train_accuracy, test_accuracy = np.mean(accuracies, axis=0)
    return {
        "num_models": num_models,
        "seconds_with_start": with_start,
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "peak_mib": peak,
        "train_accuracy": float(train_accuracy),
        "test_accuracy": float(test_accuracy),
    }


class Stopwatch:
    """Wall time and CPU time (of all threads) from now to ``stop``."""

    def __init__(self):
        self._start = time.perf_counter(), time.process_time()

    def stop(self) -> None:
        """Sets ``seconds`` and ``cpu_seconds``."""
        self.seconds = time.perf_counter() - self._start[0]
        self.cpu_seconds = time.process_time() - self._start[1]


def peak_mib() -> float:
    """Most memory that this process held so far, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


if __name__ == "__main__":
    main(tyro.cli(Args))
