from html.parser import HTMLParser

import numpy as np
import pytest

from sam_jax.metrics import attack_metrics
from sam_jax.metrics.estimate import Estimate
from sam_jax.reporting import audit_figures, canvas, example_plots, page, tables

ESTIMATE = Estimate(0.735, 0.728, 0.742, 0.004, 30.0, 0.0)
MISSING = Estimate(*[float("nan")] * 6)


class _Reader(HTMLParser):
    """Collects addresses and checks that tags close in order."""

    VOID = {"meta", "img", "path", "use", "rect", "image", "br"}

    def __init__(self):
        super().__init__()
        self.open, self.addresses, self.ids = [], [], []

    def handle_starttag(self, tag, attrs):
        if tag not in self.VOID:
            self.open.append(tag)
        self.addresses += [v for k, v in attrs if k in ("src", "href", "xlink:href")]

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag


def _page():
    fpr = np.geomspace(1e-3, 1, 5)
    band = attack_metrics.RocBand(fpr, fpr, fpr, fpr, 1000)
    drawing = audit_figures.roc_figure({"sgd": band})
    images = example_plots.image_strip(np.zeros((1, 4, 4, 1)), ["a"], "Most exposed")
    return page.page(
        "An audit",
        "Does it leak?",
        "It does.",
        [
            page.table(["optimizer", "AUC"], [["sgd", ESTIMATE]], "Main table"),
            page.side_by_side(page.figure(drawing, "Curves"), page.figure(images, "M")),
            page.heading("Method"),
            page.warning("Careful."),
        ],
        about={"seed": 0},
    )


def test_a_page_is_well_formed_and_loads_nothing():
    reader = _Reader()
    reader.feed(_page())
    assert reader.open == []
    assert all(a.startswith(("#", "data:")) for a in reader.addresses)
    assert "url(http" not in _page() and "<script src" not in _page()


def test_question_and_verdict_come_before_table_and_figure():
    written = _page()
    parts = ["Does it leak?", "It does.", "<table", "<svg"]
    places = [written.index(part) for part in parts]
    assert places == sorted(places)


def test_figures_take_the_ink_of_the_page_and_carry_their_caption():
    written = _page()
    assert 'aria-label="Curves"' in written and "var(--ink)" in written
    assert canvas.INK not in written.split("</style>")[1]


@pytest.mark.parametrize(
    "fragment",
    [
        page.text("<b>&"),
        page.heading("<b>&"),
        page.warning("<b>&"),
        page.details("<b>&"),
        page.table(["<b>&", "x"], [["<b>&", 1]], "<b>&"),
        page.page("<b>&", "<b>&", "<b>&", [], "<b>&", {"<b>&": "<b>"}),
    ],
)
def test_every_string_is_escaped(fragment):
    assert "<b>" not in fragment and "&lt;b&gt;&amp;" in fragment


@pytest.mark.parametrize(
    "half,written",
    [
        (0.02, "0.735 [0.715, 0.755]"),
        (0.007, "0.735 [0.728, 0.742]"),
        (0.0005, "0.7350 [0.7345, 0.7355]"),
        (0.0, "0.735 [0.735, 0.735]"),
    ],
)
def test_estimates_have_the_digits_that_their_interval_deserves(half, written):
    estimate = ESTIMATE._replace(low=0.735 - half, high=0.735 + half)
    assert tables.format_estimate(estimate) == written
    assert tables.format_estimate(estimate, sign=True) == "+" + written


def test_what_cannot_be_resolved_says_so():
    assert tables.format_estimate(MISSING) == "not resolvable (n < 1/FPR)"
    assert "not resolvable (n &lt; 1/FPR)" in page.table(["a"], [[MISSING]])


def test_columns_of_numbers_align_right_and_of_words_left():
    rows = [["sgd", 0.5, "+1.0 %"], ["sam", None, "< 0.0001"]]
    written = page.table(["optimizer", "AUC", "p"], rows)
    assert '<th scope="col">optimizer' in written
    assert written.count('<th scope="col" class="number">') == 2
    text = tables.text_table(["optimizer", "AUC", "p"], rows).splitlines()
    assert text[2].endswith("+1.0 %") and text[3].endswith("< 0.0001")
    assert len(text[2]) == len(text[3])


def test_wide_text_tables_put_intervals_below_and_then_fold():
    columns = ["optimizer", *(f"metric {i}" for i in range(5))]
    rows = [["sgd", *[ESTIMATE] * 5]]
    lines = tables.text_table(columns, rows).splitlines()
    assert max(map(len, lines)) <= 100 and len(lines) == 4
    assert "0.735" in lines[2] and "[0.728, 0.742]" in lines[3]
    blocks = tables.text_table(columns, rows, width=40).splitlines()
    assert blocks[0] == "sgd" and blocks[1] == "  metric 0  0.735 [0.728, 0.742]"


def test_rows_of_another_length_are_named():
    for make in (page.table, tables.text_table):
        with pytest.raises(ValueError, match=r"column \(2\), got 1 in row 0"):
            make(["a", "b"], [["x"]])
