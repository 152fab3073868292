"""Pages of results: verdicts, and that the committed ones are what the tables give."""

import dataclasses
import pathlib
import re

import pytest
from matplotlib.figure import Figure

from experiments import claims, study, theory
from experiments.common.cells import Cell
from experiments.common.claim_list import CLAIMS, Claim
from experiments.common.explanations import COLUMNS
from experiments.common.measure import Row
from experiments.common.pages import Sweep, change, read_sweep
from experiments.common.tables import (
    read_rows,
    read_settings,
    write_rows,
    write_settings,
    write_table,
)
from sam_jax.reporting.drawings import Drawing
from sam_jax.theory.agreement import GridCell
from sam_jax.theory.claims import TheoryClaim

RESULTS = pathlib.Path(__file__).parents[2] / "docs" / "results"
MORE_MODELS = "where_it_begins_64"


@pytest.mark.parametrize("name", study.PAGES)
def test_each_committed_page_is_what_the_committed_tables_give(name):
    sweep = read_sweep(RESULTS / "where_it_begins")
    assert (RESULTS / f"{name}.md").read_text() == study.PAGES[name](sweep)


@pytest.mark.parametrize("name", study.QUESTIONS)
def test_each_committed_page_of_further_cells_is_what_its_tables_give(name):
    _, module = study.QUESTIONS[name]
    for folder in RESULTS.glob(f"{name}*/"):  # sam_variants_256 beside sam_variants
        page = module.page(read_sweep(folder))
        assert folder.with_suffix(".md").read_text() == page


def test_the_committed_page_of_the_theorem_is_what_its_tables_give():
    assert (RESULTS / "theory.md").read_text() == theory.page(RESULTS / "theory")


def test_a_failed_claim_of_the_theorem_is_on_its_page(tmp_path, monkeypatch):
    cells = [GridCell("here", 1.0, 0.0, 0.1), GridCell("there", 0.0, 0.0, 0.1)]
    claim = TheoryClaim("1 some claim", "|f| is small", "a grid", cells)
    drawing = Drawing(Figure(), "caption", ["x"], [[1.0]])
    drawings = dict.fromkeys(theory.FIGURES, drawing)
    result = theory.theory_report.TheoryResult([claim], {}, {}, drawings, 8)
    monkeypatch.setattr(theory.theory, "run", lambda settings, store: result)
    results = theory.main(theory.Config(results=tmp_path / "theory"))
    page = results.with_suffix(".md").read_text()
    assert "| FAILS at here |" in page and "\\|f\\| is small" in page
    assert all((results / f"{name}.svg").exists() for name in theory.FIGURES)


@pytest.mark.parametrize("name", ["direct_attacks", "shadow_attacks"])
def test_the_fit_beside_each_figure_is_flagged_where_it_differs(name):
    sweep = read_sweep(RESULTS / "where_it_begins")
    lines = (RESULTS / f"{name}.md").read_text().splitlines()
    flagged = 0
    for place in sweep.places("sam-"):
        accuracy = sweep.rows[*place, "models", "train_accuracy"]
        loss = sweep.rows[*place, "models", "train_loss"]
        text = f"| {accuracy.sgd:.4f} → {accuracy.value:.4f}"
        text += " ≠" * (abs(accuracy.difference) > 0.002)
        text += f" | {loss.sgd:.4f} → {loss.value:.4f}"
        text += " ≠" * (abs(loss.value / loss.sgd - 1) > 0.05)
        of_place = [line for line in lines if f"| {sweep.label(place)} |" in line]
        assert of_place and all(f"{text} |" in line for line in of_place)
        flagged += "≠" in text
    assert 0 < flagged < len(sweep.places("sam-"))


def test_the_readme_shows_the_short_table_of_claims():
    readme = (RESULTS.parents[1] / "README.md").read_text()
    assert claims.summary(read_sweep(RESULTS / "where_it_begins")) in readme


