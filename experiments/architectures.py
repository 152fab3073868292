"""Does SAM leak more or less than SGD in each network?

    python -m experiments.architectures --scale laptop

trains SGD and SAM in an MLP, an MLP with batch norm, a CNN and a ResNet-18 with batch
norm, in the run folder of ``where_it_begins``, whose cells it shares, and writes
architectures.md and, beside it, a folder of its tables. A killed run goes on where it
stopped.
"""

import pathlib

import tyro

import sam_jax
from experiments.claims import verdict
from experiments.common.claim_list import CLAIMS
from experiments.common.measure import MODELS
from experiments.common.pages import FIT_NOTE, Sweep, change_table, described, table
from experiments.common.presets import ARCHITECTURES
from experiments.common.runs import Config, run_design, write_with_page
from sam_jax.cli.errors import command_line

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


def main(config: Config) -> pathlib.Path | None:
    """Runs what is missing and writes tables and page; returns their folder."""
    return run_design("architectures", ARCHITECTURES, config, write_with_page(page))


def page(sweep: Sweep) -> str:
    """Returns the page."""
    return (
        "# Networks\n\n"
        + described(sweep.folder)
        + "SGD → SAM, difference with its 95 % interval; bold where it leaves 0 out. "
        "The networks differ in length of training and weight decay too, as the lines "
        "say: a line compares SGD and SAM, two lines do not compare networks.\n\n"
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
        if (*places[0], claim.attack, claim.metric) in sweep.rows
    ]
    return table(["The paper: statement", *map(sweep.label, places)], lines)


if __name__ == "__main__":
    sam_jax.use_all_cores()
    with command_line():
        main(tyro.cli(Config, description=__doc__))
