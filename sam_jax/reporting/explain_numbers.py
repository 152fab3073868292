"""Every number of an explanation but those of single examples."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from sam_jax.metrics.estimate import Estimate, estimate_rows
from sam_jax.reporting import explain_claims
from sam_jax.reporting.explain_claims import Evidence, PaperClaim
from sam_jax.reporting.memorization_figures import BIN_NAMES, BUCKET_NAMES

ARRAYS = frozenset(
    ("estimates", "difference", "bins", "gain", "entropy", "num_positive", "bucket")
    + ("pairs", "values", "signals")
)
"""Fields with a value for each example, which metrics.json leaves to the CSVs."""


def metrics_json(
    evidence: Evidence, claims: Sequence[PaperClaim], reproduced: float | None
) -> dict[str, Any]:
    """Returns every number of the report but those of single examples."""
    return {
        "verdict": explain_claims.verdict(claims),
        "claims": [dataclasses.asdict(c) | {"agrees": c.agrees} for c in claims],
        "attacks": {
            name: difference.as_dict() for name, difference in _attacks(evidence)
        },
        "memorization": _without_arrays(evidence.memorized),
        "influence": _without_arrays(evidence.typical),
        "success": _without_arrays(evidence.success),
        "variance": _without_arrays(evidence.variance),
        "sharpness": None
        if evidence.sweep is None
        else _without_arrays(evidence.sweep),
        "reproduced": reproduced,
    }


def evidence_rows(evidence: Evidence) -> list[dict[str, Any]]:
    """Returns what was measured in long format; see ``Explanation.to_rows``."""
    base, other = evidence.comparison.names
    rows: list[dict[str, Any]] = []

    def add(
        topic: str, sides: Sequence[Mapping[str, Estimate]], group: str = ""
    ) -> None:
        """Of the difference alone, or of baseline, compared and difference."""
        places = [(base, ""), (other, ""), (other, base)][-len(sides) :]
        for (name, minus), estimates in zip(places, sides, strict=True):
            place = {"topic": topic, "optimizer": name, "minus": minus, "group": group}
            rows.extend(estimate_rows(place, estimates))

    for attack, difference in _attacks(evidence):
        add("leakage", [difference.pooled], attack)
    for number, name in enumerate(BIN_NAMES):
        sides = evidence.memorized.by_bin
        add("memorization", [{"memorization": s[number]} for s in sides], name)
    for number, name in enumerate(BUCKET_NAMES):
        sides = evidence.typical.accuracy
        add("influence", [{"test_accuracy": s[number]} for s in sides], name)
    add("variance", evidence.variance.unseen)
    for score, gains in evidence.variance.decomposition.items():
        add("decomposition", [gains], score)
    if evidence.sweep is not None:
        sweep = evidence.sweep
        labels = [f"{other} rho={rho:g}" for rho in sweep.rho]
        for minus, measures in (("", sweep.measures), (labels[0], sweep.differences)):
            for number, label in enumerate(labels):
                place = {"topic": "sharpness", "optimizer": label, "minus": minus}
                values = {name: by_rho[number] for name, by_rho in measures.items()}
                rows += estimate_rows(place | {"group": ""}, values)
    return rows


def _attacks(evidence: Evidence) -> list[tuple[str, Any]]:
    """Differences of the attacks, by their names."""
    return [
        (evidence.attack_name, evidence.attack),
        (evidence.threshold_attack_name, evidence.threshold_attack),
    ]


def _without_arrays(result: Any) -> dict[str, Any]:
    return {k: v for k, v in result._asdict().items() if k not in ARRAYS}
