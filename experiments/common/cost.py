"""The cost of a sweep before it starts: models, steps, memory, hours."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp

from experiments.common.cells import Cell, Network, Perturbation, make_model

Device = Literal["laptop", "gpu"]
Design = Sequence[tuple[Cell, tuple[Perturbation, ...]]]

INPUTS: dict[str, tuple[tuple[int, ...], int]] = {
    "fashion_mnist_10k": ((28, 28, 1), 10),
    "retinamnist": ((28, 28, 3), 5),
    "hospital100": ((782,), 100),
    "location30_table": ((446,), 30),
    "retail100": ((600,), 100),
    "cifar10_subset": ((32, 32, 3), 10),
    "cifar100_subset": ((32, 32, 3), 100),
    "cifar10": ((32, 32, 3), 10),
    "cifar100": ((32, 32, 3), 100),
    "eyepacs": ((64, 64, 3), 5),
    "purchase100": ((600,), 100),
    "texas100": ((6169,), 100),
}
"""Shape of one input and number of classes of each data set."""

RATES: dict[Device, dict[Network, float]] = {
    "laptop": {
        "mlp": 1.1e11,
        "mlp_tanh": 1.1e11,
        "mlp_bn": 1.2e11,
        "cnn_bn": 3.3e10,
        "resnet18_bn": 1.1e11,
        "vgg16_bn": 1.1e11,
    },
    "gpu": {
        "mlp": 4e12,
        "mlp_tanh": 4e12,
        "mlp_bn": 4e12,
        "cnn_bn": 4e12,
        "resnet18_bn": 4e13,
        "vgg16_bn": 4e13,
    },
}
"""Floating-point operations a second. Those of a laptop are of the study's run on 2
cores (docs/results), but for tanh and VGG-16: guesses, as are all of a GPU."""

CHUNK = 16
"""Models that train at once, for the memory."""


@dataclasses.dataclass(frozen=True)
class Cost:
    """What training takes.

    Attributes:
        models: Models over all cells and optimizers.
        steps: Optimizer steps over all models.
        bytes: Weights, momentum, gradients and perturbed weights of the largest chunk
            of ``CHUNK`` models, without activations.
        hours: By the rate of the device.
    """

    models: int
    steps: int
    bytes: int
    hours: float

    def __str__(self) -> str:
        return (
            f"{self.models:,} models, {self.steps:,} steps, {self.bytes / 2**30:.2f} "
            f"GiB of weights at once, {self.hours:.2g} hours"
        )


@functools.lru_cache
def _one_gradient(
    network: Network, width: int, batch_size: int, dataset: str
) -> tuple[float, int]:
    """Operations of one gradient, and bytes of the weights; nothing is computed."""
    shape, num_classes = INPUTS[dataset]
    model = make_model(Cell(network=network, width=width), num_classes)
    x = jax.ShapeDtypeStruct((batch_size, *shape), jnp.float32)
    params, state = jax.eval_shape(model.init, jax.random.key(0), x)

    def loss(params: Any, state: Any, x: jax.Array) -> jax.Array:
        logits, _ = model.apply(params, state, x, True, jax.random.key(0))
        return jnp.sum(logits)

    analysis = jax.jit(jax.grad(loss)).lower(params, state, x).cost_analysis()
    size = sum(4 * leaf.size for leaf in jax.tree.leaves(params))
    return float((analysis or {}).get("flops", 0.0)), size


def operations(cell: Cell, perturbation: Perturbation) -> float:
    """Returns the floating-point operations of the training of all models."""
    shape = cell.network, cell.width, cell.batch_size, cell.dataset
    gradients = cell.num_models * cell.num_steps * perturbation.gradients
    return _one_gradient(*shape)[0] * gradients


def cost_of(design: Design, device: Device) -> Cost:
    """Returns the cost of a sweep on a laptop's 2 cores or on one GPU."""
    models, steps, largest, seconds = 0, 0, 0, 0.0
    for cell, perturbations in design:
        shape = cell.network, cell.width, cell.batch_size, cell.dataset
        size = _one_gradient(*shape)[1]
        models += cell.num_models * len(perturbations)
        steps += cell.num_models * len(perturbations) * cell.num_steps
        # Four trees of the size of the weights; see `Cost.bytes`.
        largest = max(largest, 4 * size * min(cell.num_models, CHUNK))
        work = sum(operations(cell, p) for p in perturbations)
        seconds += work / RATES[device][cell.network]
    return Cost(models, steps, largest, seconds / 3600)
