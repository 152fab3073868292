"""Runs that are stopped, run twice, find no room, or are shared by processes."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tyro

from sam_jax._checks import ArgumentError
from sam_jax.cli import audit, run_folder
from sam_jax.cli.errors import usage_errors
from sam_jax.cli.run_lock import locked_run
from sam_jax.data.atomic_files import StorageError

SMALL = ["--pool-size", "120", "--num-models", "4", "--num-epochs", "2"]
SMALL += ["--batch-size", "16", "--attacks", "loss", "--optimizers", "sgd"]
SMALL += ["--models-per-chunk", "2"]


def parse(*options):
    return tyro.cli(audit.Config, args=[*SMALL, *options])


def phi(folder):
    with np.load(folder / "signals.npz") as signals:
        return signals["sgd/phi"]


COMMANDS = {
    "audit": (
        [
            "sam_jax",
            "audit",
            *SMALL,
            "--num-epochs",
            "100000",
            "--stop-accuracy",
            "None",
        ],
        "runs/audit/default/chunks",
    ),
    "explain": (["sam_jax", "explain"], "runs/audit/explain/chunks"),
    "theory": (["sam_jax", "theory"], "runs/theory/default"),
    "study": (["experiments.study"], "runs/where_it_begins/default/*"),
}
"""Commands that take long, and a folder that they make before."""

SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in COMMANDS]


@pytest.mark.parametrize(("name", "status"), [("SIGTERM", 143), ("SIGINT", 130)])
@pytest.mark.parametrize("command", ["audit", *SLOW[1:]])
def test_a_signal_ends_a_run_in_one_line(tmp_path, command, name, status):
    options, folder = COMMANDS[command]
    paths = {"PYTHONPATH": str(pathlib.Path(__file__).parents[2])}
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", *options],
        cwd=tmp_path,
        env=os.environ | paths,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Jobs that a shell starts in the background ignore SIGINT, and so their own.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    while not list(tmp_path.glob(folder)):
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    time.sleep(1)
    process.send_signal(getattr(signal, name))
    _, errors = process.communicate(timeout=120)
    assert process.returncode == status
    assert f"Stopped by {name}." in errors and "the same command goes on" in errors
    assert "Traceback" not in errors


def test_a_second_process_is_told_of_the_first(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with locked_run("audit", "default"):
        with pytest.raises(SystemExit, match="2"), usage_errors(audit.Config):
            audit.main(parse())
    assert "--name must name a folder that no other run is" in capsys.readouterr().err
    assert not (tmp_path / "runs" / "audit" / "default").exists()


def test_errors_of_storage_are_one_line(capsys):
    with pytest.raises(SystemExit, match="1"), usage_errors():
        raise StorageError(28, "runs/x could not be written: No space left on device")
    error = capsys.readouterr().err
    assert error.startswith("error: runs/x could not be written: No space left")
    assert "the same command goes on" in error
    with pytest.raises(SystemExit, match="1"), usage_errors():
        open("/nowhere/at/all")
    assert "/nowhere/at/all: No such file" in capsys.readouterr().err


def test_a_folder_that_is_a_file_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").write_text("")
    with pytest.raises(SystemExit, match="1"), usage_errors(audit.Config):
        audit.main(parse())
    assert "runs/audit could not be made" in capsys.readouterr().err


def begin(root, **changes):
    return run_folder.open_run("audit", audit.Config(**changes), root=str(root))


def test_damaged_settings_are_named(tmp_path):
    folder = begin(tmp_path)
    for text in ("", "{", "[]", "{}", '{"settings": 3}'):
        (folder / "config.json").write_text(text)
        with pytest.raises(ArgumentError, match="config.json is damaged"):
            begin(tmp_path)
    again = begin(tmp_path, overwrite=True)
    assert json.loads((again / "config.json").read_text())["settings"]["seed"] == 0


def test_what_a_kill_leaves_before_the_first_file_is_no_obstacle(tmp_path):
    folder = tmp_path / "audit" / "default"
    folder.mkdir(parents=True)
    (folder / ".config.json.77.draft").write_text("half")
    (folder / "config.tmp").write_text("half")
    assert begin(tmp_path) == folder and (folder / "config.json").exists()


@pytest.mark.parametrize("at", ["before", "between", "after"])
def test_a_kill_while_a_run_is_replaced(tmp_path, at):
    """The old run or the new one is there, at every point of the replacement."""
    folder = begin(tmp_path)
    run_folder.finish_run(folder, {"run": "old"})
    new = begin(tmp_path, overwrite=True, seed=1)
    old = folder.with_name(".default.old")
    run_folder.write_json(new / "metrics.json", {"run": "new"})
    if at == "before":
        folder.rename(old)
    elif at == "between":
        folder.rename(old)
        shutil.move(new, folder)
    else:
        shutil.copytree(folder, old)
        shutil.rmtree(folder)
        shutil.move(new, folder)
    with pytest.raises(ArgumentError, match="holds a finished one"):
        begin(tmp_path)
    assert json.loads((folder / "metrics.json").read_text()) == {"run": "new"}
    assert not old.exists()


def test_options_of_scheduling_may_change_on_the_way(tmp_path):
    folder = begin(tmp_path)
    assert begin(tmp_path, models_per_chunk=2, shard="0/2", max_diverged=1) == folder
    with pytest.raises(ArgumentError, match=r"begun with other settings \(seed"):
        begin(tmp_path, seed=1)


def test_shares_are_merged_and_the_cache_stays(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cache = ["--cache-dir", "cache"]
    for shard in ("0/2", "1/2"):
        options = [*SMALL, *cache, "--name", "shares", "--shard", shard]
        assert audit.command(options) == 0
    assert len(list((tmp_path / "cache").glob("*.npz"))) == 2
    audit.main(parse(*cache, "--name", "shares"))
    audit.main(parse("--name", "whole"))
    runs = tmp_path / "runs" / "audit"
    np.testing.assert_array_equal(phi(runs / "shares"), phi(runs / "whole"))
    assert len(list((tmp_path / "cache").glob("*.npz"))) == 2


def test_too_little_address_space_is_said_at_once():
    """With 1 GB JAX was seen to hang without using the processor."""
    command = f"ulimit -v 1000000; {sys.executable} -m sam_jax audit"
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "ulimit -v) must be at least 3,072 MiB, got 976 MiB" in done.stderr
