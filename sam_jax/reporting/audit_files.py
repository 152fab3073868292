"""The files of an audit: report, figures, numbers, signals."""

import contextlib
import csv
import io
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from sam_jax.auditing.result import AuditResult
from sam_jax.data.atomic_files import open_atomically
from sam_jax.reporting import audit_report
from sam_jax.signals import save_signals
from sam_jax.signals.targets import save_targets


def save_audit(
    result: AuditResult,
    folder: str | pathlib.Path,
    about: Mapping[str, Any],
) -> None:
    """Writes ``report.html``, ``roc.csv``, ``roc.svg``, ``risk.csv``, ``signals.npz``.

    ``AuditResult.save`` and the commands add settings and numbers.

    Args:
        result: Of an audit.
        folder: Where to; made if it is missing. Files of these names are replaced.
        about: Settings, versions and the like, for the end of the report; what it has
            under ``"settings"`` is kept with the signals, to be compared with others'.
    """
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    page = audit_report.report(result, about)
    with open_atomically(folder / "report.html") as file:
        file.write(page.encode())
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
            folder / "signals.npz",
            signals,
            canaries=result.canaries,
            settings=settings,
        )


@contextlib.contextmanager
def _open_table(path: pathlib.Path) -> Iterator[Any]:
    """A writer of CSV to a file that is there whole or not at all."""
    with open_atomically(path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        yield csv.writer(text)
        text.detach()


def _write_roc(result: AuditResult, path: pathlib.Path) -> None:
    with _open_table(path) as writer:
        writer.writerow(["optimizer", "attack", "fpr", "tpr", "tpr_low", "tpr_high"])
        for name, optimizer in result.optimizers.items():
            for attack, reached in optimizer.attacks.items():
                band = reached.roc
                points = zip(band.fpr, band.tpr, band.low, band.high, strict=True)
                writer.writerows([name, attack, *map(float, p)] for p in points)


def _write_risk(result: AuditResult, path: pathlib.Path) -> None:
    """Every example's exposure under each optimizer."""
    labels = np.asarray(result[result.baseline].signals.labels)
    with _open_table(path) as writer:
        fields = result[result.baseline].risk._fields
        origin = result.dataset.train_origin
        place = ["split", "row"] if origin is not None else []
        place += ["id"] if origin is not None and origin.ids is not None else []
        head = ["optimizer", "column", *place, "label", *fields]
        writer.writerow([*head, "change", "change_error"])
        for name, optimizer in result.optimizers.items():
            change = optimizer.risk_change
            for row, column in enumerate(result.columns):
                values = [getattr(optimizer.risk, field)[row] for field in fields]
                values += [] if change is None else [c[row] for c in change]
                where = [] if origin is None else origin.describe(int(column))
                label = labels[column]
                writer.writerow([name, column, *where, label, *map(_exact, values)])


def _exact(value: Any) -> str:
    """As few digits as give the same float again."""
    return repr(float(value)) if isinstance(value, float) else str(value)
