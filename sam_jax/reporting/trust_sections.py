"""Sections of an audit's report on trust and use: checks, decisions, bounds."""

import math

import numpy as np
from markupsafe import Markup

from sam_jax.auditing.result import AuditResult
from sam_jax.metrics import num_models
from sam_jax.metrics.estimate import Estimate
from sam_jax.metrics.single_checks import Check
from sam_jax.metrics.thresholds import PRIORS
from sam_jax.reporting import audit_figures, page
from sam_jax.reporting.tables import Cell, Table


def all_checks(result: AuditResult) -> list[tuple[str, Check]]:
    """Returns every check with what it is of: an optimizer, or the comparison."""
    checks = []
    for name, optimizer in result.optimizers.items():
        checks += [(name, check) for check in optimizer.checks]
    return checks + [("comparison", check) for check in result.comparison]


def failed_checks(result: AuditResult) -> list[str]:
    """Returns a line for each check that is not ok, the worst first."""
    lines = []
    for severity, lead in (
        ("invalid", "These figures are not valid. "),
        ("warning", ""),
    ):
        for name, check in all_checks(result):
            if check.severity == severity:
                lines.append(f"{lead}{name}, {check.name}: {check.text}")
    return lines


def warnings(result: AuditResult) -> list[Markup]:
    """Returns what a reader must know before using a number, the worst first."""
    return [page.warning(line) for line in failed_checks(result)]


def checks(result: AuditResult) -> list[Markup]:
    """Returns all checks, folded away."""
    rows: list[list[Cell]] = []
    for name, check in all_checks(result):
        rows.append([name, check.name, check.severity, check.text])
    caption = "Before any score was made; each model against the others."
    table = page.table(["models", "check", "", "result"], rows, caption)
    num_ok = sum(row[2] == "ok" for row in rows)
    return [page.details(f"{num_ok} of {len(rows)} checks are ok: all checks", table)]


def sections(result: AuditResult) -> list[Markup]:
    """Returns the sections on use: decisions, epsilon, number of models."""
    curve = result[result.baseline].model_count
    return [
        *_decisions(result),
        *_epsilon(result),
        *([] if curve is None else _number_of_models(result)),
    ]


def _decisions(result: AuditResult) -> list[Markup]:
    """Empty where no threshold could be fixed elsewhere."""
    main = result.main_attack
    if not result[result.baseline].attacks[main].decisions:
        return []
    others = []
    for attack in result.attack_names[1:]:
        others.append(page.table(*decisions_table(result, attack), attack))
    fixed = "the shadow models and applied to the target"
    if result.given is not None:
        fixed = "shadow models or a population and applied to the given model"
    return [
        page.heading("Decisions by thresholds fixed elsewhere"),
        page.table(
            *decisions_table(result, main),
            f"{main}: thresholds fixed on {fixed}. "
            "Precision: of those called members, the share that are members, where the "
            "given fraction of all that are tested are members.",
        ),
        *([page.details("All attacks", *others)] if others else []),
    ]


def _epsilon(result: AuditResult) -> list[Markup]:
    """Empty for given models: whether they had an example was no coin of the audit."""
    if result.given is not None:
        return []
    return [
        page.heading("Differential privacy"),
        page.table(*epsilon_table(result), _epsilon_caption(result)),
        *_one_run(result),
    ]


def _number_of_models(result: AuditResult) -> list[Markup]:
    return [
        page.heading("Number of models"),
        page.side_by_side(
            page.figure(_model_count_figure(result), MODEL_COUNT_CAPTION),
            Markup("").join(page.text(line) for line in enough_models(result)),
        ),
    ]


def decisions_table(result: AuditResult, attack: str) -> Table:
    """Returns optimizers and rules against rates and precision.

    Args:
        result: Of an audit.
        attack: The attack whose decisions are shown.
    """
    columns = ["threshold", "TPR", "FPR", "balanced accuracy"]
    columns += [f"precision at {100 * prior:g} %" for prior in PRIORS]
    rows: list[list[Cell]] = []
    for name, optimizer in result.optimizers.items():
        for made in optimizer.attacks[attack].decisions:
            label = f"{name}, {made.rule}" if result.compared else made.rule
            precision = [_precision_cell(made.precision[f"{p:g}"]) for p in PRIORS]
            rows.append([label, made.tpr, made.fpr, made.balanced_accuracy, *precision])
    return columns, rows


