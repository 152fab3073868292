import csv
import json

import numpy as np
import pytest
import tyro
from markupsafe import Markup

from sam_jax.analysis import rho_sweep, sharpness
from sam_jax.cli import audit, audit_arguments, explain_source, run_folder
from sam_jax.cli import explain as experiment
from sam_jax.cli.errors import usage_errors
from sam_jax.metrics.estimate import Estimate
from sam_jax.reporting import explain_claims, explain_report, inline_svg
from sam_jax.reporting.saved_audits import load_audit
from sam_jax.signals import load_audit_signals

OPTIONS = ["--audit.pool-size", "120", "--audit.num-models", "8"]
OPTIONS += ["--audit.num-epochs", "4", "--audit.batch-size", "16"]
OPTIONS += ["--rho", "0", "0.05", "--sharpness-examples", "32", "--num-images", "4"]


def run(*arguments):
    with usage_errors(experiment.Config):
        return experiment.main(tyro.cli(experiment.Config, args=[*OPTIONS, *arguments]))


def flatness(key, model, trained, pool, keep, *, num_examples):
    """Stands in for sharpness, which is slow to compile: see test_sharpness.py."""
    assert len(trained.done) == len(keep) == 8 and num_examples == 32
    return sharpness.Sharpness(
        *(sharpness.Sampled(*np.ones((2, 8))) for _ in sharpness.Sharpness._fields)
    )._replace(worst_case=np.arange(8.0), adaptive_worst_case=np.ones(8))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A finished run, and the audit that it made, in a folder of its own."""
    root = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setattr(rho_sweep, "sharpness_of_chunk", flatness)
        patch.setattr(inline_svg, "svg", lambda *_: Markup("<svg></svg>"))
        result = run()
        about = json.loads((root / "runs/explain/default/config.json").read_text())
        result.save(root / "again", about)
    (root / "repr").write_text(repr(result))
    (root / "rows").write_text(json.dumps(result.to_rows()))
    return root / "runs" / "explain" / "default"


def read(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_every_figure_has_its_numbers_and_is_in_the_report(folder):
    page = (folder / "report.html").read_text()
    figures = {path.stem for path in folder.glob("*.svg")}
    tables = {path.stem for path in folder.glob("*.csv")}
    others = {"claims", "confidence_variances", "results"}
    assert figures <= tables and tables - figures == others
    assert page.count("<figure>") == len(figures)
    for name in figures:
        assert read(folder / f"{name}.csv")


def test_a_result_saves_all_that_the_command_writes(folder):
    again, names = folder.parents[2] / "again", {path.name for path in folder.iterdir()}
    assert {path.name for path in again.iterdir()} == names
    for name in ("report.html", "metrics.json", "claims.csv", "config.json"):
        assert (again / name).read_bytes() == (folder / name).read_bytes()


def test_rows_are_what_the_tables_hold(folder):
    rows = json.loads((folder.parents[2] / "rows").read_text())
    assert {row["topic"] for row in rows} == {
        *("leakage", "memorization", "influence"),
        *("variance", "decomposition", "sharpness"),
    }
    (auc,) = [r for r in rows if (r["group"], r["metric"]) == ("lira_online", "auc")]
    saved = read(folder / "results.csv")
    assert list(saved[0]) == list(rows[0]) and len(saved) == len(rows)
    assert float(saved[0]["value"]) == rows[0]["value"]
    with pytest.raises(ValueError, match="must be that of an audit .*in results.csv"):
        load_audit(folder)
    claims = read(folder / "claims.csv")
    assert float(claims[0]["value"]) == auc["value"]
    assert (auc["optimizer"], auc["minus"]) == ("sam", "sgd")
    shown = (folder.parents[2] / "repr").read_text()
    assert claims[0]["claim"] in shown and "Of 15 claims" in shown


def test_the_models_trained_again_are_those_of_the_audit(folder):
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["reproduced"] == 1.0


def test_the_numbers_are_those_of_the_audits_signals(folder):
    source = folder.parents[1] / "audit" / "explain"
    signals = load_audit_signals(source)
    rows = read(folder / "memorization_scatter.csv")
    assert list(signals) == ["sgd", "sam"] and len(rows) == 120
    for name, own in signals.items():
        for row in rows[::17]:
            i = int(row["example"])
            inside = own.correct[own.keep[:, i], i].mean()
            outside = own.correct[~own.keep[:, i], i].mean()
            assert float(row[f"{name} memorization"]) == pytest.approx(inside - outside)
    test = ~signals["sam"].keep.any(axis=0)
    rows = [
        r
        for r in read(folder / "accuracy_and_leakage.csv")
        if r["measure"] == "test_accuracy"
    ]
    expected = signals["sam"].correct[:, test].mean()
    assert float(rows[1]["value"]) == pytest.approx(expected)


@pytest.mark.slow
def test_the_default_run_measures_sharpness(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run("--sweep-models", "4")
    rows = read(tmp_path / "runs" / "explain" / "default" / "sharpness.csv")
    first = {r["measure"]: float(r["value"]) for r in rows if float(r["rho"]) == 0}
    assert first["top_eigenvalue"] > 0 and first["trace"] > first["top_eigenvalue"]
    assert first["worst_case_increase"] > first["average_case_increase"] > 0


def test_every_claim_has_a_row_with_its_interval(folder):
    rows = read(folder / "claims.csv")
    metrics = json.loads((folder / "metrics.json").read_text())
    page = (folder / "report.html").read_text()
    assert len(rows) == len(metrics["claims"]) == 15
    for row in rows:
        assert row["paper"] and row["agrees"] in page
        if row["value"] != "nan":
            assert float(row["low"]) <= float(row["value"]) <= float(row["high"])
    assert metrics["verdict"] in page


def test_a_given_audit_is_explained_without_training(folder, monkeypatch):
    monkeypatch.chdir(folder.parents[2])
    source = folder.parents[1] / "audit" / "explain"
    made = tyro.cli(experiment.Config, args=OPTIONS).audit
    assert explain_source.audit_settings(source) == made
    nothing = lambda *_: None
    monkeypatch.setattr(explain_report.Explanation, "write_report", nothing)
    run("--name", "other", "--run", str(source), "--sweep-models", "0")
    ours, theirs = (
        json.loads((folder.parent / name / "metrics.json").read_text())
        for name in ("default", "other")
    )
    assert theirs["sharpness"] is theirs["reproduced"] is None
    for part in ("memorization", "influence", "success", "variance", "attacks"):
        assert ours[part] == theirs[part]
    assert ours["claims"][: len(theirs["claims"])] == theirs["claims"]


def estimate(low, high):
    return Estimate((low + high) / 2, low, high, 1.0, 5.0, 0.0)


@pytest.mark.parametrize(
    ("sign", "interval", "verdict"),
    [
        (1, (0.1, 0.2), "yes"),
        (1, (-0.2, -0.1), "no"),
        (1, (-0.1, 0.1), "not resolved"),
        (-1, (-0.2, -0.1), "yes"),
        (-1, (0.1, 0.2), "no"),
        (0, (-0.1, 0.1), "not contradicted"),
        (0, (0.1, 0.2), "no"),
        (1, (np.nan, np.nan), "not measured"),
    ],
)
def test_a_claim_agrees_as_its_interval_says(sign, interval, verdict):
    claim = explain_claims.PaperClaim("it", "more", estimate(*interval), sign)
    assert claim.agrees == verdict and verdict in claim.row[-1]


def test_the_verdict_names_what_the_run_contradicts():
    claims = [
        explain_claims.PaperClaim("it leaks", "more", estimate(-0.2, -0.1), 1),
        explain_claims.PaperClaim("it is flat", "more", estimate(0.1, 0.2), 1),
    ]
    found = explain_claims.verdict(claims)
    assert "agrees with 1, disagrees with 1 and does not resolve 0" in found
    assert "it leaks (-0.150 [-0.200, -0.100])" in found and "it is flat (" not in found


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--run", "nowhere"], "run must be the folder of a finished audit"),
        (["--outcome", "loss"], "invalid choice 'loss'"),
        (["--selected-by", "sgd"], "invalid choice 'sgd'"),
        (["--sweep-models", "2"], "--sweep-models must be 0 or at least 4"),
        (["--rho", "-1"], "--rho must be finite and >= 0"),
        (["--audit.num-models", "4"], "--audit.num-models must be a whole number >= 8"),
        (["--audit.num-canaries", "9"], "--audit.num-canaries must be 0"),
    ],
)
def test_bad_options_are_usage_errors_that_leave_nothing(
    arguments, message, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="2"):
        run(*arguments)
    error = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert message in error
    assert not (tmp_path / "runs").exists()


def test_an_audit_of_data_that_changed_is_not_explained(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    arrays = {"x_train": rng.normal(size=(40, 3)), "y_train": np.arange(40) % 2}
    arrays |= {"x_test": rng.normal(size=(8, 3)), "y_test": np.arange(8) % 2}
    np.savez("mine.npz", **arrays)
    settings = audit.Config(dataset="mine.npz", pool_size=0)
    facts = {
        "data_sha256": audit_arguments.data_hash(audit_arguments.make_dataset(settings))
    }
    folder = run_folder.open_run("audit", settings, facts=facts)
    assert len(explain_source.load_data(folder, settings).train.y) == 40
    within_classes = np.argsort(arrays["y_train"], kind="stable")
    arrays["x_train"][within_classes[:20]] = arrays["x_train"][within_classes[19::-1]]
    np.savez("mine.npz", **arrays)
    with pytest.raises(ValueError, match="run must be of data that are as they were"):
        explain_source.load_data(folder, settings)


def test_errors_of_the_audit_that_is_made_name_its_options(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder.parents[2])
    with pytest.raises(SystemExit, match="2"):
        run("--name", "again", "--audit.seed", "1")
    shown = capsys.readouterr().err
    assert "error: --audit.name must be that of a new run" in shown
    assert "Pass --audit.overwrite" in shown


def test_only_audits_with_enough_models_are_explained(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name, settings, message in (
        ("attack", {"signals": ["a.npz"]}, "must be the folder of sam-jax audit"),
        ("damaged", None, "--run must be that of a run whose settings can be read"),
    ):
        made = tmp_path / name
        made.mkdir()
        (made / "metrics.json").write_text("{}")
        (made / "config.json").write_text(json.dumps({"settings": settings}))
        with pytest.raises(SystemExit, match="2"):
            run("--run", name)
        assert message in capsys.readouterr().err
