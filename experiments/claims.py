"""The paper's claims beside the sweep's results: a table made from committed CSVs.

    python -m experiments.claims

reads docs/results/where_it_begins and writes docs/results/claims.md.
"""

import dataclasses
import pathlib
from collections.abc import Sequence

import tyro

from experiments.common.claim_list import CLAIMS, PLACES, Claim
from experiments.common.map_figure import EQUAL_ACCURACY
from experiments.common.measure import MODELS, Row
from experiments.common.tables import read_rows

HEAD = """\
| The paper: statement | its setting | its SGD → SAM | here | SGD → SAM here | \
difference [95 % interval] | verdict |
| --- | --- | --- | --- | --- | --- | --- |
"""


@dataclasses.dataclass(frozen=True)
class Config:
    """Writes the table of the paper's claims."""

    results: pathlib.Path = pathlib.Path("docs/results/where_it_begins")
    """Folder of the sweep's tables."""
    output: pathlib.Path = pathlib.Path("docs/results/claims.md")
    """File to write."""


def main(config: Config) -> None:
    """Reads the tables and writes the claims."""
    config.output.write_text(claims_page(read_rows(config.results / "cells.csv")))
    print(f"Wrote {config.output}.")


def claims_page(rows: Sequence[Row]) -> str:
    """Returns the page: each claim at each place, and its sign over the whole map."""
    lines = [
        claim_line(claim, place.label, row)
        for claim in CLAIMS
        for place in PLACES
        for row in rows
        if (row.cell, row.optimizer) == (place.cell, place.optimizer)
        and (row.attack, row.metric) == (claim.attack, claim.metric)
    ]
    counts = [count_line(claim, rows) for claim in CLAIMS]
    return (
        "# The paper's claims and this study\n\n"
        "Made by `python -m experiments.claims` from `where_it_begins/cells.csv`; "
        "all at laptop scale. A verdict is that of one setting: *agrees* or "
        "*disagrees* where the interval of the difference leaves 0 out, else *not "
        "resolved*.\n\n" + HEAD + "\n".join(lines) + "\n\n## Over the whole map\n\n"
        "SAM at each radius and cell, at equal training accuracy (within "
        f"{EQUAL_ACCURACY:g} of SGD) and elsewhere: how many agree, disagree, are not "
        "resolved.\n\n"
        "| statement | equal accuracy: agree | disagree | not resolved | elsewhere: "
        "agree | disagree | not resolved |\n| --- | --- | --- | --- | --- | --- | --- "
        "|\n" + "\n".join(counts) + "\n"
    )


def verdict(claim: Claim, row: Row) -> str:
    """Returns what an interval says about a claim.

    Example:
        >>> row = Row("c", "sam-0.05", "loss", "auc", 0.6, 0.5, 0.1, 0.05, 0.15)
        >>> verdict(Claim("more", "there", "", "loss", "auc"), row)
        'agrees'
    """
    low, high = sorted((claim.sign * row.low, claim.sign * row.high))
    if low > 0:
        return "agrees"
    return "disagrees" if high < 0 else "not resolved"


def claim_line(claim: Claim, label: str, row: Row) -> str:
    """Returns one line of the table."""
    values = f"{row.sgd:.4f} → {row.value:.4f}"
    difference = f"{row.difference:+.4f} [{row.low:+.4f}, {row.high:+.4f}]"
    cells = [claim.statement, claim.setting, claim.figures or "not known to us"]
    return f"| {' | '.join([*cells, label, values, difference, verdict(claim, row)])} |"


def count_line(claim: Claim, rows: Sequence[Row]) -> str:
    """Returns how often a claim holds, with and without equal training accuracy."""
    equal = {
        (row.cell, row.optimizer): abs(row.difference) <= EQUAL_ACCURACY
        for row in rows
        if (row.attack, row.metric) == (MODELS, "train_accuracy")
    }
    counts = []
    for fit in (True, False):
        verdicts = [
            verdict(claim, row)
            for row in rows
            if (row.attack, row.metric) == (claim.attack, claim.metric)
            and row.optimizer.startswith("sam-")
            and equal[row.cell, row.optimizer] == fit
        ]
        names = ("agrees", "disagrees", "not resolved")
        counts += [str(verdicts.count(name)) for name in names]
    return f"| {' | '.join([claim.statement, *counts])} |"


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
