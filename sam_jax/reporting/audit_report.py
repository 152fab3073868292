"""An audit for readers: one sentence, a table, figures, files."""

import csv
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from sam_jax.auditing.result import EQUAL_ACCURACY, AuditResult
from sam_jax.metrics.roc import varying_columns
from sam_jax.reporting import assessment_report, html, plots
from sam_jax.reporting.html import Cell
from sam_jax.signals.checks import check_signals
from sam_jax.types import Signals


def verdict(result: AuditResult) -> str:
    """Returns what was found, in one sentence for each optimizer but the baseline.

    An optimizer leaks more (or less) where the interval of its difference in pooled
    AUC of the main attack leaves out 0; else "no difference seen". A TPR at low FPR
    that says otherwise is named, and so are training accuracies that differ, as a
    better fit leaks by itself.
    """
    attack, base = result.attacks[0], result.baseline
    if not result.differences:
        auc = result.metrics[base][attack].pooled["auc"]
        leaks = "leaks" if auc.low > 0.5 else "shows no leak"
        return f"{base} {leaks}: {attack} AUC {html.format_estimate(auc)}."
    sentences = []
    for name, differences in result.differences.items():
        auc = differences[attack].pooled["auc"]
        shown = f"{attack} AUC {html.format_estimate(auc, sign=True)}"
        if auc.low > 0:
            found = f"{name} leaks more than {base}: {shown}"
        elif auc.high < 0:
            found = f"{name} leaks less than {base}: {shown}"
        else:
            found = f"No difference seen between {name} and {base}: {shown}"
        found += _other_findings(differences[attack].pooled)
        sentences.append(found + _fit_caveat(result, name) + ".")
    return " ".join(sentences)


def _other_findings(pooled: Mapping[str, Any]) -> str:
    """Names the rates whose interval leaves out 0 on another side than AUC's."""
    side = lambda e: int(e.low > 0) - int(e.high < 0)
    said = [
        f"{metric_label(metric)} {html.format_estimate(estimate, sign=True)}"
        for metric, estimate in pooled.items()
        if metric.startswith("tpr") and side(estimate) not in (0, side(pooled["auc"]))
    ]
    return f", while {' and '.join(said)}" if said else ""


def _fit_caveat(result: AuditResult, name: str) -> str:
    """Says whether the two were compared at (nearly) equal training accuracy."""
    ours, base = result.accuracy[name].train, result.accuracy[result.baseline].train
    gap = result.accuracy_differences[name].train
    levels = f"{base.value:.3f} and {ours.value:.3f}"
    if abs(gap.value) <= EQUAL_ACCURACY:
        return f", at training accuracies within {EQUAL_ACCURACY:g} ({levels})"
    more = "more" if gap.value > 0 else "less"
    return (
        f", but {name} fits its training set {more} (training accuracy {levels}), so "
        "this is no comparison at equal fit"
    )


def main_table(
    result: AuditResult, attacks: list[str] | None = None
) -> tuple[list[str], list[list[Cell]]]:
    """Returns columns and rows: accuracies and attacks, optimizers side by side.

    Args:
        result: The audit.
        attacks: Those to show; all by default.
    """
    others = list(result.differences)
    columns = ["", *result.metrics]
    columns += [f"{name} - {result.baseline}" for name in others]
    rows: list[list[Cell]] = []
    for kind, label in (("train", "training accuracy"), ("test", "test accuracy")):
        base = getattr(result.accuracy[result.baseline], kind)
        if np.isnan(base.value):  # signals without unseen examples
            continue
        rows.append(
            [label]
            + [getattr(own, kind) for own in result.accuracy.values()]
            + [getattr(result.accuracy_differences[name], kind) for name in others]
        )
    for attack in attacks or result.attacks:
        for metric in result.metrics[result.baseline][attack].pooled:
            label = f"{attack} {metric_label(metric)}"
            own = [m[attack].pooled[metric] for m in result.metrics.values()]
            gaps = [result.differences[o][attack].pooled[metric] for o in others]
            rows.append([label, *own, *gaps])
    return columns, rows


