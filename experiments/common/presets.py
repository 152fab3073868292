"""Presets of the study's sweeps: cells and optimizers at each scale."""

from dataclasses import replace
from typing import Literal, get_args

from experiments.common.cells import Cell, Method, Network, Perturbation
from experiments.common.cost import Design
from sam_jax.optimizers.registry import default_rho

Scale = Literal["laptop", "gpu", "paper"]

SGD = Perturbation()
RELATIVES: tuple[Method, ...] = tuple(
    name for name in get_args(Method) if name not in ("sgd", "sam")
)


def sam(*radii: float) -> tuple[Perturbation, ...]:
    """Returns SGD and SAM at each radius."""
    return SGD, *(Perturbation("sam", rho) for rho in radii)


CENTRE = Cell(pool_size=500, num_epochs=500, weight_decay=5e-3)
"""Small enough that SAM interpolates too, long enough that more epochs change nothing:
the logits grow until weight decay holds them."""

MANY = replace(CENTRE, width=128, num_models=32)
"""The same with the models that small differences need; the width changes little."""

LARGER = Cell(pool_size=1000, num_epochs=400, weight_decay=5e-3)
"""Twice the pool: SAM no longer interpolates at every radius."""

_TABLE = Cell(pool_size=1000, num_epochs=200)

_RELATIVES = (Perturbation("asam", 0.5), Perturbation("random_sam", 0.1))

# Near the sign change, with many models; the lone SGDs have the training losses of SAM.
_CONFIRMED: Design = (
    (MANY, sam(0.05, 0.1)),
    # Other pools, masks and weights: the setting was found with seed 0.
    (replace(MANY, seed=1), sam(0.05)),
    (replace(MANY, seed=2), sam(0.05)),
    (replace(MANY, weight_decay=4e-3), (SGD,)),
    (replace(MANY, weight_decay=3.3e-3), (SGD,)),
    (replace(CENTRE, num_models=32), sam(0.05)),
    (replace(CENTRE, num_models=32, weight_decay=4e-3), (SGD,)),
    (replace(MANY, network="mlp_bn"), sam(0.05)),
    (replace(MANY, num_epochs=60, weight_decay=5e-4), sam(0.05)),
    (replace(MANY, dataset="hospital100"), sam(0.05)),
)

# The screen: one factor at a time around two centres, with few models.
_SCREEN: Design = (
    (CENTRE, (*sam(0.02, 0.05, 0.1, 0.2), *_RELATIVES)),
    (replace(CENTRE, weight_decay=4e-3), (SGD,)),
    (replace(CENTRE, weight_decay=3.3e-3), (SGD,)),
    (replace(CENTRE, weight_decay=1e-2), sam(0.05)),
    (replace(CENTRE, weight_decay=1.5e-3), sam(0.05, 0.1)),
    (replace(CENTRE, num_epochs=250), sam(0.05, 0.1)),
    (replace(CENTRE, num_epochs=1000), sam(0.05)),
    (replace(CENTRE, width=64), sam(0.05, 0.1)),
    (replace(CENTRE, width=512), sam(0.05)),
    (replace(CENTRE, label_noise=0.1), sam(0.05, 0.1)),
    (replace(CENTRE, network="mlp_bn"), sam(0.1)),
    (LARGER, sam(0.05, 0.1)),
    (replace(LARGER, num_epochs=300, weight_decay=1e-2), sam(0.05, 0.1)),
    (replace(LARGER, network="mlp_bn", num_epochs=200), sam(0.1, 0.2)),
    (
        replace(LARGER, network="mlp_bn", num_epochs=200, weight_decay=5e-4),
        sam(0.1, 0.2),
    ),
    (replace(_TABLE, dataset="hospital100"), sam(0.05)),
    (replace(_TABLE, dataset="location30_table"), sam(0.05, 0.1)),
)

# Other networks, pools and data.
_FEW = replace(CENTRE, width=128)
_CNN = replace(CENTRE, network="cnn_bn", width=8, num_epochs=100)
_SMALL_RESNET = replace(
    CENTRE, network="resnet18_bn", width=16, num_epochs=40, weight_decay=5e-4
)
_ELSEWHERE: Design = (
    (_CNN, sam(0.05)),
    (_SMALL_RESNET, sam(0.05)),
    (replace(_FEW, pool_size=2000, num_epochs=150), sam(0.05)),
    (replace(_FEW, augment=("crop",)), sam(0.05)),
    (replace(_FEW, dataset="retinamnist"), sam(0.05)),
    (replace(_FEW, dataset="retail100"), sam(0.05)),
    (replace(_FEW, dataset="cifar10_subset", num_epochs=300), sam(0.05)),
)

