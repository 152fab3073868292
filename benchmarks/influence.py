"""Influence of every training on every test example: ours against plain NumPy.

    python -m benchmarks.influence

Three measurements, on random answers and masks:

1. The whole problem, 50,000 training and 10,000 test examples over 256 models, reduced
   block by block to influence entropies: time and peak memory. Nothing else in the
   process has been this large, so the peak is that of the method.
2. The matrix itself on a size that plain NumPy holds, against the formula as it is
   published (two products, of the mask and of its complement; float32, as in the
   authors' script). Contestants alternate; the ratio is the median over rounds.
3. The largest difference between the two results, and of each from float64.

Peak memory is the process's own (``ru_maxrss``), each contestant in a process of its
own. The formula is that of Feldman and Zhang's script,
https://pluskid.github.io/influence-memorization/.
"""

import dataclasses
import json
import multiprocessing
import pathlib
import resource
import statistics
import time

import numpy as np
import tyro

from benchmarks.machine import in_words, machine
from sam_jax.analysis import influence
from sam_jax.analysis.influence_entropy import influence_entropy


@dataclasses.dataclass(frozen=True)
class Config:
    """Sizes of the benchmark.

    Attributes:
        num_models: Models behind each influence.
        num_train: Training examples of the whole problem.
        num_test: Test examples of the whole problem.
        held_train: Training examples of the matrix that both contestants hold.
        held_test: Test examples of that matrix.
        num_rounds: Times that both are timed.
        output: Where the JSON goes; nowhere by default.
    """

    num_models: int = 256
    num_train: int = 50_000
    num_test: int = 10_000
    held_train: int = 25_000
    held_test: int = 5_000
    num_rounds: int = 7
    output: pathlib.Path | None = None


def make(num_models, num_train, num_test):
    """Training sets of about 70 %, as published, and answers that are often right."""
    rng = np.random.default_rng(0)
    keep = rng.random((num_models, num_train), np.float32) < 0.7
    return rng.random((num_models, num_test), np.float32) < 0.8, keep


def ours(outcome, keep):
    """Fills the matrix [T, N] block by block."""
    filled = np.empty((outcome.shape[1], keep.shape[1]), np.float32)
    for block in influence.influence_blocks(outcome, keep):
        stop = block.start + len(block.influence)
        filled[block.start : stop] = block.influence
    return filled


def published(outcome, keep):
    """The two products over masks, [T, N]."""

    def masked_dot(x, mask, floor=1e-10):
        x = x.T.astype(np.float32)
        count = np.maximum(np.sum(mask, axis=0, keepdims=True), floor)
        return (np.matmul(x, mask) / count).astype(np.float32)

    inside = masked_dot(outcome, keep)
    return inside - masked_dot(outcome, np.logical_not(keep))


def in_float64(outcome, keep):
    """The same two products in double precision."""
    sides = keep.astype(np.float64), 1.0 - keep
    inside, outside = (outcome.T @ side / side.sum(axis=0) for side in sides)
    return inside - outside


def peak_gib():
    """The largest memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def timed(function, *arguments):
    start = time.perf_counter()
    result = function(*arguments)
    return time.perf_counter() - start, result


def whole(sizes, send):
    """The whole problem in blocks; sends seconds and peak memory before and after."""
    outcome, keep = make(*sizes)
    before = peak_gib()
    seconds, found = timed(influence_entropy, outcome, keep)
    send.send((seconds, before, peak_gib(), float(np.nanmean(found.entropy))))


def one(contestant, sizes, send):
    """One contestant on the matrix that both hold; sends its peak memory."""
    outcome, keep = make(*sizes)
    contestant(outcome, keep)
    send.send(peak_gib())


def in_own_process(function, *arguments):
    """What a function sends from a process of its own."""
    context = multiprocessing.get_context("spawn")
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=function, args=(*arguments, send))
    process.start()
    result = receive.recv()
    process.join()
    return result


def main(config: Config) -> None:
    large = config.num_models, config.num_train, config.num_test
    small = config.num_models, config.held_train, config.held_test
    seconds, before, peak, _ = in_own_process(whole, large)
    peaks = [in_own_process(one, f, small) for f in (ours, published)]
    outcome, keep = make(*small)
    times: tuple[list[float], list[float]] = ([], [])
    results = []
    for _ in range(config.num_rounds):
        results = []
        for function, own in zip((ours, published), times, strict=True):
            own.append(0.0)
            own[-1], result = timed(function, outcome, keep)
            results.append(result)
    ratio = statistics.median(b / a for a, b in zip(*times, strict=True))
    exact = in_float64(outcome[:, :200], keep[:, :2000])
    gaps = [float(np.abs(results[0] - results[1]).max())]
    gaps += [float(np.abs(r[:200, :2000] - exact).max()) for r in results]
    medians = [statistics.median(own) for own in times]
    result = {
        "config": dataclasses.asdict(config) | {"output": str(config.output)},
        "machine": machine("cpu"),
        "whole": {"seconds": seconds, "peak_gib": peak, "peak_before_gib": before},
        "matrix": {
            "seconds": medians,
            "all_seconds": times,
            "times_faster": ratio,
            "peak_gib": peaks,
            "difference": gaps[0],
            "from_float64": gaps[1:],
        },
    }
    print_tables(result)
    if config.output:
        config.output.parent.mkdir(parents=True, exist_ok=True)
        config.output.write_text(json.dumps(result, indent=2) + "\n")


def print_tables(result):
    """Markdown."""
    config, large, held = (result[k] for k in ("config", "whole", "matrix"))
    print(f"{in_words(result['machine'])}\n")
    print("| Influence entropy, in blocks | seconds | peak memory, GiB | of it data |")
    print("| --- | ---: | ---: | ---: |")
    print(
        f"| {config['num_train']:,} x {config['num_test']:,}, {config['num_models']} "
        f"models | {large['seconds']:.1f} | {large['peak_gib']:.2f} | "
        f"{large['peak_before_gib']:.2f} |\n"
    )
    size = f"{config['held_train']:,} x {config['held_test']:,}"
    print(f"| Matrix {size} | seconds | peak memory, GiB | from float64 |")
    print("| --- | ---: | ---: | ---: |")
    for row, name in enumerate(("sam_jax", "plain NumPy, two products")):
        print(
            f"| {name} | {held['seconds'][row]:.2f} | {held['peak_gib'][row]:.2f} | "
            f"{held['from_float64'][row]:.1e} |"
        )
    print(
        f"\n{held['times_faster']:.2f} times faster (median of rounds); largest "
        f"difference {held['difference']:.1e}."
    )


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
