"""The files of an audit: report, figures, numbers, signals."""

import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from sam_jax.auditing.result import AuditResult
from sam_jax.data.atomic_files import open_atomically
from sam_jax.data.result_files import write_csv, write_text
from sam_jax.reporting import audit_report
from sam_jax.signals import save_signals
from sam_jax.signals.targets import save_targets


def write_audit(
    result: AuditResult, folder: pathlib.Path, about: Mapping[str, Any]
) -> None:
    """Writes ``report.html``, ``roc.csv``, ``roc.svg``, ``risk.csv``, ``signals.npz``.

    Args:
        result: Of an audit.
        folder: Where to; it must exist. Files of these names are replaced.
        about: Settings, versions and the like, for the end of the report; what it has
            under ``"settings"`` is kept with the signals, to be compared with others'.
    """
    write_text(folder / "report.html", audit_report.report(result, about))
    with open_atomically(folder / "roc.svg") as file:
        figure = audit_report.roc_figure(result)
        figure.savefig(file, format="svg", bbox_inches="tight")
    _write_roc(result, folder / "roc.csv")
    _write_risk(result, folder / "risk.csv")
    settings = {k: v for k, v in about.get("settings", {}).items() if k != "name"}
    signals = {name: optimizer.signals for name, optimizer in result.optimizers.items()}
    if result.given is not None:
        save_targets(folder / "targets.npz", signals, result.given.population)
        signals = result.given.shadows
    if signals:
        save_signals(
            folder / "signals.npz", signals, canaries=result.canaries, settings=settings
        )


def _write_roc(result: AuditResult, path: pathlib.Path) -> None:
    rows = []
    for name, optimizer in result.optimizers.items():
        for attack, reached in optimizer.attacks.items():
            band = reached.roc
            points = zip(band.fpr, band.tpr, band.low, band.high, strict=True)
            rows += [[name, attack, *map(float, p)] for p in points]
    columns = ("optimizer", "attack", "fpr", "tpr", "tpr_low", "tpr_high")
    write_csv(path, columns, rows)


def _write_risk(result: AuditResult, path: pathlib.Path) -> None:
    """Every example's exposure under each optimizer."""
    origin = result.dataset.train_origin
    place = ["split", "row"] if origin is not None else []
    place += ["id"] if origin is not None and origin.ids is not None else []
    fields = result[result.baseline].risk._fields
    columns = ["optimizer", "column", *place, "label", *fields]
    write_csv(path, [*columns, "change", "change_error"], _risk_rows(result))


def _risk_rows(result: AuditResult) -> Iterator[list[Any]]:
    labels = np.asarray(result[result.baseline].signals.labels)
    origin = result.dataset.train_origin
    for name, optimizer in result.optimizers.items():
        series = [*optimizer.risk, *(optimizer.risk_change or ())]
        for row, column in enumerate(result.columns):
            where = [] if origin is None else origin.describe(int(column))
            values = (_exact(values[row]) for values in series)
            yield [name, column, *where, labels[column], *values]


def _exact(value: Any) -> str:
    """As few digits as give the same float again."""
    return repr(float(value)) if isinstance(value, float) else str(value)
