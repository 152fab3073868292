"""Several runs on one page, and the report of one made again."""

import json
import re

import pytest

from sam_jax.cli import report
from sam_jax.cli.errors import usage_errors
from sam_jax.cli.main import main

SMALL = ["--pool-size", "120", "--num-models", "4", "--num-epochs", "1"]
SMALL += ["--batch-size", "16", "--attacks", "loss", "entropy"]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Two audits that differ in their seed."""
    folder = tmp_path_factory.mktemp("two")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, seed in (("first", "3"), ("second", "4")):
            assert main(["audit", "--name", name, "--seed", seed, *SMALL]) == 0
    return folder


def test_runs_stand_on_one_page_with_what_differs(root, monkeypatch, capsys):
    monkeypatch.chdir(root)
    folders = ["runs/audit/first", "runs/audit/second"]
    assert main(["report", *folders]) == 0
    assert "Report: runs/report.html" in capsys.readouterr().out
    page = (root / "runs/report.html").read_text()
    for folder in folders:
        numbers = json.loads((root / folder / "metrics.json").read_text())
        assert all(line in page for line in numbers["verdict"].splitlines())
        for attacks in numbers["metrics"].values():
            for values in attacks.values():
                assert f"{values['pooled']['auc']['value']:.3f}" in page
    rows = re.findall(r"<tr>\s*<th[^>]*>(\w+)</th>", page)
    assert rows.count("loss") == 4 and rows.count("entropy") == 4
    assert "seed" in rows and "num_models" not in rows
    assert page.count("<svg") >= 2


def test_the_report_of_one_run_is_made_again_from_its_files(root):
    folder = root / "runs/audit/first"
    before = (folder / "report.html").read_text()
    (folder / "report.html").unlink()
    assert main(["report", str(folder)]) == 0
    headings = re.findall(r"<h2.*?</h2>", before)
    assert re.findall(r"<h2.*?</h2>", (folder / "report.html").read_text()) == headings


@pytest.mark.parametrize("missing", ["metrics.json", "config.json", "roc.csv"])
def test_a_folder_that_lacks_a_file_is_named(missing, tmp_path, capsys):
    for name in {"metrics.json", "config.json", "roc.csv"} - {missing}:
        (tmp_path / name).write_text("{}")
    with pytest.raises(SystemExit, match="2"), usage_errors(report.Config):
        report.command([str(tmp_path)])
    assert f"{tmp_path} has no {missing}" in capsys.readouterr().err


def test_a_folder_of_another_command_is_refused(tmp_path):
    for name in ("metrics.json", "config.json", "roc.csv"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(ValueError, match="metrics.json has no verdict"):
        report.main(report.Config((tmp_path,)))
