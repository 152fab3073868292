"""Claims of the paper, as its public summaries state them, and where each is tried."""

import dataclasses

from experiments.common.measure import MODELS


@dataclasses.dataclass(frozen=True)
class Claim:
    """A statement about SAM and SGD with the paper's figures.

    Attributes:
        statement: What the paper says.
        setting: Where it says so.
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
        cell: Name of the cell.
        optimizer: Method and radius.
    """

    label: str
    cell: str
    optimizer: str


_FASHION = "fashion_mnist_10k-n500"

PLACES = (
    Place(
        "Fashion-MNIST, MLP, at equilibrium with weight decay, SAM 0.05, 32 models",
        f"{_FASHION}-mlp256-e500-wd0.005-lr0.1-b64-m32-s0",
        "sam-0.05",
    ),
    Place(
        "the same with batch norm, SAM 0.1, 8 models",
        f"{_FASHION}-mlp_bn256-e500-wd0.005-lr0.1-b64-m8-s0",
        "sam-0.1",
    ),
)
"""Settings of the table: where the sign is the paper's, and where it is not."""
