"""The paper's claims beside the sweep's results: a table made from committed CSVs.

    python -m experiments.claims

reads docs/results/where_it_begins and writes docs/results/claims.md.
"""

from collections.abc import Sequence

from experiments.common.claim_list import BATCH_NORM, CLAIMS, PLACES, Claim, Place
from experiments.common.equal_loss import TOLERANCE
from experiments.common.explanations import read_explanations
from experiments.common.map_figure import EQUAL_ACCURACY
from experiments.common.measure import MODELS, Row
from experiments.common.pages import Sweep, run_page, table
from experiments.common.tables import read_rows
from sam_jax.reporting.tables import metric_label

VERDICTS = ("agrees", "disagrees", "not resolved")

HEAD = """\
| The paper: statement | its setting | its SGD → SAM | here | SGD → SAM here | \
difference [95 % interval] | verdict | scale |
| --- | --- | --- | --- | --- | --- | --- | --- |
"""


def page(sweep: Sweep) -> str:
    """Returns the page: each claim at each place, and its sign over the whole map."""
    rows = all_rows(sweep)
    lines = [
        claim_line(claim, place, row)
        for claim in CLAIMS
        for place in PLACES
        for row in rows
        if (row.cell, row.optimizer) == (place.cell, place.optimizer)
        and (row.attack, row.metric) == (claim.attack, claim.metric)
    ]
    counts = [
        count_line(claim, comparison, compared)
        for claim in CLAIMS
        for comparison, compared in comparisons(sweep).items()
    ]
    return (
        "# The paper's claims and this study\n\n"
        "Made by `python -m experiments.claims` from the tables in `where_it_begins`. "
        "A verdict is that of one setting: *agrees* or *disagrees* where the 95 % "
        "interval of the difference leaves 0 out, else *not resolved*.\n\n"
        + HEAD
        + "\n".join(lines)
        + "\n\n## In short\n\n"
        "At the first setting, which is that of the default audit, and in the last "
        "column with batch norm.\n\n"
        + summary(sweep).removesuffix("\n")
        + "\n\n## Over the whole map\n\n"
        "Cells and radii of SAM by verdict, in three comparisons: after equal epochs "
        "(all of them), at equal training accuracy (those within "
        f"{EQUAL_ACCURACY:g} of SGD), at equal training loss (those that have an SGD "
        "run on the same data and network, of any weight decay and length, within "
        f"{100 * TOLERANCE:g} % of their training loss).\n\n"
        + table(["Statement", "compared", *VERDICTS], counts)
    )


def all_rows(sweep: Sweep) -> list[Row]:
    """Returns the rows of the sweep, then those of memorization and typicality."""
    return [*sweep.rows.values(), *read_explanations(sweep.folder)]


def summary(sweep: Sweep) -> str:
    """Returns the short table: the first place, and the verdict with batch norm."""
    rows = {(r.cell, r.optimizer, r.attack, r.metric): r for r in all_rows(sweep)}
    here, other = PLACES[0], BATCH_NORM
    lines = []
    for claim in CLAIMS:
        keys = [
            (place.cell, place.optimizer, claim.attack, claim.metric)
            for place in (here, other)
        ]
        if not rows.keys() >= set(keys):  # A sweep of other cells.
            continue
        row, second = (rows[key] for key in keys)
        # Of several data sets the paper's first; its figures are in percent.
        where = claim.setting.partition(";")[0].partition(":")[0].partition(",")[0]
        figures = claim.figures.partition(";")[0]
        paper = f"{where}: {figures}" if figures else "not known to us"
        metric = metric_label(claim.metric) if figures else "in the statement"
        values = f"{row.sgd:.3f} → {row.value:.3f}"
        difference = f"{row.difference:+.4f} [{row.low:+.4f}, {row.high:+.4f}]"
        verdicts = verdict(claim, row), verdict(claim, second)
        lines.append([claim.statement, paper, metric, values, difference, *verdicts])
    heads = ["The paper: statement", "its SGD → SAM", "metric", "SGD → SAM here"]
    heads += ["difference [95 %]", "sign here", "with batch norm"]
    return table(heads, lines)


def comparisons(sweep: Sweep) -> dict[str, list[Row]]:
    """Returns the rows of plain SAM that enter each of the three comparisons."""
    rows = [row for row in all_rows(sweep) if row.optimizer.startswith("sam-")]
    equal = {
        (row.cell, row.optimizer)
        for row in rows
        if (row.attack, row.metric) == (MODELS, "train_accuracy")
        and abs(row.difference) <= EQUAL_ACCURACY
    }
    return {
        "after equal epochs": rows,
        "at equal training accuracy": [
            row for row in rows if (row.cell, row.optimizer) in equal
        ],
        "at equal training loss": read_rows(sweep.folder / "equal_loss.csv"),
    }


def verdict(claim: Claim, row: Row) -> str:
    """Returns the verdict of an interval on a claim.

    Example:
        >>> row = Row("c", "sam-0.05", "loss", "auc", 0.6, 0.5, 0.1, 0.05, 0.15)
        >>> verdict(Claim("more", "there", "", "loss", "auc"), row)
        'agrees'
    """
    low, high = sorted((claim.sign * row.low, claim.sign * row.high))
    if low > 0:
        return VERDICTS[0]
    return VERDICTS[1] if high < 0 else VERDICTS[2]


def claim_line(claim: Claim, place: Place, row: Row) -> str:
    """Returns one line of the table."""
    values = f"{row.sgd:.4f} → {row.value:.4f}"
    difference = f"{row.difference:+.4f} [{row.low:+.4f}, {row.high:+.4f}]"
    paper = [claim.statement, claim.setting, claim.figures or "not known to us"]
    here = [place.label, values, difference, verdict(claim, row), place.scale]
    return f"| {' | '.join([*paper, *here])} |"


def count_line(claim: Claim, comparison: str, rows: Sequence[Row]) -> list[str]:
    """Returns how often a claim holds in a comparison."""
    verdicts = [
        verdict(claim, row)
        for row in rows
        if (row.attack, row.metric) == (claim.attack, claim.metric)
    ]
    return [claim.statement, comparison, *(str(verdicts.count(v)) for v in VERDICTS)]


if __name__ == "__main__":
    run_page("claims", __doc__, page)
