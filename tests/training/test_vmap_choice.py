import dataclasses

import jax
import numpy as np
import optax
import pytest

from sam_jax import models
from sam_jax.training import chunk_size, membership, shadow_models, trainer, vmap_choice
from sam_jax.training.chunk_training import Callbacks
from sam_jax.types import Examples, TrainConfig

NUM_MODELS = 4
# A run that may be long, and ends soon: what is expected pays for the timing.
CONFIG = TrainConfig(
    num_epochs=1_000_000, batch_size=8, stop_accuracy=0.75, time_vmap=True
)
X = np.random.default_rng(0).normal(size=(64, 5)).astype(np.float32)
POOL = Examples(X, np.argmax(X[:, :3], axis=1).astype(np.int32))
KEEP = membership.balanced_keep(jax.random.key(7), NUM_MODELS, 64)
MODEL, OPTIMIZER = models.mlp(3, hidden=(8,)), optax.sgd(0.5, momentum=0.9)


def train(config=CONFIG):
    plans = []
    trained, log = shadow_models.train_shadow_models(
        jax.random.key(0),
        trainer.with_optimizer(MODEL, OPTIMIZER, config),
        {},
        KEEP,
        POOL,
        callbacks=Callbacks(on_plan=plans.append),
    )
    return trained, log, plans


def test_a_long_run_goes_on_with_the_fastest_width_and_the_next_begins_with_it(
    cache_folder, monkeypatch
):
    """One width is made slow, so that the choice is known; and once it does not fit."""
    real, timed = vmap_choice.ChunkProgram._time_width, []

    def slow(program, width, arguments):
        timed.append(width)
        if width == 2:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(chunk_size, "free_bytes", lambda *_: 1)
                assert real(program, width, arguments) is None
        seconds = real(program, width, arguments)
        assert 0 < seconds < 10
        return seconds if width == 1 else 1000 * seconds

    monkeypatch.setattr(vmap_choice.ChunkProgram, "_time_width", slow)
    trained, log, (first, second) = train()
    local = NUM_MODELS // jax.local_device_count()
    assert sorted(timed) == [w for w in (1, 2, 4) if w <= local] and local > 1
    assert first.vmap_times is None and second.vmap_times.fastest == 1
    assert "; one model after the other: " in str(second)
    assert 1 < np.isfinite(log.loss).sum(axis=1).max() < 100

    timed.clear()
    again, _, plans = train()
    assert not timed and [p.vmap_times for p in plans] == [second.vmap_times] * 2
    by_rule, curves, plans = train(dataclasses.replace(CONFIG, time_vmap=False))
    assert not timed and plans[-1].vmap_times is None
    for other in (again, by_rule):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
            trained.params,
            other.params,
        )
    np.testing.assert_allclose(log.loss, curves.loss, rtol=1e-4)
    assert len(list(cache_folder.rglob("*.json"))) == 1


def test_a_short_run_is_not_timed(cache_folder, monkeypatch):
    monkeypatch.setattr(vmap_choice.ChunkProgram, "_time_width", None)
    train(dataclasses.replace(CONFIG, num_epochs=3))
    assert list(cache_folder.iterdir()) == []


def test_the_option_wins_over_the_variable_and_both_over_timing(monkeypatch):
    task = trainer.with_optimizer(MODEL, OPTIMIZER, CONFIG)
    device = jax.devices()[0]
    assert vmap_choice.is_timed(CONFIG, device)
    assert not vmap_choice.is_timed(dataclasses.replace(CONFIG, time_vmap=None), device)
    monkeypatch.setenv(vmap_choice.VARIABLE, "3")
    chosen = vmap_choice.with_user_width(task).config
    assert chosen.models_per_vmap == 3 and not vmap_choice.is_timed(chosen, device)
    fixed = trainer.with_optimizer(
        MODEL, OPTIMIZER, dataclasses.replace(CONFIG, models_per_vmap=2)
    )
    assert vmap_choice.with_user_width(fixed) is fixed
    for wrong in ("0", "-1", "four", "1.5"):
        monkeypatch.setenv(vmap_choice.VARIABLE, wrong)
        with pytest.raises(ValueError, match=f"{vmap_choice.VARIABLE} must be a whole"):
            train()
