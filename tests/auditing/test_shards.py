"""An audit whose models several processes train."""

import dataclasses

import numpy as np
import optax
import pytest

import sam_jax
from sam_jax import models
from sam_jax._checks import ArgumentError
from sam_jax.attacks import ATTACKS
from sam_jax.auditing.audit import train_shard
from sam_jax.training.checkpoint import ChunkStore

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 5)).astype(np.float32)
Y = (X[:, 0] > 0).astype(np.int32)
ARGUMENTS = (
    models.mlp(2, hidden=(8,)),
    {"sgd": optax.sgd(0.1), "sam": sam_jax.sam(optax.sgd(0.1))},
    (X[:40], Y[:40], X[40:], Y[40:]),
    sam_jax.TrainConfig(num_epochs=2, batch_size=8, models_per_chunk=2, progress=False),
    sam_jax.AttackConfig(num_models=6),
)


def run_shard(folder, number, count):
    store = ChunkStore(folder, shard=(number, count))
    train_shard(*ARGUMENTS, store)


@pytest.mark.parametrize("count", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_shards_train_the_models_of_one_process(tmp_path, count):
    whole = sam_jax.audit(*ARGUMENTS)
    for number in range(count):
        run_shard(tmp_path, number, count)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.glob("*.npz")}
    assert len(before) == {2: 6, 4: 8}[count]  # Chunks of 2, or a share each.
    merged = sam_jax.audit(*ARGUMENTS, cache_dir=tmp_path)
    after = {p: p.stat().st_mtime_ns for p in tmp_path.glob("*.npz")}
    assert after == before  # Nothing is trained again.
    for name in ("sgd", "sam"):
        ours, theirs = merged[name].signals, whole[name].signals
        if count == 2:
            np.testing.assert_array_equal(ours.phi, theirs.phi)
        np.testing.assert_allclose(ours.phi, theirs.phi, atol=1e-4)


def test_what_a_shard_has_not_trained_the_last_process_trains(tmp_path):
    run_shard(tmp_path, 1, 3)
    whole = sam_jax.audit(*ARGUMENTS)
    merged = sam_jax.audit(*ARGUMENTS, cache_dir=tmp_path)
    np.testing.assert_array_equal(merged["sam"].signals.phi, whole["sam"].signals.phi)


def test_a_shard_that_is_none_is_refused(tmp_path):
    with pytest.raises(ArgumentError, match="shard must be i/n.*got 3/3"):
        run_shard(tmp_path, 3, 3)
    with pytest.raises(ArgumentError, match="store must have a folder and a shard"):
        train_shard(*ARGUMENTS, ChunkStore(tmp_path))
    assert not list(tmp_path.glob("*.npz"))


def test_what_is_added_to_a_finished_run_trains_nothing_again(tmp_path):
    """Attacks, an optimizer; augmented queries need the models' outputs again."""
    model, optimizers, data, settings, config = ARGUMENTS

    def run(names, attacks, num_queries=1, **changes):
        chosen = {name: optimizers[name] for name in names}
        attacked = dataclasses.replace(
            config,
            attacks={name: ATTACKS[name] for name in attacks},
            num_queries=num_queries,
        )
        store = ChunkStore(tmp_path, say=said.append, **changes)
        arguments = model, chosen, data, settings, attacked
        return sam_jax.audit(*arguments, augment=lambda key, x: x, cache_dir=store)

    said = []
    first = run(["sgd"], ["loss"])
    before = {p: p.stat().st_mtime_ns for p in tmp_path.glob("*.npz")}
    assert len(before) == 3
    grown = run(["sgd", "sam"], ["loss", "lira_offline"])
    after = {p: p.stat().st_mtime_ns for p in tmp_path.glob("*.npz")}
    assert len(after) == 6 and before.items() <= after.items()
    assert set(grown["sgd"].attacks) == {"loss", "lira_offline"}
    phi = grown["sgd"].signals.phi
    np.testing.assert_array_equal(phi, first["sgd"].signals.phi)
    with pytest.raises(ArgumentError, match="signals"):
        run(["sgd"], ["loss"], num_queries=2)
    assert not said
    more = run(["sgd"], ["loss"], num_queries=2, retrain_changed=True)["sgd"].signals
    assert len(said) == 3 and more.phi.shape[-1] == 2
    np.testing.assert_array_equal(more.phi[..., :1], phi)
