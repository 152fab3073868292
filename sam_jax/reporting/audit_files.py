"""The files of an audit: report, figures, numbers, signals."""

import csv
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from sam_jax.auditing.result import AttackResult, AuditResult, OptimizerResult
from sam_jax.reporting import audit_report
from sam_jax.reporting.plain_json import write_json
from sam_jax.reporting.verdict import verdict
from sam_jax.signals import save_signals

NUM_MOST_EXPOSED = 20
"""Examples whose risk is among the numbers; all are in ``risk.csv``."""


def write_audit(
    result: AuditResult, folder: str | pathlib.Path, about: Mapping[str, Any]
) -> None:
    """Writes all files of an audit; those of an earlier one are replaced.

    Args:
        result: Of an audit.
        folder: Where to; made if it is missing.
        about: Settings, versions and the like, for ``config.json``.
    """
    folder = pathlib.Path(folder)
    (folder / "metrics.json").unlink(missing_ok=True)
    save_audit(result, folder, about)
    write_json(folder / "config.json", about)
    write_json(folder / "metrics.json", metrics_json(result))


def save_audit(
    result: AuditResult,
    folder: str | pathlib.Path,
    about: Mapping[str, Any],
    with_signals: bool = True,
) -> None:
    """Writes ``report.html``, ``roc.csv``, ``roc.svg``, ``risk.csv``, ``signals.npz``.

    Args:
        result: Of an audit.
        folder: Where to; made if it is missing. Files of these names are replaced.
        about: Settings, versions and the like, for the end of the report; what it has
            under ``"settings"`` is kept with the signals, to be compared with others'.
        with_signals: Whether to write the signals too.
    """
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    page = audit_report.report(result, about)
    (folder / "report.html").write_text(page, encoding="utf-8")
    audit_report.roc_figure(result).savefig(folder / "roc.svg", bbox_inches="tight")
    _write_roc(result, folder / "roc.csv")
    _write_risk(result, folder / "risk.csv")
    if with_signals:
        settings = {k: v for k, v in about.get("settings", {}).items() if k != "name"}
        save_signals(
            folder / "signals.npz",
            {name: optimizer.signals for name, optimizer in result.optimizers.items()},
            canaries=result.canaries,
            settings=settings,
        )


def _write_roc(result: AuditResult, path: pathlib.Path) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["optimizer", "attack", "fpr", "tpr", "tpr_low", "tpr_high"])
        for name, optimizer in result.optimizers.items():
            for attack, reached in optimizer.attacks.items():
                band = reached.roc
                points = zip(band.fpr, band.tpr, band.low, band.high, strict=True)
                writer.writerows([name, attack, *map(float, p)] for p in points)


def _write_risk(result: AuditResult, path: pathlib.Path) -> None:
    """Every example's exposure under each optimizer, with its row in the data."""
    labels = np.asarray(result[result.baseline].signals.labels)
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        fields = result[result.baseline].risk._fields
        origin = result.dataset.train_origin
        place = ["split", "row"] if origin is not None else []
        place += ["id"] if origin is not None and origin.ids is not None else []
        writer.writerow(["optimizer", "column", *place, "label", *fields])
        for name, optimizer in result.optimizers.items():
            for row, column in enumerate(result.columns):
                values = [getattr(optimizer.risk, field)[row] for field in fields]
                where = [] if origin is None else origin.describe(int(column))
                label = labels[column]
                writer.writerow([name, column, *where, label, *map(_short, values)])


def metrics_json(result: AuditResult) -> dict[str, Any]:
    """Returns every number of the audit as plain values for JSON."""
    numbers: dict[str, Any] = {
        "verdict": verdict(result),
        "leaks": [_finding(finding) for finding in result.leaks()],
        "changes": [_finding(finding) for finding in result.changes()],
        "baseline": result.baseline,
        "num_examples": len(result.columns),
        "seconds": result.seconds,
    }
    for field in (
        "accuracy",
        "metrics",
        "accuracy_differences",
        "differences",
    ):
        numbers[field] = {}
    assessment: dict[str, Any] = {"validity": {}}
    for name, optimizer in result.optimizers.items():
        numbers["accuracy"][name] = _estimates(optimizer.accuracy._asdict())
        numbers["metrics"][name] = {
            attack: reached.metrics.as_dict()
            for attack, reached in optimizer.attacks.items()
        }
        assessment["validity"][name] = [check._asdict() for check in optimizer.checks]
        for field, value in _assessment(optimizer, result).items():
            assessment.setdefault(field, {})[name] = value
    if result.comparison:
        assessment["validity"]["comparison"] = [c._asdict() for c in result.comparison]
    for name, optimizer in result.compared.items():
        assert optimizer.accuracy_difference is not None
        gaps = optimizer.accuracy_difference._asdict()
        numbers["accuracy_differences"][name] = _estimates(gaps)
        numbers["differences"][name] = {
            attack: reached.difference.as_dict()
            for attack, reached in optimizer.attacks.items()
            if reached.difference is not None
        }
    return numbers | {"assessment": assessment}


def _assessment(optimizer: OptimizerResult, result: AuditResult) -> dict[str, Any]:
    """What may be trusted and used, of one optimizer."""
    curve = optimizer.model_count
    return {
        "shadow_model_thresholds": _by_attack(optimizer, _decisions),
        "epsilon": _by_attack(optimizer, lambda a: [b._asdict() for b in a.epsilon]),
        "one_run_epsilon": _one_run_epsilon(optimizer),
        "number_of_models": {
            "num_models": list(curve.num_models),
            "auc": [estimate._asdict() for estimate in curve.estimates],
            "last_gain": curve.last_gain._asdict(),
        },
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
        examples.append({"column": int(result.columns[row])} | values)
    return examples


def _finding(finding: NamedTuple) -> dict[str, Any]:
    values = finding._asdict()
    values["optimizer"], values["attack"] = values["attack"]
    estimates = {k: values[k]._asdict() for k in ("estimate", "auc")}
    return values | estimates


def _estimates(by_name: Mapping[str, Any]) -> dict[str, Any]:
    return {name: estimate._asdict() for name, estimate in by_name.items()}


def _short(value: Any) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)
