"""What several devices or processes cost: the same models, trained by 1 and by more.

    python -m benchmarks.scaling

Trains 32 models of an MLP in 4 chunks on 1, 2, 4 and 8 virtual devices of one process,
and on 1, 2 and 4 processes that are connected over the loopback and share a folder.
Virtual devices share the machine's cores, so the best that can come out is the time of
one: what is above it is overhead. Each is run once before it is timed, so that no
compilation counts; but each process traces its programs anew, which counts. Seconds are
those from the first process's start to the last one's end; processor seconds, which
other programs on the machine change less, are summed over processes. Prints Markdown
tables and writes JSON.
"""

import argparse
import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
from typing import Any

from benchmarks.machine import in_words, machine

DEVICES, PROCESSES = (1, 2, 4, 8), (1, 2, 4)


def train(
    num_devices: int, num_processes: int, number: int, num_epochs: int, folder: str
) -> None:
    """Trains the share of one process, twice; prints what the second time took."""
    import jax

    jax.config.update("jax_num_cpu_devices", num_devices)
    jax.config.update("jax_compilation_cache_dir", f"{folder}/cache")
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)

    import numpy as np
    import optax

    import sam_jax
    from sam_jax.auditing.audit import train_shard
    from sam_jax.models import mlp
    from sam_jax.training.checkpoint import ChunkStore
    from sam_jax.training.processes import join_processes, wait_for_processes

    if num_processes > 1:
        port = os.environ["SCALING_PORT"]
        join_processes(f"localhost:{port}", num_processes, number)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2500, 100)).astype(np.float32)
    y = rng.integers(0, 10, 2500).astype(np.int32)
    arguments = (
        mlp(10, hidden=(128,)),
        {"sgd": optax.sgd(0.1)},
        (x[:2000], y[:2000], x[2000:], y[2000:]),
        sam_jax.TrainConfig(
            num_epochs=num_epochs, batch_size=50, models_per_chunk=8, progress=False
        ),
        sam_jax.AttackConfig(num_models=32),
    )
    for name in ("warm", "timed"):
        if num_processes > 1:
            wait_for_processes(name)
        start, processor = time.time(), time.process_time()
        store = ChunkStore(f"{folder}/{name}", shard=(number, num_processes))
        train_shard(*arguments, store)
    times = {"start": start, "end": time.time()}
    times["processor_seconds"] = time.process_time() - processor
    print(json.dumps(times))


def run(num_devices: int, num_processes: int, num_epochs: int) -> dict[str, Any]:
    """Returns what the same work takes on some devices of some processes."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        environment = os.environ | {"SCALING_PORT": str(probe.getsockname()[1])}
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-W", "ignore", "-m", "benchmarks.scaling"]
        processes = []
        for number in range(num_processes):
            share = [num_devices, num_processes, number, num_epochs, folder]
            processes.append(
                subprocess.Popen(
                    [*command, "--share", *map(str, share)],
                    env=environment,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
        outputs = [process.communicate()[0] for process in processes]
    times = [json.loads(output.splitlines()[-1]) for output in outputs]
    return {
        "devices": num_devices,
        "processes": num_processes,
        "seconds": max(t["end"] for t in times) - min(t["start"] for t in times),
        "processor_seconds": sum(t["processor_seconds"] for t in times),
    }


def print_table(rows: list[dict[str, Any]], field: str) -> None:
    """Prints what each number of devices or processes took against one."""
    print(f"\n| {field} | seconds | against 1 | processor seconds | against 1 |")
    print("| ---: | ---: | ---: | ---: | ---: |")
    for row in rows:
        cells = [str(row[field])]
        for unit in ("seconds", "processor_seconds"):
            cells += [f"{row[unit]:.1f}", f"{row[unit] / rows[0][unit]:.2f}"]
        print(f"| {' | '.join(cells)} |")


def main() -> None:
    """Prints the tables and writes JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--share", nargs=5, help="run this process's share and end")
    parser.add_argument("--num-epochs", type=int, default=300)
    parser.add_argument(
        "--output",
        type=pathlib.Path,
        default=pathlib.Path("benchmarks/results/scaling.json"),
    )
    options = parser.parse_args()
    if options.share:
        *numbers, folder = options.share
        return train(*map(int, numbers), folder)
    num_epochs = options.num_epochs
    devices = [run(count, 1, num_epochs) for count in DEVICES]
    processes = [run(1, count, num_epochs) for count in PROCESSES]
    facts = machine("cpu")
    record = {
        "num_epochs": num_epochs,
        "machine": facts,
        "load_average": os.getloadavg(),
    }
    record |= {"devices": devices, "processes": processes}
    options.output.write_text(json.dumps(record, indent=1) + "\n")
    print(in_words(facts))
    print_table(devices, "devices")
    print_table(processes, "processes")


if __name__ == "__main__":
    main()
