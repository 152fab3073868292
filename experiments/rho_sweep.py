"""Privacy against utility over the radius, at the cells with several radii.

    python -m experiments.rho_sweep

writes docs/results/rho_sweep.md from the tables of ``where_it_begins``.
"""

import collections

from experiments.common.measure import MODELS
from experiments.common.pages import Sweep, change, run_page, table

COLUMNS = (
    ("training accuracy", MODELS, "train_accuracy"),
    ("training loss", MODELS, "train_loss"),
    ("margin", MODELS, "phi_mean_members"),
    ("test accuracy", MODELS, "test_accuracy"),
    ("loss AUC", "loss", "auc"),
    ("LiRA AUC", "lira_online", "auc"),
    ("RMIA AUC", "rmia_online", "auc"),
)


def page(sweep: Sweep) -> str:
    """Returns the page."""
    return (
        "# Privacy against utility over the radius\n\n"
        "Made by `python -m experiments.rho_sweep`. SGD → SAM (or ASAM, or noise of "
        "the radius in place of the gradient: `random_sam`), difference with its 95 % "
        "interval; bold where it leaves 0 out. Margin is the mean phi of members, in "
        "nats.\n\n" + optimizer_table(sweep)
    )


def optimizer_table(sweep: Sweep) -> str:
    """Returns a line an optimizer of each cell that has several: fit and leakage."""
    optimizers = collections.defaultdict(list)
    for cell, optimizer in sweep.places():
        optimizers[cell].append(optimizer)
    lines = [
        [
            sweep.label((cell, name)),
            *(change(sweep.rows[cell, name, a, m]) for _, a, m in COLUMNS),
        ]
        for cell, names in optimizers.items()
        if len(names) > 1
        for name in sorted(names, key=_method_and_radius)
    ]
    return table(["Cell", *(head for head, _, _ in COLUMNS)], lines)


def _method_and_radius(optimizer: str) -> tuple[str, float]:
    method, _, rho = optimizer.partition("-")
    return method, float(rho)


if __name__ == "__main__":
    run_page("rho_sweep", __doc__, page)
