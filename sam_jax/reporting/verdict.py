"""The result of an audit in plain sentences."""

from collections.abc import Mapping

from sam_jax.auditing.result import EQUAL_ACCURACY, AuditResult
from sam_jax.metrics.estimate import Estimate
from sam_jax.reporting.tables import format_estimate, metric_label


def verdict(result: AuditResult) -> str:
    """Returns what was found, in one sentence for each optimizer but the baseline.

    An optimizer leaks more (or less) where the interval of its difference in pooled
    AUC of the main attack leaves out 0; else "no difference seen". A TPR at low FPR
    that says otherwise is named, and so are training accuracies that differ, as a
    better fit leaks by itself.

    Args:
        result: Of an audit.
    """
    main, baseline = result.main_attack, result.baseline
    if not result.compared:
        auc = result[baseline].attacks[main].metrics.pooled["auc"]
        leaks = "leaks" if auc.low > 0.5 else "shows no leak"
        return f"{baseline} {leaks}: {main} AUC {format_estimate(auc)}."
    sentences = []
    for name, optimizer in result.compared.items():
        difference = optimizer.attacks[main].difference
        assert difference is not None
        auc = difference.pooled["auc"]
        shown = f"{main} AUC {format_estimate(auc, sign=True)}"
        if auc.low > 0:
            sentence = f"{name} leaks more than {baseline}: {shown}"
        elif auc.high < 0:
            sentence = f"{name} leaks less than {baseline}: {shown}"
        else:
            sentence = f"No difference seen between {name} and {baseline}: {shown}"
        sentence += _contradicting_rates(difference.pooled)
        sentences.append(sentence + _fit_caveat(result, name) + ".")
    return " ".join(sentences)


def _contradicting_rates(pooled: Mapping[str, Estimate]) -> str:
    """Names the rates whose interval leaves out 0 on another side than AUC's."""
    said = []
    for metric, estimate in pooled.items():
        if not metric.startswith("tpr"):
            continue
        if _side(estimate) not in (0, _side(pooled["auc"])):
            shown = format_estimate(estimate, sign=True)
            said.append(f"{metric_label(metric)} {shown}")
    return f", while {' and '.join(said)}" if said else ""


def _side(estimate: Estimate) -> int:
    return int(estimate.low > 0) - int(estimate.high < 0)


def _fit_caveat(result: AuditResult, name: str) -> str:
    """Says whether the two were compared at (nearly) equal training accuracy."""
    compared, baseline = result[name], result[result.baseline]
    assert compared.accuracy_difference is not None
    gap = compared.accuracy_difference.train
    levels = (
        f"{baseline.accuracy.train.value:.3f} and {compared.accuracy.train.value:.3f}"
    )
    if abs(gap.value) <= EQUAL_ACCURACY:
        return f", at training accuracies within {EQUAL_ACCURACY:g} ({levels})"
    more = "more" if gap.value > 0 else "less"
    return (
        f", but {name} fits its training set {more} (training accuracy {levels}), so "
        "this is no comparison at equal fit"
    )
