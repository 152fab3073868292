"""What every contestant trains: networks, settings, data and keep masks."""

import dataclasses
import pathlib
import sys
from typing import NamedTuple

import numpy as np


@dataclasses.dataclass(frozen=True)
class Workload:
    """One network and its training, the same for all contestants.

    Attributes:
        network: "mlp" (dense layers) or "cnn" (3 x 3 convolutions with batch norm, each
            halving the image, then one hidden dense layer of 128), "resnet18" or
            "fast_cifar".
        widths: Hidden layers of the MLP, channels of the CNN, or the one width of the
            other networks.
        features: Shape of an example.
        num_classes: Classes; each has a random prototype.
        noise: Chance that a bit of the prototype is flipped (MLP), or standard
            deviation of the noise on a pixel (images).
        pool_size: Examples of which each model keeps about half.
        batch_size: Examples in a step.
        num_epochs: Passes over a model's own examples.
        learning_rate: Of SGD with momentum 0.9.
        precision: Of the computation, as in ``sam_jax.models.compute_dtype``; the
            parameters are float32. Of the PyTorch loops only the compiled one heeds it.
    """

    network: str
    widths: tuple[int, ...]
    features: tuple[int, ...]
    num_classes: int
    noise: float
    pool_size: int
    batch_size: int
    num_epochs: int
    learning_rate: float
    precision: str = "float32"

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in half of the pool."""
        return self.pool_size // 2 // self.batch_size

    @property
    def examples_per_model(self) -> int:
        """Examples that the training of one model goes through."""
        return self.num_epochs * self.steps_per_epoch * self.batch_size


WORKLOADS = {
    "mlp-128": Workload("mlp", (128,), (600,), 100, 0.35, 2048, 64, 10, 0.05),
    "mlp-256-128": Workload("mlp", (256, 128), (600,), 100, 0.35, 2048, 128, 10, 0.1),
    "small-cnn": Workload("cnn", (16, 32), (28, 28, 1), 10, 2.0, 512, 64, 4, 0.05),
    "resnet18-16": Workload("resnet18", (16,), (28, 28, 1), 10, 2.0, 512, 64, 2, 0.05),
}

COLOUR = (32, 32, 3)
WORKLOADS |= {
    "gpu-resnet18-16": Workload(
        *("resnet18", (16,), COLOUR, 10, 2.0, 10_000, 128, 2, 0.05, "bfloat16")
    ),
    "gpu-fast-cifar": Workload(
        *("fast_cifar", (64,), COLOUR, 10, 2.0, 10_000, 128, 2, 0.05, "bfloat16")
    ),
    "gpu-resnet18-64": Workload(
        *("resnet18", (64,), COLOUR, 10, 2.0, 10_000, 128, 2, 0.05, "bfloat16")
    ),
    "gpu-tiny": Workload(
        *("fast_cifar", (4,), (16, 16, 3), 10, 2.0, 64, 16, 1, 0.05, "bfloat16")
    ),
}
"""The second four are those of ``benchmarks.gpu``, the tiny one for its test."""


class Data(NamedTuple):
    """The pool [N], examples that no model trains on, and who keeps what [M, N]."""

    x: np.ndarray
    y: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    keep: np.ndarray


def make_examples(workload: Workload, num_examples: int, seed: int):
    """Inputs f32 [N, *features] and labels i32 [N]: noisy prototypes of the classes."""
    rng = np.random.default_rng(seed)
    y = rng.integers(workload.num_classes, size=num_examples, dtype=np.int32)
    shape = (num_examples, *workload.features)
    prototypes_rng = np.random.default_rng(0)
    if workload.network == "mlp":
        bits = prototypes_rng.random((workload.num_classes, *workload.features)) < 0.5
        return (bits[y] ^ (rng.random(shape) < workload.noise)).astype(np.float32), y
    side = workload.features[0] // 4
    coarse = prototypes_rng.standard_normal((workload.num_classes, side, side))
    images = np.kron(coarse, np.ones((1, 4, 4)))[..., None]
    x = images[y] + workload.noise * rng.standard_normal(shape)
    return x.astype(np.float32), y


def make_data(workload: Workload, num_models: int) -> Data:
    """The data of a workload, with the library's balanced keep mask."""
    import jax

    from sam_jax.training.membership import balanced_keep

    keep = balanced_keep(jax.random.key(3), num_models, workload.pool_size)
    pool = make_examples(workload, workload.pool_size, seed=1)
    return Data(*pool, *make_examples(workload, 1000, seed=2), keep)


def load(path: pathlib.Path) -> Data:
    """What ``main`` wrote; needs neither JAX nor PyTorch."""
    with np.load(path) as arrays:
        return Data(**arrays)


def main(name: str, num_models: str, path: str) -> None:
    """Writes the data in a process of its own, so that its memory counts for none."""
    np.savez(path, **make_data(WORKLOADS[name], int(num_models))._asdict())


if __name__ == "__main__":
    main(*sys.argv[1:])