def metric_label(metric: str) -> str:
    """Returns the name of a metric as people write it.

    Example:
        >>> metric_label("tpr_at_fpr_0.001"), metric_label("auc")
        ('TPR at 0.1 % FPR', 'AUC')
    """
    if metric.startswith("tpr_at_fpr_"):
        return f"TPR at {100 * float(metric.removeprefix('tpr_at_fpr_')):g} % FPR"
    return {"auc": "AUC"}.get(metric, metric.replace("_", " "))


def terminal_table(result: AuditResult) -> str:
    """Returns the table that a run ends with: accuracies and the main attack."""
    columns, rows = main_table(result, result.attacks[:1])
    shown = [row for row in rows if "balanced" not in str(row[0])]
    return html.text_table(columns, shown)


def metrics_json(result: AuditResult) -> dict[str, Any]:
    """Returns every number of the audit as plain values for JSON."""
    return {
        "verdict": verdict(result),
        "baseline": result.baseline,
        "num_examples": len(result.assessment.columns),
        "accuracy": _nested(result.accuracy),
        "metrics": {
            name: {attack: m.as_dict() for attack, m in own.items()}
            for name, own in result.metrics.items()
        },
        "accuracy_differences": _nested(result.accuracy_differences),
        "differences": {
            name: {attack: d.as_dict() for attack, d in own.items()}
            for name, own in result.differences.items()
        },
        "assessment": result.assessment.as_dict(),
        "seconds": result.seconds,
    }


