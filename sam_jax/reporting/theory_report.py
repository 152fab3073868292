"""The result of the checks of the theory, and its report."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from sam_jax import theory
from sam_jax.analysis import theory_on_networks as nets
from sam_jax.auditing.run_result import RunResult
from sam_jax.data.result_files import write_text
from sam_jax.metrics.estimate import estimate_rows
from sam_jax.reporting import drawings, page, tables
from sam_jax.theory import claims, simulated_problems

COLUMNS = ("claim", "statement", "grid", "cells", "worst (s.e.)", "limit", "verdict")


@dataclasses.dataclass(frozen=True, repr=False)
class TheoryResult(RunResult):
    """The result of ``sam-jax theory``.

    Attributes:
        claims: The claims with their cells.
        linear: What SAM does to linear least squares, by quantity.
        networks: Margins of networks by radius and seed.
        drawings: Figures with their numbers, by the name of their files.
        num_sets: Training sets behind each problem of the grid.
    """

    claims: list[claims.TheoryClaim]
    linear: dict[str, float]
    networks: dict[str, nets.Measured]
    drawings: dict[str, drawings.Drawing]
    num_sets: int

    @property
    def holds(self) -> bool:
        """Whether no claim fails."""
        return all(claim.holds for claim in self.claims)

    def to_rows(self) -> list[dict[str, Any]]:
        """Returns cells and networks in long format, one row a value.

        Keys: ``subject``, the claim or network; ``place``, the cell or radius;
        ``metric``, ``value``, ``low``, ``high``. A cell's value is simulation minus
        theory, and its interval holds 0 where the claim holds; a network's is that
        under SAM minus that under SGD, with a 95 % interval.
        """
        rows = []
        for claim in self.claims:
            for cell in claim.cells:
                half = claim.limit * cell.standard_error + cell.allowance
                gap = cell.simulation - cell.theory
                difference = nets.Difference(gap, gap - half, gap + half)
                place = {"subject": claim.name, "place": cell.label}
                named = {"simulation - theory": difference}
                rows += estimate_rows(place, named)
        for network, measured in self.networks.items():
            for r, rho in enumerate(nets.RHOS[1:], start=1):
                place = {"subject": network, "place": f"rho={rho:g} - rho=0"}
                gaps = nets.differences(measured, r)
                rows += estimate_rows(place, gaps)
        return rows

    def numbers(self) -> dict[str, Any]:
        """Returns what ``metrics.json`` holds."""
        return {
            "verdict": f"{verdict(self)} {network_verdict(self)}",
            "claims": [dict(zip(COLUMNS, r, strict=True)) for r in claim_rows(self)],
            "linear": self.linear,
            "networks": self.networks,
        }

    def write_report(self, folder: pathlib.Path, about: Mapping[str, Any]) -> None:
        """Writes the figures, their CSVs and ``report.html``."""
        body = [*_tables(self), page.heading("Figures")]
        for name, drawing in self.drawings.items():
            drawings.save_drawing(folder, name, drawing)
            body.append(page.figure(drawing.figure, drawing.caption))
        num_networks = [measured.mean.shape[1] for measured in self.networks.values()]
        written = page.page(
            "Theory of the linear interpolating regime",
            "Do the closed forms agree with simulation, and where does less variance "
            "help the attacker?",
            f"{verdict(self)} {network_verdict(self)}",
            [*body, page.heading("Details")],
            subtitle=f"{self.num_sets} training sets for each problem of the grid; "
            f"{max(num_networks, default=0)} networks for each radius",
            about=about,
        )
        write_text(folder / "report.html", written)

    def __repr__(self) -> str:
        """A few lines: the claims, what SAM does to networks, the verdict."""
        return f"{short_table(self)}\n{network_verdict(self)}\n{verdict(self)}"

    def _repr_html_(self) -> str:
        """Verdict and tables, for notebooks."""
        sentences = page.text(f"{verdict(self)} {network_verdict(self)}")
        return Markup("").join([sentences, *_tables(self)])


def short_table(result: TheoryResult) -> str:
    """Returns the claims as a terminal shows them, without statements."""
    short = [row[:1] + row[3:] for row in claim_rows(result)]
    return tables.text_table(COLUMNS[:1] + COLUMNS[3:], short)


def claim_rows(result: TheoryResult) -> list[list[tables.Cell]]:
    """One row per claim; the verdict of one that fails says where."""
    return [
        [
            f"claim {claim.name}",
            claim.statement,
            claim.grid,
            len(claim.cells),
            round(claim.worst.deviation, 2),
            round(claim.limit, 2),
            "holds" if claim.holds else f"FAILS at {claim.worst.label}",
        ]
        for claim in result.claims
    ]


def network_rows(result: TheoryResult) -> list[list[tables.Cell]]:
    """One row per network and radius: SAM minus SGD with 95 % intervals."""
    rows: list[list[tables.Cell]] = []
    for network, measured in result.networks.items():
        for r, rho in enumerate(nets.RHOS[1:], start=1):
            gaps = nets.differences(measured, r)
            interpolates = measured.residual[[0, r]].max() < nets.RESIDUAL
            deviation = measured.variance[r].mean() ** 0.5
            near = theory.contraction_raises_advantage(
                measured.mean[r].mean(), deviation, simulated_problems.TAU
            )
            rows.append(
                [
                    network,
                    rho,
                    "yes" if interpolates else "no",
                    str(gaps["variance"]),
                    str(gaps["confidence"]),
                    str(gaps["likelihood_ratio"]),
                    "raises" if near else "lowers",
                ]
            )
    return rows


NETWORK_COLUMNS = (
    "network",
    "rho",
    "interpolates",
    "variance",
    "confidence advantage",
    "likelihood ratio",
    "less variance",
)


def verdict(result: TheoryResult) -> str:
    """The verdict in one sentence."""
    failed = [claim.name for claim in result.claims if not claim.holds]
    if failed:
        return (
            f"{len(failed)} of {len(result.claims)} claims fail: {'; '.join(failed)}."
        )
    cells = sum(len(claim.cells) for claim in result.claims)
    return f"All {len(result.claims)} claims agree with simulation on {cells} cells."


def network_verdict(result: TheoryResult) -> str:
    """What SAM does to each network, in one sentence each."""
    shown = {
        "variance": "the variance of non-members",
        "confidence": "the confidence advantage",
        "likelihood_ratio": "the likelihood-ratio advantage",
    }
    sentences = []
    for network, measured in result.networks.items():
        changes = []
        for field, label in shown.items():
            at: dict[str, list[str]] = {"falls": [], "rises": []}
            for r, rho in enumerate(nets.RHOS[1:], start=1):
                sign = nets.differences(measured, r)[field].sign
                at.get(sign, []).append(f"{rho:g}")
            said = [f"{sign} at rho {', '.join(a)}" for sign, a in at.items() if a]
            if said:
                changes.append(f"{label} {' and '.join(said)}")
        text = "; ".join(changes) if changes else "no difference from SGD seen"
        sentences.append(f"SAM on {network}: {text}.")
    return " ".join(sentences)


def _tables(result: TheoryResult) -> list[Markup]:
    return [
        page.heading("Claims"),
        page.table(COLUMNS, claim_rows(result)),
        page.heading("Actual SAM on networks that interpolate"),
        page.table(
            NETWORK_COLUMNS,
            network_rows(result),
            "Differences from the same networks under SGD with 95 % intervals. The "
            "last column: what less variance does to the likelihood-ratio advantage by "
            "claim 4, at the mean and variance of the networks.",
        ),
        page.heading("Actual SAM on linear least squares"),
        page.table(("quantity", "value"), [list(i) for i in result.linear.items()]),
    ]
