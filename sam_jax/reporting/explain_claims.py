"""Claims of the paper beside the measurements of a run.

The paper is Kim, Agiollo, Agrawal, Royset and Khanna, "Membership Privacy Risks of
Sharpness Aware Minimization", ICLR 2026, https://arxiv.org/abs/2310.00488, known here
from its abstract and public summaries. A claim is a sign: the interval of what was
measured lies on its side, on the other side, or on both.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from sam_jax import analysis
from sam_jax.analysis import output_variance
from sam_jax.analysis.memorization_comparison import BIN_EDGES
from sam_jax.analysis.rho_sweep import RhoSweep
from sam_jax.analysis.typicality import NUM_BUCKETS
from sam_jax.metrics import attack_metrics
from sam_jax.metrics.estimate import Estimate, mean_over_models
from sam_jax.reporting import tables
from sam_jax.reporting.mechanism_figures import SCORE_LABELS

MODERATE = BIN_EDGES.index(0.6) + 1
"""The bin from 0.6 to 0.85."""

COLUMNS = ("claim", "the paper", "this run, with 95 % interval", "agree?")


@dataclasses.dataclass(frozen=True)
class PaperClaim:
    """One statement of the paper and what was measured of it.

    Attributes:
        name: The statement.
        paper: The paper's result, with numbers where they are known.
        measured: The measurement of this run.
        sign: 1 where the paper has more, -1 less, 0 no difference.
        note: What the sign leaves out.
    """

    name: str
    paper: str
    measured: Estimate
    sign: int
    note: str = ""

    @property
    def agrees(self) -> str:
        """``yes``, ``no``, or ``not resolved`` where the interval holds both.

        Of a claim of no difference: ``no``, or ``not contradicted``.
        """
        low, high = self.measured.low, self.measured.high
        if np.isnan(self.measured.value):
            return "not measured"
        if self.sign == 0:
            return "not contradicted" if low <= 0 <= high else "no"
        low, high = sorted((self.sign * low, self.sign * high))
        return "yes" if low > 0 else "no" if high < 0 else "not resolved"

    @property
    def row(self) -> list[str]:
        """Its row of the table."""
        shown = tables.format_estimate(self.measured, sign=True)
        if np.isnan(self.measured.value):
            shown = "too few examples"
        return [self.name, self.paper, shown, self.agrees + self.note]


@dataclasses.dataclass(frozen=True)
class Evidence:
    """Everything that a run measured.

    Attributes:
        comparison: The two optimizers.
        attack_name: The main attack.
        attack: Differences of its metrics.
        threshold_attack_name: The direct attack.
        threshold_attack: Differences of the direct attack's metrics.
        memorized: Memorization of both.
        typical: Influence entropy of both.
        success: Attack success by memorization.
        variance: Variance of unseen confidence.
        sweep: Sharpness by radius, where models were trained again.
        rho: The audit's radius.
    """

    comparison: analysis.Comparison
    attack_name: str
    attack: attack_metrics.Differences
    threshold_attack_name: str
    threshold_attack: attack_metrics.Differences
    memorized: analysis.MemorizationComparison
    typical: analysis.Typicality
    success: analysis.AttackSuccess
    variance: analysis.VarianceComparison
    sweep: RhoSweep | None
    rho: float | None


def check_claims(evidence: Evidence) -> list[PaperClaim]:
    """Returns every claim in the paper's order."""
    rows = [
        *_leakage(evidence),
        *_memorization(evidence),
        *_typicality(evidence.typical),
        *_variance(evidence.variance),
        PaperClaim(
            "Memorized examples are the ones attacked: Spearman correlation",
            "assumed",
            evidence.success.spearman[1],
            1,
        ),
    ]
    if evidence.sweep is not None and evidence.rho is not None:
        rows += _flatness(evidence.sweep, evidence.rho)
    return rows


