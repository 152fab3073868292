"""Several runs on one page, and the report of one made again."""

import json
import re

import numpy as np
import pytest

from sam_jax.attacks import ATTACKS
from sam_jax.auditing.config import AttackConfig
from sam_jax.auditing.evaluate import attack_signals
from sam_jax.cli import report
from sam_jax.cli.errors import usage_errors
from sam_jax.cli.main import main
from sam_jax.reporting import run_differences, run_files
from sam_jax.reporting.risk_sections import NUM_SHOWN
from sam_jax.reporting.saved_audits import load_audit

SMALL = ["--pool-size", "120", "--num-models", "4", "--num-epochs", "1"]
SMALL += ["--batch-size", "16", "--attacks", "loss", "entropy"]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Two audits that differ in their seed, and one of the same models as the first."""
    folder = tmp_path_factory.mktemp("two")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, *options in (
            ("first", "--seed", "3"),
            ("second", "--seed", "4"),
            ("longer", "--seed", "3", "--num-epochs", "2"),
        ):
            assert main(["audit", "--name", name, *SMALL, *options]) == 0
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
    assert rows.count("loss") == 6 and rows.count("entropy") == 6
    assert page.count("<td>unpaired</td>") == 4 and "<td>paired</td>" not in page
    assert "seed" in rows and "num_models" not in rows
    assert page.count("<svg") >= 2


def differences(root, *names):
    """AUC of a table of differences, by attack and optimizer, with its pairing."""
    runs = {
        name: run_files.read_run(root / "runs/audit" / name, "runs") for name in names
    }
    first, other = runs.values()
    found = {}
    for (attack, optimizer, base), compared in run_differences.compare_runs(
        first, other
    ).items():
        assert optimizer == base
        found[attack, optimizer] = (compared[0]["auc"], compared[1])
    return found


def test_runs_of_the_same_training_sets_are_paired_as_signals_are(root):
    """The paired difference is that of `sam-jax attack` on both files of signals."""
    loaded = [load_audit(root / "runs/audit" / name) for name in ("first", "longer")]
    for (attack, optimizer), (auc, is_paired) in differences(
        root, "first", "longer"
    ).items():
        assert is_paired
        signals = {str(i): r[optimizer].signals for i, r in enumerate(loaded)}
        config = AttackConfig(attacks={attack: ATTACKS[attack]})
        again = attack_signals(signals, loaded[0].dataset, config)
        expected = again["1"].attacks[attack].difference.pooled["auc"]
        np.testing.assert_allclose(auc[:4], expected[:4])


def test_other_training_sets_leave_an_unpaired_difference(root):
    for (attack, optimizer), (auc, is_paired) in differences(
        root, "first", "second"
    ).items():
        assert not is_paired
        both = [
            load_audit(root / "runs/audit" / name)[optimizer]
            .attacks[attack]
            .metrics.pooled["auc"]
            for name in ("second", "first")
        ]
        assert auc.value == pytest.approx(both[0].value - both[1].value)
        errors = [e.standard_error for e in both]
        assert auc.standard_error == pytest.approx(np.hypot(*errors))


def test_the_report_of_one_run_is_made_again_from_its_files(root):
    folder = root / "runs/audit/first"
    before = (folder / "report.html").read_text()
    (folder / "report.html").unlink()
    assert main(["report", str(folder)]) == 0
    assert (folder / "report.html").read_text().count("data:image/png") == NUM_SHOWN
    headings = re.findall(r"<h2.*?</h2>", before)
    assert re.findall(r"<h2.*?</h2>", (folder / "report.html").read_text()) == headings


@pytest.mark.parametrize("missing", ["metrics.json", "config.json", "roc.csv"])
def test_a_folder_that_lacks_a_file_is_named(missing, tmp_path, capsys):
    numbers = '{"verdict": "", "metrics": {}, "dataset": {}}'
    for name in {"metrics.json", "config.json", "roc.csv"} - {missing}:
        (tmp_path / name).write_text(numbers)
    said = f"{tmp_path} has no {missing}"
    if missing == "metrics.json":
        said = f"{tmp_path} was begun and is not finished"
    with pytest.raises(SystemExit, match="2"), usage_errors(report.Config):
        report.command([str(tmp_path)])
    # What is given by its place is no option --runs.
    shown = capsys.readouterr().err
    assert shown.startswith("error: runs must be that of a finished run") and (
        said in shown
    )
    with pytest.raises(SystemExit, match="2"), usage_errors(report.Config):
        report.command([str(tmp_path / "gone")])
    assert "there is no folder" in capsys.readouterr().err


def test_a_folder_of_another_command_is_refused(tmp_path):
    for name in ("metrics.json", "config.json", "roc.csv"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(ValueError, match="metrics.json has no verdict"):
        report.main(report.Config((tmp_path,)))
