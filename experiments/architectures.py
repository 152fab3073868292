"""Does SAM leak more or less than SGD in each network?

    python -m experiments.architectures

writes docs/results/architectures.md from the tables of ``where_it_begins``: an MLP, an
MLP and a CNN with batch norm, and where they were run ResNet-18 and VGG-16.
"""

import dataclasses

from experiments.claims import verdict
from experiments.common.claim_list import CLAIMS
from experiments.common.measure import MODELS
from experiments.common.pages import FIT_NOTE, Sweep, change_table, run_page, table
from experiments.common.presets import NETWORKS

LEAKAGE = (
    ("loss AUC", "loss", "auc"),
    ("modified entropy AUC", "modified_entropy", "auc"),
    ("LiRA AUC", "lira_online", "auc"),
    ("LiRA TPR at 1 % FPR", "lira_online", "tpr_at_fpr_0.01"),
    ("RMIA AUC", "rmia_online", "auc"),
)
UTILITY = (
    ("test accuracy", MODELS, "test_accuracy"),
    ("variance of unseen confidence", MODELS, "confidence_variance_unseen"),
)


def page(sweep: Sweep) -> str:
    """Returns the page."""
    rows = {key: row for key, row in sweep.rows.items() if key[0] in NETWORKS}
    sweep = dataclasses.replace(sweep, rows=rows)
    return (
        "# Networks\n\n"
        "Made by `python -m experiments.architectures`. SGD → SAM, difference with its "
        "95 % interval; bold where it leaves 0 out. The networks differ in length of "
        "training and number of models too, as the lines say: a line compares SGD and "
        "SAM, two lines do not compare networks.\n\n"
        + FIT_NOTE
        + "## Leakage\n\n"
        + change_table(sweep, LEAKAGE, fit=True)
        + "\n## Utility and variance\n\n"
        + change_table(sweep, UTILITY)
        + "\n## The paper's claims in each network\n\n"
        "By the same interval; memorization and typicality need more models.\n\n"
        + verdict_table(sweep)
    )


def verdict_table(sweep: Sweep) -> str:
    """Returns a line a claim that has rows, a column a network and radius."""
    places = sweep.places("sam-")
    lines = [
        [
            claim.statement,
            *(
                verdict(claim, sweep.rows[*p, claim.attack, claim.metric])
                for p in places
            ),
        ]
        for claim in CLAIMS
        if places and (*places[0], claim.attack, claim.metric) in sweep.rows
    ]
    return table(["The paper: statement", *map(sweep.label, places)], lines)


if __name__ == "__main__":
    run_page("architectures", __doc__, page)