def save_audit(
    result: AuditResult,
    folder: str | pathlib.Path,
    about: Mapping[str, Any],
    with_signals: bool = True,
) -> None:
    """Writes ``report.html``, ``roc.csv``, ``roc.svg``, ``risk.csv``, ``signals.npz``.

    Args:
        result: The audit.
        folder: Where to; made if it is missing. Files of these names are replaced.
        about: Settings, versions and the like, for the end of the report; what it has
            under ``"settings"`` is kept with the signals, to be compared with others'.
        with_signals: Whether to write the signals too.
    """
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.html").write_text(report(result, about), encoding="utf-8")
    _roc_figure(result).savefig(folder / "roc.svg", bbox_inches="tight")
    with open(folder / "roc.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["optimizer", "attack", "fpr", "tpr", "tpr_low", "tpr_high"])
        for name, own in result.roc.items():
            for attack, band in own.items():
                points = zip(band.fpr, band.tpr, band.low, band.high, strict=True)
                writer.writerows([name, attack, *map(float, p)] for p in points)
    labels = np.asarray(result.signals[result.baseline].labels)
    assessment_report.write_risk(result.assessment, labels, folder / "risk.csv")
    if not with_signals:
        return
    shared = {"keep": _keep(result), "labels": labels}
    if result.canaries.size:
        shared["canaries"] = result.canaries
    own = {
        f"{name}/{field}": array
        for name, signals in result.signals.items()
        for field, array in signals._asdict().items()
        if field not in shared
    }
    settings = {k: v for k, v in about.get("settings", {}).items() if k != "name"}
    shared["metadata"] = np.asarray(json.dumps(settings, default=str))
    np.savez_compressed(folder / "signals.npz", **shared, **own)


def load_audit_signals(folder: str | pathlib.Path) -> dict[str, Signals]:
    """Returns the signals that ``save_audit`` wrote, by optimizer, the baseline first.

    Raises:
        ValueError: If the folder holds no ``signals.npz`` of an audit.
    """
    path = pathlib.Path(folder) / "signals.npz"
    if not path.is_file():
        raise ValueError(f"folder must be that of a finished audit: no {path}.")
    with np.load(path, allow_pickle=False) as stored:
        arrays = dict(stored)
    names = dict.fromkeys(k.rpartition("/")[0] for k in arrays if "/" in k)
    shared = {"keep": arrays["keep"], "labels": arrays["labels"]}
    fields = [field for field in Signals._fields if field not in shared]
    return {
        name: check_signals(
            Signals(**{f: arrays[f"{name}/{f}"] for f in fields}, **shared)
        )
        for name in names
    }


def report(result: AuditResult, about: Mapping[str, Any]) -> str:
    """Returns the report as one HTML page."""
    main = result.attacks[0]
    columns, rows = main_table(result)
    body = [
        *assessment_report.warnings(result.assessment),
        *_warnings(result),
        html.table(columns, rows, _table_caption(result)),
        html.figure(
            _roc_figure(result),
            f"ROC curves of {main}; bands are pointwise {_level(result)} intervals. "
            "Higher towards the left: members found at few false alarms.",
        ),
        html.figure(
            plots.metric_figure(
                {
                    name: {metric_label(k): e for k, e in own[main].pooled.items()}
                    for name, own in result.metrics.items()
                },
                title=f"{main}: metrics with intervals",
            ),
            f"Metrics of {main} by optimizer. Intervals of single optimizers may "
            "overlap where the paired difference in the table is clear.",
        ),
        *_attacks_side_by_side(result),
        html.heading("Per target"),
        html.table(*_mean_table(result), "Mean over targets of each target's own."),
        html.heading("What the attacks see"),
        html.figure(
            plots.histogram_figure(_phi(result)),
            "Logit-scaled confidence of examples in the model's training set and of "
            "those of the pool outside it, all models together.",
        ),
        *assessment_report.sections(
            result.assessment, main, result.dataset, result.baseline
        ),
        *_training(result),
        html.heading("How to read this"),
        *(html.text(paragraph) for paragraph in _notes(result) if paragraph),
        html.json_block(dict(about), "Settings, versions, commit"),
    ]
    num_models = _keep(result).shape[0]
    return html.page(
        title=f"Membership audit: {', '.join(result.metrics)} on {result.dataset.name}",
        question="Does one optimizer reveal more about who was in the training set?",
        verdict=verdict(result),
        body=body,
        subtitle=(
            f"{result.dataset.name}: pool of {len(result.dataset.train.y):,} examples, "
            f"{result.dataset.num_classes} classes; {num_models} models for each "
            "optimizer, each trained on half of the pool and each a target in turn."
        ),
        footer=f"{about.get('command', '')} | commit {about.get('commit', '')}",
    )


def _training(result: AuditResult) -> list[html.Html]:
    """Training curves, where they are known."""
    if not result.logs:
        return []
    figures = [
        html.figure(
            plots.training_figure(_curves(result, field), label, label),
            f"{label} while training; the line is the median model, the area spans all "
            "models.",
        )
        for field, label in (
            ("loss", "Training loss, nats"),
            ("accuracy", "Training accuracy"),
        )
    ]
    return [html.heading("Training"), html.side_by_side(*figures)]


def _roc_figure(result: AuditResult) -> Any:
    """ROC curves of the main attack, one an optimizer."""
    main = result.attacks[0]
    bands = {name: own[main] for name, own in result.roc.items()}
    return plots.roc_figure(bands, f"{main}: ROC, all targets pooled")


def _attacks_side_by_side(result: AuditResult) -> list[html.Html]:
    """ROC curves of the first attacks on the baseline, where there are several."""
    shown = result.attacks[: len(plots.PALETTE)]
    if len(shown) == 1:
        return []
    bands = {attack: result.roc[result.baseline][attack] for attack in shown}
    drawing = plots.roc_figure(bands, f"{result.baseline}: ROC by attack, pooled")
    caption = f"ROC curves of the first {len(shown)} attacks on {result.baseline}."
    return [html.figure(drawing, caption)]


def _warnings(result: AuditResult) -> list[html.Html]:
    """What a reader must know before using a number."""
    found = [
        f"{name} and {result.baseline} differ in training accuracy by "
        f"{html.format_estimate(gap.train, sign=True)}: a difference in leakage "
        "may come from the fit alone. Train to equal accuracy (--stop-accuracy, or "
        "another number of epochs) before blaming the optimizer."
        for name, gap in result.accuracy_differences.items()
        if abs(gap.train.value) > EQUAL_ACCURACY
    ]
    return [html.warning(text) for text in found]


def _table_caption(result: AuditResult) -> str:
    metrics = result.metrics[result.baseline][result.attacks[0]]
    return (
        f"Attacks pooled over {metrics.num_targets} targets: {metrics.num_members:,} "
        f"members and {metrics.num_non_members:,} non-members. Intervals at "
        f"{_level(result)}: attacks over new targets and new examples, accuracies over "
        "new models. Differences are paired by model and example."
    )


def _mean_table(result: AuditResult) -> tuple[list[str], list[list[Cell]]]:
    columns = ["", *result.metrics]
    first = result.metrics[result.baseline]
    rows: list[list[Cell]] = [
        [f"{attack} {metric_label(metric)}"]
        + [own[attack].mean[metric] for own in result.metrics.values()]
        for attack in result.attacks
        for metric in first[attack].mean
    ]
    return columns, rows


def _notes(result: AuditResult) -> list[str]:
    metrics = result.metrics[result.baseline][result.attacks[0]]
    return [
        "Each model is attacked with all the others of its optimizer as shadow models; "
        "it never enters its own statistics. Scores are higher for likelier members.",
        "TPR at a low FPR is the largest true-positive rate whose false-positive rate "
        "does not exceed the limit, without interpolation; it is 'not resolvable' with "
        f"fewer than 1/FPR non-members ({metrics.num_non_members:,} pooled, "
        f"{metrics.non_members_per_target:,} for a single target).",
        "Balanced accuracy and TPR use the best threshold in hindsight, which favours "
        "the attacker.",
        _null_note(result),
        f"Data: {result.dataset.source}" if result.dataset.source else "",
    ]


def _null_note(result: AuditResult) -> str:
    """Online LiRA understates small leaks where models are few (docs/choosing.md)."""
    num_models = len(_keep(result))
    plain = [a for a in result.attacks if a.startswith("lira_online")]
    if num_models >= 32 or not plain or "lira_online_corrected" in result.attacks:
        return ""
    return (
        f"With {num_models} models lira_online scores members of pure noise slightly "
        "lower than others (AUC 0.48 with 8 models, 0.49 with 16), so small leaks are "
        "understated; lira_online_corrected is not affected, see docs/choosing.md."
    )


def _phi(result: AuditResult) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    pool = varying_columns(_keep(result))
    found = {}
    for name, signals in result.signals.items():
        phi, keep = np.asarray(signals.phi)[:, pool, 0], _keep(result)[:, pool]
        found[name] = (phi[keep], phi[~keep])
    return found


def _curves(result: AuditResult, field: str) -> dict[str, np.ndarray]:
    """Training curves; a model that stopped early keeps its last value."""
    curves = {}
    for name, log in result.logs.items():
        values = np.array(getattr(log, field))
        for epoch in range(1, values.shape[1]):
            stopped = np.isnan(values[:, epoch])
            values[stopped, epoch] = values[stopped, epoch - 1]
        curves[name] = values
    return curves


def _keep(result: AuditResult) -> np.ndarray:
    return np.asarray(result.signals[result.baseline].keep)


def _level(result: AuditResult) -> str:
    level = result.metrics[result.baseline][result.attacks[0]].level
    return f"{100 * level:g} %"


def _nested(accuracy: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: {kind: estimate._asdict() for kind, estimate in own._asdict().items()}
        for name, own in accuracy.items()
    }
