"""What the paper says, what this run measured, and whether the two agree.

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
from sam_jax.analysis.memorization_bins import BIN_EDGES
from sam_jax.analysis.rho_sweep import Sweep
from sam_jax.analysis.typicality import NUM_BUCKETS
from sam_jax.metrics import attack_metrics
from sam_jax.metrics.estimate import Estimate, mean_over_models
from sam_jax.reporting import tables

MODERATE = BIN_EDGES.index(0.6) + 1
"""The bin from 0.6 to 0.85."""

COLUMNS = ("claim", "the paper", "this run, with 95 % interval", "agree?")


@dataclasses.dataclass(frozen=True)
class Claim:
    """One statement of the paper and what was measured of it.

    Attributes:
        name: The statement.
        paper: What the paper says of it, with numbers where they are known.
        measured: What this run says.
        sign: 1 where the paper says more, -1 less, 0 no difference.
        note: What the sign does not say.
    """

    name: str
    paper: str
    measured: Estimate
    sign: int
    note: str = ""

    @property
    def agrees(self) -> str:
        """``yes``, ``no``, or ``not settled`` where the interval holds both.

        Of a claim of no difference: ``no``, or ``not contradicted``.
        """
        low, high = self.measured.low, self.measured.high
        if np.isnan(self.measured.value):
            return "not measured"
        if self.sign == 0:
            return "not contradicted" if low <= 0 <= high else "no"
        low, high = sorted((self.sign * low, self.sign * high))
        return "yes" if low > 0 else "no" if high < 0 else "not settled"

    @property
    def row(self) -> list[str]:
        """Its row of the table."""
        shown = tables.format_estimate(self.measured, sign=True)
        if np.isnan(self.measured.value):
            shown = "too few examples"
        return [self.name, self.paper, shown, self.agrees + self.note]


def claims(
    comparison: analysis.Comparison,
    attacked: attack_metrics.Differences,
    direct: attack_metrics.Differences,
    found: analysis.Memorized,
    typical: analysis.Typicality,
    success: analysis.Success,
    spreads: analysis.Spreads,
    sweep: Sweep | None,
    audited_rho: float | None,
) -> list[Claim]:
    """Returns every claim in the paper's order."""
    test = [np.asarray(s.correct)[:, comparison.test] for s in comparison.signals]
    accuracy = mean_over_models(test[1].mean(axis=1) - test[0].mean(axis=1))
    gain, test_gain = found.by_bin[2], typical.accuracy[2]
    top = analysis.contrast_of_bins(found.bins, found.gain, MODERATE, len(BIN_EDGES))
    rows = [
        Claim(
            "SAM leaks more: AUC of the attack",
            "+1.1 to +3.4 points (LiRA, CIFAR)",
            attacked.pooled["auc"],
            1,
        ),
        Claim(
            "SAM leaks more: TPR at 0.1 % FPR",
            "8.8 -> 12.5 % (LiRA, CIFAR-10)",
            attacked.pooled["tpr_at_fpr_0.001"],
            1,
        ),
        Claim(
            "SAM leaks more: balanced accuracy of modified entropy",
            "+2.2 points (CIFAR-10)",
            direct.pooled["balanced_accuracy"],
            1,
        ),
        Claim(
            "SAM generalises better: test accuracy", "+0.7 to +1.7 points", accuracy, 1
        ),
        Claim(
            "SAM memorizes more of what is moderately memorized (0.6 to 0.85)",
            "more",
            gain[MODERATE],
            1,
        ),
        Claim("... and gains more there than at the top (above 0.85)", "more", top, 1),
        Claim(
            "SAM's test gain: atypical examples (bucket 1)", "largest", test_gain[1], 1
        ),
        Claim("... typical examples (bucket 5)", "none", test_gain[NUM_BUCKETS], 0),
        Claim("... bucket 1 less bucket 5", "more", typical.first_less_last, 1),
        Claim(
            "SAM narrows the confidence of unseen examples: variance",
            "less",
            spreads.unseen[2]["total"],
            -1,
        ),
        *(_contraction(spreads, score) for score in ("probability", "calibrated phi")),
        Claim(
            "Memorized examples are the ones attacked: Spearman correlation",
            "assumed",
            success.spearman[1],
            1,
        ),
    ]
    if sweep is not None and audited_rho is not None:
        rows += _flatness(sweep, audited_rho)
    return rows


def _contraction(spreads: analysis.Spreads, score: str) -> Claim:
    """Whether the others' change of spread alone helps the Gaussian attack."""
    side = output_variance.side_of_turning(spreads.laws[score][0])
    where = "near" if side.near else "far"
    return Claim(
        f"Their change of spread helps the attack (Gaussian, {score})",
        "more advantage",
        spreads.decomposition[score]["contraction"],
        1,
        f" ({where} side: s = {side.spread:.2f}, turning point {side.turning:.2f}, "
        f"|1 - mu| = {side.gap:.2f})",
    )


def _flatness(sweep: Sweep, rho: float) -> list[Claim]:
    at = int(np.argmin(np.abs(sweep.rho - rho)))
    less = lambda name: sweep.differences[name][at]
    return [
        Claim(
            f"SAM finds flatter minima: top eigenvalue at rho {sweep.rho[at]:g}",
            "flatter",
            less("top eigenvalue"),
            -1,
        ),
        Claim(
            "... adaptive worst-case rise",
            "flatter",
            less("adaptive worst-case rise"),
            -1,
        ),
    ]


def verdict(checked: Sequence[Claim]) -> str:
    """Returns one sentence that counts the claims and names those that fail."""
    by = {kind: [c for c in checked if c.agrees == kind] for kind in ("yes", "no")}
    open_ones = len(checked) - len(by["yes"]) - len(by["no"])
    said = (
        f"Of {len(checked)} claims of the paper this run agrees with {len(by['yes'])}, "
        f"disagrees with {len(by['no'])} and does not settle {open_ones}."
    )
    if by["no"]:
        named = "; ".join(f"{c.name} ({_short(c)})" for c in by["no"])
        said += f" It disagrees on: {named}."
    return said


def _short(claim: Claim) -> str:
    return tables.format_estimate(claim.measured, sign=True)
