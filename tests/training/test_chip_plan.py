"""Programs for chips that are not attached: what they hold, move and take."""

import functools
import importlib.util

import jax
import jax.numpy as jnp
import optax
import pytest

from sam_jax._checks import ArgumentError
from sam_jax.models import MODELS
from sam_jax.training import chip_plan, chips
from sam_jax.training.chip_plan import plan_for_chip
from sam_jax.training.chips import CHIPS, chip_devices, parse_chip
from sam_jax.training.compiled_training import (
    CompiledTraining,
    StepCost,
    compile_epoch,
    epoch_shapes,
)
from sam_jax.training.lifted_training import lift_training
from sam_jax.training.trainer import TrainingTask, num_steps_per_epoch
from sam_jax.types import Examples, TrainConfig

needs_libtpu = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="needs sam_jax[tpu-plan]"
)
POOL = Examples(
    jax.ShapeDtypeStruct((2048, 28, 28, 1), jnp.float32),
    jax.ShapeDtypeStruct((2048,), jnp.int32),
)
CONFIG = TrainConfig(num_epochs=3, batch_size=128)


def task(name="cnn", config=CONFIG, **settings):
    model = MODELS[name](10, dtype=jnp.bfloat16, **settings)
    return TrainingTask(model, momentum, config)


def momentum(_):
    return optax.sgd(0.1, momentum=0.9)


@functools.cache
def compiled(models, num_chips=1, name="v5e"):
    target, _ = parse_chip(name)
    devices = tuple(chip_devices(target, num_chips))
    lifted = lift_training(task(), devices)
    shapes = epoch_shapes(lifted, {}, POOL, models, devices)
    steps = num_steps_per_epoch(CONFIG, len(POOL.y))
    return compile_epoch(lifted, shapes, target, num_chips, steps)


@pytest.mark.accelerator
@needs_libtpu
def test_many_models_on_a_tpu_take_the_temporaries_and_traffic_of_one():
    one, eight = compiled(1), compiled(8)
    assert eight.temporary_bytes <= 1.1 * one.temporary_bytes + 8 * one.model_bytes
    assert eight.step.accessed <= 1.1 * one.step.accessed
    assert eight.step.traffic <= 1.1 * one.step.traffic + 1e6
    assert eight.step.estimate <= 1.1 * one.step.estimate


@pytest.mark.accelerator
@needs_libtpu
def test_sharded_training_has_no_collective_and_takes_the_same_memory_of_each_chip():
    alone, sharded = compiled(1), compiled(16, num_chips=16)
    assert sharded.collectives == alone.collectives == 0
    assert sharded.needed_bytes == pytest.approx(alone.needed_bytes, rel=0.02)
    assert sharded.step.operations == alone.step.operations
    assert sharded.step.estimate == pytest.approx(alone.step.estimate, rel=0.02)


@pytest.mark.accelerator
@needs_libtpu
@pytest.mark.parametrize("name", ["v5p", "v6e"])
def test_other_tpus_are_compiled_for(name):
    made = compiled(1, name=name)
    assert made.step.operations == compiled(1).step.operations
    assert 0 < made.step.estimate < compiled(1).step.estimate


def test_a_compiler_of_another_version_is_an_error_with_the_line_that_installs_it(
    monkeypatch,
):
    def unreadable(_):
        raise jax.errors.JaxRuntimeError("INTERNAL: RET_CHECK failure")

    monkeypatch.setattr(jax.stages.Compiled, "as_text", unreadable)
    target, _ = parse_chip("v6e")
    devices = (jax.devices()[0],)
    lifted = lift_training(task("mlp", hidden=(8,)), devices)
    shapes = epoch_shapes(lifted, {}, POOL, 1, devices)
    with pytest.raises(ArgumentError, match="target must have the compiler of jax"):
        compile_epoch(lifted, shapes, target, 1, 8)


