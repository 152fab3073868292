"""What each form of training many models takes of a TPU or GPU that is not there.

    pip install -e ".[tpu-plan]"
    python -m benchmarks.accelerators --targets v5e

    pip install -e ".[cuda]"                     # in an environment of its own
    python -m benchmarks.accelerators --targets h100

compiles single layers and the training of whole networks for the chip, and counts
operations, bytes and temporaries in what XLA made of them. Rows that the output already
holds are not compiled again.
"""

import argparse
import contextlib
import functools
import json
import pathlib
import time
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import SingleDeviceSharding

from benchmarks import machine
from sam_jax.models import MODELS
from sam_jax.models.ensemble_conv import conv, lax_kernels, primitives
from sam_jax.models.ensemble_conv.geometry import windows
from sam_jax.training import chips
from sam_jax.training.compiled_training import StepCost, compile_epoch, epoch_shapes
from sam_jax.training.lifted_training import lift_training
from sam_jax.training.program_cost import program_cost
from sam_jax.training.trainer import TrainingTask, num_steps_per_epoch
from sam_jax.types import Examples, TrainConfig

NETWORKS = {
    "cnn": (28, 28, 1),
    "fast_cifar": (32, 32, 3),
    "wide_resnet_16_4": (32, 32, 3),
    "resnet18": (32, 32, 3),
}
LAYERS = ((32, 64), (16, 128), (4, 512), (32, 16))
"""Height (and width) of the image, channels in and out; 3 x 3."""

FORMS = ("alone", "in turn", "grouped", "patches")
POOL, BATCH, LAYER_MODELS, NETWORK_MODELS = 50_000, 128, 32, 8


def patches(x, geo):
    return jnp.concatenate(windows(x, geo), axis=-1)


def conv_by_patches(x, kernel, geo):
    return patches(x, geo) @ kernel.reshape(-1, kernel.shape[-1])


def input_gradient_by_patches(g, kernel, geo):
    x = jax.ShapeDtypeStruct((len(g), *geo.image, kernel.shape[2]), g.dtype)
    scatter = jax.linear_transpose(lambda x: patches(x, geo), x)
    return scatter(g @ kernel.reshape(-1, kernel.shape[-1]).T)[0]


def kernel_gradient_by_patches(x, g, geo):
    flat = jnp.tensordot(patches(x, geo), g, axes=((0, 1, 2), (0, 1, 2)))
    return flat.reshape(*geo.window, x.shape[-1], g.shape[-1])


KERNELS = (
    (primitives.conv_p, conv_by_patches, lax_kernels.conv),
    (
        primitives.input_gradient_p,
        input_gradient_by_patches,
        lax_kernels.input_gradient,
    ),
    (
        primitives.kernel_gradient_p,
        kernel_gradient_by_patches,
        lax_kernels.kernel_gradient,
    ),
)


@contextlib.contextmanager
def convolutions(form: str) -> Iterator[None]:
    """Convolutions of accelerators by patches, if the form is that."""

    def register(column: int) -> None:
        for row in KERNELS:
            made = functools.partial(primitives.all_at_once, row[column])
            for platform in ("tpu", "cuda"):
                primitives.register_lowering(row[0], made, platform)

    register(1 if form == "patches" else 2)
    yield
    register(2)


def network_row(target: chips.Chip, name: str, form: str) -> dict[str, Any]:
    """A training step with batch norm and momentum, of one model."""
    shape, models = NETWORKS[name], 1 if form == "alone" else NETWORK_MODELS
    together = models if form in ("grouped", "patches") else 1
    config = TrainConfig(batch_size=BATCH, models_per_vmap=together)
    (device,) = chips.chip_devices(target)
    model = MODELS[name](10, dtype=jnp.bfloat16)
    task = TrainingTask(model, lambda _: optax.sgd(0.1, momentum=0.9), config)
    lifted = lift_training(task, (device,))
    pool = Examples(
        jax.ShapeDtypeStruct((POOL, *shape), jnp.float32),
        jax.ShapeDtypeStruct((POOL,), jnp.int32),
    )
    shapes = epoch_shapes(lifted, {}, pool, models, (device,))
    steps = num_steps_per_epoch(config, POOL)
    made = compile_epoch(lifted, shapes, target, 1, steps)
    return row(target, made.step) | {
        "models": models,
        "temporaries_mib": made.temporary_bytes / 2**20,
        "model_mib": made.model_bytes / 2**20,
    }


