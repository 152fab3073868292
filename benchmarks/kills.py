"""Runs killed with SIGKILL at random moments, and what a rerun makes of them.

    python -m benchmarks.kills --tries 34

runs a small audit, an explanation of it, a small study and a small check of the theory
once undisturbed, then again and again: killed at a moment drawn uniformly over the
first one's processor time (which the machine's load does not change), and started again
with the same command until it ends. Each must end with the same arrays, tables and
numbers bit for bit, and leave the same files. Prints a line for each try and a table;
writes JSON after each.
"""

import argparse
import contextlib
import functools
import json
import math
import os
import pathlib
import random
import re
import shutil
import statistics
import sys
import tempfile
import time
from typing import Any, NamedTuple

import numpy as np
import psutil

RUN = [sys.executable, "-W", "ignore", "-m"]
AUDIT = ["sam_jax", "audit", "--name", "run", "--pool-size", "200", "--num-models", "8"]
AUDIT += ["--num-epochs", "6", "--models-per-chunk", "2", "--attacks", "lira_online"]
EXPLAIN = ["sam_jax", "explain", "--run", "runs/audit/run", "--rho", "0", "0.05", "0.1"]
EXPLAIN += ["--sweep-models", "4", "--sharpness-examples", "16", "--num-images", "2"]
THEORY = ["sam_jax", "theory", "--num-sets", "8", "--num-averages", "8"]
THEORY += ["--num-network-seeds", "2", "--num-network-steps", "30"]
COMMANDS = {
    "audit": [*RUN, *AUDIT],
    "explain": [*RUN, *EXPLAIN],
    "study": [*RUN, "benchmarks.kills", "--small-study"],
    "theory": [*RUN, *THEORY],
}
FINISHED = {
    "audit": "runs/audit/run/metrics.json",
    "explain": "runs/explain/default/metrics.json",
    "study": "runs/where_it_begins/default/theory/metadata.json",
    "theory": "runs/theory/default/metrics.json",
}
"""The file that a run writes last, or nearly so."""

ROOT = pathlib.Path(__file__).parents[1]


def small_study() -> None:
    """Runs the study on a few small cells, with a small theory."""
    from experiments import study, where_it_begins
    from experiments.common import presets
    from experiments.common.cells import Cell
    from sam_jax.cli import theory
    from sam_jax.cli.compilation_cache import use_compilation_cache

    use_compilation_cache()
    cell = Cell(pool_size=120, batch_size=16, width=16, num_epochs=3, num_models=4)
    design = [(Cell(**vars(cell) | {"seed": s}), presets.sam(0.05)) for s in range(2)]
    presets.SCALES["laptop"] = tuple(design)
    presets.VARIANTS["laptop"] = tuple(design[:1])
    mitigated = presets.mitigations(cell, cell, ())[:2]
    presets.MITIGATIONS["laptop"] = mitigated
    small = theory.Config(
        num_sets=8, num_averages=8, num_network_seeds=2, num_network_steps=30
    )
    study.theory.Config = functools.partial(study.theory.Config, settings=small)
    study.main(where_it_begins.Config())


class Ended(NamedTuple):
    """How a process ended; its status is None if it was killed."""

    status: int | None
    seconds: float


def run(command: str, folder: pathlib.Path, limit: float = math.inf) -> Ended:
    """Runs a command in a folder, and kills it after some seconds of processor time."""
    # A cache for all tries: compiling takes longer than what is of interest.
    paths = {"PYTHONPATH": str(ROOT), "SAM_JAX_CACHE": "../cache"}
    with open(folder / "log", "a") as log:
        process = psutil.Popen(
            COMMANDS[command],
            cwd=folder,
            stdout=log,
            stderr=log,
            env=os.environ | paths,
        )
        seconds = 0.0
        while process.poll() is None:
            with contextlib.suppress(psutil.Error):
                times = process.cpu_times()
                seconds = max(seconds, times.user + times.system)
            if seconds > limit:
                process.kill()
                process.wait()
                return Ended(None, seconds)
            time.sleep(0.01)
        return Ended(process.returncode, seconds)


