"""Leakage by each attack, fit, margin and variance of a cell, SAM minus SGD."""

import dataclasses
from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float
from scipy import special

from sam_jax.analysis import output_variance
from sam_jax.attacks import ATTACKS, score_targets
from sam_jax.metrics import (
    bootstrap_attack,
    mean_over_models,
    pooled_difference,
    pooled_metrics,
    varying_columns,
)
from sam_jax.metrics.accuracy import accuracies
from sam_jax.metrics.shadow_thresholds import accuracy_at, shadow_thresholds
from sam_jax.types import Signals

ATTACK_NAMES = (
    "loss",
    "confidence",
    "entropy",
    "modified_entropy",
    "lira_online",
    "lira_online_global",
    "lira_online_plain",
    "lira_offline",
    "rmia_online",
)
FPRS = (0.01, 0.001)
MODELS = "models"
"""In place of an attack's name: rows about the models themselves."""


@dataclasses.dataclass(frozen=True)
class Row:
    """One number of one optimizer in one cell, beside that of SGD in the same cell.

    Attributes:
        cell: Name of the cell.
        optimizer: Method and radius, such as ``sam-0.05``.
        attack: Name of the attack, or ``MODELS``.
        metric: Name of the number.
        value: The number.
        sgd: The same number under SGD.
        difference: ``value - sgd``.
        low: Lower end of the paired 95 % interval of the difference.
        high: Upper end.
    """

    cell: str
    optimizer: str
    attack: str
    metric: str
    value: float
    sgd: float
    difference: float
    low: float
    high: float


def measure_cell(cell: str, signals: Mapping[str, Signals]) -> list[Row]:
    """Returns all rows of a cell; ``signals`` are by optimizer, with ``sgd`` in it."""
    rows = []
    by_model = {name: model_metrics(s) for name, s in signals.items()}
    for name, metrics in by_model.items():
        for metric, values in metrics.items():
            rows.append(
                model_row(cell, name, MODELS, metric, values, by_model["sgd"][metric])
            )
    for attack in ATTACK_NAMES:
        scores = {n: score_targets(ATTACKS[attack], s) for n, s in signals.items()}
        for name, values in scores.items():
            rows += leakage_rows(
                cell, name, attack, values, scores["sgd"], signals["sgd"]
            )
    return rows


def leakage_rows(
    cell: str,
    optimizer: str,
    attack: str,
    scores: Float[np.ndarray, "m n"],
    baseline: Float[np.ndarray, "m n"],
    signals: Signals,
) -> list[Row]:
    """Returns the metrics of an attack beside those of the baseline.

    AUC, balanced accuracy at the best threshold, and TPR are of the curve pooled over
    targets. The balanced accuracies named ``shadow`` are what an attacker reaches: the
    threshold comes from the other models, one for all or one a class; their intervals
    count models alone.

    Args:
        cell: Name of the cell.
        optimizer: Name of the optimizer.
        attack: Name of the attack.
        scores: Under the optimizer.
        baseline: Under SGD.
        signals: Of either: the mask and the labels count.
    """
    mask = varying_columns(np.asarray(signals.keep))
    keep = np.asarray(signals.keep)[:, mask]
    labels = np.asarray(signals.labels)[mask]
    pair = [np.asarray(s, np.float64)[:, mask] for s in (scores, baseline)]
    attacked, at_baseline = (
        bootstrap_attack(s, keep, fprs=FPRS, pooled_only=True) for s in pair
    )
    differences = pooled_difference(attacked, at_baseline)
    values, others = pooled_metrics(attacked), pooled_metrics(at_baseline)
    rows = []
    for metric, e in differences.items():
        both = values[metric].value, others[metric].value
        limits = e.value, e.low, e.high
        rows.append(Row(cell, optimizer, attack, metric, *both, *limits))
    for metric, groups in (
        ("shadow_balanced_accuracy", None),
        ("shadow_balanced_accuracy_per_class", labels),
    ):
        reached = (
            accuracy_at(s, keep, shadow_thresholds(s, keep, groups)) for s in pair
        )
        rows.append(model_row(cell, optimizer, attack, metric, *reached))
    return rows


def model_row(
    cell: str,
    optimizer: str,
    attack: str,
    metric: str,
    values: Float[np.ndarray, " k"],
    baseline: Float[np.ndarray, " k"],
) -> Row:
    """Returns a row of means over models (or examples), with a paired t interval."""
    e = mean_over_models(values - baseline)
    means = float(values.mean()), float(baseline.mean())
    return Row(cell, optimizer, attack, metric, *means, e.value, e.low, e.high)


def model_metrics(signals: Signals) -> dict[str, Float[np.ndarray, " k"]]:
    """Returns fit, margin and variance, one value a model or one an example.

    Means and standard deviations within a model are over examples; those called
    ``over_models`` are of one example, over the models that did (or did not) train on
    it, and there is one value for each example of the pool.
    """
    keep = np.asarray(signals.keep)
    pool = varying_columns(keep)
    train, test = accuracies(signals)
    phi, inside = output_variance.phi(signals)[:, pool], keep[:, pool]
    confidence = special.expit(phi)
    return {
        "train_accuracy": train,
        "test_accuracy": test,
        "train_loss": np.mean(np.logaddexp(0, -phi), axis=1, where=inside),
        "phi_mean_members": np.mean(phi, axis=1, where=inside),
        "phi_mean_unseen": np.mean(phi, axis=1, where=~inside),
        "phi_sd_members": np.std(phi, axis=1, where=inside),
        "phi_sd_unseen": np.std(phi, axis=1, where=~inside),
        "confidence_variance_unseen": np.var(confidence, axis=1, where=~inside),
        "phi_sd_over_models_members": sd_over_models(phi, inside),
        "phi_sd_over_models_unseen": sd_over_models(phi, ~inside),
        "confidence_variance_over_models_unseen": sd_over_models(confidence, ~inside)
        ** 2,
    }


def sd_over_models(
    values: Float[np.ndarray, "m n"], where: Bool[np.ndarray, "m n"]
) -> Float[np.ndarray, " n"]:
    """Returns the sample standard deviation of each column over the marked rows."""
    return np.std(values, axis=0, ddof=1, where=where)
