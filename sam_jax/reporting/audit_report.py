"""The report of an audit: verdict, whether to trust it, figures, details."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from markupsafe import Markup

from sam_jax.auditing.result import EQUAL_ACCURACY, AuditResult
from sam_jax.metrics.roc import varying_columns
from sam_jax.reporting import (
    audit_figures,
    audit_tables,
    canvas,
    given_scope,
    page,
    risk_sections,
    trust_sections,
)
from sam_jax.reporting.tables import format_estimate, metric_label
from sam_jax.reporting.verdict import below_chance, verdict


def report(result: AuditResult, about: Mapping[str, Any]) -> str:
    """Returns the report as one HTML page.

    Args:
        result: Of an audit.
        about: Settings, versions and the like, for the end of the report.
    """
    several = "Does one optimizer reveal more about who was in the training set?"
    one = "Do the models reveal who was in the training set?"
    names = ", ".join(result.optimizers)
    return page.page(
        title=f"Membership audit: {names} on {result.dataset.name}",
        question=several if result.compared else one,
        verdict=verdict(result),
        body=[
            page.heading("Can the figures be trusted?"),
            *trust_sections.warnings(result),
            *(page.warning(sentence) for sentence in below_chance(result)),
            *_fit_warnings(result),
            *trust_sections.checks(result),
            page.heading("Accuracy and leakage"),
            *_attack_tables(result),
            *_curves_by_optimizer(result),
            *_curves_by_attack(result),
            *risk_sections.sections(result),
            *trust_sections.sections(result),
            *_details(result),
        ],
        subtitle=_subtitle(result),
        about=about,
    )


def notebook_html(result: AuditResult) -> str:
    """Returns verdict, main tables and ROC curves, for a notebook's cell.

    Args:
        result: Of an audit.
    """
    sentences = [page.text(line) for line in verdict(result).splitlines()]
    curves = page.figure(roc_figure(result), f"ROC curves of {result.main_attack}.")
    return Markup("").join([*sentences, *_attack_tables(result), curves])


def roc_figure(result: AuditResult) -> Any:
    """Returns the ROC curves of the main attack, one an optimizer."""
    main = result.main_attack
    bands = {name: o.attacks[main].roc for name, o in result.optimizers.items()}
    return audit_figures.roc_figure(bands, f"{main}: ROC, all targets pooled")


def _subtitle(result: AuditResult) -> str:
    if result.given is not None:
        return (
            f"{result.dataset.name}: {len(result.columns):,} examples; "
            f"given: {', '.join(result.optimizers)}; "
            f"{given_scope.shadow_models(result.given)}."
        )
    return (
        f"{result.dataset.name}: pool of {len(result.dataset.train.y):,} examples, "
        f"{result.dataset.num_classes} classes; {len(result.keep)} models for each "
        "optimizer, each trained on half of the pool and each a target in turn."
    )


def _attack_tables(result: AuditResult) -> list[Markup]:
    """Accuracies, then attacks by metrics: each optimizer's, then the differences."""
    metrics = result[result.baseline].attacks[result.main_attack].metrics
    blocks = [
        page.table(
            *audit_tables.accuracy_table(result),
            f"Accuracies with {_level(result)} intervals over new {_over(result)[0]}.",
        )
    ]
    for name in result.optimizers:
        targets = f", pooled over {metrics.num_targets} targets"
        if result.given is not None:
            targets = ""
        caption = (
            f"Attacks on {name}, the strongest first{targets}: "
            f"{metrics.num_members:,} members and "
            f"{metrics.num_non_members:,} non-members. {_level(result)} intervals over "
            f"new {_over(result)[1]}."
        )
        matrix = audit_tables.attack_matrix(result, audit_tables.pooled, name)
        blocks.append(page.table(*matrix, caption))
    for name in result.compared:
        caption = f"{name} minus {result.baseline}, paired by model and example."
        matrix = audit_tables.attack_matrix(result, audit_tables.difference, name)
        blocks.append(page.table(*matrix, caption))
    return blocks


def _curves_by_optimizer(result: AuditResult) -> list[Markup]:
    main = result.main_attack
    estimates = {}
    for name, optimizer in result.optimizers.items():
        pooled = optimizer.attacks[main].metrics.pooled
        estimates[name] = {metric_label(k): estimate for k, estimate in pooled.items()}
    return [
        page.side_by_side(
            page.figure(
                roc_figure(result),
                f"ROC curves of {main}; bands are pointwise {_level(result)} "
                "intervals. Higher towards the left: members detected at few false "
                "alarms.",
            ),
            *_attack_curves(result),
        ),
        page.figure(
            audit_figures.metric_figure(
                estimates, title=f"{main}: metrics with intervals"
            ),
            f"Metrics of {main} by optimizer. Intervals of single optimizers may "
            "overlap where the paired difference in the table is clear.",
        ),
    ]


