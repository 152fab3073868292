"""Weights on disk: the models that were trained, after any interruption."""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import sam_jax
from sam_jax import models
from sam_jax.attacks import ATTACKS
from sam_jax.cli import audit as audit_command
from sam_jax.cli import explain as explain_command
from sam_jax.signals import compute
from sam_jax.training.checkpoint import ChunkStore
from sam_jax.training.chunk_files import write_chunk
from sam_jax.training.saved_models import load_models, weight_arrays
from sam_jax.types import Examples, TrainState

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 4)).astype(np.float32)
Y = (X[:, 0] > 0).astype(np.int32)
DATA = X[:40], Y[:40], X[40:], Y[40:]
NET = models.mlp(2, hidden=(6,))
OPTIMIZERS = {"sgd": optax.sgd(0.1), "sam": sam_jax.sam(optax.sgd(0.1), 0.05)}
TRAIN = sam_jax.TrainConfig(
    num_epochs=2, batch_size=8, models_per_chunk=2, progress=False
)
ATTACK = sam_jax.AttackConfig(num_models=6, attacks={"loss": ATTACKS["loss"]})


def audit(folder, **options):
    store = ChunkStore(folder, **options)
    return sam_jax.audit(NET, OPTIMIZERS, DATA, TRAIN, ATTACK, cache_dir=store)


def phi_of(saved):
    state = TrainState(saved.params, saved.state, (), np.zeros(len(saved.models), bool))
    return compute.chunk_signals(NET, state, Examples(X, Y)).phi


def test_saved_models_give_the_signals_of_the_audit(tmp_path):
    result = audit(tmp_path / "models")
    loaded = sam_jax.load_models(tmp_path / "models")
    assert list(loaded) == ["sam", "sgd"]
    for name, saved in loaded.items():
        np.testing.assert_array_equal(saved.models, np.arange(6))
        expected = result[name].signals.phi
        np.testing.assert_allclose(phi_of(saved), expected, rtol=1e-5, atol=1e-5)
    three = loaded["sgd"].take(3)
    expected = result["sgd"].signals.phi[3:4]
    np.testing.assert_allclose(phi_of(three), expected, rtol=1e-5, atol=1e-5)
    (alone,) = sam_jax.load_models(tmp_path / "models", optimizers=["sam"]).items()
    assert alone[0] == "sam" and len(alone[1].models) == 6
    with pytest.raises(ValueError, match="optimizers must be one of sam, sgd"):
        sam_jax.load_models(tmp_path / "models", optimizers=["asam"])
    with pytest.raises(ValueError, match=r"must be saved, got \[7\]"):
        loaded["sgd"].take([3, 7])


def test_weights_are_plain_arrays_that_numpy_reads_alone(tmp_path):
    audit(tmp_path)
    with np.load(next(tmp_path.glob("sgd*00000-00001.npz"))) as file:
        shapes = {k: file[k].shape for k in file if k.startswith("params")}
    of_one = NET.init(jax.random.key(0), X[:1])[0]
    for path, leaf in jax.tree_util.tree_flatten_with_path(of_one)[0]:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        assert shapes.pop(f"params/{name}") == (2, *leaf.shape)
    assert not shapes


def test_a_run_that_had_kept_no_weights_keeps_them_when_asked_again(tmp_path):
    first = audit(tmp_path, weights_limit=0)
    with pytest.raises(ValueError, match="holds no weights"):
        load_models(tmp_path)
    again = audit(tmp_path, weights_limit=0, save_models=True)
    np.testing.assert_array_equal(first["sam"].signals.phi, again["sam"].signals.phi)
    assert len(load_models(tmp_path)["sam"].models) == 6
    before = {p: p.stat().st_mtime_ns for p in tmp_path.glob("*.npz")}
    audit(tmp_path, save_models=True)
    assert before == {p: p.stat().st_mtime_ns for p in tmp_path.glob("*.npz")}


def test_any_structure_comes_back_like_a_model_of_it(tmp_path):
    params = (jnp.ones((2, 3), jnp.bfloat16), [{"w/x": jnp.arange(2.0)}])
    state = TrainState(params, {}, (), np.zeros(2, bool))
    about, arrays = weight_arrays(state)
    about |= {"optimizer": "sgd", "identity": {}}
    write_chunk(tmp_path / "a.npz", about, arrays | {"models": np.array([4, 5])})
    like = (jnp.zeros(3, jnp.bfloat16), [{"w/x": jnp.zeros(())}]), {}
    saved = load_models(tmp_path, like)["sgd"]
    assert jax.tree.structure(saved.params) == jax.tree.structure(params)
    np.testing.assert_array_equal(saved.params[0], np.ones((2, 3)))
    np.testing.assert_array_equal(saved.models, [4, 5])
    plain = load_models(tmp_path)["sgd"].params
    np.testing.assert_array_equal(plain["1"]["0"]["w/x"], [0, 1])
    other = (jnp.zeros(4), [{"w/x": jnp.zeros(())}]), {}
    with pytest.raises(ValueError, match=r"params/0 has the shape \(4,\), saved is"):
        load_models(tmp_path, other)


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
def test_random_keys_in_a_state_come_back_as_keys(tmp_path, impl):
    keys = jax.random.split(jax.random.key(3, impl=impl), 2)
    state = TrainState({"w": jnp.ones((2, 3))}, {"key": keys}, (), np.zeros(2, bool))
    about, arrays = weight_arrays(state)
    about |= {"optimizer": "sgd", "identity": {}}
    write_chunk(tmp_path / "a.npz", about, arrays | {"models": np.array([0, 1])})
    like = jax.eval_shape(lambda: ({"w": jnp.ones(3)}, {"key": keys[0]}))
    saved = load_models(tmp_path, like)["sgd"].state["key"]
    assert saved.dtype == keys.dtype
    np.testing.assert_array_equal(*map(jax.random.key_data, (saved, keys)))


def test_folders_without_sound_models_are_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match="must hold saved models, got"):
        load_models(tmp_path)
    (tmp_path / "a.npz").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"must hold saved models, but .*a\.npz"):
        load_models(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("cache", ["", " --cache-dir cache"])
def test_the_command_saves_models_and_explain_measures_these(
    cache, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    options = "--num-models 8 --pool-size 60 --num-epochs 3 --batch-size 10"
    options += " --dataset fashion_mnist_10k --save-models --attacks loss" + cache
    assert audit_command.command(options.split()) == 0
    folder = pathlib.Path("runs/audit/default")
    assert set(load_models(folder / "models")) == {"sgd", "sam"}
    trained = []
    train_chunks = explain_command.explain_source.rho_sweep.shadow_models.train_chunks

    def spy(key, task, hyperparams, keep, pool, **rest):
        if len(rest["models"]):
            trained.append(float(hyperparams["rho"][0]))
        return train_chunks(key, task, hyperparams, keep, pool, **rest)

    monkeypatch.setattr(
        explain_command.explain_source.rho_sweep.shadow_models, "train_chunks", spy
    )
    explain = f"--run {folder} --sweep-models 4 --rho 0 0.05 --sharpness-examples 16"
    assert explain_command.command(explain.split()) == 0
    assert trained == [0.0]  # the audit's own radius, 0.05, was not trained again
    assert json.loads((folder / "config.json").read_text())["settings"]["save_models"]
