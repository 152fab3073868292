"""One cell of a designed sweep: a training algorithm, SGD and the SAM family on it."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, Literal

import flax.linen as nn
import jax
import numpy as np
import optax

from experiments.common.mitigation import (
    Mitigation,
    mitigated,
    released_model,
    released_weights,
)
from experiments.common.study_data import load_data, take_pool
from sam_jax.auditing.plan import make_plan
from sam_jax.data.augment import AUGMENTATIONS, chain
from sam_jax.models import cnn, from_linen, mlp, mlp_tanh, resnet18, vgg16
from sam_jax.models.layers import batch_norm
from sam_jax.optimizers.registry import OPTIMIZERS
from sam_jax.signals import load_signals, save_signals
from sam_jax.signals.compute import ModelSignals, chunk_signals
from sam_jax.training import TrainingTask, train_chunks
from sam_jax.training.trainer import num_steps_per_epoch
from sam_jax.types import AugmentFn, Dataset, Model, Signals, TrainConfig

Network = Literal["mlp", "mlp_tanh", "mlp_bn", "cnn_bn", "resnet18_bn", "vgg16_bn"]
Method = Literal[
    "sgd", "sam", "usam", "asam", "gsam", "looksam", "friendly_sam", "gnp", "random_sam"
]
"""``m_sam`` needs gradients of groups of a batch, which cells do not pass."""

NUM_TEST = 2000
"""Test examples of a cell, where its data set has so many."""


@dataclasses.dataclass(frozen=True)
class Perturbation:
    """An optimizer of the sweep: plain SGD, or a member of the SAM family."""

    method: Method = "sgd"
    rho: float = 0.0

    @property
    def name(self) -> str:
        """Name of its file and of its rows: ``sam-0.05``."""
        return self.method if self.method == "sgd" else f"{self.method}-{self.rho:g}"

    @property
    def gradients(self) -> int:
        """Gradients in a step."""
        return 1 if self.method == "sgd" else 2


@dataclasses.dataclass(frozen=True)
class Cell:
    """Data, network and training that all optimizers of a cell share."""

    dataset: str = "fashion_mnist_10k"
    pool_size: int = 1000
    label_noise: float = 0.0
    network: Network = "mlp"
    width: int = 256
    augment: tuple[str, ...] = ()
    num_epochs: int = 800
    batch_size: int = 64
    learning_rate: float = 0.1
    weight_decay: float = 2e-3
    num_models: int = 8
    seed: int = 0
    mitigation: Mitigation = "none"
    strength: float = 0.0

    @property
    def name(self) -> str:
        """Name of its folder: the settings in one word."""
        words = [
            self.dataset,
            f"n{self.pool_size}",
            f"{self.network}{self.width}",
            f"e{self.num_epochs}",
            f"wd{self.weight_decay:g}",
            f"lr{self.learning_rate:g}",
            f"b{self.batch_size}",
        ]
        words += [f"noise{self.label_noise:g}"] if self.label_noise else []
        words += list(self.augment)
        if self.mitigation != "none":
            words.append(f"{self.mitigation}{self.strength:g}")
        return "-".join([*words, f"m{self.num_models}", f"s{self.seed}"])

    @property
    def num_steps(self) -> int:
        """Steps of the training of one model."""
        config = make_config(self)
        return self.num_epochs * num_steps_per_epoch(config, self.pool_size)


class MLPWithBatchNorm(nn.Module):
    """A dense layer, batch normalisation and ReLU, twice, before the last layer."""

    num_classes: int
    width: int

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Returns logits [B, C]."""
        x = x.reshape(len(x), -1)
        x = nn.relu(batch_norm(nn.Dense(self.width, use_bias=False)(x), train))
        return nn.Dense(self.num_classes)(x)


