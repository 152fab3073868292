"""Several runs on one page: verdicts, attacks, differences, ROC curves, settings."""

import json
from collections.abc import Mapping, Sequence

from markupsafe import Markup

from sam_jax.metrics.attack_metrics import AttackMetrics
from sam_jax.reporting import audit_figures, page, run_differences
from sam_jax.reporting.run_files import Run
from sam_jax.reporting.saved_audits import decode, roc_band
from sam_jax.reporting.tables import Cell, Table, metric_table

_FACTS = ("data_sha256", "commit", "device")
_NOT_SETTINGS = ("name", "config", "overwrite")


def report(runs: Sequence[Run]) -> str:
    """Returns a page of several runs.

    Args:
        runs: From ``run_files.read_run``, of different folders.
    """
    by_label = _labelled(runs)
    verdicts = [
        f"{label}: {line}"
        for label, run in by_label.items()
        for line in run.numbers["verdict"].splitlines()
    ]
    blocks = [
        page.heading("Attacks"),
        page.table(*_attack_table(by_label), "Pooled over all targets of a run."),
        page.heading("Differences"),
        *run_differences.sections(by_label),
        page.heading("ROC curves"),
        page.side_by_side(*(_roc(label, run) for label, run in by_label.items())),
        page.heading("Settings"),
        *_settings(by_label),
    ]
    return page.page(
        title=f"{len(runs)} runs: {', '.join(by_label)}",
        question="What do these runs show, and in which settings do they differ?",
        verdict="\n".join(verdicts),
        body=blocks,
    )


def _labelled(runs: Sequence[Run]) -> dict[str, Run]:
    """Runs by the names of their folders, or by their paths where these are equal."""
    names = [run.folder.resolve().name for run in runs]
    if len(set(names)) < len(names):
        names = [str(run.folder) for run in runs]
    return dict(zip(names, runs, strict=True))


def _attack_table(runs: Mapping[str, Run]) -> Table:
    """A row for each attack on each optimizer of each run, the strongest first."""
    rows = []
    for label, run in runs.items():
        for optimizer, attacks in run.numbers["metrics"].items():
            for attack, values in attacks.items():
                pooled = decode(AttackMetrics, values).pooled
                rows.append(([attack, optimizer, label], pooled))
    rows.sort(key=lambda row: -row[1]["auc"].value)
    return metric_table(["attack", "optimizer", "run"], rows)


def _roc(label: str, run: Run) -> Markup:
    """The curves of the run's main attack, one an optimizer."""
    bands, main = {}, ""
    for optimizer, attacks in run.numbers["metrics"].items():
        main = next(iter(attacks))
        rows = [
            row
            for row in run.curves
            if row["optimizer"] == optimizer and row["attack"] == main
        ]
        bands[optimizer] = roc_band(rows, attacks[main]["num_non_members"])
    drawing = audit_figures.roc_figure(bands, f"{label}: {main}")
    return page.figure(drawing, f"{label}: ROC curves of {main}, pooled.")


def _settings(runs: Mapping[str, Run]) -> list[Markup]:
    """A table of the settings, data, commits and devices that differ."""
    values: dict[str, dict[str, str]] = {}
    for label, run in runs.items():
        settings = dict(run.about.get("settings", {}))
        settings |= {fact: run.about.get(fact) for fact in _FACTS}
        for name, value in settings.items():
            if name not in _NOT_SETTINGS:
                values.setdefault(name, {})[label] = json.dumps(value)
    rows: list[list[Cell]] = []
    for name, by_run in values.items():
        shown = [by_run.get(label, "") for label in runs]
        if len(set(shown)) > 1:
            rows.append([name, *shown])
    if not rows:
        return [page.text("No setting differs.")]
    return [page.table(["setting", *runs], rows, "Settings and facts that differ.")]
