"""Several processes that train one audit's models."""

import socket
import subprocess
import sys
import textwrap
import time

import numpy as np
import optax
import pytest

import sam_jax
from sam_jax import models
from sam_jax._checks import ArgumentError
from sam_jax.training.processes import parse_shard

COMMON = """
    import sys
    import jax
    jax.config.update("jax_num_cpu_devices", 1)
    import numpy as np, optax, sam_jax
    from sam_jax.models import mlp
    from sam_jax.auditing.audit import train_shard
    from sam_jax.training.checkpoint import ChunkStore
    from sam_jax.training.processes import join_processes, wait_for_processes

    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 5)).astype(np.float32)
    y = (x[:, 0] > 0).astype(np.int32)
    arguments = (
        mlp(2, hidden=(8,)),
        {"sgd": optax.sgd(0.1), "sam": sam_jax.sam(optax.sgd(0.1))},
        (x[:40], y[:40], x[40:], y[40:]),
        sam_jax.TrainConfig(
            num_epochs=2, batch_size=8, models_per_chunk=2, progress=False
        ),
        sam_jax.AttackConfig(num_models=8),
    )
"""
PROCESS = """
    folder, port, number, count = sys.argv[1:]
    shard = join_processes(f"localhost:{port}", int(count), int(number))
    assert shard == (int(number), int(count))
    train_shard(*arguments, ChunkStore(folder, shard=shard))
    wait_for_processes("trained")
    print("done", flush=True)
"""
ALONE = """
    result = sam_jax.audit(*arguments, cache_dir=sys.argv[1] or None)
    np.savez(sys.argv[2], **{n: result[n].signals.phi for n in ("sgd", "sam")})
"""


def start(script, *arguments):
    code = textwrap.dedent(COMMON) + textwrap.dedent(script)
    command = [sys.executable, "-W", "ignore", "-c", code, *map(str, arguments)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def start_command(command, folder):
    return subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def finish(process):
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    return output


def free_port():
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


def test_two_connected_processes_train_the_models_of_one_bit_for_bit(tmp_path):
    """One is killed after the first chunk; both start again, then another merges."""
    folder, port = tmp_path / "chunks", free_port()
    both = [start(PROCESS, folder, port, i, 2) for i in range(2)]
    while not list(folder.glob("*.npz")):
        assert any(process.poll() is None for process in both), finish(both[0])
        time.sleep(0.05)
    for process in reversed(both):
        process.kill()
        process.communicate()
    port = free_port()
    both = [start(PROCESS, folder, port, i, 2) for i in range(2)]
    for process in both:
        assert "done" in finish(process)
    assert len(list(folder.glob("*.npz"))) == 8
    finish(start(ALONE, folder, tmp_path / "merged.npz"))
    finish(start(ALONE, "", tmp_path / "alone.npz"))
    with (
        np.load(tmp_path / "merged.npz") as merged,
        np.load(tmp_path / "alone.npz") as alone,
    ):
        for name in ("sgd", "sam"):
            np.testing.assert_array_equal(merged[name], alone[name])


@pytest.mark.slow
def test_four_processes_of_the_command_one_killed_and_restarted(tmp_path):
    """The command merges and attacks in process 0; signals are those of one alone."""
    audit = [sys.executable, "-W", "ignore", "-m", "sam_jax", "audit"]
    audit += ["--pool-size", "200", "--num-models", "8", "--num-epochs", "3"]
    audit += ["--models-per-chunk", "2", "--attacks", "loss", "--cache-dir"]

    def start_all(port):
        processes = []
        for number in range(4):
            place = ["--coordinator", f"localhost:{port}", "--num-processes", "4"]
            place += ["--process-id", str(number), "--name", "four"]
            processes.append(start_command([*audit, "four", *place], tmp_path))
        return processes

    processes = start_all(free_port())
    while not list((tmp_path / "four").glob("*.npz")):
        assert all(process.poll() is None for process in processes)
        time.sleep(0.05)
    processes[3].kill()
    for process in processes:  # One job: it ends with the process that was killed.
        process.terminate()
        process.communicate(timeout=120)
    for process in start_all(free_port()):
        finish(process)
    finish(start_command([*audit, "one", "--name", "one"], tmp_path))
    runs = tmp_path / "runs" / "audit"
    with (
        np.load(runs / "four" / "signals.npz") as four,
        np.load(runs / "one" / "signals.npz") as one,
    ):
        for name in ("sgd/phi", "sam/phi"):
            np.testing.assert_array_equal(four[name], one[name])


def test_training_waits_for_no_other_device():
    """Nothing in the compiled epoch is exchanged between devices."""
    import jax

    from sam_jax.training.chunk_training import Ensemble
    from sam_jax.training.lifted_training import lift_training
    from sam_jax.training.trainer import TrainingTask
    from sam_jax.types import Examples, TrainConfig

    x = np.zeros((32, 5), np.float32)
    pool = Examples(jax.numpy.asarray(x), jax.numpy.zeros(32, jax.numpy.int32))
    task = TrainingTask(
        models.mlp(2, hidden=(8,)),
        lambda _: sam_jax.sam(optax.sgd(0.1)),
        TrainConfig(num_epochs=1, batch_size=8, stop_accuracy=0.9),
    )
    lifted = lift_training(task, tuple(jax.devices()))
    assert len(jax.devices()) == 2
    keep = np.ones((4, 32), np.bool_)
    ensemble = Ensemble(lifted, jax.random.key(0), {}, keep, pool)
    start = ensemble.start(np.arange(4), 4)
    text = lifted.epoch.lower(*start.arguments(0, start.state)).compile().as_text()
    for word in ("all-reduce", "all-gather", "all-to-all", "collective", "send("):
        assert word not in text


@pytest.mark.parametrize("text", ["4/4", "-1/2", "1", "a/b", "1/0", "1/2/3", ""])
def test_a_shard_that_is_none_is_refused(text):
    assert parse_shard("3/4") == (3, 4)
    with pytest.raises(ArgumentError, match="shard must be i/n with i from 0 to n - 1"):
        parse_shard(text)
