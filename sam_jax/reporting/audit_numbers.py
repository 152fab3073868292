"""Every number of an audit as plain values."""

from typing import Any

import numpy as np

from sam_jax.auditing.result import AuditResult, OptimizerResult
from sam_jax.data.result_files import plain
from sam_jax.metrics.multiple_tests import Finding
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
        "training": {
            n: o.log for n, o in result.optimizers.items() if o.log is not None
        },
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
        assessment["validity"][name] = optimizer.checks
        for field, value in _assessment(optimizer, result).items():
            assessment.setdefault(field, {})[name] = value
    if result.comparison:
        assessment["validity"]["comparison"] = result.comparison
    return plain(numbers | {"assessment": assessment})


def _by_optimizer(result: AuditResult) -> dict[str, Any]:
    """Accuracies and metrics, and their differences from the baseline."""
    optimizers, compared = result.optimizers, result.compared
    metrics, differences = {}, {}
    for name, optimizer in optimizers.items():
        metrics[name] = {k: a.metrics for k, a in optimizer.attacks.items()}
    for name, optimizer in compared.items():
        gaps = {k: a.difference for k, a in optimizer.attacks.items()}
        differences[name] = {k: gap.as_dict() for k, gap in gaps.items() if gap}
    return {
        "accuracy": {n: o.accuracy for n, o in optimizers.items()},
        "metrics": metrics,
        "accuracy_differences": {n: o.accuracy_difference for n, o in compared.items()},
        "differences": differences,
    }


def _dataset(dataset: Dataset) -> dict[str, Any]:
    return {
        "name": dataset.name,
        "num_classes": dataset.num_classes,
        "pool_size": len(dataset.train.y),
        "class_names": dataset.class_names,
        "source": dataset.source,
    }


def _assessment(optimizer: OptimizerResult, result: AuditResult) -> dict[str, Any]:
    """What may be trusted and used, of one optimizer."""
    curve, attacks = optimizer.model_count, optimizer.attacks
    count = None
    if curve is not None:
        count = {
            "num_models": curve.num_models,
            "auc": curve.estimates,
            "last_gain": curve.last_gain,
        }
    return {
        "shadow_model_thresholds": {n: a.decisions for n, a in attacks.items()},
        "epsilon": {n: a.epsilon for n, a in attacks.items()},
        "one_run_epsilon": {
            n: a.one_run_epsilon for n, a in attacks.items() if a.one_run_epsilon
        },
        "number_of_models": count,
        "models_to_resolve": optimizer.models_to_resolve,
        "risk": _most_exposed(optimizer, result),
        "risk_reliability": optimizer.reliability,
    }


def _most_exposed(
    optimizer: OptimizerResult, result: AuditResult
) -> list[dict[str, Any]]:
    risk, examples = optimizer.risk, []
    for row in np.argsort(risk.rank)[:NUM_MOST_EXPOSED]:
        values = {field: getattr(risk, field)[row] for field in risk._fields}
        column, origin = int(result.columns[row]), result.dataset.train_origin
        names = [] if origin is None else origin.describe(column)
        place = dict(zip(("split", "row", "id"), names, strict=False))
        examples.append({"column": column} | place | values)
    return examples


def _finding(finding: Finding) -> dict[str, Any]:
    values = finding._asdict()
    values["optimizer"], values["attack"] = finding.attack
    return values
