"""Where the start of a training goes on a CPU, before its first step.

python -m benchmarks.compile_time

traces, lowers and compiles the three programs of a chunk of models (weights, memory of
the optimizer, an epoch), weights and epoch also with other options of XLA's compiler;
what that does to the run is timed in turn. CPU seconds beside wall seconds, as the
former hardly change on a busy machine. Nothing is read from a cache.
"""

import argparse
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks import machine
from sam_jax.models import MODELS
from sam_jax.training.compiled_training import epoch_shapes
from sam_jax.training.lifted_training import lift_training
from sam_jax.training.trainer import with_optimizer
from sam_jax.training.vmap_models import use_all_cores
from sam_jax.types import Examples, TrainConfig

OPTIONS: dict[str, dict[str, Any]] = {
    "level 3": {"xla_backend_optimization_level": 3},
    "level 1": {"xla_backend_optimization_level": 1},
}
NETWORKS = {"cnn": ((28, 28, 1), {}), "resnet18": ((28, 28, 1), {"width": 16})}
POOL, BATCH, STEPS = 1024, 64, 2


class Stopwatch:
    """Wall and CPU seconds since the last lap."""

    def __init__(self):
        self.last = (time.perf_counter(), time.process_time())

    def lap(self) -> str:
        """Returns CPU and wall seconds since the last one, as two columns."""
        now = (time.perf_counter(), time.process_time())
        wall, cpu = (b - a for a, b in zip(self.last, now, strict=True))
        self.last = now
        return f"{cpu:.1f} | {wall:.1f}"


def main(network: str, num_models: int, rounds: int) -> None:
    """Prints the phases, and the options of the compiler."""
    devices = tuple(jax.local_devices())
    shape, options = NETWORKS[network]
    config = TrainConfig(batch_size=BATCH, examples_per_epoch=STEPS * BATCH)
    model, tx = MODELS[network](10, **options), optax.sgd(0.1, momentum=0.9)
    lifted = lift_training(with_optimizer(model, tx, config), devices)
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(POOL, *shape)), jnp.float32)
    pool = Examples(x, jnp.asarray(rng.integers(10, size=POOL), jnp.int32))
    models, key = np.arange(num_models, dtype=np.int32), jax.random.key(0)
    facts = machine.in_words(machine.machine("cpu"))
    print(f"{network}, {num_models} models, batch {BATCH}; {facts}\n")
    print("| program | phase | CPU s | wall s |\n| --- | --- | ---: | ---: |")
    shapes = epoch_shapes(lifted, {}, pool, num_models, devices)
    # The real arguments, as shapes above say nothing of where arrays are.
    variables = lifted.init((key, pool.x[:1]), models)
    state = lifted.init_optimizer((), models, {}, variables)
    programs = {
        "weights": (lifted.init, ((key, pool.x[:1]), models)),
        "optimizer": (lifted.init_optimizer, ((), models, {}, variables)),
        "epoch": (lifted.epoch, shapes),
    }
    jax.clear_caches()
    lowered = {}
    for name, (program, arguments) in programs.items():
        watch = Stopwatch()
        traced = program.trace(*arguments)
        print(f"| {name} | trace | {watch.lap()} |")
        lowered[name] = traced.lower()
        print(f"| {name} | lower | {watch.lap()} |", flush=True)
    print("\n| program | options | CPU s | wall s |\n| --- | --- | ---: | ---: |")
    compiled: dict[str, dict[str, Any]] = {"weights": {}, "epoch": {}}
    for program in compiled:
        for name, given in OPTIONS.items():
            watch = Stopwatch()
            compiled[program][name] = lowered[program].compile(given)
            print(f"| {program} | {name} | {watch.lap()} |", flush=True)
    keep = jnp.asarray(rng.random((num_models, POOL)) < 0.5)
    epoch = (((pool, key, np.int32(0)), models, {}, keep, state), shapes)
    given = {"weights": (programs["weights"][1],) * 2, "epoch": epoch}
    print("\n| run of | options | CPU s | range |\n| --- | --- | ---: | --- |")
    for program, (arguments, like) in given.items():
        for name, seconds in run_in_turn(
            compiled[program], arguments, like, rounds
        ).items():
            low, middle, high = np.quantile(seconds, [0, 0.5, 1])
            print(f"| {program} | {name} | {middle:.3f} | {low:.3f}-{high:.3f} |")


def run_in_turn(
    compiled: dict[str, Any], arguments: Any, like: Any, rounds: int
) -> dict[str, list[float]]:
    """Returns the CPU seconds of all models, the options in turn, after a first run."""
    seconds: dict[str, list[float]] = {name: [] for name in compiled}
    for _ in range(rounds + 1):
        for name, program in compiled.items():
            placed = jax.tree.map(
                lambda a, s: (
                    jax.device_put(jnp.copy(a), s.sharding)
                    if hasattr(s, "sharding")
                    else a
                ),
                arguments,
                like,
            )
            jax.block_until_ready(placed)
            begin = time.process_time()
            jax.block_until_ready(program(*placed))
            seconds[name].append(time.process_time() - begin)
    return {name: times[1:] for name, times in seconds.items()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", default="resnet18", choices=NETWORKS)
    parser.add_argument("--num-models", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    use_all_cores()
    jax.config.update("jax_enable_compilation_cache", False)
    main(**vars(parser.parse_args()))
