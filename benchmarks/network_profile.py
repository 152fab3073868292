"""Where a training step of a network goes on one CPU core.

    python -m benchmarks.network_profile

Trains one model for some steps on one core, as each core does in a run of many models,
with JAX's profiler on, and sorts the time by what the compiled operations hold:
convolutions, matrix products, sums, transpositions and elementwise work, forwards and
backwards. The first step is left out, since it also pays for touching the memory for
the first time. GFLOP/s are those of the arithmetic that a network needs, as in
``benchmarks.convolution``. Prints Markdown and writes JSON.
"""

import collections
import dataclasses
import json
import os
import pathlib
import re
import sys
import tempfile
from typing import Any

import tyro

from benchmarks.machine import machine

KINDS = (
    # The first that a fused operation holds names it.
    ("convolution", "convolutions"),
    ("dot", "matrix products"),
    ("reduce", "sums"),
    ("transpose", "transpositions"),
    ("copy", "transpositions"),
)


@dataclasses.dataclass(frozen=True)
class Config:
    """What to profile."""

    network: str = "resnet18"
    """Network: cnn (28 x 28), resnet18 (width 16) or fast_cifar (width 16)."""
    batch_size: int = 64
    """Examples in a step."""
    num_steps: int = 6
    """Steps, of which the first does not count."""
    num_operations: int = 12
    """The longest operations to list; 0 for none."""
    output: pathlib.Path = pathlib.Path("benchmarks/results/network_profile.json")
    """Where the JSON goes."""


def main(config: Config) -> None:
    core = min(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    from benchmarks.convolution_contestants import gflops, peak_rate  # start JAX

    settings = {
        "task": config.network,
        "batch_size": config.batch_size,
        "num_steps": config.num_steps,
        "precision": "float32",
        "device": "cpu",
    }
    operations, events = profile(settings)
    times = per_step(events, config.num_steps)
    rows = sorted_by_kind(operations, times)
    total = sum(row["ms"] for row in rows)
    result = {
        "command": " ".join(["python -m benchmarks.network_profile", *sys.argv[1:]]),
        "machine": machine("cpu"),
        "settings": json.loads(json.dumps(dataclasses.asdict(config), default=str)),
        "ms_per_step": total,
        "gflops_per_second": 1e3 * gflops(settings) / total,
        "peak_gflops_per_second": peak_rate(settings),
        "kinds": rows,
        "operations": longest(operations, times, config.num_operations),
    }
    config.output.parent.mkdir(parents=True, exist_ok=True)
    config.output.write_text(json.dumps(result, indent=1) + "\n")
    print_tables(config, result)


def profile(settings: dict[str, Any]) -> tuple[dict[str, str], list[tuple[float, str]]]:
    """Each operation's text (what it holds and where it comes from), and its times."""
    import jax
    import jax.numpy as jnp

    from benchmarks.convolution_contestants import jax_training, make_data

    init, train = jax_training(settings)
    data = jax.tree.map(jnp.asarray, make_data(settings))
    state = jax.jit(init)(jax.random.key(0), data[0][0, :1])
    program = jax.jit(train).lower(data, state).compile()
    jax.block_until_ready(program(data, state))
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            jax.block_until_ready(program(data, state))
        (path,) = pathlib.Path(folder).rglob("*.xplane.pb")
        planes = list(jax.profiler.ProfileData.from_file(str(path)).planes)
        operations = texts_of(program.as_text())
        marks = sorted(
            (event.start_ns, event.name.removeprefix("end: "))
            for plane in planes
            for line in plane.lines
            for event in line.events
            if event.name.removeprefix("end: ") in operations
            and not event.name.removeprefix("end: ").startswith("while")
        )
    # One core does one thing at a time: an operation lasts until the next begins.
    ends = [start for start, _ in marks[1:]]
    return operations, [
        (1e-6 * (end - start), name)
        for (start, name), end in zip(marks, ends, strict=False)
    ]


def texts_of(hlo: str) -> dict[str, str]:
    """The text of each instruction, with that of the computation that it calls."""
    bodies: dict[str, list[str]] = collections.defaultdict(list)
    instructions: dict[str, str] = {}
    computation = ""
    for line in hlo.splitlines():
        if found := re.match(r"(?:ENTRY )?%?([\w.\-]+) \(.*\{$", line):
            computation = found[1]
        elif found := re.match(r"\s+(?:ROOT )?%?([\w.\-]+) = (.*)", line):
            instructions[found[1]] = found[2]
            bodies[computation].append(found[2])
    texts = {}
    for name, text in instructions.items():
        called = re.search(r" fusion\(.*calls=%?([\w.\-]+)", text)
        texts[name] = "\n".join([text, *(bodies[called[1]] if called else ())])
    return texts


def kind_of(text: str) -> str:
    """What an operation is, and whether it belongs to the forward or backward pass."""
    held = set(re.findall(r"[\])}] ([a-z][a-z\-]*)\(", text))
    kind = next((kind for op, kind in KINDS if op in held), "elementwise")
    backwards = "transpose(jvp" in text.split("\n", 1)[0]
    return f"{kind}, {'backward' if backwards else 'forward'}"


def sorted_by_kind(
    operations: dict[str, str], times: dict[str, float]
) -> list[dict[str, Any]]:
    """Milliseconds of each kind in a step."""
    kinds: dict[str, float] = collections.Counter()
    for name, ms in times.items():
        kinds[kind_of(operations[name])] += ms
    ranked = sorted(kinds.items(), key=lambda item: -item[1])
    return [{"kind": kind, "ms": ms} for kind, ms in ranked]


def per_step(events: list[tuple[float, str]], num_steps: int) -> dict[str, float]:
    """Mean milliseconds of each operation in the steps after the first."""
    by_name = collections.defaultdict(list)
    for ms, name in events:
        by_name[name].append(ms)
    return {
        name: sum(times[len(times) // num_steps :]) / (num_steps - 1)
        for name, times in by_name.items()
        if len(times) >= num_steps
    }


def longest(
    operations: dict[str, str], times: dict[str, float], number: int
) -> list[dict[str, Any]]:
    """The operations that take longest: time, kind, shape and layer."""
    ranked = sorted(times.items(), key=lambda item: -item[1])
    rows = []
    for name, ms in ranked[:number]:
        text = operations[name]
        source = re.search(r'op_name="([^"]*)"', text)
        rows.append(
            {
                "ms": ms,
                "kind": kind_of(text),
                "shape": text.split("{", 1)[0],
                "layer": "/".join(re.findall(r"[A-Z]\w*_\d+", source[1]))
                if source
                else "",
            }
        )
    return rows


def print_tables(config: Config, result: dict[str, Any]) -> None:
    total = result["ms_per_step"]
    print(
        f"\n{config.network}, batch {config.batch_size}, one core: {total:.1f} ms a "
        f"step, {result['gflops_per_second']:.0f} GFLOP/s; one large matrix product: "
        f"{result['peak_gflops_per_second']:.0f} GFLOP/s\n"
    )
    print("| operations | ms a step | share |\n| --- | ---: | ---: |")
    for row in result["kinds"]:
        print(f"| {row['kind']} | {row['ms']:.1f} | {row['ms'] / total:.0%} |")
    if result["operations"]:
        print("\n| longest | shape | layer | ms |\n| --- | --- | --- | ---: |")
    for row in result["operations"]:
        print(f"| {row['kind']} | {row['shape']} | {row['layer']} | {row['ms']:.2f} |")
    print(f"\nWritten to {config.output}")


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
