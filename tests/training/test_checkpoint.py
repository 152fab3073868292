"""Chunks on disk: what is used again, what is refused, what is put aside."""

import dataclasses
import os
import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import sam_jax
from sam_jax import models
from sam_jax._checks import ArgumentError
from sam_jax.data.atomic_files import StorageError, open_atomically
from sam_jax.training import chunk_training, membership
from sam_jax.training.checkpoint import ChunkStore
from sam_jax.training.chunk_training import Callbacks
from sam_jax.training.identity import training_identity
from sam_jax.training.shadow_models import train_chunks
from sam_jax.training.trainer import TrainingTask
from sam_jax.types import Examples, Model, TrainConfig

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
X = RNG.normal(size=(48, 5)).astype(np.float32)
POOL = Examples(X, np.argmax(X[:, :3], axis=1).astype(np.int32))
KEEP = membership.balanced_keep(jax.random.key(7), 6, 48)
CONFIG = TrainConfig(num_epochs=3, batch_size=8, models_per_chunk=2)


def make_task(
    optimizer=None, hidden=(8,), config=CONFIG, augment=None, model=None
) -> TrainingTask:
    optimizer = optimizer or optax.sgd(0.1)
    model = model or models.mlp(3, hidden=hidden)
    return TrainingTask(model, lambda _: optimizer, config, augment=augment)


def identify(task=None, key=KEY, keep=KEEP, pool=POOL):
    return training_identity(key, task or make_task(), {}, keep, pool)


def train(folder, name="sgd", task=None, keep=KEEP, said=None, **options):
    """Trains what is missing, as an audit does; returns weights and models trained."""
    task = task or make_task()
    trained = []
    say = [].append if said is None else said.append
    with ChunkStore(folder, say=say, **options) as store:
        kept = store.chunks_of(name, lambda: identify(task, keep=keep))
        chunks = kept.load()
        done = [m for c in chunks for m in c["models"]]
        missing = np.setdiff1d(np.arange(len(keep)), done)
        callbacks = Callbacks(on_state=kept.save_partial, resume=kept.resume)
        for chunk in train_chunks(
            KEY, task, {}, keep, POOL, models=missing, callbacks=callbacks
        ):
            trained += chunk.models.tolist()
            flat = [
                np.asarray(a).reshape(len(chunk.models), -1)
                for a in jax.tree.leaves(chunk.trained.params)
            ]
            kept.save({"models": chunk.models, "weights": np.concatenate(flat, 1)})
        chunks = kept.load()
    return np.concatenate([c["weights"] for c in chunks]), trained


@pytest.fixture(scope="module", autouse=True)
def standard_promotion():
    with jax.numpy_dtype_promotion("standard"):  # Optax itself adds int to float.
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    weights, trained = train(folder)
    assert trained == [0, 1, 2, 3, 4, 5]
    return folder, weights


@pytest.fixture
def copy(finished, tmp_path):
    folder, weights = finished
    target = tmp_path / "run"
    shutil.copytree(folder, target)
    return target, weights, sorted(target.glob("*.npz"))


def test_finished_chunks_are_not_trained_again(copy):
    folder, weights, files = copy
    assert len(files) == 3
    again, trained = train(folder)
    assert trained == []
    np.testing.assert_array_equal(again, weights)


def test_a_missing_chunk_comes_out_bit_for_bit(copy):
    folder, weights, files = copy
    files[1].unlink()
    again, trained = train(folder)
    assert trained == [2, 3]
    np.testing.assert_array_equal(again, weights)


def test_any_flipped_byte_is_found_or_harmless(copy):
    """Every tenth byte, so that headers, directory, arrays and checksum are hit."""
    folder, weights, files = copy
    whole = files[1].read_bytes()
    identity, refused = identify(), 0
    for position in range(0, len(whole), 10):
        data = bytearray(whole)
        data[position] ^= 1 << (position % 8)
        files[1].write_bytes(data)
        said = []
        with ChunkStore(folder, say=said.append) as store:
            chunks = store.chunks_of("sgd", lambda: identity).load()
        if said:
            assert str(files[1]) in said[0]
            refused += 1
            (folder / f"{files[1].name}.bad").unlink()
            continue
        found = np.concatenate([chunk["weights"] for chunk in chunks])
        np.testing.assert_array_equal(found, weights)
    assert refused > len(whole) / 10 / 2


