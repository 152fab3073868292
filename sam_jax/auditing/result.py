"""The result of an audit."""

import dataclasses
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from sam_jax.auditing import assessment
from sam_jax.metrics import attack_metrics
from sam_jax.metrics.estimate import Estimate
from sam_jax.types import (
    Dataset,
    Signals,
    TrainLog,
)

EQUAL_ACCURACY = 0.01
"""Training accuracies further apart than this are no comparison at equal fit."""


class Accuracy(NamedTuple):
    """Mean over models, with an interval for new models on the same examples."""

    train: Estimate
    test: Estimate


@dataclasses.dataclass(frozen=True)
class AuditResult:
    """What an audit found. Mappings go by optimizer, then by attack.

    Attributes:
        dataset: The data; ``train`` is the pool that the models drew from.
        baseline: The optimizer that the others are compared with.
        signals: Columns of the pool first, then the test examples (in no model).
        logs: Training loss and accuracy by model and epoch.
        accuracy: Of the final models, on their own examples and on the test examples.
        metrics: Of each attack, with intervals.
        roc: Pooled ROC curves with their bands.
        differences: Metrics less those of the baseline, paired by model and example.
        accuracy_differences: The same for accuracies.
        seconds: Time spent on training (by optimizer) and on attacks.
        assessment: Whether the figures may be trusted, and what follows from them.
        canaries: Columns of mislabelled examples with coins of their own, left out of
            the metrics; empty without.
    """

    dataset: Dataset
    baseline: str
    signals: dict[str, Signals]
    logs: dict[str, TrainLog]
    accuracy: dict[str, Accuracy]
    metrics: dict[str, dict[str, attack_metrics.AttackMetrics]]
    roc: dict[str, dict[str, attack_metrics.RocBand]]
    differences: dict[str, dict[str, attack_metrics.Differences]]
    accuracy_differences: dict[str, Accuracy]
    seconds: dict[str, float]
    assessment: assessment.Assessment
    canaries: Int[np.ndarray, " c"]

    @property
    def attacks(self) -> list[str]:
        """Names of the attacks, the main one first."""
        return list(self.metrics[self.baseline])
