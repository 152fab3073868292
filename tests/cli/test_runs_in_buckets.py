"""Runs in buckets: begun on one machine, gone on with and read on another."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from sam_jax._checks import ArgumentError
from sam_jax.cli import audit_options, run_folder
from sam_jax.data import buckets
from sam_jax.data.buckets import local_path
from sam_jax.data.result_files import write_text


class Killed(BaseException):
    """The process ends here."""


def begin(**changes):
    config = audit_options.Config(**changes)
    return run_folder.open_run("audit", config, root="memory://bkt/runs")


def finish(folder, run):
    write_text(folder / "report.html", run)
    return run_folder.finish_run(folder, {"run": run})


def test_an_unfinished_run_goes_on_on_another_machine(bucket):
    begin()
    bucket("second")
    with pytest.raises(ArgumentError, match=r"begun with other settings \(seed"):
        begin(seed=1)
    folder = begin()
    assert finish(folder, "one") == folder
    bucket("third")
    with pytest.raises(ArgumentError, match="holds a finished one"):
        begin()


def test_a_kill_while_a_run_in_a_bucket_is_replaced(bucket, monkeypatch):
    """The old run or the new one is there, whole, after every operation."""
    outcomes = []
    for last in itertools.count():
        memory = bucket(f"killed after {last}")
        memory.store.clear()
        finish(begin(), "old")
        new = begin(overwrite=True)
        left = iter(range(last))
        with monkeypatch.context() as patch:
            for name in ("put_file", "cp_file", "rm_file"):
                patch.setattr(
                    type(memory), name, _killed(getattr(type(memory), name), left)
                )
            try:
                finish(new, "new")
                outcomes.append("finished")
            except Killed:
                outcomes.append("killed")
        bucket(f"after {last}")
        with pytest.raises(ArgumentError, match="holds a finished one"):
            begin()
        folder = local_path("memory://bkt/runs/audit/default", "folder")
        run = (folder / "report.html").read_text()
        assert json.loads((folder / "metrics.json").read_text()) == {"run": run}
        if outcomes[-1] == "finished":
            assert run == "new" and len(memory.find("/bkt")) == 3
            break
    assert len(outcomes) > 8


def _killed(operation, left):
    """The operation, which ends the process once none is left."""

    def call(*arguments, **options):
        if next(left, None) is None:
            raise Killed
        return operation(*arguments, **options)

    return call


@pytest.fixture
def s3(tmp_path, monkeypatch):
    """An S3 server on the loopback with the bucket ``bkt``."""
    pytest.importorskip("s3fs")
    server = pytest.importorskip("moto.server").ThreadedMotoServer(port=0)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    system = buckets._connect("s3://bkt")[0]
    system.mkdir("bkt")
    yield system
    server.stop()


SMALL = "--pool-size 60 --batch-size 10 --num-models 8 --num-epochs 3 "
SMALL += "--models-per-chunk 2 --attacks loss lira_offline"


def start(tmp_path, machine, command, options):
    mirrors = {buckets.VARIABLE: str(tmp_path / machine)}
    return subprocess.Popen(
        [sys.executable, "-m", "sam_jax", command, *options.split()],
        cwd=tmp_path,
        env=os.environ | mirrors,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run(tmp_path, machine, command, options):
    process = start(tmp_path, machine, command, options)
    output, _ = process.communicate()
    assert process.returncode == 0, output
    return output


def same_signals(tmp_path, machine, name):
    """Whether a run in the bucket has the signals of the local run, bit for bit."""
    ours = tmp_path / machine / "s3" / "bkt" / "runs" / "audit" / name / "signals.npz"
    with np.load(ours) as a, np.load(tmp_path / "runs/audit/a/signals.npz") as b:
        return all(np.array_equal(a[k], b[k]) for k in b if k != "metadata")


@pytest.mark.slow
def test_audits_in_s3(tmp_path, s3):
    small = f"{SMALL} --runs-dir s3://bkt/runs"
    run(tmp_path, "here", "audit", f"--name a {SMALL}")
    # Killed in the middle, and gone on with where nothing is yet.
    process = start(tmp_path, "killed", "audit", f"--name a {small}")
    while len(chunks := s3.glob("bkt/runs/audit/a/chunks/*.npz")) < 3:
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert len(chunks) < 8 and not s3.exists("bkt/runs/audit/a/metrics.json")
    assert "Going on" in run(tmp_path, "next", "audit", f"--name a {small}")
    assert same_signals(tmp_path, "next", "a")
    assert not s3.exists("bkt/runs/audit/a/chunks")

    # Two machines train a half each, a third merges; one object is damaged.
    shared = f"--name b {small} --cache-dir s3://bkt/chunks"
    shares = [
        start(tmp_path, f"m{i}", "audit", f"{shared} --shard {i}/2") for i in (0, 1)
    ]
    for share in shares:
        output, _ = share.communicate()
        assert share.returncode == 0, output
    assert len(chunks := s3.glob("bkt/chunks/*.npz")) == 8
    s3.pipe_file(chunks[3], s3.cat_file(chunks[3])[:-7])
    output = run(tmp_path, "m2", "audit", shared)
    assert chunks[3].split("/")[-1] in output and "trained again" in output
    assert same_signals(tmp_path, "m2", "b") and s3.exists(f"{chunks[3]}.bad")

    # A finished run is replaced; any machine reads what is there.
    before = s3.cat_file("bkt/runs/audit/b/metrics.json")
    run(tmp_path, "m3", "audit", f"{shared} --overwrite --attacks loss")
    assert s3.cat_file("bkt/runs/audit/b/metrics.json") != before
    assert not s3.exists("bkt/runs/audit/.b.replacement")
    runs = "s3://bkt/runs/audit/a s3://bkt/runs/audit/b"
    run(tmp_path, "m4", "report", f"{runs} --output s3://bkt/both.html")
    assert b"</html>" in s3.cat_file("bkt/both.html")
    mirror = tmp_path / "m3" / "s3" / "bkt" / "runs"
    local = {str(p.relative_to(mirror)) for p in mirror.rglob("*") if p.is_file()}
    stored = {n.removeprefix("bkt/runs/") for n in s3.find("bkt/runs/audit/b")}
    assert {n for n in local if ".lock" not in n} == stored
