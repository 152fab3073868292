"""Reports in headless Chromium: nothing is cut, nothing fails in the console."""

import pathlib
import re
import shutil
import subprocess

import numpy as np
import pytest

import sam_jax
from sam_jax import models

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"]
FLAGS += ["--no-first-run", "--disable-background-networking", "--disable-sync"]
FLAGS += ["--disable-component-update", "--virtual-time-budget=4000"]

PROBE = """
<script>
window.addEventListener("load", () => {
  const wide = [...document.querySelectorAll("main *")].filter((element) => {
    if (element.closest(".table, pre, svg")) return false;
    const {right} = element.getBoundingClientRect();
    return right > document.documentElement.clientWidth + 1;
  });
  const names = wide.map((element) => element.tagName + " " + element.className);
  const page = document.documentElement;
  document.title = "PROBE " + [innerWidth, page.scrollWidth, ...names].join("|");
});
</script>
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium"),
]


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    import optax

    rng = np.random.default_rng(0)
    x = rng.normal(size=(112, 24)).astype(np.float32)
    y = rng.integers(0, 4, 112).astype(np.int32)
    sgd = optax.sgd(0.1, momentum=0.9)
    result = sam_jax.audit(
        models.mlp(4, hidden=(32,)),
        {"sgd": sgd, "sam": sam_jax.sam(sgd, rho=0.05)},
        (x[:80], y[:80], x[80:], y[80:]),
        sam_jax.TrainConfig(num_epochs=5, batch_size=8),
        sam_jax.AttackConfig(num_models=4),
        progress=False,
    )
    folder = tmp_path_factory.mktemp("report")
    result.save(folder)
    return folder / "report.html"


def probe(report, width):
    """Width of window and page, and what reaches beyond the window."""
    page = report.with_name("probed.html")
    page.write_text(report.read_text().replace("</body>", PROBE + "</body>"))
    # A window of the desktop is at least 500 wide, a frame may be narrower.
    frame = report.with_name("frame.html")
    frame.write_text(
        f'<iframe src="{page.name}" width="{width}" height="900" id="f"></iframe>'
        "<script>document.getElementById('f').onload = () => setTimeout(() => {"
        "document.title = document.getElementById('f').contentDocument.title}, 500)"
        "</script>"
    )
    command = [CHROMIUM, *FLAGS, "--allow-file-access-from-files", "--dump-dom"]
    data_dir = f"--user-data-dir={report.parent / 'profile'}"
    url = pathlib.Path(frame).as_uri()
    done = subprocess.run(
        [*command, data_dir, "--enable-logging=stderr", url],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    title = re.search(r"<title>PROBE (.*?)</title>", done.stdout)
    assert title, done.stderr[-2000:]
    assert "CONSOLE" not in done.stderr
    return title.group(1).split("|")


@pytest.mark.parametrize("width", [1280, 390])
def test_no_element_is_wider_than_the_page(report, width):
    inner, page, *wide = probe(report, width)
    assert int(inner) == width and int(page) <= width and not wide