def _leakage(evidence: Evidence) -> list[PaperClaim]:
    comparison = evidence.comparison
    correct = [np.asarray(s.correct)[:, comparison.test] for s in comparison.signals]
    gain = mean_over_models(correct[1].mean(axis=1) - correct[0].mean(axis=1))
    return [
        PaperClaim(
            "SAM leaks more: AUC of the attack",
            "+1.1 to +3.4 points (LiRA, CIFAR)",
            evidence.attack.pooled["auc"],
            1,
        ),
        PaperClaim(
            "SAM leaks more: TPR at 0.1 % FPR",
            "8.8 -> 12.5 % (LiRA, CIFAR-10)",
            evidence.attack.pooled["tpr_at_fpr_0.001"],
            1,
        ),
        PaperClaim(
            "SAM leaks more: balanced accuracy of "
            + evidence.threshold_attack_name.replace("_", " "),
            "+2.2 points (CIFAR-10)",
            evidence.threshold_attack.pooled["balanced_accuracy"],
            1,
        ),
        PaperClaim(
            "SAM generalises better: test accuracy", "+0.7 to +1.7 points", gain, 1
        ),
    ]


def _memorization(evidence: Evidence) -> list[PaperClaim]:
    memorized = evidence.memorized
    top = analysis.bin_difference(
        memorized.bins, memorized.gain, MODERATE, len(BIN_EDGES)
    )
    return [
        PaperClaim(
            "SAM memorizes more of what is moderately memorized (0.6 to 0.85)",
            "more",
            memorized.by_bin[2][MODERATE],
            1,
        ),
        PaperClaim(
            "SAM memorizes more there (0.6 to 0.85) than at the top (above 0.85)",
            "more",
            top,
            1,
        ),
    ]


def _typicality(typical: analysis.Typicality) -> list[PaperClaim]:
    gain = typical.accuracy[2]
    return [
        PaperClaim(
            "SAM's test gain: atypical examples (bucket 1)", "largest", gain[1], 1
        ),
        PaperClaim(
            "SAM's test gain: typical examples (bucket 5)", "none", gain[NUM_BUCKETS], 0
        ),
        PaperClaim(
            "SAM's test gain: bucket 1 minus bucket 5",
            "more",
            typical.first_minus_last,
            1,
        ),
    ]


def _variance(variance: analysis.VarianceComparison) -> list[PaperClaim]:
    rows = [
        PaperClaim(
            "SAM narrows the confidence of unseen examples: variance",
            "less",
            variance.unseen[2]["total"],
            -1,
        )
    ]
    for score in ("probability", "calibrated_phi"):
        point = output_variance.turning_point(variance.fits[score][0])
        side = "near" if point.contraction_helps else "far"
        rows.append(
            PaperClaim(
                "The change of non-members' standard deviation helps the attack "
                f"(Gaussian, {SCORE_LABELS[score]})",
                "more advantage",
                variance.decomposition[score]["contraction"],
                1,
                f" ({side} side: s = {point.std:.2f}, turning point "
                f"{point.turning:.2f}, |1 - mu| = {point.gap:.2f})",
            )
        )
    return rows


def _flatness(sweep: RhoSweep, rho: float) -> list[PaperClaim]:
    at = int(np.argmin(np.abs(sweep.rho - rho)))
    return [
        PaperClaim(
            f"SAM finds flatter minima: top eigenvalue at rho {sweep.rho[at]:g}",
            "flatter",
            sweep.differences["top_eigenvalue"][at],
            -1,
        ),
        PaperClaim(
            "SAM finds flatter minima: adaptive worst-case loss increase",
            "flatter",
            sweep.differences["adaptive_worst_case_increase"][at],
            -1,
        ),
    ]


def verdict(claims: Sequence[PaperClaim]) -> str:
    """Returns one sentence that counts the claims and names those that fail."""
    agreeing = [claim for claim in claims if claim.agrees == "yes"]
    contradicted = [claim for claim in claims if claim.agrees == "no"]
    unresolved = len(claims) - len(agreeing) - len(contradicted)
    sentence = (
        f"Of {len(claims)} claims of the paper this run agrees with {len(agreeing)}, "
        f"disagrees with {len(contradicted)} and does not resolve {unresolved}."
    )
    if contradicted:
        named = "; ".join(
            f"{claim.name} ({tables.format_estimate(claim.measured, sign=True)})"
            for claim in contradicted
        )
        sentence += f" It disagrees on: {named}."
    return sentence