def content(folder: pathlib.Path) -> dict[str, Any]:
    """All files of all runs by name; what they hold, where it is no moment or text."""
    found: dict[str, Any] = {}
    for path in (folder / "runs").rglob("*"):
        held: Any = None
        if path.suffix == ".npz":
            with np.load(path) as arrays:
                held = {n: arrays[n].tobytes() for n in arrays if n != "metadata"}
        elif path.suffix in (".csv", ".md"):
            # Pages say how long their run took.
            held = re.sub(rb"(took|attacks) \d+ s", b"", path.read_bytes())
        elif path.name == "metrics.json":
            held = json.loads(path.read_text())
            held.pop("seconds", None)
        found[str(path.relative_to(folder))] = held
    return found


def run_undisturbed(command: str, root: pathlib.Path) -> float:
    """Makes the run to compare with; returns its processor seconds."""
    whole = root / "whole"
    whole.mkdir(parents=True)
    # Once for what is compiled, and once for the time.
    if command == "explain":
        assert run("audit", whole).status == 0, (whole / "log").read_text()[-2000:]
        shutil.copytree(whole, root / "start")
    first = root / "first"
    shutil.copytree(whole, first)
    for folder in (first, whole):
        ended = run(command, folder)
        assert ended.status == 0, (folder / "log").read_text()[-2000:]
    return ended.seconds


def try_once(command: str, root: pathlib.Path, moment: float) -> dict[str, Any]:
    """Kills a run at a moment and starts it again; what came of it."""
    folder = root / "try"
    shutil.rmtree(folder, ignore_errors=True)
    if (root / "start").exists():
        shutil.copytree(root / "start", folder)
    folder.mkdir(exist_ok=True)
    first = run(command, folder, moment)
    # A run may have ended while its process had not; it is not run again.
    finished = (folder / FINISHED[command]).exists()
    status, again = (0, 0.0) if finished else run(command, folder)
    equal = status == 0 and content(folder) == content(root / "whole")
    if not equal:
        shutil.copytree(folder, root / f"unequal after {moment:.2f} s")
    return {
        "command": command,
        "killed": first.status is None,
        "finished": finished,
        "seconds": first.seconds,
        "seconds_again": again,
        "exit_status": status,
        "equal": equal,
    }


def print_table(results: list[dict[str, Any]], seconds: dict[str, float]) -> None:
    """Prints what came of all tries, a row a command."""
    print("\n| run | seconds | kills | ended the same | lost, median | lost, most |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for command, whole in seconds.items():
        tries = [r for r in results if r["command"] == command and r["killed"]]
        if not tries:
            continue
        again = [r for r in tries if not r["finished"]]
        lost = [r["seconds"] + r["seconds_again"] - whole for r in again]
        print(
            f"| {command} | {whole:.0f} | {len(tries)} | "
            f"{sum(r['equal'] for r in tries)} | "
            f"{statistics.median(lost):.1f} | {max(lost):.1f} |"
        )


def main() -> None:
    """Prints a line for each try and the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tries", type=int, default=34, help="kills of each command")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--commands", nargs="*", default=list(COMMANDS))
    parser.add_argument("--small-study", action="store_true", help="run this and end")
    parser.add_argument(
        "--output", type=pathlib.Path, default=ROOT / "benchmarks/results/kills.json"
    )
    options = parser.parse_args()
    if options.small_study:
        return small_study()
    moments = random.Random(options.seed)
    root = pathlib.Path(tempfile.mkdtemp())
    places = {command: root / command for command in options.commands}
    seconds = {c: run_undisturbed(c, place) for c, place in places.items()}
    results = []
    for _ in range(options.tries):
        for command, place in places.items():
            moment = moments.uniform(0, seconds[command])
            results.append(try_once(command, place, moment))
            print(json.dumps(results[-1]), flush=True)
            record = {"seconds": seconds, "tries": results}
            options.output.write_text(json.dumps(record, indent=1) + "\n")
    print_table(results, seconds)
    shutil.rmtree(root, ignore_errors=all(r["equal"] for r in results))


if __name__ == "__main__":
    main()
