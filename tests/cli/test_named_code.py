"""Networks and attacks of a user's module, by name on the command line."""

import json
import re
import sys

import jax
import numpy as np
import pytest

from sam_jax.cli import audit
from sam_jax.cli.errors import usage_errors
from sam_jax.cli.main import main
from sam_jax.cli.named_code import import_callable, named_model
from tests.attacks.examples import random_signals

CODE = """
import jax.numpy as jnp
from sam_jax.models import mlp

LEVEL = 3

def network(num_classes):
    return mlp(num_classes, hidden=(5,))

def pair(num_classes, dtype):
    model = mlp(num_classes, hidden=(5,), dtype=dtype)
    return model.init, model.apply

def wide(num_classes):
    return mlp(num_classes + 1, hidden=(5,))

def nothing(num_classes):
    return num_classes

def broken(num_classes):
    raise RuntimeError("no weights")

class Attacks:
    @staticmethod
    def of_nothing(signals, target):
        return jnp.full(signals.phi.shape[1], jnp.nan)

    @staticmethod
    def confidence(signals, target):
        return signals.phi[target, :, 0]
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module ``users_code`` in the working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "users_code.py").write_text(CODE)
    (tmp_path / "fails.py").write_text("import no_such_package")
    yield tmp_path
    sys.modules.pop("users_code", None)


def test_an_audit_of_a_users_network_attack_table_and_base(module, capsys):
    rng = np.random.default_rng(0)
    lines = ["a,b,class"]
    for a, b in rng.normal(size=(80, 2)):
        lines.append(f"{a},{b},{'up' if a > 0 else 'down'}")
    (module / "points.csv").write_text("\n".join(lines))
    arguments = ["--dataset", "points.csv", "--label-column", "class"]
    arguments += ["--model", "users_code:network", "--base", "adamw"]
    arguments += ["--base-settings", "weight_decay=0.01", "--learning-rate", "0.01"]
    arguments += ["--attacks", "users_code:Attacks.confidence", "loss"]
    arguments += ["--num-models", "4", "--num-epochs", "2", "--batch-size", "16"]
    with jax.numpy_dtype_promotion("standard"):  # which optax relies on
        assert main(["audit", *arguments]) == 0
    folder = module / "runs/audit/default"
    numbers = json.loads((folder / "metrics.json").read_text())
    # phi orders the examples as the loss does, from high to low
    own, loss = numbers["metrics"]["adamw"].values()
    assert own["pooled"]["auc"] == loss["pooled"]["auc"]
    assert list(numbers["metrics"]) == ["adamw", "sam"]
    assert numbers["dataset"]["class_names"] == ["down", "up"]
    assert "users_code:Attacks.confidence" in capsys.readouterr().out
    again = ["--signals", str(folder / "signals.npz"), "--attacks"]
    assert main(["attack", *again, "users_code:Attacks.confidence"]) == 0
    given = json.loads((module / "runs/attack/default/metrics.json").read_text())
    assert (
        given["metrics"]["sam"]["users_code:Attacks.confidence"]["pooled"]["auc"]
        == (numbers["metrics"]["sam"]["users_code:Attacks.confidence"]["pooled"]["auc"])
    )


def test_an_attack_that_fails_leaves_no_run_in_its_way(module, tmp_path, capsys):
    signals = random_signals(num_models=8, num_examples=40)
    np.savez(tmp_path / "s.npz", phi=signals.phi, keep=signals.keep)
    attack = ["attack", "--signals", str(tmp_path / "s.npz"), "--attacks"]
    with pytest.raises(SystemExit, match="2"):
        main([*attack, "users_code:Attacks.of_nothing"])
    assert "scores that are numbers" in capsys.readouterr().err
    assert main([*attack, "users_code:Attacks.confidence"]) == 0


def test_a_pair_of_functions_is_a_network(module):
    assert callable(named_model("users_code:pair", 3, "bfloat16").apply)
    with pytest.raises(ValueError, match="precision must be float32 or auto"):
        named_model("users_code:network", 3, "bfloat16")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("users_code:", "must be module:function, got 'users_code:'"),
        ("no_such_module:f", "can be imported, got 'no_such_module': ModuleNotFound"),
        ("fails:f", "can be imported, got 'fails': .*no_such_package"),
        ("users_code:netwrok", "no 'netwrok'; it has .*network"),
        ("users_code:LEVEL", "something to call, .* of type int"),
    ],
)
def test_what_does_not_import_is_named(module, text, message):
    with pytest.raises(ValueError, match=f"model .*{message}"):
        import_callable("model", text)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "users_code:nothing"], "--model must return a sam_jax.Model"),
        (["--model", "users_code:broken"], "--model .* RuntimeError: no weights"),
        (["--attacks", "users_code:gone"], "--attacks must name something in users_c"),
        (["--base", "adamv"], "--base must be one of .*adamw"),
        (["--base", "adamw"], "--learning-rate must be given for adamw"),
        (
            ["--base", "lion", "--learning-rate", "1", "--momentum", "0.9"],
            "--momentum must be among the --base-settings of lion",
        ),
        (
            ["--base", "lion", "--learning-rate", "1", "--weight-decay", "0.1"],
            "--weight-decay must be 0 for lion, .* weight_decay=0.1",
        ),
        (["--base-settings", "b1=0.9"], "--base-settings must be of sgd: momentum"),
        (["--base", "lion", "--learning-rate", "1", "--optimizers", "sgd", "lion"],
         "--optimizers must differ"),
        (["--dataset", "gone.csv"], "--dataset must be an existing file"),
        (["--dataset", "users_code.py"], "--dataset .*, which is a file of"),
        (["--model", "users_code"], "--model .*, or module:function of your code; got"),
        (["--attacks", "mine"], "--attacks .*, or module:function of your code; got"),
        (["--model", "users_code:wide"], r"--model must return logits .* \(2, 11\)"),
        (["--label-column", "y"], "--label-column must be None but for tables"),
    ],
)  # fmt: skip
def test_bad_names_are_usage_errors(module, arguments, message, capsys):
    with pytest.raises(SystemExit, match="2"), usage_errors(audit.Config):
        audit.command(["--pool-size", "200", "--num-epochs", "1", *arguments])
    assert re.search(message, capsys.readouterr().err)
    assert not (module / "runs").exists()
