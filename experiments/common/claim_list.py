"""Claims of the paper, as its public summaries state them, and where each is tried."""

import dataclasses
from dataclasses import replace

from experiments.common.cells import Cell
from experiments.common.measure import MODELS
from experiments.common.presets import MANY


@dataclasses.dataclass(frozen=True)
class Claim:
    """A statement about SAM and SGD with the paper's figures.

    Attributes:
        statement: The paper's statement.
        setting: Data, metric and number of models behind it.
        figures: Its figures, SGD → SAM; empty where we know none.
        attack: Attack whose number is compared, or ``MODELS``.
        metric: Metric that is compared.
        sign: +1 where SAM's number is the larger one, -1 where it is the smaller one.
    """

    statement: str
    setting: str
    figures: str
    attack: str
    metric: str
    sign: int = 1


CLAIMS = (
    Claim(
        "SAM leaks more by the confidence attack",
        "CIFAR-10; CIFAR-100; Texas-100; EyePACS: balanced accuracy",
        "59.37 → 61.64; 77.19 → 79.10; 65.20 → 66.59; 73.40 → 77.07",
        "confidence",
        "balanced_accuracy",
    ),
    Claim(
        "SAM leaks more by the modified-entropy attack",
        "CIFAR-10: balanced accuracy",
        "59.51 → 61.70",
        "modified_entropy",
        "balanced_accuracy",
    ),
    Claim(
        "SAM leaks more by LiRA",
        "CIFAR-10; CIFAR-100, 256 models: AUC",
        "73.0 → 76.4; 92.6 → 93.7",
        "lira_online",
        "auc",
    ),
    Claim(
        "SAM leaks more by LiRA at low false-positive rates",
        "CIFAR-10, 256 models: TPR at 0.1 % FPR",
        "8.8 → 12.5",
        "lira_online",
        "tpr_at_fpr_0.001",
    ),
    Claim(
        "SAM leaks more by RMIA",
        "CIFAR-100, 256 models: AUC",
        "90.4 → 91.6",
        "rmia_online",
        "auc",
    ),
    Claim(
        "SAM generalises better",
        "CIFAR-10; CIFAR-100; EyePACS: test accuracy",
        "96.00 → 96.72; 80.30 → 81.60; 73.67 → 75.41",
        MODELS,
        "test_accuracy",
    ),
    Claim(
        "memorization rises where it is 0.6 to 0.85",
        "mean memorization from 0.6 to 0.85",
        "",
        "memorization",
        "0.6 to 0.85",
    ),
    Claim(
        "test accuracy rises on atypical examples",
        "test accuracy in bucket 1 of influence entropy",
        "",
        "test accuracy",
        "1",
    ),
    Claim(
        "the variance of unseen confidence falls under SAM (the paper's mechanism)",
        "theory and experiments",
        "",
        MODELS,
        "confidence_variance_unseen",
        -1,
    ),
)


@dataclasses.dataclass(frozen=True)
class Place:
    """A cell and radius at which the claims are tried.

    Attributes:
        label: What to call it in the table.
        scale: Scale and number of models.
        cell: Name of the cell.
        optimizer: Method and radius.
    """

    label: str
    scale: str
    cell: str
    optimizer: str


def _place(label: str, cell: Cell) -> Place:
    return Place(label, f"laptop, {cell.num_models} models", cell.name, "sam-0.05")


BATCH_NORM = _place("Fashion-MNIST, with batch norm", replace(MANY, network="mlp_bn"))
PLACES = (
    _place("Fashion-MNIST, MLP at equilibrium with weight decay, SAM 0.05", MANY),
    _place("the same, seed 1 (other pool, masks, weights)", replace(MANY, seed=1)),
    _place("the same, seed 2", replace(MANY, seed=2)),
    _place("the same on hospital100", replace(MANY, dataset="hospital100")),
    BATCH_NORM,
    _place(
        "Fashion-MNIST, stopped after 60 epochs, weight decay 5e-4",
        replace(MANY, num_epochs=60, weight_decay=5e-4),
    ),
)
"""Settings of the table: where the sign is the paper's, and where it is not."""