def epsilon_table(result: AuditResult) -> Table:
    """Returns the lower bounds on epsilon, an optimizer and attack a row."""
    first = result[result.baseline].attacks[result.main_attack].epsilon
    columns = ["", *(f"delta {bound.delta:g}" for bound in first)]
    columns += ["delta 0, independent pairs", "threshold"]
    rows: list[list[Cell]] = []
    for name, optimizer in result.optimizers.items():
        for attack, reached in optimizer.attacks.items():
            bounds = reached.epsilon
            rows.append(
                [
                    f"{name} {attack}",
                    *(bound.epsilon for bound in bounds),
                    bounds[0].epsilon_independent,
                    bounds[0].rule if bounds[0].epsilon > 0 else "",
                ]
            )
    return columns, rows


def _epsilon_caption(result: AuditResult) -> str:
    level = result[result.baseline].attacks[result.main_attack].epsilon[0].level
    return (
        f"Lower bounds on epsilon, at {100 * level:g} % confidence, over the rules "
        "above with a correction for their number. 0 means that nothing is shown, not "
        "that there is privacy. With independent pairs: Clopper-Pearson limits, which "
        "count every (target, example) pair as an independent trial and are too high "
        "where targets and examples share something."
    )


def _one_run(result: AuditResult) -> list[Markup]:
    rows: list[list[Cell]] = []
    columns = [""]
    for name, optimizer in result.optimizers.items():
        for attack, reached in optimizer.attacks.items():
            bounds = reached.one_run_epsilon
            if not bounds:
                continue
            columns = ["", *(f"median target, delta {b.delta:g}" for b in bounds)]
            columns += ["best target, corrected", "right guesses (median)"]
            rows.append(
                [
                    f"{name} {attack}",
                    *(float(np.median(bound.epsilon)) for bound in bounds),
                    bounds[0].largest,
                    f"{np.median(bounds[0].num_correct):.0f} of "
                    f"{np.median(bounds[0].num_guesses):.0f}",
                ]
            )
    if not rows:
        return []
    caption = (
        "Lower bounds on epsilon from single training runs with mislabelled canaries, "
        "each in by an independent coin: valid for one run, whatever its examples "
        "share."
    )
    return [page.table(columns, rows, caption)]


MODEL_COUNT_CAPTION = (
    "The models are dealt into groups; each is a target, and the rest of its group are "
    "its shadow models."
)


def _model_count_figure(result: AuditResult) -> object:
    first = result[result.baseline].model_count
    assert first is not None
    curves = {
        name: list(optimizer.model_count.estimates)
        for name, optimizer in result.optimizers.items()
        if optimizer.model_count is not None
    }
    num_shadow = [size - 1 for size in first.num_models]
    return audit_figures.shadow_model_figure(
        num_shadow, curves, f"{result.main_attack} AUC"
    )


def enough_models(result: AuditResult) -> list[str]:
    """Returns sentences on whether more models would help."""
    lines = []
    for name, optimizer in result.optimizers.items():
        if optimizer.model_count is not None:
            lines.append(f"{name}: {num_models.says_enough(optimizer.model_count)}")
    for name, optimizer in result.compared.items():
        needed = optimizer.models_to_resolve["auc"]
        lines.append(_resolved(name, needed, len(result.keep)))
    if result.compared:
        lines.append(
            "The estimate assumes that the difference stays where it is, and plans a "
            "new run: adding models until an interval leaves out 0 is no test."
        )
    return lines


def _resolved(name: str, needed: float, have: int) -> str:
    if needed <= have:
        return f"The AUC of {name} against the baseline is resolved with {have} models."
    if math.isinf(needed):
        return (
            f"More models alone would not resolve the AUC of {name} against the "
            "baseline: the examples leave more uncertainty than there is difference."
        )
    return (
        f"About {needed:,.0f} models (now {have}) would resolve the AUC of {name} "
        "against the baseline."
    )


def _precision_cell(estimate: Estimate) -> Cell:
    return "none called a member" if math.isnan(estimate.value) else estimate
