"""The benchmark for a GPU, without one."""

import dataclasses
import pathlib
import subprocess
import sys

import pytest

from benchmarks import gpu
from benchmarks.shadow.workloads import WORKLOADS

REPOSITORY = pathlib.Path(__file__).parents[2]


def test_operations_of_a_step_are_those_of_its_products():
    # Dense layers 6-4-3, batch 5: forward 6 x 4 + 4 x 3, gradients of both kernels as
    # much again, and of the hidden layer's output 4 x 3; two operations each.
    workload = dataclasses.replace(
        WORKLOADS["mlp-128"],
        widths=(4,),
        features=(6,),
        num_classes=3,
        pool_size=20,
        batch_size=5,
    )
    assert gpu.step_operations(workload) == 2 * 5 * (2 * (6 * 4 + 4 * 3) + 4 * 3)


def test_rates_ratios_and_shares_of_the_peak_are_medians_over_rounds(monkeypatch):
    monkeypatch.setattr(gpu, "step_operations", lambda workload: 1e6)
    workload = WORKLOADS["gpu-tiny"]
    steps = workload.num_epochs * workload.steps_per_epoch

    def contest(**seconds):
        return {
            name.replace("_", "-") if name != "sam_jax" else name: {
                "rows": [{"seconds": value, "test_accuracy": 0.5}],
                "device_peak_mib": None,
            }
            for name, value in seconds.items()
        }

    rounds = [
        contest(sam_jax=1.0, jax_sequential=2.0, torch_compiled=4.0),
        contest(sam_jax=2.0, jax_sequential=6.0, torch_compiled=4.0),
        contest(sam_jax=3.0, jax_sequential=12.0, torch_compiled=4.0),
    ]
    ours, one_by_one, torch = gpu.summarise("gpu-tiny", 8, rounds, peak_flops=1e9)
    assert ours["models_a_minute"] == 60 * 8 / 2
    assert ours["ratio"] == {"median": 3.0, "low": 2.0, "high": 4.0}
    assert ours["share_of_peak"] == pytest.approx(8 * steps * 1e6 / 2 / 1e9)
    assert one_by_one["ratio"] == {"median": 1.0, "low": 1.0, "high": 1.0}
    assert torch["ratio"]["median"] == 1.5


@pytest.mark.slow
def test_the_whole_contest_runs_at_tiny_size(tmp_path):
    pytest.importorskip("torch")
    options = "--device cpu --workloads gpu-tiny --num-models 4 --num-rounds 1".split()
    made = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu", *options]
        + ["--output", str(tmp_path / "gpu.json")],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    for contestant in gpu.CONTESTANTS:
        assert f"| gpu-tiny | 4 | {contestant} |" in made.stdout
    assert (tmp_path / "gpu.json").exists()
