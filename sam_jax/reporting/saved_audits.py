"""Audits read back from their folders."""

import dataclasses
import pathlib
import types
import typing
from collections.abc import Mapping
from typing import Any

import numpy as np

from sam_jax.auditing.result import (
    Accuracy,
    AttackResult,
    AuditResult,
    ExposureChange,
    GivenModels,
    OptimizerResult,
)
from sam_jax.data.result_files import read_csv
from sam_jax.metrics.attack_metrics import AttackMetrics, Differences, RocBand
from sam_jax.metrics.estimate import Estimate
from sam_jax.metrics.example_risk import Reliability, Risk
from sam_jax.metrics.num_models import ModelCountCurve
from sam_jax.metrics.one_run_epsilon import OneRun
from sam_jax.metrics.single_checks import Check
from sam_jax.metrics.thresholds import DecisionEpsilon, Decisions
from sam_jax.reporting.run_files import Rows, read_run, require
from sam_jax.signals.files import load_signals
from sam_jax.signals.targets import load_targets
from sam_jax.types import Dataset, Examples, Origin, Signals, TrainLog


def load_audit(folder: str | pathlib.Path) -> AuditResult:
    """Returns the result of a finished audit from its folder.

    All figures, signals and curves are those of the run. Inputs are not kept with a
    run: ``dataset`` has labels alone.

    Args:
        folder: Of ``sam-jax audit``, or of ``AuditResult.save``.

    Raises:
        ArgumentError: If the folder holds no finished audit or attack of this version;
            explain and theory leave their values in ``results.csv``.

    Example:
        >>> result = load_audit("runs/audit/default")  # doctest: +SKIP
    """
    run = read_run(folder, "folder")
    numbers, folder = run.numbers, run.folder
    # Signals, curves and risks are in files; all other numbers are in metrics.json.
    risks = read_csv(require(folder, "risk.csv", "folder"))
    signals_by_name, canaries, given = _signals(folder, numbers.get("given"))
    optimizers = {}
    for name, signals in signals_by_name.items():
        optimizers[name] = _optimizer(
            name,
            numbers,
            signals,
            [row for row in run.curves if row["optimizer"] == name],
            [row for row in risks if row["optimizer"] == name],
        )
    baseline, validity = numbers["baseline"], numbers["assessment"]["validity"]
    of_baseline = [row for row in risks if row["optimizer"] == baseline]
    first = optimizers[baseline]
    return AuditResult(
        dataset=_dataset(numbers["dataset"], np.asarray(first.signals.labels), risks),
        baseline=baseline,
        optimizers=optimizers,
        comparison=decode(list[Check], validity.get("comparison", [])),
        columns=np.array([int(row["column"]) for row in of_baseline], np.int64),
        canaries=canaries,
        risk_fpr=numbers["risk_fpr"],
        level=first.attacks[next(iter(first.attacks))].metrics.level,
        seconds=numbers["seconds"],
        given=given,
    )


def decode(annotation: Any, value: Any) -> Any:
    """Returns plain JSON values as the type that they were written from.

    Args:
        annotation: A NamedTuple, a dataclass, ``list[X]``, ``dict[str, X]``, an array
            of jaxtyping or (of floats) of NumPy, or a plain type.
        value: What JSON holds; None stands for a number that is not finite.
    """
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is list:
        return [decode(inner[0], entry) for entry in value]
    if origin is tuple:
        return tuple(decode(inner[0], entry) for entry in value)
    if origin is dict:
        return {key: decode(inner[1], entry) for key, entry in value.items()}
    if origin in (typing.Union, types.UnionType):
        return None if value is None else decode(inner[0], value)
    if dataclasses.is_dataclass(annotation) or hasattr(annotation, "_fields"):
        hints = typing.get_type_hints(annotation)
        fields = {name: decode(hints[name], value[name]) for name in hints}
        # JSON has neither NaN nor infinity, and degrees of freedom may be either.
        if annotation is Estimate and value["degrees"] is None:
            known = value["value"] is not None
            fields["degrees"] = float("inf") if known else float("nan")
        return annotation(**fields)
    if annotation is float:
        return float("nan") if value is None else float(value)
    if annotation is np.ndarray:
        return np.array(value, np.float64)
    if hasattr(annotation, "array_type"):
        return np.array(value)
    return value


