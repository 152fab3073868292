"""An audit whose models several processes train."""

import dataclasses
import shutil

import jax
import numpy as np
import optax
import pytest

import sam_jax
from sam_jax import models
from sam_jax._checks import ArgumentError
from sam_jax.attacks import ATTACKS
from sam_jax.auditing.audit import train_shard
from sam_jax.reporting import audit_report
from sam_jax.training import chunk_training, shadow_models
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


@pytest.fixture
def trained(monkeypatch):
    """Chunks of models that are trained in this test."""
    chunks = []
    train_chunk = chunk_training.train_chunk

    def count(start, *rest):
        chunks.append(start.models.tolist())
        return train_chunk(start, *rest)

    monkeypatch.setattr(shadow_models, "train_chunk", count)
    return chunks


def grow(folder, names, attacks=("loss",), num_queries=1, **changes):
    model, optimizers, data, settings, config = ARGUMENTS
    chosen = {name: optimizers[name] for name in names}
    attacked = dataclasses.replace(
        config, attacks={a: ATTACKS[a] for a in attacks}, num_queries=num_queries
    )
    store = None if folder is None else ChunkStore(folder, **changes)
    arguments = model, chosen, data, settings, attacked
    return sam_jax.audit(*arguments, augment=shifted, cache_dir=store)


def shifted(key, x):
    return x + 0.1 * jax.random.normal(key, x.shape)


def test_what_is_added_to_a_finished_run_trains_nothing_again(tmp_path, trained):
    """Attacks, an optimizer, augmented queries."""
    first = grow(tmp_path, ["sgd"])
    assert len(trained) == 3
    grown = grow(tmp_path, ["sgd", "sam"], ["loss", "lira_offline"])
    assert len(trained) == 6
    assert set(grown["sgd"].attacks) == {"loss", "lira_offline"}
    phi = grown["sgd"].signals.phi
    np.testing.assert_array_equal(phi, first["sgd"].signals.phi)
    more = grow(tmp_path, ["sam"], num_queries=3)
    assert len(trained) == 6
    assert set(more.seconds) == {"signals of kept models sam", "attack"}
    assert "signals of kept models sam" in audit_report.report(more, {})
    at_once = grow(None, ["sam"], num_queries=3)["sam"].signals
    assert at_once.phi.shape[-1] == 3
    for one, two in zip(more["sam"].signals, at_once, strict=True):
        np.testing.assert_array_equal(one, two)
    fewer = grow(tmp_path, ["sgd"])["sgd"].signals.phi
    np.testing.assert_array_equal(fewer, phi)  # And back again.


@pytest.mark.parametrize("options", [{"weights_limit": 1000}, {"weights_limit": 0}])
def test_queries_are_not_added_to_models_whose_weights_are_gone(
    tmp_path, trained, options, caplog
):
    caplog.set_level("INFO", "sam_jax")
    first = grow(tmp_path, ["sgd"], **options)
    # Said before it trains, where anything is to be kept.
    told = "weights (0.0 GiB) are not kept. --save-models" in caplog.text
    assert told == bool(options["weights_limit"])
    with pytest.raises(ArgumentError, match="another signals and no weights"):
        grow(tmp_path, ["sgd"], num_queries=2)
    assert len(trained) == 3
    options = dict(num_queries=2, retrain_changed=True, say=lambda line: None)
    more = grow(tmp_path, ["sgd"], **options)["sgd"].signals.phi
    assert len(trained) == 6
    np.testing.assert_array_equal(more[..., :1], first["sgd"].signals.phi)


def test_weights_of_another_training_give_no_signals(tmp_path, trained):
    """A chunk is known by its checksum, its name and all that its models depend on."""
    grow(tmp_path / "a", ["sgd"])
    model, _, *rest = ARGUMENTS
    kept = dict(augment=shifted, cache_dir=tmp_path / "b")
    sam_jax.audit(model, {"sgd": optax.sgd(0.2)}, *rest, **kept)
    file = next((tmp_path / "b").glob("*00002-00003.npz"))
    shutil.copy(file, tmp_path / "a")
    before = len(trained)
    with pytest.raises(ArgumentError, match="another optimizer, another signals"):
        grow(tmp_path / "a", ["sgd"], num_queries=2)
    assert len(trained) == before


def test_models_of_two_trainings_are_not_loaded_as_one(tmp_path):
    grow(tmp_path / "a", ["sgd"])
    sam_jax.audit(*ARGUMENTS, cache_dir=tmp_path / "b")
    file = next((tmp_path / "b").glob("sgd*00002-00003.npz"))
    shutil.copy(file, tmp_path / "a")
    with pytest.raises(ArgumentError, match="are those of another training"):
        sam_jax.load_models(tmp_path / "a")


def test_weights_of_any_size_are_kept_on_request(tmp_path, trained):
    grow(tmp_path, ["sgd"], save_models=True, weights_limit=1)
    grow(tmp_path, ["sgd"], num_queries=2, save_models=True, weights_limit=1)
    assert len(trained) == 3
    assert len(sam_jax.load_models(tmp_path)["sgd"].models) == 6
