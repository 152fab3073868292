"""`--config FILE`: the settings of an earlier run, given back."""

import json
import re

import pytest

from sam_jax.cli import audit_options, explain, run_folder, theory
from sam_jax.cli.attack_inputs import Config as AttackConfig
from sam_jax.cli.errors import usage_errors
from sam_jax.cli.main import main
from sam_jax.cli.option_parsing import parse_options

SMALL = ["--pool-size", "120", "--num-models", "4", "--num-epochs", "2"]
SMALL += ["--batch-size", "16", "--attacks", "lira_online", "loss", "--rho", "0.1"]


def parse(settings, *arguments):
    return parse_options(settings, "", list(arguments))


def without_times(path):
    numbers = json.loads(path.read_text())
    assert numbers.pop("seconds")
    return numbers


def test_a_run_from_the_config_of_another_has_equal_numbers(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["audit", "--name", "first", *SMALL]) == 0
    config = "runs/audit/first/config.json"
    assert main(["audit", "--config", config, "--name", "again"]) == 0
    first, again = (
        without_times(tmp_path / f"runs/audit/{name}/metrics.json")
        for name in ("first", "again")
    )
    assert first == again
    assert main(["audit", f"--config={config}", "--name", "other", "--seed", "1"]) == 0
    assert without_times(tmp_path / "runs/audit/other/metrics.json") != first


EVERY_FORM = audit_options.Config(
    name="x",
    image_size=7,
    augment=("flip", "crop"),
    rho=(1e-7, 0.05),
    stop_accuracy=None,
    learning_rate=0.1 + 0.2,
    retrain_changed=True,
    attacks=("loss",),
)
CONFIGS = [
    EVERY_FORM,
    AttackConfig(signals=("a.npz", "b c.npz"), attacks=None, fprs=(0.5,)),
    AttackConfig(signals=("a.npz",), attacks=("loss",), allow_invalid=True),
    theory.Config(num_sets=9),
    explain.Config(audit=EVERY_FORM, rho=(0.1,), compared="sam rho=0.1"),
]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: type(config).__module__)
def test_every_setting_survives_and_options_win(config, tmp_path):
    folder = run_folder.open_run("test", config, root=str(tmp_path))
    file = str(folder / "config.json")
    assert parse(type(config), "--config", file) == config
    assert parse(type(config), "--config", str(folder)) == config
    changed = parse(type(config), "--name", "other", f"--config={file}")
    assert changed.name == "other"


def test_a_group_of_options_takes_a_config_and_processes_are_not_repeated(tmp_path):
    config = audit_options.Config(name="x", pool_size=9, shard="0/2")
    folder = run_folder.open_run("audit", config, root=str(tmp_path))
    made = parse(explain.Config, "--audit.config", str(folder / "config.json"))
    assert made.audit.pool_size == 9 and made.audit.shard is None
    with pytest.raises(ValueError, match="has dataset; --audit.config takes a file of"):
        parse(explain.Config, "--config", str(folder))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"settings": {"num_model": 8}}', "has num_model; the nearest is num_models"),
        ('{"signals": ["a.npz"]}', "config.json has signals"),
        ('{"num_models": "many"}', "num-models"),
        ('{"settings": 3}', "--config must be a JSON object of settings"),
        ("num_models: 8", "--config must be a JSON file"),
        (None, "--config must be a readable file, got .*No such file"),
    ],
)
def test_files_that_are_no_config_are_named(text, message, tmp_path, capsys):
    file = tmp_path / "config.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(SystemExit, match="2"), usage_errors(audit_options.Config):
        parse(audit_options.Config, "--config", str(file))
    assert re.search(message, " ".join(capsys.readouterr().err.split()))
    with pytest.raises(ValueError, match="config must be followed by a file"):
        parse(audit_options.Config, "--config")
