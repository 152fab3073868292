"""Presets of the study's sweeps: cells and optimizers at each scale."""

import dataclasses
from dataclasses import replace
from typing import Literal

from experiments.common.cells import Cell, Perturbation
from experiments.common.cost import Design, Device

Scale = Literal["laptop", "gpu", "paper"]

SGD = Perturbation()


def sam(*radii: float) -> tuple[Perturbation, ...]:
    """Returns SGD and SAM at each radius."""
    return SGD, *(Perturbation("sam", rho) for rho in radii)


@dataclasses.dataclass(frozen=True)
class Preset:
    """A sweep and the device that its cost is given for."""

    design: Design
    device: Device


CENTRE = Cell(pool_size=500, num_epochs=500, weight_decay=5e-3)
"""Small enough that SAM interpolates too, long enough that more epochs change nothing:
the logits grow until weight decay holds them."""

LARGER = Cell(pool_size=1000, num_epochs=400, weight_decay=5e-3)
"""Twice the pool: SAM no longer interpolates at every radius."""

_VARIANTS = (
    Perturbation("sam", 0.02),
    Perturbation("sam", 0.05),
    Perturbation("sam", 0.1),
    Perturbation("sam", 0.2),
    Perturbation("asam", 0.5),
    Perturbation("random_sam", 0.1),
)

LAPTOP: Design = (
    # Near the sign change: many models, and the SGD of equal training loss.
    (replace(CENTRE, num_models=32), sam(0.05)),
    (replace(CENTRE, num_models=32, weight_decay=4e-3), (SGD,)),
    # One factor at a time around the centre.
    (CENTRE, (SGD, *_VARIANTS)),
    (replace(CENTRE, weight_decay=4e-3), (SGD,)),
    (replace(CENTRE, weight_decay=3.3e-3), (SGD,)),
    (replace(CENTRE, weight_decay=1e-2), sam(0.05)),
    (replace(CENTRE, weight_decay=1.5e-3), sam(0.05, 0.1)),
    (replace(CENTRE, num_epochs=250), sam(0.05, 0.1)),
    (replace(CENTRE, num_epochs=1000), sam(0.05)),
    (replace(CENTRE, width=512), sam(0.05)),
    (replace(CENTRE, network="mlp_bn"), sam(0.1)),
    # A larger pool.
    (LARGER, sam(0.05, 0.1)),
    (replace(LARGER, num_epochs=300, weight_decay=1e-2), sam(0.05, 0.1)),
    (replace(LARGER, network="mlp_bn", num_epochs=200), sam(0.1, 0.2)),
    (
        replace(LARGER, network="mlp_bn", num_epochs=200, weight_decay=5e-4),
        sam(0.1, 0.2),
    ),
)

_RESNET = Cell(
    dataset="cifar10_subset",
    pool_size=10_000,
    network="resnet18_bn",
    width=16,
    augment=("flip", "crop"),
    num_epochs=60,
    batch_size=128,
    weight_decay=5e-4,
    num_models=32,
)

GPU: Design = (
    *((replace(cell, num_models=64), optimizers) for cell, optimizers in LAPTOP[2:11]),
    (_RESNET, sam(0.05, 0.1)),
    (replace(_RESNET, augment=()), sam(0.05, 0.1)),
    (replace(_RESNET, dataset="cifar100_subset", pool_size=8_000), sam(0.1)),
)

_PAPER = Cell(
    dataset="cifar10",
    pool_size=50_000,
    network="resnet18_bn",
    width=64,
    augment=("flip", "crop"),
    num_epochs=200,
    batch_size=128,
    weight_decay=5e-4,
    num_models=256,
)

PAPER: Design = (
    (_PAPER, sam(0.05, 0.1)),
    (replace(_PAPER, dataset="cifar100"), sam(0.05, 0.1)),
)

SCALES: dict[Scale, Preset] = {
    "laptop": Preset(LAPTOP, "laptop"),
    "gpu": Preset(GPU, "gpu"),
    "paper": Preset(PAPER, "gpu"),
}
"""By the name of ``--scale``."""
