"""What does each mitigation cost in accuracy and save in leakage, under SGD and SAM?

    python -m experiments.mitigations --scale laptop

trains SGD and SAM without and with weight decay, early stop, label smoothing, mixup,
temperature, weight averaging and DP-SGD (DP-SAM), on the same masks and weights, and
writes mitigations.md and, beside it, a folder of tables and frontier.svg. Needs
``pip install 'sam_jax[privacy]'`` for epsilon. A killed run goes on where it stopped.
"""

import csv
import pathlib
from collections.abc import Sequence

import matplotlib
import numpy as np

import sam_jax
from experiments.common.cells import Cell, read_signals
from experiments.common.frontier_figure import frontier_figure, mitigation_labels
from experiments.common.measure import MODELS, Row, leakage_rows, model_metrics
from experiments.common.measure import model_row as row_of_models
from experiments.common.pages import Sweep, change, described, read_sweep, table
from experiments.common.presets import MITIGATIONS, sam
from experiments.common.privacy_budget import (
    DELTA,
    accounting_library,
    epsilon,
    num_private_gradients,
)
from experiments.common.runs import Config, run_design, write_tables
from experiments.common.tables import read_rows, write_rows, write_table
from sam_jax.attacks import ATTACKS, score_targets
from sam_jax.cli.errors import command_line
from sam_jax.cli.option_parsing import parse_options

ATTACK_NAMES = ("loss", "lira_online", "rmia_online")
COLUMNS = (
    ("test accuracy", MODELS, "test_accuracy"),
    ("training accuracy", MODELS, "train_accuracy"),
    ("training loss", MODELS, "train_loss"),
    ("margin", MODELS, "phi_mean_members"),
    ("loss AUC", "loss", "auc"),
    ("LiRA AUC", "lira_online", "auc"),
    ("LiRA TPR at 1 % FPR", "lira_online", "tpr_at_fpr_0.01"),
    ("RMIA AUC", "rmia_online", "auc"),
)


def main(config: Config) -> pathlib.Path | None:
    """Runs what is missing and writes tables, figure and page; returns their folder.

    Raises:
        ModuleNotFoundError: If ``dp-accounting`` is not installed.
    """
    if not config.plan:
        accounting_library()
    return run_design("mitigations", MITIGATIONS, config, write)


def write(
    results: pathlib.Path,
    cells: Sequence[Cell],
    rows: Sequence[Row],
    folder: pathlib.Path,
) -> None:
    """Writes the tables, the frontier and the page."""
    write_tables(results, cells, rows)
    names = list(dict.fromkeys(row.optimizer for row in rows))
    against = [row for name in names for row in rows_against_none(name, cells, folder)]
    write_rows(results / "against_none.csv", against, reference="unmitigated")
    write_table(
        results / "epsilon.csv",
        ["cell", "optimizer", "noise_multiplier", "gradients", "delta", "epsilon"],
        budgets(cells, folder),
    )
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "frontier"}):
        figure = frontier_figure(against, mitigation_labels(cells))
        figure.savefig(results / "frontier.svg", metadata={"Date": None})
    text = page(read_sweep(results))
    results.with_suffix(".md").write_text(text, encoding="utf-8")


def rows_against_none(
    optimizer: str, cells: Sequence[Cell], folder: pathlib.Path
) -> list[Row]:
    """Returns each mitigated cell beside the first one, under the same optimizer."""
    # A different training of the private cells has the same masks: models are paired.
    present = [c for c in cells if (folder / c.name / f"{optimizer}.npz").exists()]
    signals = {
        c.name: read_signals(folder / c.name / f"{optimizer}.npz") for c in present
    }
    first = signals[cells[0].name]
    fit = model_metrics(first)
    at_none = {name: score_targets(ATTACKS[name], first) for name in ATTACK_NAMES}
    rows = []
    for cell, here in signals.items():
        for metric, values in model_metrics(here).items():
            place = cell, optimizer, MODELS, metric
            rows.append(row_of_models(*place, values, fit[metric]))
        for name, baseline in at_none.items():
            scores = score_targets(ATTACKS[name], here)
            rows += leakage_rows(cell, optimizer, name, scores, baseline, first)
    return rows


