"""What a step of each SAM method costs, relative to SGD.

    python -m benchmarks.sam_step

Small MLPs (600-128-100, batch 64 of random data), momentum SGD as the base: one model,
and 32 models under ``vmap``, each inside ``jit`` and ``scan``. Contestants alternate
within each round; a round times every one once, and ratios are taken within rounds, so
that slow drifts of the machine cancel. Prints a table (median of the ratios, range of
the rounds) and writes it as JSON with machine and versions. About two minutes on 2 CPU
cores.
"""

import dataclasses
import json
import pathlib
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro

from benchmarks.machine import in_words, machine
from sam_jax.optimizers.registry import OPTIMIZERS

TARGETS = {"sam": 2.1, "looksam": 1.4}


@dataclasses.dataclass(frozen=True)
class Config:
    """Sizes of the benchmark.

    Attributes:
        num_models: Models in the ensemble.
        num_steps: Steps per timed call for the ensemble; 8 times as many for one model.
        num_rounds: Times that every contestant is timed.
        batch_size: Examples per step; a multiple of 8 (m-SAM's groups).
        layers: Widths of the MLP, input to output.
        optimizers: Contestants; "sgd" is always timed.
        output: Where the JSON goes.
    """

    num_models: int = 32
    num_steps: int = 20
    num_rounds: int = 7
    batch_size: int = 64
    layers: tuple[int, ...] = (600, 128, 100)
    optimizers: tuple[str, ...] = tuple(OPTIMIZERS)
    output: pathlib.Path = pathlib.Path("benchmarks/results/sam_step.json")


def main(config: Config) -> None:
    names = tuple(dict.fromkeys(("sgd", *config.optimizers)))
    tables = {}
    for num_models in (1, config.num_models):
        num_steps = config.num_steps * (8 if num_models == 1 else 1)
        runs = {
            name: compiled_run(config, name, num_models, num_steps) for name in names
        }
        tables[f"{num_models} models"] = measure(runs, num_steps, config.num_rounds)
    result = {
        "config": dataclasses.asdict(config) | {"output": str(config.output)},
        "machine": machine(jax.devices()[0].device_kind),
        "tables": tables,
    }
    print_tables(result)
    config.output.parent.mkdir(parents=True, exist_ok=True)
    config.output.write_text(json.dumps(result, indent=2) + "\n")
    print(f"Written to {config.output}")


def compiled_run(config: Config, name: str, num_models: int, num_steps: int):
    """A function of no arguments that trains all models for some steps."""
    keys = jax.random.split(jax.random.key(0), num_models)
    x = jax.random.normal(jax.random.key(1), (num_models, 512, config.layers[0]))
    y = jax.random.randint(
        jax.random.key(2), (num_models, 512), 0, config.layers[-1], jnp.int32
    )
    params = jax.vmap(lambda key: init(key, config.layers))(keys)
    tx = OPTIMIZERS[name](optax.sgd(0.01, momentum=0.9))

    def step(params, opt_state, key, x, y, step):
        rows = jax.random.randint(
            jax.random.fold_in(key, step), (config.batch_size,), 0, 512, jnp.int32
        )
        batch = x[rows], y[rows]

        def group_grad_fn(params, group, num_groups):
            group_size = config.batch_size // num_groups
            part = lambda a: jax.lax.dynamic_slice_in_dim(
                a, group * group_size, group_size
            )
            return jax.grad(loss)(params, *map(part, batch))

        value, grads = jax.value_and_grad(loss)(params, *batch)
        updates, opt_state = tx.update(
            grads,
            opt_state,
            params,
            grad_fn=lambda params: jax.grad(loss)(params, *batch),
            group_grad_fn=group_grad_fn,
            step=step,
            key=key,
        )
        return optax.apply_updates(params, updates), opt_state, value

    all_models = jax.vmap(step, in_axes=(0, 0, 0, 0, 0, None))
    if num_models == 1:
        lead = lambda tree: jax.tree.map(lambda leaf: leaf[0], tree)
        keys, x, y, params, all_models = (*map(lead, (keys, x, y, params)), step)

    @jax.jit
    def run(params, opt_state):
        def body(carry, index):
            *carry, value = all_models(*carry, keys, x, y, index)
            return tuple(carry), value

        steps = jnp.arange(num_steps, dtype=jnp.int32)
        return jax.lax.scan(body, (params, opt_state), steps)

    opt_state = tx.init(params) if num_models == 1 else jax.vmap(tx.init)(params)
    compiled = run.lower(params, opt_state).compile()
    return lambda: jax.block_until_ready(compiled(params, opt_state))


def init(key, layers):
    """Weights of an MLP, He-scaled."""
    pairs = zip(layers[:-1], layers[1:], strict=True)
    return [
        {
            "kernel": jax.random.normal(jax.random.fold_in(key, i), pair)
            * (2 / pair[0]) ** 0.5,
            "bias": jnp.zeros(pair[1]),
        }
        for i, pair in enumerate(pairs)
    ]


def loss(params, x, y):
    """Cross-entropy of a ReLU MLP."""
    for layer in params[:-1]:
        x = jax.nn.relu(x @ layer["kernel"] + layer["bias"])
    logits = x @ params[-1]["kernel"] + params[-1]["bias"]
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, y))


def measure(runs, num_steps: int, num_rounds: int):
    """Seconds a step and ratios to SGD, by optimizer; the order alternates."""
    seconds = {name: [] for name in runs}
    for run in runs.values():
        run()
    for index in range(num_rounds):
        for name in list(runs) if index % 2 == 0 else reversed(runs):
            start = time.perf_counter()
            runs[name]()
            seconds[name].append((time.perf_counter() - start) / num_steps)
    rows = {}
    for name, times in seconds.items():
        ratios = np.array(times) / np.array(seconds["sgd"])
        rows[name] = {
            "ms_per_step": 1e3 * float(np.median(times)),
            "ratio": float(np.median(ratios)),
            "ratio_low": float(np.min(ratios)),
            "ratio_high": float(np.max(ratios)),
        }
    return rows


def print_tables(result) -> None:
    print(in_words(result["machine"]))
    for title, rows in result["tables"].items():
        print(f"\n{title:<14} {'ms/step':>9} {'x SGD':>7} {'range':>13}  target")
        for name, row in rows.items():
            spread = f"{row['ratio_low']:.2f}-{row['ratio_high']:.2f}"
            target = f"<= {TARGETS[name]}" if name in TARGETS else ""
            print(
                f"{name:<14} {row['ms_per_step']:>9.3f} {row['ratio']:>7.2f}"
                f" {spread:>13}  {target}"
            )


if __name__ == "__main__":
    main(tyro.cli(Config))
