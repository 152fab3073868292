"""The analysis of a full-size audit after its training: time by phase, peak memory.

    python -m benchmarks.analysis

Makes signals of two optimizers (256 models each, 50,000 examples that models train on
and 10,000 that none does, 2 queries; Gaussian phi that members and the second optimizer
raise) and takes the path of ``sam-jax audit`` and ``sam-jax attack`` from there: all
default attacks with intervals, thresholds, risk of single examples, comparison and
report. Prints a Markdown table and writes JSON. Peak memory is that of the whole
process, the signals among it.
"""

import argparse
import contextlib
import json
import os
import pathlib
import resource
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

import sam_jax
from benchmarks.machine import in_words, machine
from sam_jax.auditing import evaluate
from sam_jax.auditing.parallel_steps import Steps
from sam_jax.reporting import audit_report
from sam_jax.training.membership import balanced_keep
from sam_jax.types import Dataset, Examples, Signals

POPULATION = 6
"""One column in so many is in no training set."""

NUM_CLASSES = 10


def make_signals(
    num_models: int, num_examples: int, num_queries: int
) -> dict[str, Signals]:
    """Returns signals of two optimizers on one mask; the second leaks more."""
    rng = np.random.default_rng(0)
    num_pool = num_examples - num_examples // POPULATION
    keep = np.zeros((num_models, num_examples), np.bool_)
    keep[:, :num_pool] = balanced_keep(jax.random.key(0), num_models, num_pool)
    labels = rng.integers(0, NUM_CLASSES, num_examples, np.int32)
    level = rng.normal(2, 2, (num_examples, 1)).astype(np.float32)
    signals = {}
    for name, effect in (("sgd", 0.5), ("sam", 0.6)):
        phi = rng.standard_normal((num_models, num_examples, num_queries), np.float32)
        phi += level
        phi += np.float32(effect) * keep[..., None]
        entropy = _entropy(phi[..., 0])
        signals[name] = Signals(
            phi, phi[..., 0] > 0, *entropy, keep=keep, labels=labels
        )
    return signals


def _entropy(phi: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Entropy and modified entropy where the other classes share what is left."""
    entropy, modified = np.empty((2, *phi.shape), np.float32)
    others = np.float32(NUM_CLASSES - 1)
    for model, row in enumerate(phi):
        p = 1 / (1 + np.exp(-row))
        rest = np.exp(-np.logaddexp(0, row))
        log_p, log_rest = -np.logaddexp(0, -row), -np.logaddexp(0, row)
        entropy[model] = -p * log_p - rest * (log_rest - np.log(others))
        modified[model] = -rest * log_p - rest * np.log1p(-rest / others)
    return entropy, modified


class Phases:
    """Wall-clock and processor seconds by phase, and the peak of memory at its end."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    @contextlib.contextmanager
    def measure(self, name: str) -> Iterator[None]:
        """Measures what is run within, as a phase of this name."""
        wall, processor = time.perf_counter(), time.process_time()
        yield
        row = {
            "phase": name,
            "seconds": time.perf_counter() - wall,
            "processor_seconds": time.process_time() - processor,
            "peak_memory_gib": peak_memory_gib(),
        }
        self.rows.append(row)
        print(json.dumps(row), file=sys.stderr, flush=True)


def measured_steps(phases: Phases) -> type[Steps]:
    """Returns ``Steps`` whose runs are phases."""

    class MeasuredSteps(Steps):
        def run(self, title: str, steps: Mapping[Any, Any]) -> dict[Any, Any]:
            with phases.measure(title):
                return super().run(title, steps)

    return MeasuredSteps


def peak_memory_gib() -> float:
    """Returns the process's largest resident size so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    """Prints the table and writes JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num-models", type=int, default=256)
    parser.add_argument("--num-examples", type=int, default=60_000)
    parser.add_argument("--num-queries", type=int, default=2)
    parser.add_argument(
        "--output",
        type=pathlib.Path,
        default=pathlib.Path("benchmarks/results/analysis.json"),
    )
    options = parser.parse_args()
    sizes = options.num_models, options.num_examples, options.num_queries
    phases = Phases()
    with phases.measure("making the signals, not counted"):
        signals = make_signals(*sizes)
    labels = signals["sgd"].labels
    examples = Examples(np.zeros((len(labels), 0), np.float32), labels)
    nothing = Examples(examples.x[:0], labels[:0])
    dataset = Dataset("made", NUM_CLASSES, examples, nothing)
    config = sam_jax.AttackConfig(num_models=options.num_models)
    evaluate.Steps = measured_steps(phases)
    wall, processor = time.perf_counter(), time.process_time()
    result = evaluate.attack_signals(signals, dataset, config, progress=True)
    with tempfile.TemporaryFile() as file, phases.measure("report"):
        file.write(audit_report.report(result, {}).encode())
    record = {
        "sizes": sizes,
        "machine": machine(jax.devices()[0].device_kind),
        "phases": phases.rows,
        "seconds": time.perf_counter() - wall,
        "processor_seconds": time.process_time() - processor,
        "peak_memory_gib": peak_memory_gib(),
        "load_average": os.getloadavg(),
    }
    options.output.write_text(json.dumps(record, indent=1) + "\n")
    print_table(record)
    print(f"\n{sam_jax.verdict(result)}")


def print_table(record: dict[str, Any]) -> None:
    """Prints the phases and their sum."""
    models, examples, queries = record["sizes"]
    print(in_words(record["machine"]))
    print(f"{models} models x {examples:,} examples x {queries} queries x 2 optimizers")
    print("\n| phase | seconds | processor seconds | peak memory so far, GiB |")
    print("| --- | ---: | ---: | ---: |")
    for row in [*record["phases"], {"phase": "all that counts"} | record]:
        print(
            f"| {row['phase']} | {row['seconds']:.0f} | "
            f"{row['processor_seconds']:.0f} | {row['peak_memory_gib']:.2f} |"
        )


if __name__ == "__main__":
    main()