def test_every_run_of_sam_has_a_line_in_every_table_of_the_variance():
    sweep = read_sweep(RESULTS / "where_it_begins")
    page = (RESULTS / "variance.md").read_text()
    for place in sweep.places("sam-"):
        assert page.count(f"| {sweep.label(place)} |") == 3


def test_every_number_that_the_reading_gives_is_made_from_the_tables():
    names = [*study.PAGES, *study.QUESTIONS, "theory"]
    pages = "".join((RESULTS / f"{name}.md").read_text() for name in names)
    # Of cells with more models there is no page, or one with fewer metrics.
    for table in ("cells", "equal_loss"):
        pages += "".join(map(change, read_rows(RESULTS / MORE_MODELS / f"{table}.csv")))
    pages += "".join(map(change, read_rows(RESULTS / "sam_variants_256" / "cells.csv")))
    reading = (RESULTS / "README.md").read_text()
    intervals = re.findall(r"\[[+-]\d\.\d+,\s[+-]\d\.\d+\]", reading)
    differences = re.findall(r"[+-]0\.\d{4}", reading)
    assert len(intervals) > 10
    for number in [*intervals, *differences]:
        assert number.replace("\n", " ") in pages


def test_every_place_of_the_claims_has_a_line_for_every_claim():
    page = (RESULTS / "claims.md").read_text()
    for claim in CLAIMS:
        for place in claims.PLACES:
            assert any(
                claim.statement in line and place.label in line
                for line in page.splitlines()
            )


@pytest.mark.parametrize(
    ("sign", "low", "high", "expected"),
    [
        (1, 0.1, 0.2, "agrees"),
        (1, -0.2, -0.1, "disagrees"),
        (1, -0.1, 0.2, "not resolved"),
        (-1, 0.1, 0.2, "disagrees"),
        (-1, -0.2, -0.1, "agrees"),
        (1, 0.0, 0.2, "not resolved"),
    ],
)
def test_a_verdict_needs_an_interval_on_one_side_of_0(sign, low, high, expected):
    claim = Claim("statement", "setting", "", "loss", "auc", sign)
    row = Row("cell", "sam-0.05", "loss", "auc", 0.6, 0.5, (low + high) / 2, low, high)
    assert claims.verdict(claim, row) == expected


def test_a_cell_that_sam_does_not_fit_is_not_compared_at_equal_accuracy(tmp_path):
    rows = {}
    for cell, gap in (("a", 0.0), ("b", -0.01)):
        fit = "models", "train_accuracy", 1 + gap, 1.0, gap, gap, gap
        leakage = "loss", "auc", 0.6, 0.5, 0.1, 0.05, 0.15
        for values in (fit, leakage):
            row = Row(cell, "sam-0.05", *values)
            rows[row.cell, row.optimizer, row.attack, row.metric] = row
    write_table(tmp_path / "explanations.csv", COLUMNS, [])
    matched = [Row("b", "sam-0.05", "loss", "auc", 0.6, 0.6, 0.0, -0.01, 0.01)]
    write_rows(tmp_path / "equal_loss.csv", matched)
    claim = Claim("statement", "setting", "", "loss", "auc")
    compared = claims.comparisons(Sweep(rows, {}, tmp_path))
    counts = [claims.count_line(claim, *item)[2:] for item in compared.items()]
    assert counts == [["2", "0", "0"], ["1", "0", "0"], ["0", "0", "1"]]


def test_only_a_resolved_change_is_bold():
    row = Row("cell", "sam-0.05", "loss", "auc", 0.6, 0.5, 0.1, -0.05, 0.25)
    assert "**" not in change(row)
    assert "**+0.1000**" in change(dataclasses.replace(row, low=0.05))


def test_settings_survive_a_table(tmp_path):
    cells = [Cell(), Cell(augment=("flip", "crop"), weight_decay=1e-4, num_models=32)]
    write_settings(tmp_path / "settings.csv", cells)
    assert read_settings(tmp_path / "settings.csv") == cells


def test_pages_need_tables(tmp_path):
    with pytest.raises(ValueError, match="results must hold cells.csv"):
        read_sweep(tmp_path)
    assert Sweep({}, {}, tmp_path).places() == []