def _attack_curves(result: AuditResult) -> list[Markup]:
    """ROC curves of the strongest attacks on the baseline, where there are several."""
    shown = audit_tables.attacks_by_strength(result)[: len(canvas.PALETTE)]
    if len(shown) == 1:
        return []
    bands = {attack: result[result.baseline].attacks[attack].roc for attack in shown}
    drawing = audit_figures.roc_figure(
        bands, f"{result.baseline}: ROC by attack, pooled"
    )
    caption = f"ROC curves of the {len(shown)} strongest attacks on {result.baseline}."
    return [page.figure(drawing, caption)]


def _curves_by_attack(result: AuditResult) -> list[Markup]:
    return [
        page.heading("Model outputs"),
        page.figure(
            audit_figures.histogram_figure(_phi(result)),
            "Logit-scaled confidence of examples in the model's training set and of "
            "those of the pool outside it, all models together.",
        ),
        *_training(result),
    ]


def _training(result: AuditResult) -> list[Markup]:
    """Training curves, where they are known."""
    figures = []
    for field, label in (
        ("loss", "Training loss, nats"),
        ("accuracy", "Training accuracy"),
    ):
        curves = _training_curves(result, field)
        if curves:
            drawing = audit_figures.training_figure(curves, label, label)
            caption = (
                f"{label} while training; the line is the median model, the area spans "
                "all models."
            )
            figures.append(page.figure(drawing, caption))
    return [page.heading("Training"), page.side_by_side(*figures)] if figures else []


def _training_curves(result: AuditResult, field: str) -> dict[str, np.ndarray]:
    """Training curves; a model that stopped early keeps its last value."""
    curves = {}
    for name, optimizer in result.optimizers.items():
        if optimizer.log is None:
            continue
        values = np.array(getattr(optimizer.log, field))
        for epoch in range(1, values.shape[1]):
            stopped = np.isnan(values[:, epoch])
            values[stopped, epoch] = values[stopped, epoch - 1]
        curves[name] = values
    return curves


def _fit_warnings(result: AuditResult) -> list[Markup]:
    """Says where a difference in leakage may come from the fit alone."""
    blocks = []
    for name, optimizer in result.compared.items():
        assert optimizer.accuracy_difference is not None
        gap = optimizer.accuracy_difference.train
        if abs(gap.value) <= EQUAL_ACCURACY:
            continue
        sentence = (
            f"{name} and {result.baseline} differ in training accuracy by "
            f"{format_estimate(gap, sign=True)}: a difference in leakage may come from "
            "the fit alone. Train to equal accuracy (--stop-accuracy, or another "
            "number of epochs) before blaming the optimizer."
        )
        blocks.append(page.warning(sentence))
    return blocks


def _details(result: AuditResult) -> list[Markup]:
    means = []
    for name in result.optimizers if result.given is None else ():
        matrix = audit_tables.attack_matrix(
            result, audit_tables.mean_over_targets, name
        )
        caption = f"{name}: mean over targets of each target's."
        means.append(page.table(*matrix, caption))
    blocks: list[Markup] = [page.heading("Details")]
    if means:
        blocks.append(page.details("Figures of each target alone, averaged", *means))
    times = ", ".join(f"{s:.1f} ({name})" for name, s in result.seconds.items())
    return [*blocks, *map(page.text, [*_notes(result), f"Seconds: {times}."])]


def _notes(result: AuditResult) -> list[str]:
    metrics = result[result.baseline].attacks[result.main_attack].metrics
    attacked = (
        "Each model is attacked with all the others of its optimizer as shadow models; "
        "it never enters its own statistics."
    )
    if result.given is not None:
        shadows = given_scope.shadow_models(result.given)
        attacked = f"A given model is attacked with {shadows}; no attack sees members."
    notes = [
        f"{attacked} Scores are higher for likelier members.",
        "TPR at a low FPR is the largest true-positive rate whose false-positive rate "
        "does not exceed the limit, without interpolation; it is 'not resolvable' with "
        f"fewer than 1/FPR non-members ({metrics.num_non_members:,} pooled, "
        f"{metrics.non_members_per_target:,} for a single target).",
        "Balanced accuracy and TPR use the best threshold in hindsight, which favours "
        "the attacker.",
    ]
    if result.dataset.source:
        notes.append(f"Data: {result.dataset.source}")
    return notes


def _phi(result: AuditResult) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    counted = result.columns
    if result.given is None:
        counted = np.flatnonzero(varying_columns(result.keep))
    by_name = {}
    for name, optimizer in result.optimizers.items():
        phi = np.asarray(optimizer.signals.phi)[:, counted, 0]
        keep = np.asarray(optimizer.signals.keep)[:, counted]
        by_name[name] = (phi[keep], phi[~keep])
    return by_name


def _over(result: AuditResult) -> tuple[str, str]:
    """What accuracies, and metrics, would be repeated on."""
    if result.given is None:
        return "models", "targets and examples"
    return "examples", "examples"


def _level(result: AuditResult) -> str:
    return f"{100 * result.level:g} %"