def _signals(
    folder: pathlib.Path, facts: Mapping[str, Any] | None
) -> tuple[dict[str, Signals], np.ndarray, GivenModels | None]:
    """Signals by optimizer or target, columns of canaries, how targets were given."""
    if facts is None:
        path = require(folder, "signals.npz", "folder")
        signals, _, canaries, *_ = load_signals([path], signals_are="phi")
        return signals, canaries, None
    path = require(folder, "targets.npz", "folder")
    targets = load_targets([path], signals_are="phi")
    shadows, canaries = {}, np.zeros(0, np.int64)
    if facts["shadow_models"] != "none":
        path = require(folder, "signals.npz", "folder")
        shadows = load_signals([path], signals_are="phi", as_shadows=True).signals
    given = GivenModels(shadows, facts["shadows_of"], targets.population)
    return targets.signals, canaries, given


def _optimizer(
    name: str, numbers: Mapping[str, Any], signals: Signals, curves: Rows, risks: Rows
) -> OptimizerResult:
    assessment = numbers["assessment"]
    differences = numbers["differences"].get(name, {})
    attacks = {}
    for attack, metrics in numbers["metrics"][name].items():
        bounds = assessment["one_run_epsilon"][name].get(attack, [])
        attacks[attack] = AttackResult(
            metrics=decode(AttackMetrics, metrics),
            roc=roc_band(
                [row for row in curves if row["attack"] == attack],
                metrics["num_non_members"],
            ),
            decisions=decode(
                list[Decisions], assessment["shadow_model_thresholds"][name][attack]
            ),
            epsilon=decode(list[DecisionEpsilon], assessment["epsilon"][name][attack]),
            one_run_epsilon=decode(list[OneRun], bounds),
            difference=decode(Differences | None, differences.get(attack)),
        )
    curve, log = assessment["number_of_models"][name], numbers["training"].get(name)
    to_resolve = assessment["models_to_resolve"][name]
    return OptimizerResult(
        signals=signals,
        log=None if log is None else TrainLog(*(_floats(log[f]) for f in log)),
        accuracy=decode(Accuracy, numbers["accuracy"][name]),
        accuracy_difference=decode(
            Accuracy | None, numbers["accuracy_differences"].get(name)
        ),
        checks=decode(list[Check], assessment["validity"][name]),
        attacks=attacks,
        model_count=decode(
            ModelCountCurve | None, curve and {**curve, "estimates": curve["auc"]}
        ),
        risk=Risk(**{field: _column(risks, field) for field in Risk._fields}),
        risk_change=None
        if name not in numbers["accuracy_differences"]
        else ExposureChange(_column(risks, "change"), _column(risks, "change_error")),
        reliability=decode(Reliability, assessment["risk_reliability"][name]),
        models_to_resolve={
            k: float("inf") if v is None else v for k, v in to_resolve.items()
        },
    )


def _dataset(facts: Mapping[str, Any], labels: np.ndarray, risks: Rows) -> Dataset:
    x, size = np.zeros((len(labels), 0), np.float32), facts["pool_size"]
    return Dataset(
        name=facts["name"],
        num_classes=facts["num_classes"],
        train=Examples(x[:size], labels[:size]),
        test=Examples(x[size:], labels[size:]),
        class_names=tuple(facts["class_names"]),
        source=facts["source"],
        train_origin=_origin(risks, size),
    )


def _origin(risks: Rows, size: int) -> Origin | None:
    """Rows of the user's data behind the pool; -1 for those that have no risk."""
    if not risks or "split" not in risks[0]:
        return None
    rows = np.full(size, -1)
    ids = np.full(size, "", object) if "id" in risks[0] else None
    for risk in risks:
        column = int(risk["column"])
        rows[column] = int(risk["row"])
        if ids is not None:
            ids[column] = risk["id"]
    return Origin(risks[0]["split"], rows, None if ids is None else ids.astype(np.str_))


def roc_band(rows: Rows, num_non_members: int) -> RocBand:
    """Returns a curve from its rows of ``roc.csv``."""
    return RocBand(
        fpr=_column(rows, "fpr"),
        tpr=_column(rows, "tpr"),
        low=_column(rows, "tpr_low"),
        high=_column(rows, "tpr_high"),
        num_non_members=num_non_members,
    )


def _column(rows: Rows, name: str) -> np.ndarray:
    """A column of a CSV file; whole numbers stay whole."""
    texts = [row[name] for row in rows]
    if texts and all(text.lstrip("-").isdigit() for text in texts):
        return np.array(texts, np.int64)
    return np.array(texts, np.float64)


def _floats(value: Any) -> np.ndarray:
    """An array of numbers, None for NaN."""
    return np.array(value, np.float64).astype(np.float32)
