"""Direct attacks, SGD against SAM: accuracy of attackers with shadow models, and AUC.

    python -m experiments.direct_attacks

writes docs/results/direct_attacks.md from the tables of ``where_it_begins``.
"""

from experiments.common.pages import FIT_NOTE, Sweep, change_table, run_page

ATTACKS = ("confidence", "entropy", "modified_entropy")


def page(sweep: Sweep) -> str:
    """Returns the page."""
    accuracy = [
        (name.replace("_", " "), name, "shadow_balanced_accuracy_per_class")
        for name in ATTACKS
    ]
    auc = [(name.replace("_", " "), name, "auc") for name in ATTACKS]
    return (
        "# Direct attacks\n\n"
        "Made by `python -m experiments.direct_attacks`. SGD → SAM, difference with "
        "its 95 % interval; bold where the interval leaves 0 out. The loss attack "
        "ranks as confidence does.\n\n"
        + FIT_NOTE
        + "## Balanced accuracy of an attacker\n\n"
        "One threshold a class, chosen on the other models; intervals over models.\n\n"
        + change_table(sweep, accuracy, fit=True)
        + "\n## AUC\n\n"
        + change_table(sweep, auc, fit=True)
    )


if __name__ == "__main__":
    run_page("direct_attacks", __doc__, page)