def damage_truncated(files):
    files[1].write_bytes(files[1].read_bytes()[:500])


def damage_empty(files):
    files[1].write_bytes(b"")


def damage_doubled(files):
    files[1].write_bytes(files[0].read_bytes())


def damage_renamed(files):
    files[1].rename(files[1].with_name(files[1].name.replace("00002", "00001")))


def damage_array(files):
    np.savez(files[1], models=np.array([2, 3]), weights=np.zeros((2, 75)))


def damage_values(files):
    with np.load(files[1]) as archive:
        arrays = dict(archive)
    arrays["weights"] = arrays["weights"].astype(np.float16)
    np.savez(files[1], **arrays)


@pytest.mark.parametrize(
    "damage",
    [
        damage_truncated,
        damage_empty,
        damage_doubled,
        damage_renamed,
        damage_array,
        damage_values,
    ],
)
def test_a_bad_chunk_is_named_put_aside_and_trained_again(copy, damage):
    folder, weights, files = copy
    damage(files)
    said = []
    again, trained = train(folder, said=said)
    assert trained == [2, 3]
    np.testing.assert_array_equal(again, weights)
    assert len(said) == 1 and "trained again" in said[0]
    assert len(list(folder.glob("*.bad"))) == 1


def test_a_chunk_of_another_optimizer_is_never_used(copy):
    folder, weights, files = copy
    train(folder, "sam", make_task(sam_jax.sam(optax.sgd(0.1))))
    theirs = sorted(folder.glob("sam-*.npz"))[1]
    files[1].write_bytes(theirs.read_bytes())
    said = []
    again, trained = train(folder, said=said)
    assert trained == [2, 3] and "it holds models of 'sam'" in said[0]
    np.testing.assert_array_equal(again, weights)


def double(key, x):
    return 2 * x


def scaled_model(scale):
    """The same shapes and names; only a closed-over number differs."""
    base = models.mlp(3, hidden=(8,))

    def apply(params, state, x, train, key):
        return base.apply(params, state, scale * x, train, key)

    return Model(base.init, apply)


