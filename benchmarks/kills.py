"""Audits killed with SIGKILL at random moments, and what a rerun makes of them.

    python -m benchmarks.kills --tries 20

runs a small audit once undisturbed, then again and again: killed at a moment drawn
uniformly over the time of the first, and started again with the same command until it
ends. Each must end with the same signals bit for bit, and leave the same files.
"""

import argparse
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time

import numpy as np

COMMAND = [sys.executable, "-W", "ignore", "-m", "sam_jax", "audit", "--name", "run"]
COMMAND += ["--pool-size", "400", "--num-models", "8", "--num-epochs", "6"]
COMMAND += ["--models-per-chunk", "2"]


def run(folder: pathlib.Path, seconds: float | None = None) -> int | None:
    """Runs the audit in a folder; the exit status, or None if it was killed."""
    with open(folder / "log", "a") as log:
        process = subprocess.Popen(COMMAND, cwd=folder, stdout=log, stderr=log)
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return None


def signals(folder: pathlib.Path) -> dict[str, bytes]:
    """All arrays of the run, as bytes."""
    with np.load(folder / "runs" / "audit" / "run" / "signals.npz") as archive:
        return {name: archive[name].tobytes() for name in archive if name != "metadata"}


def files(folder: pathlib.Path) -> set[str]:
    """Names of all files of the run and beside it."""
    root = folder / "runs"
    return {str(path.relative_to(root)) for path in root.rglob("*")}


def main() -> None:
    """Prints a line for each try and a summary."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tries", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    moments = random.Random(options.seed)
    root = pathlib.Path(tempfile.mkdtemp())
    whole = root / "whole"
    whole.mkdir()
    begin = time.monotonic()
    assert run(whole) == 0, (whole / "log").read_text()[-2000:]
    duration = time.monotonic() - begin
    equal = 0
    for number in range(options.tries):
        folder = root / f"try{number}"
        folder.mkdir()
        moment = moments.uniform(0, duration)
        killed = run(folder, moment) is None
        kept = len(list(folder.rglob("*.npz")))
        # A run may have ended while its process had not; it is not run again.
        finished = (folder / "runs" / "audit" / "run" / "metrics.json").exists()
        status = 0 if finished else run(folder)
        same = status == 0 and signals(folder) == signals(whole)
        same = same and files(folder) == files(whole)
        equal += same
        print(
            f"killed at {moment:5.1f} s of {duration:.1f} s: "
            f"{kept if killed else 'all'} files of arrays kept, exit status {status}, "
            f"{'signals and files equal' if same else 'NOT EQUAL'}",
            flush=True,
        )
        if same:
            shutil.rmtree(folder)
    print(f"{equal} of {options.tries} reruns ended with the same signals and files.")
    shutil.rmtree(root, ignore_errors=equal == options.tries)


if __name__ == "__main__":
    main()
