"""The result of an explanation and its report: claims, figures and their numbers."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from sam_jax.auditing.result import EQUAL_ACCURACY
from sam_jax.auditing.run_result import RunResult
from sam_jax.data.result_files import write_text
from sam_jax.reporting import (
    explain_claims,
    explain_numbers,
    mechanism_figures,
    memorization_figures,
    page,
    tables,
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


@dataclasses.dataclass(frozen=True, repr=False)
class Explanation(RunResult):
    """The result of ``sam-jax explain``.

    Attributes:
        evidence: Everything measured.
        claims: From ``explain_claims.check_claims``.
        dataset: Of the audit, for pictures.
        source: Folder of the audit.
        reproduced: Share of the audit's predictions that its models give when they are
            trained again; None where none were.
        num_images: Images in each strip of the report.
    """

    evidence: Evidence
    claims: Sequence[PaperClaim]
    dataset: Dataset
    source: str
    reproduced: float | None = None
    num_images: int = 16

    def to_rows(self) -> list[dict[str, Any]]:
        """Returns what was measured in long format, one row a value.

        Keys: ``topic`` (leakage, memorization, influence, variance, decomposition,
        sharpness); ``optimizer``; ``minus``, what a difference is from, else ``""``;
        ``group``, the attack, bin, bucket or score; ``metric``,
        ``value``, ``low``, ``high``. ``claims`` says what the paper has of them.
        """
        return explain_numbers.evidence_rows(self.evidence)

    def numbers(self) -> dict[str, Any]:
        """Returns what ``metrics.json`` holds."""
        return explain_numbers.metrics_json(self.evidence, self.claims, self.reproduced)

    def write_report(self, folder: pathlib.Path, about: Mapping[str, Any]) -> None:
        """Writes ``report.html``, ``claims.csv``, an SVG and a CSV for each figure."""
        comparison = self.evidence.comparison
        base, other = comparison.names
        body = [
            *_fit_warning(self.evidence),
            page.heading("Claims of the paper"),
            _claims_html(self),
        ]
        for name, drawing in draw_figures(self).items():
            if name in SECTIONS:
                body.append(page.heading(SECTIONS[name]))
            save_drawing(folder, name, drawing)
            if drawing.figure is not None:
                body.append(page.figure(drawing.figure, drawing.caption))
        save_drawing(folder, "claims", _claims_table(self.claims))
        written = page.page(
            f"Why {other} and {base} leak differently",
            "Are memorization, influence, variance and sharpness what the paper says?",
            explain_claims.verdict(self.claims),
            [*body, page.heading("Details")],
            subtitle=f"{len(comparison.keep)} models for each optimizer, from "
            f"{self.source}.",
            about=about,
        )
        write_text(folder / "report.html", written)

    def __repr__(self) -> str:
        """A few lines: what was compared, the claims, the verdict."""
        names = " and ".join(self.evidence.comparison.names)
        rows = [[claim.name, *claim.row[2:]] for claim in self.claims]
        head = f"Explanation of {names}, from {self.source}."
        columns = ["claim", *explain_claims.COLUMNS[2:]]
        table = tables.text_table(columns, rows, width=160)
        return "\n".join([head, table, explain_claims.verdict(self.claims)])

    def _repr_html_(self) -> str:
        """Verdict and claims, for notebooks."""
        verdict = page.text(explain_claims.verdict(self.claims))
        return verdict + _claims_html(self)


def _claims_html(explanation: Explanation) -> Markup:
    base, other = explanation.evidence.comparison.names
    return page.table(
        explain_claims.COLUMNS,
        [claim.row for claim in explanation.claims],
        f"Differences are {other} minus {base}, paired by model and example.",
    )


def draw_figures(explanation: Explanation) -> dict[str, Drawing]:
    """Returns every figure with its numbers, by the name of its file."""
    num_images = explanation.num_images
    evidence, dataset = explanation.evidence, explanation.dataset
    comparison, memorized = evidence.comparison, evidence.memorized
    memory, variance, names = memorization_figures, mechanism_figures, comparison.names
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
