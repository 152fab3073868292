"""A check of reports in headless Chromium: what a reader would stumble over.

    python -m tools.check_pages runs/audit/default/report.html

prints a line for each problem, and exits with 1 if there is any: errors in the
console, requests to anywhere, elements wider than what holds them, text that is cut,
covered or of too little contrast, legends upon data, links to nowhere, tables that do
not sort or download, folds that stay shut on paper; at 1280 and 390 pixels, light and
dark, and in print. Needs ``pip install -e ".[slow]"`` and a Chromium on the PATH.
"""

import csv
import itertools
import pathlib
import shutil
import sys
import urllib.parse
from typing import Any

WIDTHS = (1280, 390)
PAPER = 718
"""Width between the margins of A4, in CSS pixels."""

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


def chromium() -> str | None:
    """Returns the path of a Chromium, or None."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    return next(filter(None, map(shutil.which, names)), None)


def problems(report: pathlib.Path) -> list[str]:
    """Returns what is wrong with a page, each with where it was seen.

    Args:
        report: An HTML file.
    """
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        seen = _on_screens(browser, report) + _on_paper(browser, report)
        browser.close()
    return seen


def _on_screens(browser: Any, report: pathlib.Path) -> list[str]:
    """Problems at each width, light and dark, and of the tables."""
    seen = []
    for width, scheme in itertools.product(WIDTHS, ("light", "dark")):
        page, events = _opened(browser, report, width, scheme)
        # What is folded must fit as well once it is opened.
        page.evaluate("document.querySelectorAll('details').forEach(d => d.open = 1)")
        wrong = page.evaluate(_SCRIPT, {"print": False})
        if width == WIDTHS[0] and scheme == "light":
            wrong += _of_tables(page)
        seen += [f"{width} {scheme}: {what}" for what in events + wrong]
        page.close()
    return seen


def _on_paper(browser: Any, report: pathlib.Path) -> list[str]:
    """Problems after printing has opened the folds."""
    page, _ = _opened(browser, report, PAPER, "light")
    page.pdf()
    page.emulate_media(media="print")
    wrong = page.evaluate(_SCRIPT, {"print": True})
    page.close()
    return [f"print: {what}" for what in wrong]


def _opened(
    browser: Any, report: pathlib.Path, width: int, scheme: str
) -> tuple[Any, list[str]]:
    """Returns the loaded page, and what it has done that it should not."""
    page = browser.new_page(
        viewport={"width": width, "height": 900}, color_scheme=scheme
    )
    url, events = report.resolve().as_uri(), []

    def note_message(message: Any) -> None:
        events.append(f"console: {message.text}")

    def note_error(error: Any) -> None:
        events.append(f"error: {error}")

    def note_request(request: Any) -> None:
        if request.url != url and not request.url.startswith("data:"):
            events.append(f"request of {request.url}")

    page.on("console", note_message)
    page.on("pageerror", note_error)
    page.on("request", note_request)
    page.goto(url)
    return page, events


def _of_tables(page: Any) -> list[str]:
    """Problems of downloads and of sorting."""
    wrong = []
    tables = page.query_selector_all("table")
    links = page.query_selector_all("a.download")
    if len(links) != len(tables):
        return [f"{len(tables)} tables, {len(links)} downloads"]
    for number, (table, link) in enumerate(zip(tables, links, strict=True)):
        written = urllib.parse.unquote(link.get_attribute("href").partition(",")[2])
        lines = list(csv.reader(written.splitlines()))
        if len(lines) != len(table.query_selector_all("tr")):
            wrong.append(f"table {number}: the CSV has {len(lines)} lines")
        head = table.query_selector("thead th:last-child")
        orders = []
        for _ in range(2):
            head.click()
            orders.append(head.get_attribute("aria-sort"))
        if orders != ["descending", "ascending"]:
            wrong.append(f"table {number}: sorted {orders}")
    return wrong


_SCRIPT = pathlib.Path(__file__).with_suffix(".js").read_text(encoding="utf-8")


def main() -> int:
    """Checks the pages named on the command line."""
    count = 0
    for name in sys.argv[1:]:
        for problem in problems(pathlib.Path(name)):
            print(f"{name}: {problem}")
            count += 1
    print(f"{len(sys.argv) - 1} pages, {count} problems")
    return int(count > 0)


if __name__ == "__main__":
    sys.exit(main())
