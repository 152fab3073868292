"""The report of an explanation: claims, figures and their numbers."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from sam_jax.auditing.result import EQUAL_ACCURACY
from sam_jax.reporting import (
    explain_claims,
    memorization_figures,
    page,
    variance_figures,
)
from sam_jax.reporting.drawings import NUMBERS, Drawing, numbers, save_drawing
from sam_jax.reporting.explain_claims import Evidence, PaperClaim
from sam_jax.types import Dataset

SECTIONS = {
    "memorization": "Memorization",
    "accuracy_by_bucket": "Influence",
    "attack_by_memorization": "Memorization against attack success",
    "confidence": "Variance of confidence",
    "sharpness": "Sharpness",
}
"""First figure of each section -> its heading."""

ARRAYS = frozenset(
    ("estimates", "difference", "bins", "gain", "entropy", "num_positive", "bucket")
    + ("pairs", "values", "signals")
)
"""Fields with a value for each example, which metrics.json leaves to the CSVs."""


@dataclasses.dataclass(frozen=True)
class Explanation:
    """What a report of an explanation shows.

    Attributes:
        evidence: Everything measured.
        claims: From ``explain_claims.check_claims``.
        dataset: Of the audit, for pictures.
        source: Folder of the audit.
    """

    evidence: Evidence
    claims: Sequence[PaperClaim]
    dataset: Dataset
    source: str


def write_explanation(
    explanation: Explanation,
    folder: pathlib.Path,
    about: Mapping[str, Any],
    *,
    num_images: int = 16,
) -> None:
    """Writes ``report.html``, ``claims.csv``, and an SVG and a CSV for each figure.

    Args:
        explanation: What to show.
        folder: Where to; it must exist.
        about: Settings, versions, command and commit.
        num_images: Images in each strip.
    """
    comparison, claims = explanation.evidence.comparison, explanation.claims
    base, other = comparison.names
    body = [
        *_fit_warning(explanation.evidence),
        page.heading("Claims of the paper"),
        page.table(
            explain_claims.COLUMNS,
            [claim.row for claim in claims],
            f"Differences are {other} minus {base}, paired by model and example.",
        ),
    ]
    for name, drawing in draw_figures(explanation, num_images).items():
        if name in SECTIONS:
            body.append(page.heading(SECTIONS[name]))
        save_drawing(folder, name, drawing)
        if drawing.figure is not None:
            body.append(page.figure(drawing.figure, drawing.caption))
    save_drawing(folder, "claims", _claims_table(claims))
    body.append(page.heading("Details"))
    body.append(page.json_block(dict(about), "Settings, versions, commit"))
    written = page.page(
        f"Why {other} and {base} leak differently",
        "Are memorization, influence, variance and sharpness what the paper says?",
        explain_claims.verdict(claims),
        body,
        subtitle=f"{len(comparison.keep)} models for each optimizer, from "
        f"{explanation.source}.",
        footer=f"{about['command']} | commit {about['commit']}",
    )
    (folder / "report.html").write_text(written, encoding="utf-8")


def draw_figures(explanation: Explanation, num_images: int) -> dict[str, Drawing]:
    """Returns every figure with its numbers, by the name of its file."""
    evidence, dataset = explanation.evidence, explanation.dataset
    comparison, memorized = evidence.comparison, evidence.memorized
    memory, variance, names = memorization_figures, variance_figures, comparison.names
    index = np.flatnonzero(comparison.pool)
    labels = np.asarray(comparison.signals[0].labels)[comparison.pool]
    drawings = {
        "memorization": memory.distributions(names, memorized),
        "memorization_scatter": memory.scatter(names, memorized, index, labels),
        "memorization_by_bin": memory.by_bin(names, memorized),
        "largest_differences": memory.largest_differences(
            names, memorized, dataset, index, num_images
        ),
        "accuracy_by_bucket": memory.accuracy_by_bucket(names, evidence.typical),
        "influence_entropy": memory.entropies(names, comparison, evidence.typical),
    }
    for which, role in enumerate(("baseline", "compared")):
        drawings[f"influence_pairs_{role}"] = memory.influence_pairs(
            names[which], memorized, which, evidence.typical, dataset, index, num_images
        )
    unseen = evidence.variance.unseen
    drawings |= {
        "attack_by_memorization": memory.attack_success(names, evidence.success),
        "confidence": variance.confidence(names, comparison, unseen),
        "confidence_variances": variance.variances(names, unseen),
        "decomposition": variance.decomposition(names, evidence.variance),
        "side": variance.turning_points(names, evidence.variance),
    }
    if evidence.sweep is not None:
        drawings["sharpness"] = variance.sharpness(names[1], evidence.sweep)
        drawings["accuracy_and_leakage"] = variance.accuracy_and_leakage(
            names[1], evidence.sweep
        )
    return drawings


def metrics_json(evidence: Evidence, claims: Sequence[PaperClaim]) -> dict[str, Any]:
    """Returns every number of the report but those of single examples."""
    return {
        "verdict": explain_claims.verdict(claims),
        "claims": [dataclasses.asdict(c) | {"agrees": c.agrees} for c in claims],
        "attacks": {
            evidence.attack_name: evidence.attack.as_dict(),
            "modified_entropy": evidence.threshold_attack.as_dict(),
        },
        "memorization": _without_arrays(evidence.memorized),
        "influence": _without_arrays(evidence.typical),
        "success": _without_arrays(evidence.success),
        "variance": _without_arrays(evidence.variance),
        "sharpness": None
        if evidence.sweep is None
        else _without_arrays(evidence.sweep),
    }


def _without_arrays(result: Any) -> dict[str, Any]:
    return {k: v for k, v in result._asdict().items() if k not in ARRAYS}


def _claims_table(claims: Sequence[PaperClaim]) -> Drawing:
    rows = [
        [c.name, c.paper, *numbers(c.measured), c.agrees, c.note.strip()]
        for c in claims
    ]
    columns = ("claim", "paper", *NUMBERS, "agrees", "note")
    return Drawing(None, "", columns, rows)


def _fit_warning(evidence: Evidence) -> list[Markup]:
    """A warning where the two optimizers do not fit equally well."""
    comparison = evidence.comparison
    fits = [
        np.mean(np.asarray(s.correct)[:, comparison.pool], where=comparison.keep)
        for s in comparison.signals
    ]
    if abs(fits[1] - fits[0]) <= EQUAL_ACCURACY:
        return []
    shown = " and ".join(
        f"{fit:.3f} ({name})" for fit, name in zip(fits, comparison.names, strict=True)
    )
    return [
        page.warning(
            f"Training accuracies are {shown}: differences may come from the fit alone."
        )
    ]