def budgets(cells: Sequence[Cell], folder: pathlib.Path) -> list[list]:
    """Returns a line a private cell and optimizer: noise, gradients and epsilon."""
    lines = []
    for cell in cells:
        if cell.mitigation == "dp":
            keep = np.asarray(read_signals(folder / cell.name / "sgd.npz").keep)
            for perturbation in sam(0.05):
                count = num_private_gradients(cell, perturbation, keep)
                spent = epsilon(cell.strength, count)
                place = [cell.name, perturbation.name, cell.strength]
                lines.append([*place, count, DELTA, float(spent)])
    return lines


def page(sweep: Sweep) -> str:
    """Returns the page."""
    path = sweep.folder / "against_none.csv"
    rows = {
        (r.cell, r.optimizer, r.attack, r.metric): r
        for r in read_rows(path, reference="unmitigated")
    }
    first = next(iter(sweep.cells))
    labels = mitigation_labels(sweep.cells.values())
    heads = ["Mitigation", *(head for head, _, _ in COLUMNS)]
    parts = [
        "# Mitigations: leakage against accuracy\n\n"
        + described(sweep.folder)
        + "SGD and SAM 0.05 without and with each mitigation, on the same masks, "
        "initial weights and, but for DP, order of data. Intervals are 95 %, paired by "
        "model, over targets and examples; bold where they leave 0 out. They are many "
        "and not corrected for their number. Margin is the mean phi of members. The "
        f"cell without mitigation: {sweep.label((first, 'SGD'))}.\n\n"
        "![Leakage against accuracy](mitigations/frontier.svg)\n"
    ]
    for optimizer, title in (("sgd", "SGD"), ("sam-0.05", "SAM 0.05")):
        lines = [
            [label, *(change(rows[cell, optimizer, a, m]) for _, a, m in COLUMNS)]
            for cell, label in labels.items()
            if cell != first
        ]
        parts.append(f"\n## {title}: without → with\n\n" + table(heads, lines))
    lines = [
        [label, *(change(sweep.rows[cell, "sam-0.05", a, m]) for _, a, m in COLUMNS)]
        for cell, label in labels.items()
    ]
    parts.append(
        "\n## SGD → SAM under each mitigation\n\n" + table(heads, lines) + NOTES
    )
    return "".join(parts) + budget_table(sweep)


NOTES = """
## How each is done

- **Weight decay** and **early stop** (at a training accuracy, so that SGD and SAM stop
  at an equal one) are settings of the training.
- **Label smoothing** gives a share of each label to all classes alike.
- **Mixup** mixes inputs with a weight from Beta(alpha + 1, alpha) and keeps the first
  one's label, which has the expected loss of mixup with mixed labels.
- **Temperature** divides the logits of the trained models. An attack that is free of
  scale (loss, LiRA with deviations fitted to each example) keeps its ranks on phi / T;
  with more than two classes phi of divided logits is not exactly phi / T, and the
  difference is what the table shows. Accuracy cannot change.
- **Weight averaging** releases the exponential average of the weights.
- **DP** clips the gradient of each example to norm 1 and adds Gaussian noise, by
  `optax.contrib.differentially_private_aggregate`. DP-SAM perturbs along one private
  gradient and descends along a second one, and pays for both. Its training is another
  one (batches of 200, one step an epoch, fewer epochs, no weight decay), so its row
  compares trainings, not the noise alone.
"""


def budget_table(sweep: Sweep) -> str:
    """Returns a line a private training: noise, gradients of an example, epsilon."""
    labels = mitigation_labels(sweep.cells.values())
    with (sweep.folder / "epsilon.csv").open(encoding="utf-8") as file:
        lines = [
            [
                labels[line["cell"]],
                line["optimizer"],
                line["gradients"],
                f"{float(line['epsilon']):.1f}",
            ]
            for line in csv.DictReader(file)
        ]
    return (
        f"\nEpsilon at delta {DELTA:g}, for adding or removing an example, by "
        "`dp-accounting` (privacy-loss distributions), without amplification by the "
        "choice of batches, which are shuffled:\n\n"
        + table(["", "optimizer", "private gradients of an example", "epsilon"], lines)
    )


if __name__ == "__main__":
    sam_jax.use_all_cores()
    with command_line():
        main(parse_options(Config, __doc__))
