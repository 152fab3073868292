"""Variance of the unseen and gap of the means: what moves under SAM, and its effect.

    python -m experiments.variance

writes docs/results/variance.md from the tables of ``where_it_begins``.
"""

import csv

from experiments.common.measure import MODELS
from experiments.common.mechanism import FACTORS
from experiments.common.pages import Sweep, change_table, run_page, table

COLUMNS = (
    ("mean phi of members", MODELS, "phi_mean_members"),
    ("mean phi of unseen", MODELS, "phi_mean_unseen"),
    ("sd of phi, unseen", MODELS, "phi_sd_unseen"),
    ("variance of unseen confidence", MODELS, "confidence_variance_unseen"),
    (
        "the same over models, for each example",
        MODELS,
        "confidence_variance_over_models_unseen",
    ),
)
SCORES = {
    "phi": "phi, which the loss attack sees",
    "calibrated_phi": "phi minus the mean of the models without the example, which "
    "LiRA sees",
}


def page(sweep: Sweep) -> str:
    """Returns the page."""
    parts = [
        "# Variance and means\n\n"
        "Made by `python -m experiments.variance`. SGD → SAM, difference with its 95 % "
        "interval over models (over examples in the last column); bold where it leaves "
        "0 out. phi = log(p / (1 - p)), in nats.\n\n" + change_table(sweep, COLUMNS)
    ]
    for score, meaning in SCORES.items():
        parts.append(
            f"\n## What changes the advantage: {meaning}\n\n"
            "Change of the advantage of the likelihood-ratio attack on two Gaussians "
            "when one quantity takes SAM's value and the others stay at SGD's; 95 % "
            "jackknife intervals over models.\n\n" + factor_table(sweep, score)
        )
    return "".join(parts)


def factor_table(sweep: Sweep, score: str) -> str:
    """Returns a line a cell and radius of SAM, a column a factor."""
    texts: dict[tuple[str, str], list[str]] = {}
    with (sweep.folder / "mechanism.csv").open(encoding="utf-8") as file:
        for line in csv.DictReader(file):
            if line["score"] == score and line["optimizer"].startswith("sam-"):
                change, low, high = (
                    float(line[name]) for name in ("change", "low", "high")
                )
                texts.setdefault((line["cell"], line["optimizer"]), []).append(
                    f"{change:+.4f} [{low:+.4f}, {high:+.4f}]"
                )
    lines = [[sweep.label(place), *values] for place, values in texts.items()]
    return table(["Cell", *FACTORS], lines)


if __name__ == "__main__":
    run_page("variance", __doc__, page)
