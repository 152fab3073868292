"""Reports in headless Chromium, and that the check of them sees what it should."""

import numpy as np
import pytest
import tyro

from sam_jax.cli import attack, audit, explain, report, theory
from tests.auditing.given import make_given
from tools import check_pages

pytest.importorskip("playwright", reason="needs playwright: pip install -e '.[slow]'")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(check_pages.chromium() is None, reason="needs Chromium"),
]

ATTACKS = "lira_online lira_offline rmia_online rmia_offline attack_p attack_r loss"
AUDIT = f"--pool-size 200 --num-models 8 --num-epochs 4 --attacks {ATTACKS} entropy"
EXPLAIN = "--run runs/audit/default --compared sam --rho 0 0.05 --sharpness-examples 32"
THEORY = "--num-sets 8 --num-averages 8 --num-network-seeds 2 --num-network-steps 3"

PAGES = ["audit/default", "audit/canaries", "attack/default"]
PAGES += ["explain/default", "theory/default"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The folder of runs of every command that leaves a page."""
    root = tmp_path_factory.mktemp("runs")
    target, shadows = make_given()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        arrays = {"phi": target.phi[0], "members": target.keep[0]}
        np.savez("target.npz", **arrays, labels=target.labels)
        arrays = {"phi": shadows.phi, "keep": shadows.keep}
        np.savez("shadows.npz", **arrays, labels=shadows.labels)
        for command, options in (
            (audit, f"{AUDIT} --optimizers sgd sam asam"),
            (audit, f"{AUDIT} --name canaries --num-canaries 20 --seed 1"),
            (attack, "--target target.npz --signals shadows.npz"),
            (explain, EXPLAIN),
            (theory, THEORY),  # so small that its claims may fail; it reports them
        ):
            command.main(tyro.cli(command.Config, args=options.split()))
        folders = [root / "runs" / name for name in PAGES[:3]]
        report.main(report.Config(tuple(folders)))
    return root / "runs"


@pytest.mark.parametrize("name", [*PAGES, "."])
def test_a_report_reads_well_on_screens_and_on_paper(runs, name):
    assert check_pages.problems(runs / name / "report.html") == []


@pytest.mark.parametrize("name", PAGES)
def test_verdict_contents_checks_figures_and_details_come_in_this_order(runs, name):
    written = (runs / name / "report.html").read_text()
    parts = ['class="verdict"', "<nav", "<h2", "<table", "<figure>", 'id="details"']
    places = [written.index(part) for part in parts]
    assert places == sorted(places)
    assert "<img" not in written and "http://www.w3.org" in written


SOUND = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>t</title>
<style>body { margin: 0; background: #fff; color: #000 }</style></head>
<body><main>BODY</main></body></html>"""
TABLE = """<div class="table"><table><thead><tr><th>a</th></tr></thead>
<tbody><tr><th>1</th></tr></tbody></table></div>"""
PANEL = '<g class="patch"><path d="M 0 0 H 100 V 100 H 0 Z" style="fill: none"/></g>'
SVG = '<svg width="300" height="200" aria-label="figure">{}</svg>'
WORD = '<g class="text"><path d="M {0} 10 h 20 v 9 h -20 z" style="fill: {1}"/></g>'
LINE = '<g class="line2d"><path d="M 0 0 L 90 90" style="fill: none; stroke: {}"/></g>'

FAULTS = {
    "console: hello": "<script>console.warn('hello')</script>",
    "error: ": "<script>undefined.field</script>",
    "request of ": "<script src='http://127.0.0.1:9/x.js'></script>",
    "wider than its parent": "<p style='width: 3000px'>x</p>",
    "the page scrolls sideways": "<p style='width: 3000px'>x</p>",
    "contrast 4.48 of text:": "<p style='color: #777'>x</p>",
    "text upon": "<p>first</p><p style='margin-top: -2.2em'>other</p>",
    "cut text in figure": SVG.format(WORD.format(290, "#000")),
    "text in figure": SVG.format(WORD.format(10, "#bbb")),
    "legend upon data": SVG.format(
        f'<g class="axes">{PANEL}</g><g class="legend">{WORD.format(10, "#000")}</g>'
    ),
    "contrast below 3 of": SVG.format(
        f'<g class="axes">{PANEL}{LINE.format("#ccc")}</g>'
    ),
    "first column scrolls away": TABLE.replace(
        'class="table"', 'class="table" style="width: 200px; overflow-x: auto"'
    ).replace("<table", '<table style="width: 700px"'),
    "link to nowhere": "<a href='#nowhere'>x</a>",
    "folded on paper": "<details><summary>x</summary>y</details>",
    "1 tables, 0 downloads": TABLE,
    "the CSV has 1 lines": TABLE + "<a class='download' href='data:text/csv,a'>CSV</a>",
    "table 0: sorted": TABLE + "<a class='download' href='data:text/csv,a%0A1'>CSV</a>",
}


@pytest.mark.parametrize("problem", FAULTS)
def test_a_planted_fault_is_reported(problem, tmp_path):
    page = tmp_path / "page.html"
    page.write_text(SOUND.replace("BODY", FAULTS[problem]))
    assert any(problem in said for said in check_pages.problems(page))


def test_a_sound_page_has_no_problem(tmp_path):
    page = tmp_path / "page.html"
    drawing = f'<g class="axes">{PANEL}{LINE.format("#0072b2")}</g>'
    page.write_text(SOUND.replace("BODY", f"<p>words</p>{SVG.format(drawing)}"))
    assert check_pages.problems(page) == []
