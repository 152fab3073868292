"""Differences between runs: each attack of a run minus the same of the first run."""

from collections.abc import Mapping

import numpy as np
from markupsafe import Markup

from sam_jax.attacks import ATTACKS
from sam_jax.auditing.config import AttackConfig
from sam_jax.auditing.evaluate import count_columns, score_attack
from sam_jax.auditing.result import AuditResult
from sam_jax.metrics import Bootstrap, pooled_difference
from sam_jax.metrics.attack_metrics import AttackMetrics
from sam_jax.metrics.estimate import Estimate, independent_difference
from sam_jax.reporting import page
from sam_jax.reporting.run_files import Run
from sam_jax.reporting.saved_audits import decode, load_audit
from sam_jax.reporting.tables import metric_table

CAPTION = (
    "Each attack minus the same attack of {first}: on the same optimizer, or on its "
    "baseline where it has no such optimizer. Paired: both runs have the same data and "
    "training sets, and what their models and examples share cancels. Unpaired: the "
    "interval is that of independent models and examples, wider where the runs share "
    "examples."
)


def sections(runs: Mapping[str, Run]) -> list[Markup]:
    """Returns the table of differences to the first run, and how to read it.

    Args:
        runs: By label, from ``read_run``.
    """
    first, *others = runs
    rows, of_first = [], {}
    for label in others:
        compared = compare_runs(runs[first], runs[label], of_first)
        for (attack, optimizer, base), (differences, is_paired) in compared.items():
            place = [attack, f"{label}: {optimizer}", f"{first}: {base}"]
            rows.append(([*place, "paired" if is_paired else "unpaired"], differences))
    if not rows:
        return [page.text("The runs have no attack in common.")]
    table = metric_table(["attack", "run", "minus", "interval"], rows)
    return [page.table(*table, CAPTION.format(first=first))]


def compare_runs(
    first: Run, other: Run, of_first: dict[tuple[str, str], Bootstrap] | None = None
) -> dict[tuple[str, str, str], tuple[dict[str, Estimate], bool]]:
    """Returns differences by attack and both optimizers, and whether they are paired.

    Args:
        first: What is subtracted.
        other: Whose attacks are compared.
        of_first: Replicates of the first run's attacks, filled for further calls.
    """
    pair = _paired_results(first, other)
    of_first = {} if of_first is None else of_first
    compared = {}
    for optimizer, attacks in other.numbers["metrics"].items():
        base = optimizer
        if base not in first.numbers["metrics"]:
            base = first.numbers["baseline"]
        for attack, values in attacks.items():
            before = first.numbers["metrics"][base].get(attack)
            if before is None:
                continue
            now, then = decode(AttackMetrics, values), decode(AttackMetrics, before)
            differences, is_paired = {}, False
            if pair is not None and attack in ATTACKS and now.fprs == then.fprs:
                is_paired = True
                if (base, attack) not in of_first:
                    of_first[base, attack] = _bootstrap(pair[0], base, attack)
                replicates = _bootstrap(pair[1], optimizer, attack)
                differences = pooled_difference(replicates, of_first[base, attack])
            else:
                for metric in filter(then.pooled.__contains__, now.pooled):
                    estimates = now.pooled[metric], then.pooled[metric]
                    differences[metric] = independent_difference(*estimates, now.level)
            compared[attack, optimizer, base] = differences, is_paired
    return compared


def _paired_results(first: Run, other: Run) -> tuple[AuditResult, AuditResult] | None:
    """Both results, where they are of the same examples and training sets."""
    hashes = [run.about.get("data_sha256") for run in (first, other)]
    if hashes[0] != hashes[1]:
        return None
    for run in (first, other):
        has_signals = (run.folder / "signals.npz").is_file()
        if "given" in run.numbers or not has_signals:
            return None
    pair = load_audit(first.folder), load_audit(other.folder)
    one, two = ((r.keep, r[r.baseline].signals.labels, r.canaries) for r in pair)
    same = all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))
    return pair if same and pair[0].level == pair[1].level else None


def _bootstrap(result: AuditResult, optimizer: str, attack: str) -> Bootstrap:
    """Replicates of an attack's metrics, as the run had them."""
    signals = result[optimizer].signals
    metrics = result[optimizer].attacks[attack].metrics
    config = AttackConfig(fprs=metrics.fprs, level=result.level)
    columns = count_columns(signals, result.canaries)
    return score_attack(ATTACKS[attack], signals, columns, config).bootstrap
