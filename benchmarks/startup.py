"""Wall time and compilations of a short audit with and without kept programs.

python -m benchmarks.startup
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from typing import Any

from benchmarks import machine

COUNTED = """
import sys, jax
from sam_jax.cli.main import main
counts = {"cache_hits": 0, "cache_misses": 0}
def count(event, **_):
    name = event.rsplit("/", 1)[-1]
    counts[name] = counts.get(name, 0) + 1
jax.monitoring.register_event_listener(count)
main(sys.argv[1:])
print(counts["cache_hits"], counts["cache_misses"])
"""


def run(options: list[str], cache: str) -> dict[str, Any]:
    """One audit in a process and a folder of its own."""
    environment = dict(os.environ, SAM_JAX_CACHE=cache)
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        made = subprocess.run(
            [sys.executable, "-c", COUNTED, "audit", *options],
            env=environment,
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            check=True,
        )
        seconds = time.perf_counter() - start
    hits, misses = map(int, made.stdout.split()[-2:])
    return {"seconds": seconds, "from the cache": hits, "compiled": misses}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--models", nargs="+", default=["mlp", "cnn"])
    parser.add_argument("--output", default="benchmarks/results/startup.json")
    args = parser.parse_args()
    rows = []
    print("| network | programs | seconds | compiled | from the cache |")
    print("| --- | --- | ---: | ---: | ---: |")
    for model in args.models:
        options = f"--model {model} --pool-size 800 --num-models 4 --num-epochs 1"
        with tempfile.TemporaryDirectory() as cache:
            for name, folder in (
                ("not kept", "off"),
                ("kept, first run", cache),
                ("kept, second run", cache),
            ):
                row = run(options.split(), folder)
                rows.append({"model": model, "programs": name} | row)
                compiled = row["compiled"] if folder != "off" else "all"
                print(
                    f"| {model} | {name} | {row['seconds']:.1f} | {compiled} "
                    f"| {row['from the cache']} |",
                    flush=True,
                )
    report = {"machine": machine.machine("cpu"), "rows": rows}
    pathlib.Path(args.output).write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
