import dataclasses
import json
import re

import numpy as np
import pytest
import tyro

from sam_jax.attacks import ATTACKS
from sam_jax.cli import audit as experiment
from sam_jax.cli import audit_arguments, run_folder
from sam_jax.cli.errors import usage_errors
from sam_jax.data.atomic_files import DRAFT_SUFFIX

SMALL = ["--pool-size", "120", "--num-models", "4", "--num-epochs", "2"]
SMALL += ["--batch-size", "16", "--attacks", "lira_online", "loss"]


def run(*arguments):
    with usage_errors(experiment.Config):
        return experiment.main(tyro.cli(experiment.Config, args=[*SMALL, *arguments]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A finished run in a folder of its own."""
    root = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        run("--name", "small")
    return root / "runs" / "audit" / "small"


def test_all_attacks_are_those_that_the_audit_has_the_means_for(capsys):
    options = ["--attacks", "loss", "all"]
    config = tyro.cli(experiment.Config, args=[*SMALL, *options])
    (*_, attack_config), _ = audit_arguments.make_arguments(config)
    names, printed = list(attack_config.attacks), capsys.readouterr().out
    assert names[:2] == ["loss", "lira_online"]
    left_out = {name for name, attack in ATTACKS.items() if "queries" in attack.needs}
    assert set(names) == set(ATTACKS) - left_out and left_out
    assert all(f"{name} is left out: it needs" in printed for name in left_out)


def test_a_run_leaves_report_numbers_curve_signals_and_settings(folder):
    names = {path.name for path in folder.iterdir()}
    assert names == {
        "report.html",
        "metrics.json",
        "results.csv",
        "roc.csv",
        "roc.svg",
        "risk.csv",
        "signals.npz",
        "config.json",
    }
    config = json.loads((folder / "config.json").read_text())
    assert config["settings"]["num_models"] == 4 and config["settings"]["seed"] == 0
    assert {"jax", "optax", "python"} <= config["versions"].keys()
    assert config["command"] and "commit" in config and "device" in config
    metrics = json.loads((folder / "metrics.json").read_text())
    page = (folder / "report.html").read_text()
    assert all(sentence in page for sentence in metrics["verdict"].splitlines())
    pooled = metrics["differences"]["sam"]["lira_online"]["pooled"]["auc"]
    ours, base = (
        metrics["metrics"][o]["lira_online"]["pooled"]["auc"] for o in ("sam", "sgd")
    )
    assert pooled["value"] == pytest.approx(ours["value"] - base["value"])


def test_finished_results_are_replaced_only_on_demand(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder.parents[2])
    before = (folder / "metrics.json").read_bytes()
    with pytest.raises(SystemExit, match="2"):
        run("--name", "small")
    assert "--overwrite" in capsys.readouterr().err
    assert (folder / "metrics.json").read_bytes() == before
    augmented = ("--augment", "flip", "--num-queries", "2")
    run("--name", "small", "--overwrite", "--seed", "3", *augmented)
    with np.load(folder / "signals.npz") as signals:
        views = [signals[name] for name in signals if name.endswith("phi")]
    assert len(views) == 2 and all(phi.shape[-1] == 2 for phi in views)
    assert (folder / "metrics.json").read_bytes() != before


def test_an_unfinished_run_resumes_only_with_the_same_settings(tmp_path, capsys):
    config = experiment.Config(name="half", num_models=4)
    folder = run_folder.open_run("audit", config, root=str(tmp_path))
    assert run_folder.open_run("audit", config, root=str(tmp_path)) == folder
    assert "Going on with" in capsys.readouterr().out
    other = dataclasses.replace(config, seed=9, num_models=8)
    with pytest.raises(
        ValueError, match=r"begun with other settings \(num_models, seed"
    ):
        run_folder.open_run("audit", other, root=str(tmp_path))


def test_a_folder_that_is_no_run_is_never_touched(tmp_path):
    precious = tmp_path / "audit" / "mine" / "thesis.txt"
    precious.parent.mkdir(parents=True)
    precious.write_text("years of work")
    config = experiment.Config(name="mine", overwrite=True)
    with pytest.raises(ValueError, match="no run"):
        run_folder.open_run("audit", config, root=str(tmp_path))
    assert precious.read_text() == "years of work"


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "/tmp/x"])
def test_a_name_cannot_lead_out_of_the_folder_of_runs(name, tmp_path):
    with pytest.raises(ValueError, match="name must be"):
        run_folder.open_run("audit", experiment.Config(name=name), root=str(tmp_path))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--num-models", "5"], "--num-models must be even, got 5"),
        (["--num-models", "2"], "--num-models must be a whole number >= 4"),
        (["--rho", "-0.1"], "--rho must be finite and >= 0, got -0.1"),
        (["--model", "gpt"], "--model must be one of"),
        (["--optimizers", "adan"], "--optimizers .* 'adan', which is .* --base adan"),
        (["--optimizers", "sams"], "--optimizers must be one of"),
        (["--optimizers"], "optimizers"),
        (["--optimizers", "sgd", "sgd"], "--optimizers must differ"),
        (["--attacks", "guess"], "--attacks must be one of"),
        (["--attacks"], "attacks"),
        (["--attacks", "all", "guess"], "--attacks must be one of"),
        (["--num-canaries", "-1"], "--num-canaries must be a whole number >= 0"),
        (["--dataset", "mnust"], "--dataset must be one of .* got 'mnust'"),
        (["--augment", "mixup"], "--augment must be one of crop, cutout, flip"),
        (["--num-queries", "2"], "--num-queries must be 1 without augment"),
        (["--num-queries", "0"], "--num-queries must be a whole number >= 1"),
        (["--precision", "half"], "--precision must be one of auto"),
        (["--schedule", "linear"], "--schedule must be one of constant, cosine"),
        (["--batch-size", "61"], "--batch-size must be at most"),
        (["--learning-rate", "0"], "--learning-rate must be finite and > 0"),
        (["--label-noise", "1.5"], r"--label-noise must lie in \[0, 1\], got 1.5"),
        (["--num-epochs", "0"], "--num-epochs must be a whole number >= 1"),
        (["--stop-accuracy", "2"], "--stop-accuracy must lie in"),
        (["--pool-size", "-1"], "--pool-size must be a whole number >= 0"),
        (["--batch-size", "0"], "--batch-size must be a whole number >= 1"),
        (["--seed", "-1"], "--seed must be a whole number >= 0"),
        (["--rho", "0.1", "0.1"], "--rho must be different radii"),
        (["--model", "cnn", "--dataset", "hospital100"], "x must be images"),
        (["--no-such-option"], "no-such-option"),
    ],
)
def test_bad_options_are_usage_errors_that_train_nothing(
    arguments, message, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as exit_info:
        run(*arguments)
    assert exit_info.value.code == 2
    error = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert re.search(message, error)
    assert not (tmp_path / "runs").exists()


def test_bad_arrays_of_a_user_are_named(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    x = np.zeros((50, 3), np.float32)
    y = np.arange(50) % 2
    x[7, 1] = np.nan
    np.savez("mine.npz", x=x, y=y)
    with pytest.raises(SystemExit, match="2"):
        run("--dataset", "mine.npz", "--batch-size", "8")
    assert "x must be finite" in capsys.readouterr().err
    np.savez("mine.npz", x=np.array([{}], dtype=object), y=y)
    with pytest.raises(SystemExit, match="2"):
        run("--dataset", "mine.npz", "--batch-size", "8")


def test_a_diverged_run_exits_1_and_names_the_model(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as exit_info:
        run("--learning-rate", "1e30", "--optimizers", "sgd")
    assert exit_info.value.code == 1
    assert "model 0 diverged" in capsys.readouterr().err


def test_errors_of_arguments_alone_are_usage_errors():
    with pytest.raises(ValueError, match="bug"), usage_errors(experiment.Config):
        raise ValueError("a bug elsewhere")


def test_a_finished_run_is_replaced_only_by_a_finished_one(tmp_path):
    config = experiment.Config(name="mine", overwrite=True)
    folder = run_folder.open_run("audit", config, root=str(tmp_path))
    assert run_folder.finish_run(folder, {"run": 1}) == folder
    again = run_folder.open_run("audit", config, root=str(tmp_path))
    assert again != folder
    assert json.loads((folder / "metrics.json").read_text()) == {"run": 1}
    # An interrupted replacement is gone on with.
    assert run_folder.open_run("audit", config, root=str(tmp_path)) == again
    (again / f".report.html.1{DRAFT_SUFFIX}").write_text("what a kill has left")
    assert run_folder.finish_run(again, {"run": 2}) == folder
    assert json.loads((folder / "metrics.json").read_text()) == {"run": 2}
    assert [path.name for path in folder.parent.iterdir()] == ["mine"]
    names = {"config.json", "metrics.json"}
    assert {path.name for path in folder.iterdir()} == names


def test_a_run_begun_with_other_data_is_not_resumed(tmp_path):
    config = experiment.Config(name="mine")
    root = str(tmp_path)
    run_folder.open_run("audit", config, root=root, facts={"data_sha256": "a"})
    with pytest.raises(ValueError, match=r"begun with other settings \(data_sha256"):
        run_folder.open_run("audit", config, root=root, facts={"data_sha256": "b"})
