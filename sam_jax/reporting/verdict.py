"""The result of an audit in plain sentences, over all attacks of the run."""

from collections.abc import Sequence

from sam_jax.auditing.result import EQUAL_ACCURACY, AuditResult
from sam_jax.metrics.multiple_tests import MIN_TARGETS, POWER, Finding
from sam_jax.reporting import given_scope
from sam_jax.reporting.tables import format_estimate, metric_label


def verdict(result: AuditResult) -> str:
    """Returns what the attacks show, one sentence a line.

    First whether each optimizer leaks, then how each differs from the baseline. All
    attacks and metrics count, with p-values corrected for their number
    (``metrics.multiple_tests``); the strongest attack is named. Where nothing is
    significant the leak is "not resolved", with the smallest one that this run would
    have shown: there is no all-clear. Training accuracies that differ are named, as a
    better fit leaks by itself.

    Args:
        result: Of an audit.
    """
    lines = []
    for name in result.optimizers:
        findings = [f for f in result.leaks() if f.attack[0] == name]
        lines.append(_leak_sentence(name, findings, len(result.keep)))
    lines += below_chance(result)
    for name in result.compared:
        changes = [c for c in result.changes() if c.attack[0] == name]
        sentence = _change_sentence(name, result.baseline, changes)
        lines.append(sentence + _fit_caveat(result, name) + ".")
    lines += given_scope.scope(result)
    return "\n".join(lines)


def below_chance(result: AuditResult) -> list[str]:
    """Returns a sentence for each attack that does significantly worse than guessing.

    Args:
        result: Of an audit.
    """
    sentences = []
    for finding in result.leaks():
        if finding.auc.high < 0.5:
            name, attack = finding.attack
            sentences.append(
                f"The AUC of {attack} on {name}, {format_estimate(finding.auc)}, lies "
                "below 1/2: a sign of a biased or broken attack, not of privacy."
            )
    return sentences


def _leak_sentence(name: str, findings: list[Finding], num_models: int) -> str:
    if findings[0].outcome == "too few models":
        return (
            f"No verdict on {name}: {num_models} models do not tell how much models "
            f"differ, at least {MIN_TARGETS} are needed."
        )
    strongest, num_leaks = findings[0], sum(f.outcome == "leak" for f in findings)
    attack = strongest.attack[1]
    shown = f"{attack} AUC {format_estimate(strongest.auc)}"
    if strongest.outcome == "leak":
        if strongest.metric != "auc":
            rate = format_estimate(strongest.estimate)
            shown += f", {metric_label(strongest.metric)} {rate}"
        many = f", {num_leaks} of which show it" if len(findings) > 1 else ""
        if strongest.metric == "auc" and strongest.auc.low <= 0.5:
            # The test is of these models, and knows more than the interval.
            p_value = f"p = {strongest.adjusted_p_value:.1g}"
            many += f" ({p_value} for these models; the interval is for new ones)"
        return f"{name} leaks: {shown}, {_of_all('strongest', findings)}{many}."
    # The smallest leak that any of the attacks would have shown.
    detectable = {}
    for finding in findings:
        for metric, value in finding.detectable.items():
            detectable[metric] = min(value, detectable.get(metric, 1.0))
    smallest = " or ".join(f"{metric_label(m)} {v:.3f}" for m, v in detectable.items())
    return (
        f"Leak of {name} not resolved: {shown} is {_of_all('strongest', findings)}. "
        f"The smallest leak that this run would have shown ({100 * POWER:.0f} % "
        f"power): {smallest}."
    )


def _change_sentence(name: str, baseline: str, changes: list[Finding]) -> str:
    if changes[0].outcome == "too few models":
        return f"No verdict on {name} against {baseline}: too few models"
    sentences = []
    for outcome in ("more", "less"):
        resolved = [c for c in changes if c.outcome == outcome]
        if resolved:
            others = [str(change.attack[1]) for change in resolved[1:]]
            more = f" (and by {', '.join(others)})" if others else ""
            shown = _shown_change(resolved[0])
            sentences.append(f"{name} leaks {outcome} than {baseline}: {shown}{more}")
    if sentences:
        return ", while ".join(sentences)
    largest = max(changes, key=lambda change: abs(change.auc.value))
    smallest = f"{largest.detectable['auc']:.3f}"
    shown = f"{largest.attack[1]} AUC {format_estimate(largest.auc, sign=True)}"
    return (
        f"No difference resolved between {name} and {baseline}: {shown} is "
        f"{_of_all('largest', changes)}, where one of {smallest} would have been "
        "resolved"
    )


def _of_all(most: str, attacks: Sequence[object]) -> str:
    count = len(attacks)
    return f"the {most} of {count} attacks" if count > 1 else "that of the only attack"


def _shown_change(change: Finding) -> str:
    estimate = format_estimate(change.estimate, sign=True)
    return f"{change.attack[1]} {metric_label(change.metric)} {estimate}"


def _fit_caveat(result: AuditResult, name: str) -> str:
    """Says whether the two were compared at (nearly) equal training accuracy."""
    compared, baseline = result[name].accuracy, result[result.baseline].accuracy
    difference = result[name].accuracy_difference
    assert difference is not None
    levels = f"{baseline.train.value:.3f} and {compared.train.value:.3f}"
    if abs(difference.train.value) <= EQUAL_ACCURACY:
        return f", at training accuracies within {EQUAL_ACCURACY:g} ({levels})"
    more = "more" if difference.train.value > 0 else "less"
    return (
        f", but {name} fits its training set {more} (training accuracy {levels}), so "
        "this is no comparison at equal fit"
    )