def layer_row(target: chips.Chip, layer: tuple[int, int], form: str) -> dict:
    """A convolution with ReLU, forward and both gradients."""
    size, channels = layer
    models = 1 if form == "alone" else LAYER_MODELS

    def both(x, kernel):
        out, pull = jax.vjp(lambda x, k: jax.nn.relu(conv(x, k)), x, kernel)
        return out, pull(out)

    def many(x, kernel):
        if form in ("alone", "in turn"):
            return jax.lax.map(lambda one: both(*one), (x, kernel))
        return jax.vmap(both)(x, kernel)

    placed = functools.partial(
        jax.ShapeDtypeStruct,
        dtype=jnp.bfloat16,
        sharding=SingleDeviceSharding(chips.chip_devices(target)[0]),
    )
    x = placed((models, BATCH, size, size, channels))
    kernel = placed((models, 3, 3, channels, channels))
    program = jax.jit(many).lower(x, kernel).compile(chips.compiler_options(target))
    cost = program_cost(program.as_text())
    each = 1 / models
    step = StepCost(
        3 * 2 * BATCH * size**2 * 9 * channels**2,
        *(each * part for part in (cost.traffic, cost.accessed, cost.kernels)),
        each * cost.cycles / target.clock,
    )
    temporaries = program.memory_analysis().temp_size_in_bytes
    return row(target, step) | {
        "models": models,
        "temporaries_mib": temporaries / 2**20,
    }


def row(target: chips.Chip, step: StepCost) -> dict[str, Any]:
    return {
        "gflop": step.operations / 1e9,
        "traffic_gb": step.traffic / 1e9,
        "accessed_gb": step.accessed / 1e9,
        "kernels": step.kernels,
        "arithmetic_ms": 1e3 * step.operations / target.peak_flops,
        "roofline_ms": 1e3 * step.roofline(target),
        "estimate_ms": 1e3 * step.estimate,
    }


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown, all figures of one model."""
    lines = [
        "| target | program | form | GFLOP | main memory, GB | any memory, GB "
        "| kernels | roofline, ms | XLA's estimate, ms | temporaries, MiB |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for made in rows:
        estimate = f"{made['estimate_ms']:.3g}" if made["estimate_ms"] else ""
        lines.append(
            f"| {made['target']} | {made['program']} | {made['form']} "
            f"({made['models']}) | {made['gflop']:.3g} | {made['traffic_gb']:.3g} "
            f"| {made['accessed_gb']:.3g} | {made['kernels']:.0f} "
            f"| {made['roofline_ms']:.3g} | {estimate} "
            f"| {made['temporaries_mib']:,.0f} |"
        )
    return "\n".join(lines)


def programs(args: argparse.Namespace) -> Iterator[tuple[str, Any]]:
    for size, channels in LAYERS if args.layers else ():
        name = f"{size} x {size}, {channels} to {channels}"
        yield name, functools.partial(layer_row, layer=(size, channels))
    for name in args.networks:
        yield name, functools.partial(network_row, name=name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--targets", nargs="+", default=["v5e"])
    parser.add_argument("--networks", nargs="*", default=list(NETWORKS))
    parser.add_argument("--layers", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--forms", nargs="+", default=list(FORMS), choices=FORMS)
    parser.add_argument("--output", default="benchmarks/results/accelerators.json")
    args = parser.parse_args()
    jax.config.update("jax_platforms", "cpu")
    path = pathlib.Path(args.output)
    rows = json.loads(path.read_text())["rows"] if path.exists() else []
    done = {(made["target"], made["program"], made["form"]) for made in rows}
    for text in args.targets:
        target, _ = chips.parse_chip(text)
        for name, make_row in programs(args):
            for form in args.forms:
                if (text, name, form) in done:
                    continue
                start = time.perf_counter()
                with convolutions(form):
                    made = make_row(target, form=form)
                seconds = time.perf_counter() - start
                named = {"target": text, "program": name, "form": form}
                rows.append(named | made | {"compile_s": round(seconds, 1)})
                about = machine.machine("none: compiled ahead of time")
                report = {"machine": about, "rows": rows}
                path.write_text(json.dumps(report, indent=1) + "\n")
                print(rows[-1], flush=True)
    print(table(rows))


if __name__ == "__main__":
    main()
