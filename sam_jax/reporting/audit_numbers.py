"""Every number of an audit as plain values."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from sam_jax.auditing.result import AttackResult, AuditResult, OptimizerResult
from sam_jax.reporting.plain_json import plain
from sam_jax.reporting.verdict import verdict
from sam_jax.types import Dataset

NUM_MOST_EXPOSED = 20
"""Examples whose risk is among the numbers; all are in ``risk.csv``."""


def metrics_json(result: AuditResult) -> dict[str, Any]:
    """Returns every number of the audit as plain values for JSON."""
    numbers: dict[str, Any] = {
        "verdict": verdict(result),
        "leaks": [_finding(finding) for finding in result.leaks()],
        "changes": [_finding(finding) for finding in result.changes()],
        "baseline": result.baseline,
        "dataset": _dataset(result.dataset),
        "num_examples": len(result.columns),
        "risk_fpr": result.risk_fpr,
        "seconds": result.seconds,
        "training": _training(result),
    }
    numbers |= _by_optimizer(result)
    if result.given is not None:
        numbers["given"] = {
            "shadow_models": result.given.mode,
            "shadows_of": result.given.shadows_of,
            "intervals": "over examples",
        }
    assessment: dict[str, Any] = {"validity": {}}
    for name, optimizer in result.optimizers.items():
        assessment["validity"][name] = [check._asdict() for check in optimizer.checks]
        for field, value in _assessment(optimizer, result).items():
            assessment.setdefault(field, {})[name] = value
    if result.comparison:
        assessment["validity"]["comparison"] = [c._asdict() for c in result.comparison]
    return numbers | {"assessment": assessment}


def _by_optimizer(result: AuditResult) -> dict[str, Any]:
    """Accuracies and metrics, and their differences from the baseline."""
    accuracy, metrics, accuracy_differences, differences = {}, {}, {}, {}
    for name, optimizer in result.optimizers.items():
        accuracy[name] = _estimates(optimizer.accuracy._asdict())
        metrics[name] = {k: a.metrics.as_dict() for k, a in optimizer.attacks.items()}
        if optimizer.accuracy_difference is None:
            continue
        gaps = optimizer.accuracy_difference._asdict()
        accuracy_differences[name], differences[name] = _estimates(gaps), {}
        for attack, reached in optimizer.attacks.items():
            if reached.difference is not None:
                differences[name][attack] = reached.difference.as_dict()
    return {
        "accuracy": accuracy,
        "metrics": metrics,
        "accuracy_differences": accuracy_differences,
        "differences": differences,
    }


def _dataset(dataset: Dataset) -> dict[str, Any]:
    return {
        "name": dataset.name,
        "num_classes": dataset.num_classes,
        "pool_size": len(dataset.train.y),
        "class_names": list(dataset.class_names),
        "source": dataset.source,
    }


def _training(result: AuditResult) -> dict[str, Any]:
    """Loss and accuracy by model and epoch, where they are known."""
    curves = {}
    for name, optimizer in result.optimizers.items():
        if optimizer.log is not None:
            log = optimizer.log._asdict()
            curves[name] = {k: np.asarray(v).tolist() for k, v in log.items()}
    return curves


def _assessment(optimizer: OptimizerResult, result: AuditResult) -> dict[str, Any]:
    """What may be trusted and used, of one optimizer."""
    curve = optimizer.model_count
    count = None
    if curve is not None:
        count = {
            "num_models": list(curve.num_models),
            "auc": [estimate._asdict() for estimate in curve.estimates],
            "last_gain": curve.last_gain._asdict(),
        }
    return {
        "shadow_model_thresholds": _by_attack(optimizer, _decisions),
        "epsilon": _by_attack(optimizer, lambda a: [b._asdict() for b in a.epsilon]),
        "one_run_epsilon": _one_run_epsilon(optimizer),
        "number_of_models": count,
        "models_to_resolve": optimizer.models_to_resolve,
        "risk": _most_exposed(optimizer, result),
        "risk_reliability": optimizer.reliability._asdict(),
    }


def _by_attack(optimizer: OptimizerResult, plain: Any) -> dict[str, Any]:
    return {name: plain(attack) for name, attack in optimizer.attacks.items()}


def _one_run_epsilon(optimizer: OptimizerResult) -> dict[str, Any]:
    by_attack = {}
    for name, attack in optimizer.attacks.items():
        if attack.one_run_epsilon:
            by_attack[name] = [bound._asdict() for bound in attack.one_run_epsilon]
    return by_attack


def _decisions(attack: AttackResult) -> list[dict[str, Any]]:
    return [made.as_dict() for made in attack.decisions]


def _most_exposed(
    optimizer: OptimizerResult, result: AuditResult
) -> list[dict[str, Any]]:
    risk, examples = optimizer.risk, []
    for row in np.argsort(risk.rank)[:NUM_MOST_EXPOSED]:
        values = {field: getattr(risk, field)[row].item() for field in risk._fields}
        column, origin = int(result.columns[row]), result.dataset.train_origin
        names = [] if origin is None else origin.describe(column)
        place = dict(zip(("split", "row", "id"), plain(names), strict=False))
        examples.append({"column": column} | place | values)
    return examples


def _finding(finding: Any) -> dict[str, Any]:
    values = finding._asdict()
    values["optimizer"], values["attack"] = values["attack"]
    estimates = {k: values[k]._asdict() for k in ("estimate", "auc")}
    return values | estimates


def _estimates(by_name: Mapping[str, Any]) -> dict[str, Any]:
    return {name: estimate._asdict() for name, estimate in by_name.items()}
