"""Every option of every subcommand is in its help, with its default."""

import dataclasses
import importlib
import re
import subprocess
import sys

import pytest

from sam_jax.attacks import ATTACKS
from sam_jax.cli.main import COMMANDS, main
from sam_jax.data import DATASETS
from sam_jax.models import MODELS
from sam_jax.optimizers.registry import OPTIMIZERS


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_every_option_with_its_default(name, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    with pytest.raises(SystemExit, match="0"):
        main([name, "--help"])
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    fields = dataclasses.fields(importlib.import_module(f"sam_jax.cli.{name}").Config)
    shown = 0
    for field in fields:
        is_group = dataclasses.is_dataclass(field.type)
        option = f"--{field.name.replace('_', '-')}"
        if field.default is dataclasses.MISSING:
            positional = f"{field.name.upper()} ", "[PATH [PATH ...]]"
            assert any(shape in text for shape in (option, *positional))
        elif not is_group:
            assert option in text
            shown += 1
    for registry in (DATASETS, MODELS, OPTIMIZERS, ATTACKS) if name == "audit" else ():
        assert set(registry) <= set(re.findall(r"\w+", text))
    assert text.count("(default: ") + text.count("(required)") >= shown


@pytest.mark.parametrize("name", COMMANDS)
def test_help_fits_a_terminal_of_80_columns(name, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit, match="0"):
        main([name, "--help"])
    usage, *lines = capsys.readouterr().out.splitlines()  # tyro wraps no usage.
    assert max(map(len, lines)) <= 80


def test_a_reader_that_ends_early_ends_the_command_without_a_word():
    command = [sys.executable, "-u", "-m", "sam_jax", "audit", "--help"]
    process = subprocess.Popen(command, stdout=-1, stderr=-1, text=True)
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait() in (0, 141)
