"""`sam-jax plan`: options to a program for a chip that is not attached."""

import importlib.util

import pytest

from sam_jax.cli import main as cli
from sam_jax.cli import plan
from sam_jax.training import chips

OPTIONS = ["plan", "--shape", "8", "8", "1", "--pool-size", "512"]


@pytest.mark.accelerator
@pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="needs sam_jax[tpu-plan]"
)
def test_a_plan_for_each_optimizer_and_the_sum_of_their_hours(capsys):
    config = plan.Config(shape=(8, 8, 1), pool_size=512, num_models=32)
    plans = plan.main(config)
    assert list(plans) == ["sgd", "sam"]
    sgd, sam = plans["sgd"].compiled.step, plans["sam"].compiled.step
    assert sam.operations == pytest.approx(2 * sgd.operations, rel=0.01)
    text = capsys.readouterr().out
    total = sum(made.hours(8) for made in plans.values())
    assert f"{total:.3g} h on 8" in text and "sam: 32 models at once" in text


@pytest.mark.parametrize("target", ["v5e", "h100"])
def test_a_missing_compiler_is_a_usage_error_with_the_line_that_installs_it(
    target, monkeypatch, capsys
):
    monkeypatch.setattr(chips, "_is_installed", lambda _: False)
    with pytest.raises(SystemExit) as error:
        cli.main([*OPTIONS, "--target", target])
    assert error.value.code == 2
    shown = capsys.readouterr().err
    assert shown.startswith("error: --target") and "pip install" in shown


def test_an_unknown_target_and_an_empty_shape_are_usage_errors(capsys):
    with pytest.raises(SystemExit):
        cli.main([*OPTIONS, "--target", "v9"])
    assert "--target must be one of" in capsys.readouterr().err
    config = plan.Config(shape=(8, 0, 1), pool_size=512)
    with pytest.raises(ValueError, match="shape"):
        plan.make_pool(config)
    pool, classes = plan.make_pool(plan.Config(shape=(8,), pool_size=4, num_classes=3))
    assert pool.x.shape == (4, 8) and pool.y.shape == (4,) and classes == 3