@pytest.mark.accelerator
@needs_libtpu
def test_models_without_convolutions_are_batched_products_on_a_tpu():
    target, _ = parse_chip("v5e")
    devices = tuple(chip_devices(target))
    lifted = lift_training(task("mlp", hidden=(128,)), devices)
    one, many = (
        compile_epoch(
            lifted, epoch_shapes(lifted, {}, POOL, models, devices), target, 1, 8
        )
        for models in (1, 16)
    )
    # As many kernels in all, so a sixteenth for each model.
    assert many.step.kernels < 2 * one.step.kernels / 16
    assert many.step.operations == one.step.operations


@pytest.mark.accelerator
@needs_libtpu
def test_a_plan_counts_models_steps_and_hours():
    plan = plan_for_chip("v5e", task("mlp", hidden=(8,)), {}, POOL, 1000)
    assert plan.num_steps == 3 * 8
    assert plan.models_per_chip == 250  # four equal chunks of at most 256
    step = plan.compiled.step
    products = 2 * 128 * (2 * 28 * 28 * 8 + 3 * 8 * 10)
    assert step.operations == products  # the first layer needs no input gradient
    seconds = step.seconds(plan.target)
    assert plan.hours(1) == pytest.approx(1000 * 24 * seconds / 3600)
    assert plan.hours(64) == pytest.approx(16 * 24 * seconds / 3600)
    assert "250 models at once on a TPU v5e" in str(plan)
    assert "XLA's estimate" in str(plan)


@pytest.mark.accelerator
@needs_libtpu
def test_what_does_not_fit_a_chip_is_compiled_for_fewer_models(monkeypatch):
    tried = []

    def scarce(lifted, shapes, target, num_chips, steps):
        tried.append(shapes[1].shape[0])
        if tried[-1] > 60:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: hbm")
        needed = 2**30 * tried[-1]
        step = StepCost(1.0, 1.0, 1.0, 1, 1.0)
        return CompiledTraining(step, 2**20, needed, 2**20, 0)

    monkeypatch.setattr(chip_plan, "compile_epoch", scarce)
    plan = plan_for_chip("v5e", task("mlp", hidden=(8,)), {}, POOL, 100)
    assert tried == [100, 50, 14] and plan.models_per_chip == 14


def test_the_time_of_a_step_is_the_larger_of_what_bounds_it():
    target = CHIPS["v5e"]
    peak, bandwidth = target.peak_flops, target.bandwidth
    bound = StepCost(2 * peak, bandwidth, 9 * bandwidth, 10, 0.0)
    assert bound.roofline(target) == bound.seconds(target) == 2
    moved = StepCost(peak, 3 * bandwidth, 9 * bandwidth, 10, 5.0)
    assert moved.roofline(target) == 3 and moved.seconds(target) == 5
    launched = StepCost(0.0, 0.0, 0.0, 1e6, 0.0)
    assert launched.seconds(target) == pytest.approx(2.0)


def test_targets_by_name_and_number_of_chips():
    assert parse_chip("h100:8") == (CHIPS["h100"], 8)
    for name, target in CHIPS.items():
        assert parse_chip(name) == (target, 1)
        for number, grid in target.grids.items():
            sizes = [int(n) for n in grid.split("x")]
            assert functools.reduce(int.__mul__, sizes) == number


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("v9", "must be one of"),
        ("v5e:x", "name or name:chips"),
        ("v5e:3", "must be 1, 4, 8"),
        ("h100:0", "chips must be a whole number >= 1"),
    ],
)
def test_unknown_targets_are_refused(text, message):
    with pytest.raises(ValueError, match=message):
        parse_chip(text)


@pytest.mark.parametrize(("name", "extra"), [("v5e", "tpu-plan"), ("h100", "cuda")])
def test_a_missing_compiler_is_named_with_the_line_that_installs_it(
    name, extra, monkeypatch
):
    monkeypatch.setattr(chips.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ModuleNotFoundError, match=rf"pip install .sam_jax\[{extra}\]"):
        chip_devices(CHIPS[name])
