"""The tables of an audit: accuracies, attacks by strength, differences."""

from collections.abc import Callable

import numpy as np

from sam_jax.auditing.result import AttackResult, AuditResult
from sam_jax.metrics.estimate import Estimate
from sam_jax.reporting import given_scope
from sam_jax.reporting.tables import Cell, Table, metric_label, metric_table, text_table
from sam_jax.reporting.verdict import verdict

NUM_STRONGEST = 3
"""Attacks that the terminal shows, besides those that differ."""


def attacks_by_strength(result: AuditResult) -> list[str]:
    """Returns the attacks by their largest pooled AUC, the strongest first."""

    def strength(attack: str) -> float:
        aucs = [
            optimizer.attacks[attack].metrics.pooled["auc"].value
            for optimizer in result.optimizers.values()
        ]
        return max(aucs)

    return sorted(result.attack_names, key=strength, reverse=True)


def accuracy_table(result: AuditResult) -> Table:
    """Returns the accuracies, optimizers side by side, then differences."""
    columns = ["", *result.optimizers]
    columns += [f"{name} - {result.baseline}" for name in result.compared]
    rows: list[list[Cell]] = []
    for data, label in (("train", "training accuracy"), ("test", "test accuracy")):
        if np.isnan(getattr(result[result.baseline].accuracy, data).value):
            continue  # signals without unseen examples
        values = [o.accuracy for o in result.optimizers.values()]
        values += [o.accuracy_difference for o in result.compared.values()]
        rows.append([label, *(getattr(value, data) for value in values)])
    return columns, rows


def metric_rows(
    result: AuditResult, attack: str, metrics: list[str]
) -> list[list[Cell]]:
    """Returns a row for each metric of one attack, as columns of ``accuracy_table``."""
    rows: list[list[Cell]] = []
    values = [pooled(o.attacks[attack]) for o in result.optimizers.values()]
    values += [difference(o.attacks[attack]) for o in result.compared.values()]
    for metric in metrics:
        label = f"{attack} {metric_label(metric)}"
        rows.append([label, *(by_metric[metric] for by_metric in values)])
    return rows


def attack_matrix(
    result: AuditResult,
    estimates: Callable[[AttackResult], dict[str, Estimate]],
    name: str,
) -> Table:
    """Returns one optimizer's attacks by metrics, the strongest attack first.

    Args:
        result: Of an audit.
        estimates: Reads the metrics off an attack.
        name: The optimizer.
    """
    attacks, names = result[name].attacks, attacks_by_strength(result)
    return metric_table(["attack"], [([a], estimates(attacks[a])) for a in names])


def pooled(attack: AttackResult) -> dict[str, Estimate]:
    """The metrics over all targets together."""
    return attack.metrics.pooled


def mean_over_targets(attack: AttackResult) -> dict[str, Estimate]:
    """The means over targets of each target's metrics."""
    return attack.metrics.mean


def difference(attack: AttackResult) -> dict[str, Estimate]:
    """The pooled metrics minus those of the baseline."""
    assert attack.difference is not None
    return attack.difference.pooled


def summary(result: AuditResult) -> str:
    """Returns the result in a few lines.

    Args:
        result: Of an audit.
    """
    size = f"{len(result.keep)} models each, {len(result.columns):,} examples"
    if result.given is not None:
        known = given_scope.shadow_models(result.given)
        size = f"given, {known}, {len(result.columns):,} examples"
    head = f"AuditResult of {', '.join(result.optimizers)}: {size}."
    how = "result[optimizer].attacks[attack] has the rest."
    return "\n".join([head, terminal_table(result), verdict(result), how])


def terminal_table(result: AuditResult) -> str:
    """Returns the table that a run ends with: accuracies and the strongest attacks."""
    columns, rows = accuracy_table(result)
    strongest = attacks_by_strength(result)
    # What the verdict names is in the table above it.
    resolved = {c.attack[1] for c in result.changes() if c.outcome in ("more", "less")}
    strongest = [
        attack
        for place, attack in enumerate(strongest)
        if place < NUM_STRONGEST or attack in resolved
    ]
    metrics = list(pooled(result[result.baseline].attacks[strongest[0]]))
    for attack in strongest:
        shown = [m for m in metrics if m != "balanced_accuracy"]
        rows += metric_rows(
            result, attack, shown if attack == strongest[0] else ["auc"]
        )
    return text_table(columns, rows)
