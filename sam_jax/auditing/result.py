"""The result of an audit: by optimizer, then by attack."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from sam_jax.auditing.run_result import RunResult
from sam_jax.metrics import (
    attack_metrics,
    example_risk,
    model_checks,
    multiple_tests,
    num_models,
    thresholds,
)
from sam_jax.metrics.estimate import Estimate, estimate_rows
from sam_jax.metrics.one_run_epsilon import OneRun
from sam_jax.types import Dataset, Signals, TrainLog

Mode = Literal["in and out", "out", "none"]
"""Whether shadow models trained with and without the examples, without, or are none."""

EQUAL_ACCURACY = 0.01
"""Training accuracies further apart than this are no comparison at equal fit."""


class Accuracy(NamedTuple):
    """Mean over models, with an interval for new models on the same examples."""

    train: Estimate
    test: Estimate


class ExposureChange(NamedTuple):
    """Exposure of each example minus that under the baseline, and its error."""

    value: Float[np.ndarray, " n"]
    error: Float[np.ndarray, " n"]


@dataclasses.dataclass(frozen=True)
class AttackResult:
    """What one attack reached on the models of one optimizer.

    Attributes:
        metrics: AUC, balanced accuracy and TPR at low FPR, with intervals.
        roc: The pooled ROC curve with its band.
        decisions: What shadow-model thresholds reach, one entry a rule.
        epsilon: Lower bounds on epsilon from these decisions, one for each delta.
        one_run_epsilon: Bounds from canaries, one for each delta; empty without.
        difference: The metrics minus the baseline's, paired by model and example;
            None for the baseline itself.
    """

    metrics: attack_metrics.AttackMetrics
    roc: attack_metrics.RocBand
    decisions: list[thresholds.Decisions]
    epsilon: list[thresholds.DecisionEpsilon] = dataclasses.field(default_factory=list)
    one_run_epsilon: list[OneRun] = dataclasses.field(default_factory=list)
    difference: attack_metrics.Differences | None = None


@dataclasses.dataclass(frozen=True)
class GivenModels:
    """How given models were attacked, where these are the targets.

    Attributes:
        shadows: Signals of the shadow models by training algorithm; empty without any.
        shadows_of: By target, the training algorithm of its shadow models.
        population: Examples set aside, which no model trained on.
    """

    shadows: dict[str, Signals]
    shadows_of: dict[str, str]
    population: Bool[np.ndarray, " n"]

    @property
    def mode(self) -> Mode:
        """What the shadow models are: ``"in and out"``, ``"out"`` or ``"none"``."""
        if not self.shadows:
            return "none"
        keeps = [np.asarray(signals.keep) for signals in self.shadows.values()]
        return "in and out" if any(keep.any() for keep in keeps) else "out"


@dataclasses.dataclass(frozen=True)
class OptimizerResult:
    """The models of one optimizer, or one given model, and what attacks reached.

    Attributes:
        signals: Columns of the pool first, then the test examples (in no model).
        accuracy: Of the final models, on their training sets and on test examples.
        attacks: By name, the main one first.
        risk: Exposure of each example that counts, under the main attack.
        reliability: Of the ranking by exposure.
        checks: Whether the models are alike enough to be shadow models of each other.
        log: Training loss and accuracy by model and epoch, where they are known.
        model_count: Strength of the main attack by number of models; None for a given
            model.
        accuracy_difference: Accuracies minus the baseline's; None for the baseline.
        risk_change: The same of the exposure.
        models_to_resolve: By metric of the main attack, the number of models that
            would resolve its difference from the baseline; empty for the baseline.
    """

    signals: Signals
    accuracy: Accuracy
    attacks: dict[str, AttackResult]
    risk: example_risk.Risk
    reliability: example_risk.Reliability
    checks: list[model_checks.Check]
    log: TrainLog | None = None
    model_count: num_models.ModelCountCurve | None = None
    accuracy_difference: Accuracy | None = None
    risk_change: ExposureChange | None = None
    models_to_resolve: dict[str, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, repr=False)
class AuditResult(RunResult):
    """The result of an audit; ``result[optimizer].attacks[attack]`` is one attack's.

    Attributes:
        dataset: The data; ``train`` is the pool that the models drew from.
        baseline: The optimizer that the others are compared with.
        optimizers: What was measured, by optimizer.
        comparison: Checks of whether the optimizers can be compared.
        columns: Columns of the signals that count as examples: pool, no canaries.
        canaries: Columns of mislabelled examples with independent coins; empty
            without.
        risk_fpr: False-positive rate at which single examples count as detected.
        level: Confidence level of all intervals.
        seconds: Time spent on training, or on signals of models that were kept (by
            optimizer), and on attacks.
        given: Where the targets are given models, ``optimizers`` by their names, how
            they were attacked: all intervals are then over examples alone. None where
            each model is a target in turn.
    """

    dataset: Dataset
    baseline: str
    optimizers: dict[str, OptimizerResult]
    comparison: list[model_checks.Check]
    columns: Int[np.ndarray, " n"]
    canaries: Int[np.ndarray, " c"]
    risk_fpr: float
    level: float
    seconds: dict[str, float]
    given: GivenModels | None = None

    def __getitem__(self, optimizer: str) -> OptimizerResult:
        """Returns what was measured under one optimizer."""
        return self.optimizers[optimizer]

    @property
    def attack_names(self) -> list[str]:
        """Names of the attacks, the main one first."""
        return list(self[self.baseline].attacks)

    @property
    def main_attack(self) -> str:
        """Name of the first attack."""
        return self.attack_names[0]

    @property
    def compared(self) -> dict[str, OptimizerResult]:
        """The optimizers other than the baseline that are paired with it."""
        return {
            name: optimizer
            for name, optimizer in self.optimizers.items()
            if optimizer.accuracy_difference is not None
        }

    @property
    def keep(self) -> np.ndarray:
        """The mask of all optimizers, or the baseline's where models are given."""
        return np.asarray(self[self.baseline].signals.keep)

    def leaks(self) -> list[multiple_tests.Finding]:
        """Returns what each (optimizer, attack) shows, corrected for their number."""
        metrics = {}
        for name, optimizer in self.optimizers.items():
            for attack, reached in optimizer.attacks.items():
                metrics[name, attack] = reached.metrics
        return multiple_tests.leak_test(metrics, self.level, self._min_targets)

    def changes(self) -> list[multiple_tests.Finding]:
        """Returns how each (optimizer, attack) differs from the baseline, likewise."""
        differences = {}
        for name, optimizer in self.compared.items():
            for attack, reached in optimizer.attacks.items():
                if reached.difference is not None:
                    differences[name, attack] = reached.difference
        if not differences:
            return []
        return multiple_tests.change_test(differences, self.level, self._min_targets)

    @property
    def _min_targets(self) -> int:
        """One given model is enough for a verdict on itself."""
        return multiple_tests.MIN_TARGETS if self.given is None else 1

    def to_rows(self) -> list[dict[str, Any]]:
        """Returns accuracies and metrics in long format, one row a value.

        Keys: ``optimizer``; ``minus``, the baseline for a difference, else ``""``;
        ``attack``, ``""`` for accuracies; ``metric``, ``value``, ``low``, ``high``.

        Example:
            >>> import pandas  # doctest: +SKIP
            >>> pandas.DataFrame(result.to_rows())  # doctest: +SKIP
        """
        rows = []

        def add(name: str, minus: str, attack: str, values: Mapping[str, Any]) -> None:
            place = {"optimizer": name, "minus": minus, "attack": attack}
            rows.extend(estimate_rows(place, values))

        for name, optimizer in self.optimizers.items():
            add(name, "", "", _accuracies(optimizer.accuracy))
            if optimizer.accuracy_difference is not None:
                gaps = _accuracies(optimizer.accuracy_difference)
                add(name, self.baseline, "", gaps)
            for attack, reached in optimizer.attacks.items():
                add(name, "", attack, reached.metrics.pooled)
                if reached.difference is not None:
                    add(name, self.baseline, attack, reached.difference.pooled)
        return rows

    def numbers(self) -> dict[str, Any]:
        """Returns what ``metrics.json`` holds."""
        from sam_jax.reporting import audit_numbers

        return audit_numbers.metrics_json(self)

    def write_report(self, folder: pathlib.Path, about: Mapping[str, Any]) -> None:
        """Writes report, curves, risk and signals; see ``RunResult.write_report``."""
        from sam_jax.reporting import audit_files

        audit_files.write_audit(self, folder, about)

    def __repr__(self) -> str:
        """A few lines: models, accuracies, strongest attacks, verdict."""
        from sam_jax.reporting import audit_tables

        return audit_tables.summary(self)

    def _repr_html_(self) -> str:
        """The main tables and the ROC curves, for notebooks."""
        from sam_jax.reporting import audit_report

        return audit_report.notebook_html(self)


def _accuracies(accuracy: Accuracy) -> dict[str, Estimate]:
    named = {}
    for data, estimate in accuracy._asdict().items():
        named[f"{data}_accuracy"] = estimate
    return named
