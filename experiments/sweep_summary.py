"""Summary of the sweep: SAM at equal training loss, and which factor moves the sign.

    python -m experiments.sweep_summary

writes docs/results/sweep_summary.md from the tables of ``where_it_begins``.
"""

import csv

from experiments.common.pages import Sweep, change, run_page, table
from experiments.common.sweep_results import label
from experiments.common.tables import read_rows

COLUMNS = (
    ("loss AUC", "loss", "auc"),
    ("LiRA AUC", "lira_online", "auc"),
    ("LiRA TPR at 1 % FPR", "lira_online", "tpr_at_fpr_0.01"),
    ("offline LiRA AUC", "lira_offline", "auc"),
    ("RMIA AUC", "rmia_online", "auc"),
)


def page(sweep: Sweep) -> str:
    """Returns the page."""
    return (
        "# Summary of the sweep\n\n"
        "Made by `python -m experiments.sweep_summary`. Differences with 95 % "
        "intervals; bold where they leave 0 out.\n\n"
        "## At equal training loss\n\n"
        "Each run of SAM minus the SGD run on the same data and network, of any weight "
        "decay and length, whose training loss is nearest (at most 5 % away), paired "
        "model by model.\n\n" + equal_loss_table(sweep) + "\n## Main effects\n\n"
        "Least squares on SAM minus SGD over the cells of plain SAM: what one step of "
        "a factor adds, the others held; intervals clustered by cell. The mean is that "
        "of all cells. Factors interact (the map shows how), so an effect is an "
        "average over the cells of this design and not a law.\n" + effects_tables(sweep)
    )


def equal_loss_table(sweep: Sweep) -> str:
    """Returns a line a match, a column an attack and metric."""
    rows = {
        (r.cell, r.optimizer, r.attack, r.metric): r
        for r in read_rows(sweep.folder / "equal_loss.csv")
    }
    matches = {}
    with (sweep.folder / "equal_loss.csv").open(encoding="utf-8") as file:
        for line in csv.DictReader(file):
            place = line["cell"], line["optimizer"]
            matches[place] = line["sgd_cell"], float(line["loss_ratio"])
    lines = []
    for place, (sgd_cell, ratio) in matches.items():
        texts = [change(rows[*place, attack, metric]) for _, attack, metric in COLUMNS]
        sgd = label(sweep.cells[sgd_cell], "sgd")
        lines.append([sweep.label(place), sgd, f"{ratio:.3f}", *texts])
    heads = ["SAM", "SGD", "ratio of training losses"]
    return table([*heads, *(head for head, _, _ in COLUMNS)], lines)


def effects_tables(sweep: Sweep) -> str:
    """Returns one table a comparison: a line a factor, a column a response."""
    texts: dict[str, dict[str, dict[str, str]]] = {}
    with (sweep.folder / "effects.csv").open(encoding="utf-8") as file:
        for line in csv.DictReader(file):
            value, low, high = (float(line[k]) for k in ("value", "low", "high"))
            text = f"{value:+.4f} [{low:+.4f}, {high:+.4f}]"
            if low > 0 or high < 0:
                text = f"**{text}**"
            fit = f"{line['cells']} cells, R² {float(line['r_squared']):.2f}"
            response = f"{line['attack']} {line['metric']} ({fit})".replace("_", " ")
            factors = texts.setdefault(line["comparison"], {})
            factors.setdefault(line["factor"], {})[response] = text
    parts = []
    for comparison, factors in texts.items():
        responses = list(dict.fromkeys(r for line in factors.values() for r in line))
        lines = [[f, *(line[r] for r in responses)] for f, line in factors.items()]
        parts.append(f"\n### {comparison.capitalize()}\n\n")
        parts.append(table(["Factor", *responses], lines))
    return "".join(parts)


if __name__ == "__main__":
    run_page("sweep_summary", __doc__, page)
