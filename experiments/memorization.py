"""Does SAM memorize more, and which examples?

    python -m experiments.memorization

writes docs/results/memorization.md from the tables of ``where_it_begins``: mean
memorization by bin, for the cells with at least 32 models.
"""

import csv

from experiments.common.pages import Sweep, run_page, table

HEADS = ("examples", "SGD", "SAM", "SAM minus SGD")


def page(sweep: Sweep) -> str:
    """Returns the page."""
    return (
        "# Memorization\n\n"
        "Made by `python -m experiments.memorization`. Memorization is P(correct given "
        "in) minus P(correct given out), over models. Bins are selected by one half of "
        "the models, by the mean of both optimizers, and measured by the other; 95 % "
        "intervals over models and examples, bold where they leave 0 out. An estimate "
        "of one example from 32 models has a standard error of up to 0.18; a mean of "
        "a bin much less. The paper reports SAM's gain from 0.6 to 0.85.\n"
        + group_tables(sweep, ("memorization",), "memorization")
    )


def group_tables(sweep: Sweep, quantities: tuple[str, ...], head: str) -> str:
    """Returns one table a cell and radius of SAM: a line a group.

    Args:
        sweep: The tables.
        quantities: Those of explanations.csv to show.
        head: Head of the column of groups.
    """
    tables: dict[tuple[str, str], list[list[str]]] = {}
    with (sweep.folder / "explanations.csv").open(encoding="utf-8") as file:
        for line in csv.DictReader(file):
            if line["quantity"] in quantities:
                place = line["cell"], line["optimizer"]
                tables.setdefault(place, []).append(_texts(line))
    parts = []
    for place, lines in tables.items():
        parts.append(f"\n## {sweep.label(place)}\n\n{table([head, *HEADS], lines)}")
    return "".join(parts)


def _texts(line: dict[str, str]) -> list[str]:
    difference, low, high = (float(line[k]) for k in ("difference", "low", "high"))
    text = f"{difference:+.4f}"
    if low > 0 or high < 0:
        text = f"**{text}**"
    text += f" [{low:+.4f}, {high:+.4f}]"
    if difference != difference:
        text = "none here"
    means = (f"{float(line[k]):.4f}" for k in ("sgd", "value"))
    texts = [f"{float(line['count']):.1f}", *means, text]
    return [line["group"], *("" if t == "nan" else t for t in texts)]


if __name__ == "__main__":
    run_page("memorization", __doc__, page)