def make_model(cell: Cell, num_classes: int) -> Model:
    """Makes the network of a cell."""
    if cell.network == "mlp":
        return mlp(num_classes, hidden=(cell.width,))
    if cell.network == "mlp_tanh":
        return mlp_tanh(num_classes, [cell.width // n for n in (1, 2, 4, 8)])
    if cell.network == "mlp_bn":
        return from_linen(MLPWithBatchNorm(num_classes, cell.width))
    if cell.network == "cnn_bn":
        widths = (cell.width, 2 * cell.width)
        return cnn(num_classes, widths=widths, hidden=8 * cell.width)
    make_network = resnet18 if cell.network == "resnet18_bn" else vgg16
    return make_network(num_classes, width=cell.width)


def make_config(cell: Cell) -> TrainConfig:
    """Makes the settings of training; there is no early stop."""
    return TrainConfig(
        num_epochs=cell.num_epochs,
        batch_size=cell.batch_size,
        examples_per_epoch=cell.pool_size // 2,
    )


def make_optimizer_of(cell: Cell, method: Method) -> Callable[[Any], Any]:
    """Returns ``{"rho": radius} -> optimizer``, so that all radii share a program."""
    schedule = optax.cosine_decay_schedule(cell.learning_rate, cell.num_steps)
    base = optax.chain(
        optax.add_decayed_weights(cell.weight_decay), optax.sgd(schedule, momentum=0.9)
    )

    def make_optimizer(hyperparams: Any) -> optax.GradientTransformation:
        if method == "sgd":
            return base
        return OPTIMIZERS[method](base, rho=hyperparams["rho"])

    return make_optimizer


def make_augment(cell: Cell) -> AugmentFn | None:
    """Makes the augmentation of training batches."""
    if not cell.augment:
        return None
    return chain(*(AUGMENTATIONS[name] for name in cell.augment))


@functools.lru_cache(maxsize=4)
def _whole_data(name: str, data_dir: str | None) -> Dataset:
    return load_data(name, data_dir)


def make_data(cell: Cell, data_dir: str | None) -> Dataset:
    """Returns the pool and the test examples of a cell."""
    whole = _whole_data(cell.dataset, data_dir)
    return take_pool(whole, cell.pool_size, NUM_TEST, cell.label_noise, cell.seed)


def train_cell(
    cell: Cell,
    perturbation: Perturbation,
    folder: pathlib.Path,
    data_dir: str | None = None,
) -> Signals:
    """Trains all models of a cell under one optimizer, or reads what is there.

    Model m has the training set, the initial weights, the order of data and the
    augmentation of model m of every other optimizer.

    Args:
        cell: Data, network and training.
        perturbation: The optimizer.
        folder: Where the signals of this cell are kept, one file an optimizer.
        data_dir: Folder of data sets from files.

    Returns:
        Signals; columns are the pool, then the test examples.

    Raises:
        ValueError: If the data are missing.
        FloatingPointError: If a model diverges.
    """
    path = folder / f"{perturbation.name}.npz"
    if not path.exists():
        trained = _train(cell, perturbation, make_data(cell, data_dir))
        folder.mkdir(parents=True, exist_ok=True)
        save_signals(path, {perturbation.name: trained})
    return read_signals(path)


def read_signals(path: pathlib.Path) -> Signals:
    """Returns the signals of a file that ``train_cell`` wrote."""
    (signals,) = load_signals([path], signals_are="phi").signals.values()
    return signals


@functools.lru_cache(maxsize=4)
def make_task(
    cell: Cell, method: Method, num_classes: int
) -> tuple[TrainingTask, Model]:
    """Returns a training and the network whose outputs are attacked.

    The same objects again for the same arguments, so that nothing recompiles.

    Raises:
        ValueError: If ``dp`` meets batch norm: its gradients are of no one example.
    """
    if cell.mitigation == "dp" and cell.network.endswith("_bn"):
        raise ValueError(
            f"network must have no batch norm with mitigation dp, got {cell.network!r}."
        )
    task = TrainingTask(
        make_model(cell, num_classes),
        make_optimizer_of(cell, method),
        make_config(cell),
        augment=make_augment(cell),
    )
    choice = cell.mitigation, cell.strength
    return mitigated(task, *choice), released_model(task.model, *choice)


def _train(cell: Cell, perturbation: Perturbation, data: Dataset) -> Signals:
    plan = make_plan(data, cell.num_models, seed=cell.seed)
    examples = plan.examples()
    task, released = make_task(cell, perturbation.method, data.num_classes)
    radii = {"rho": np.full(cell.num_models, perturbation.rho)}
    chunks = train_chunks(plan.train_key, task, radii, plan.keep, examples)
    outputs = []
    for chunk in chunks:
        weights = released_weights(chunk.trained, cell.mitigation, cell.strength)
        outputs.append(chunk_signals(released, weights, examples))
    joined: Mapping[str, Any] = {
        field: np.concatenate([getattr(chunk, field) for chunk in outputs])
        for field in ModelSignals._fields
    }
    return Signals(**joined, keep=plan.keep, labels=np.asarray(examples.y))
