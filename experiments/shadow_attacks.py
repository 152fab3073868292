"""LiRA and RMIA, SGD against SAM: AUC and TPR at low false-positive rates.

    python -m experiments.shadow_attacks

writes docs/results/shadow_attacks.md from the tables of ``where_it_begins``.
"""

from experiments.common.pages import FIT_NOTE, Sweep, change_table, run_page

ATTACKS = ("lira_online", "lira_online_plain", "lira_offline", "rmia_online")
METRICS = {
    "AUC": "auc",
    "TPR at 1 % FPR": "tpr_at_fpr_0.01",
    "TPR at 0.1 % FPR": "tpr_at_fpr_0.001",
}


def page(sweep: Sweep) -> str:
    """Returns the page."""
    parts = [
        "# Attacks with shadow models\n\n"
        "Made by `python -m experiments.shadow_attacks`. SGD → SAM, difference with "
        "its 95 % interval over targets and examples; bold where it leaves 0 out. "
        "`plain` is the form of the paper of LiRA, which is biased with few models; "
        "without the word, references are matched in number.\n\n"
        + FIT_NOTE.removesuffix("\n")
    ]
    for head, metric in METRICS.items():
        columns = [(name.replace("_", " "), name, metric) for name in ATTACKS]
        parts.append(f"\n## {head}\n\n" + change_table(sweep, columns, fit=True))
    return "".join(parts)


if __name__ == "__main__":
    run_page("shadow_attacks", __doc__, page)