LAPTOP: Design = (*_CONFIRMED, *_SCREEN, *_ELSEWHERE)

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

_OTHER_NETWORKS: tuple[tuple[Network, int], ...] = (
    ("mlp", 512),
    ("mlp_bn", 512),
    ("cnn_bn", 32),
    ("vgg16_bn", 16),
)

GPU: Design = (
    *((replace(cell, num_models=64), optimizers) for cell, optimizers in _SCREEN[:11]),
    (_RESNET, sam(0.05, 0.1)),
    *(
        (replace(_RESNET, network=network, width=width), sam(0.05, 0.1))
        for network, width in _OTHER_NETWORKS
    ),
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

# How long tables and EyePACS train is a guess: the paper's settings are not known here.
_PAPER_TABLE = replace(
    _PAPER, network="mlp_tanh", width=1024, augment=(), num_epochs=100
)

PAPER: Design = tuple(
    (cell, sam(0.05, 0.1))
    for cell in (
        _PAPER,
        replace(_PAPER, dataset="cifar100"),
        replace(_PAPER, network="vgg16_bn"),
        replace(_PAPER_TABLE, dataset="purchase100", pool_size=157_859),
        replace(_PAPER_TABLE, dataset="texas100", pool_size=53_864),
        replace(_PAPER, dataset="eyepacs", pool_size=35_126),
    )
)

NETWORKS: frozenset[str] = frozenset(
    cell.name
    for cell in (
        MANY,
        replace(MANY, network="mlp_bn"),
        _CNN,
        _SMALL_RESNET,
        _RESNET,
        *(replace(_RESNET, network=n, width=width) for n, width in _OTHER_NETWORKS),
        _PAPER,
        replace(_PAPER, network="vgg16_bn"),
    )
)
"""Names of the cells, of all scales, that ``experiments.architectures`` shows."""

_VARIANTS = (*sam(0.05), *(Perturbation(name, default_rho(name)) for name in RELATIVES))

VARIANTS: dict[Scale, Design] = {
    "laptop": ((replace(MANY, num_models=16), _VARIANTS),),
    "gpu": ((replace(MANY, num_models=256), _VARIANTS),),
    "paper": ((_PAPER, _VARIANTS),),
}
"""SAM and its relatives, each at its published radius, and noise of SAM's radius."""


def mitigations(
    cell: Cell, private: Cell, noise_multipliers: tuple[float, ...]
) -> Design:
    """Returns a cell under each mitigation, SGD and SAM, the unmitigated one first.

    Args:
        cell: Trained without any.
        private: The training of ``dp``, which needs large batches and few steps.
        noise_multipliers: Of ``dp``.
    """
    cells = [
        cell,
        *(replace(cell, weight_decay=decay) for decay in (5e-3, 2e-2)),
        *(
            replace(cell, mitigation=mitigation, strength=strength)
            for mitigation, strength in (
                ("early_stop", 0.98),
                ("early_stop", 0.9),
                ("label_smoothing", 0.1),
                ("label_smoothing", 0.4),
                ("mixup", 1.0),
                ("temperature", 5.0),
                ("weight_averaging", 0.998),
            )
        ),
        *(replace(private, mitigation="dp", strength=s) for s in noise_multipliers),
    ]
    return tuple((each, sam(0.05)) for each in cells)


_UNMITIGATED = replace(MANY, num_models=16, num_epochs=300, weight_decay=5e-4)
_PRIVATE = replace(
    _UNMITIGATED, num_epochs=30, batch_size=200, learning_rate=0.5, weight_decay=0.0
)
_PRIVATE_PAPER = Cell(
    dataset="cifar10",
    pool_size=50_000,
    width=512,
    num_epochs=100,
    batch_size=4_000,
    weight_decay=0.0,
    num_models=256,
)

MITIGATIONS: dict[Scale, Design] = {
    "laptop": mitigations(_UNMITIGATED, _PRIVATE, (1.0, 4.0)),
    "gpu": mitigations(
        replace(_RESNET, num_models=16), replace(_PRIVATE, num_models=64), (1.0, 4.0)
    ),
    "paper": mitigations(_PAPER, _PRIVATE_PAPER, (1.0, 4.0)),
}
"""A network under each mitigation; ``dp`` needs one without batch norm."""

SCALES: dict[Scale, Design] = {"laptop": LAPTOP, "gpu": GPU, "paper": PAPER}
"""By the name of ``--scale``."""