CHANGES = {
    "learning rate": (make_task(optax.sgd(0.5)), "optimizer"),
    "momentum": (make_task(optax.sgd(0.1, momentum=0.9)), "optimizer"),
    "adam": (make_task(optax.adam(0.1)), "optimizer"),
    "weight decay": (
        make_task(optax.chain(optax.add_decayed_weights(1e-3), optax.sgd(0.1))),
        "optimizer",
    ),
    "schedule": (
        make_task(optax.sgd(optax.cosine_decay_schedule(0.1, 9))),
        "optimizer",
    ),
    "sam": (make_task(sam_jax.sam(optax.sgd(0.1), rho=0.1)), "optimizer"),
    "width": (make_task(hidden=(9,)), "network"),
    "depth": (make_task(hidden=(8, 8)), "network"),
    "closure of the model": (make_task(model=scaled_model(2.0)), "network"),
    "augmentation": (make_task(augment=double), "augmentation"),
    "epochs": (
        make_task(config=dataclasses.replace(CONFIG, num_epochs=4)),
        '"num_epochs": 3.*now.*"num_epochs": 4',
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_models_that_depend_on_something_else_are_refused(finished, name):
    task, words = CHANGES[name]
    folder, _ = finished
    with pytest.raises(ArgumentError, match=f"cache_dir must hold.*{words}"):
        train(folder, task=task)
    assert not list(folder.glob("*.bad"))


def test_two_radii_and_two_asam_settings_are_told_apart():
    hashes = {
        identify(make_task(optimizer)).shared["optimizer"]
        for optimizer in (
            sam_jax.sam(optax.sgd(0.1), rho=0.1),
            sam_jax.sam(optax.sgd(0.1), rho=0.2),
            sam_jax.asam(optax.sgd(0.1), rho=0.1),
            sam_jax.looksam(optax.sgd(0.1), rho=0.1),
        )
    }
    assert len(hashes) == 4


def test_data_seed_and_training_sets_are_told_apart():
    now = identify().of(np.arange(2))
    y = POOL.y.copy()
    y[0] = (y[0] + 1) % 3
    keep = KEEP.copy()
    keep[1, 0] ^= True
    changed = {
        "data": identify(pool=Examples(POOL.x, y)),
        "seed": identify(key=jax.random.key(1)),
        "training sets": identify(keep=keep),
    }
    for name, identity in changed.items():
        then = identity.of(np.arange(2))
        assert {k for k in now if now[k] != then[k]} == {name}
    assert identify(keep=keep).of(np.arange(2, 4)) == identify().of(np.arange(2, 4))


def test_scheduling_is_no_part_of_what_a_model_is():
    config = dataclasses.replace(CONFIG, models_per_chunk=3, models_per_vmap=1)
    assert identify(make_task(config=config)).shared == identify().shared


def test_the_same_task_made_again_is_the_same(finished):
    folder, weights = finished
    jax.clear_caches()
    again, trained = train(folder, task=make_task(optax.sgd(0.1)))
    assert trained == []
    np.testing.assert_array_equal(again, weights)


def test_changed_models_are_trained_again_on_request(copy):
    folder, weights, _ = copy
    said = []
    again, trained = train(
        folder, task=make_task(optax.sgd(0.5)), said=said, retrain_changed=True
    )
    assert trained == [0, 1, 2, 3, 4, 5] and len(said) == 3
    assert np.abs(again - weights).max() > 0.01


def test_more_models_keep_those_that_are_there(copy):
    folder, weights, _ = copy
    keep = np.concatenate([KEEP, ~KEEP[:2]])
    again, trained = train(folder, keep=keep)
    assert trained == [6, 7]
    np.testing.assert_array_equal(again[:6], weights)


def test_a_chunk_goes_on_from_its_last_state(tmp_path, monkeypatch):
    """The states of every epoch are kept; the run stops in the middle of a chunk."""
    monkeypatch.setattr(chunk_training, "SECONDS_BETWEEN_STATES", -1.0)
    task = make_task(
        optax.chain(optax.add_noise(0.1, 0.5, 0), optax.sgd(0.1, momentum=0.9))
    )
    whole, _ = train(tmp_path / "whole", task=task)
    epochs = []
    with ChunkStore(tmp_path / "cut") as store:
        kept = store.chunks_of("sgd", lambda: identify(task))

        def stop(partial):
            kept.save_partial(partial)
            if partial.models[0] == 0 and partial.epoch == 2:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            list(
                train_chunks(
                    KEY, task, {}, KEEP, POOL, callbacks=Callbacks(on_state=stop)
                )
            )
        progress = Callbacks(
            on_epoch=lambda now: epochs.append((now.models_done, now.epoch)),
            resume=kept.resume,
        )
        list(train_chunks(KEY, task, {}, KEEP, POOL, callbacks=progress))
    assert epochs[:2] == [(0, 2), (2, 0)]
    again, _ = train(tmp_path / "cut", task=task)
    np.testing.assert_array_equal(again, whole)
    assert not list((tmp_path / "cut").glob("*.partial"))


def test_a_damaged_state_is_put_aside(tmp_path, monkeypatch):
    monkeypatch.setattr(chunk_training, "SECONDS_BETWEEN_STATES", -1.0)
    whole, _ = train(tmp_path / "whole")
    folder = tmp_path / "cut"
    with ChunkStore(folder) as store:
        kept = store.chunks_of("sgd", identify)
        chunks = train_chunks(
            KEY,
            make_task(),
            {},
            KEEP,
            POOL,
            callbacks=Callbacks(on_state=kept.save_partial),
        )
        next(chunks)
    (partial,) = folder.glob("*.partial")
    partial.write_bytes(partial.read_bytes()[:-40])
    said = []
    again, _ = train(folder, said=said)
    assert len(said) == 1 and str(partial) in said[0]
    np.testing.assert_array_equal(again, whole)


def test_a_diverged_model_is_frozen_and_the_others_are_kept(tmp_path):
    """Model 1 has an example that turns its loss infinite."""
    x = POOL.x.copy()
    x[0] = 1e30
    keep = KEEP.copy()
    keep[:, 0] = np.arange(6) == 1
    config = dataclasses.replace(CONFIG, max_diverged=1, examples_per_epoch=24)
    task = make_task(config=config)
    chunks = list(train_chunks(KEY, task, {}, keep, Examples(x, POOL.y)))
    diverged = np.concatenate([chunk.diverged for chunk in chunks])
    assert np.flatnonzero(diverged).tolist() == [1]
    sound = np.concatenate([chunk.log.loss for chunk in chunks])[diverged == 0]
    assert np.isfinite(sound).all()
    strict = make_task(config=dataclasses.replace(config, max_diverged=0))
    seen = []
    with pytest.raises(FloatingPointError, match="model 1 diverged"):
        for chunk in train_chunks(KEY, strict, {}, keep, Examples(x, POOL.y)):
            seen.append(chunk)
    assert len(seen) == 1  # The chunk with the others came before the error.


def test_what_a_kill_leaves_is_removed(copy):
    folder, weights, _ = copy
    (folder / ".sgd.npz.123.draft").write_bytes(b"half")
    _, trained = train(folder)
    assert trained == [] and not list(folder.glob(".*.draft"))


def test_a_full_disk_is_named_and_costs_nothing_else(tmp_path):
    """/dev/full refuses every write, as a full disk does."""
    path = tmp_path / "chunk.npz"
    with open_atomically(path) as file:
        file.write(b"first")
    full = pathlib.Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full here")
    draft = tmp_path / f".chunk.npz.{os.getpid()}.draft"
    draft.symlink_to(full)
    with pytest.raises(StorageError, match=r"chunk.npz could not be written: No space"):
        with open_atomically(path) as file:
            file.write(b"second")
    assert path.read_bytes() == b"first" and not draft.is_symlink()


def test_a_removed_folder_is_named(copy):
    folder, _, _ = copy
    with ChunkStore(folder) as store:
        kept = store.chunks_of("sgd", identify)
        shutil.rmtree(folder)
        with pytest.raises(StorageError, match=f"{folder}.*No such file"):
            kept.save({"models": np.arange(2), "weights": np.zeros((2, 3))})


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="file/run could not be made"):
        with ChunkStore(tmp_path / "file" / "run"):
            pass


def test_keys_and_low_precision_leaves_survive(tmp_path):
    from sam_jax.training.chunk_files import leaf_bytes, leaf_from_bytes

    leaves = [
        jax.random.split(jax.random.key(3), 4),
        jnp.arange(6, dtype=jnp.bfloat16).reshape(2, 3) / 7,
        jnp.zeros((0, 2), jnp.int32),
        jnp.float32(jnp.nan),
    ]
    for leaf in leaves:
        again = leaf_from_bytes(leaf_bytes(leaf), leaf)
        assert again.dtype == leaf.dtype and again.shape == leaf.shape
        assert leaf_bytes(again).tobytes() == leaf_bytes(leaf).tobytes()


def test_machines_share_the_chunks_in_a_bucket(bucket):
    url = "memory://bkt/chunks"
    weights, trained = train(url)
    assert trained == list(range(6))
    memory = bucket("second")
    # A damaged object is named, stays under another name, and is trained again.
    damaged = sorted(memory.glob("/bkt/chunks/*.npz"))[1]
    memory.pipe_file(damaged, memory.cat_file(damaged)[:100])
    said = []
    again, trained = train(url, said=said)
    assert trained == [2, 3] and pathlib.Path(damaged).name in said[0]
    assert len(memory.cat_file(f"{damaged}.bad")) == 100
    np.testing.assert_array_equal(again, weights)


def test_a_bucket_that_cannot_be_written_is_named_before_training(bucket, monkeypatch):
    def pipe_file(*_, **__):
        raise PermissionError("Access Denied")

    monkeypatch.setattr(type(bucket("first")), "pipe_file", pipe_file)
    with pytest.raises(StorageError, match="memory://bkt/chunks could not be written"):
        ChunkStore("memory://bkt/chunks").__enter__()
