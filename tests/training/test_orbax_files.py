"""Orbax checkpoints of weights: other people's code, damage, a write that was ended."""

import shutil
import subprocess

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint
import pytest

from sam_jax.training import orbax_files
from sam_jax.training.chunk_files import file_name, read_chunk, write_chunk
from sam_jax.training.saved_models import load_models, weight_arrays
from sam_jax.types import TrainState

PARAMS = {
    "conv/1.a": {"w": jnp.arange(12, dtype=jnp.bfloat16).reshape(4, 3) / 7},
    "dense": [jnp.linspace(0, 1, 8).reshape(4, 2), jnp.zeros((4, 0))],
}
STATE = {"mean": jnp.arange(4.0), "seen": jnp.arange(4)}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Checkpoints of two chunks, and one of more models than the run has."""
    root = tmp_path_factory.mktemp("run")
    for rows in ([2, 3], [0, 1], [4, 5]):
        params, state = jax.tree.map(
            lambda a, r=rows: a[np.array(r) % 4], (PARAMS, STATE)
        )
        about, arrays = weight_arrays(TrainState(params, state, (), np.zeros(2, bool)))
        about |= {"optimizer": "sgd", "identity": {"data": "d"}}
        (root / "chunks").mkdir(exist_ok=True)
        path = root / "chunks" / file_name("sgd", np.array(rows))
        write_chunk(path, about, arrays | {"models": np.array(rows)})
    orbax_files.export_models(root / "chunks", ["sgd"], 4, root / "models")
    return root


@pytest.fixture
def models(written, tmp_path):
    return shutil.copytree(written / "models", tmp_path / "models")


def assert_equal(actual, expected):
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def test_plain_orbax_restores_the_arrays(models):
    folders = sorted(path for path in models.iterdir() if path.is_dir())
    assert len(folders) == 2  # models 4 and 5 are not of this run
    for rows, folder in zip((slice(0, 2), slice(2, 4)), folders, strict=True):
        tree = orbax.checkpoint.StandardCheckpointer().restore(folder)
        dense = {"0": PARAMS["dense"][0]}  # Orbax writes no empty array.
        expected = {"params": PARAMS | {"dense": dense}, "state": STATE}
        assert_equal(tree, jax.tree.map(lambda a, r=rows: np.asarray(a[r]), expected))


def test_both_kinds_of_folder_load_alike(written):
    like = jax.tree.map(
        lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype), (PARAMS, STATE)
    )
    saved = load_models(written / "models", like)["sgd"]
    np.testing.assert_array_equal(saved.models, np.arange(4))
    assert_equal((saved.params, saved.state), (PARAMS, STATE))
    chunks = load_models(written / "chunks")["sgd"].take(np.arange(4))
    assert_equal(tuple(load_models(written / "models")["sgd"]), tuple(chunks))


def test_any_turned_bit_is_refused_by_name(models):
    rng = np.random.default_rng(0)
    files = sorted(path for path in models.rglob("*") if path.is_file())
    assert len(files) > 20
    for path in files:
        before = path.read_bytes()
        bit = rng.integers(8 * len(before))
        damaged = bytearray(before)
        damaged[bit // 8] ^= 1 << (bit % 8)
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="must hold saved models, but") as raised:
            load_models(models)
        # A turned bit in the checksums may look like one in the file that they are of.
        name = path.relative_to(models).parts[0].split(".")[0]
        assert (path.name if path.suffix != ".sha256" else name) in str(raised.value)
        path.write_bytes(before)
    load_models(models)


@pytest.mark.parametrize("damage", ["truncated", "missing", "additional"])
def test_other_damage_is_refused_by_name(damage, models):
    path = next(path for path in models.rglob("d/*"))
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-1])
    elif damage == "missing":
        path.unlink()
    else:
        path = path.with_name("another")
        path.write_bytes(b"")
    with pytest.raises(ValueError, match=path.name):
        load_models(models)


@pytest.mark.parametrize("lost", [".json", ".sha256", "/"])
def test_a_lost_checkpoint_is_not_passed_over(lost, models):
    checkpoint = next(path for path in models.iterdir() if path.is_dir())
    if lost == "/":
        shutil.rmtree(checkpoint)
    else:
        checkpoint.with_name(checkpoint.name + lost).unlink()
    with pytest.raises(ValueError, match=rf"but .*{checkpoint.name}: .* is missing\."):
        load_models(models)


def test_a_write_that_was_ended_is_refused_and_made_again(
    written, tmp_path, monkeypatch
):
    def stop(path, value):
        raise KeyboardInterrupt

    export = orbax_files.export_models
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(orbax_files, "write_json", stop)
        export(written / "chunks", ["sgd"], 4, tmp_path / "models")
    with pytest.raises(ValueError, match="not written to its end"):
        load_models(tmp_path / "models")
    export(written / "chunks", ["sgd"], 4, tmp_path / "models")
    assert len(load_models(tmp_path / "models")["sgd"].models) == 4


@pytest.mark.parametrize("num_whole", [1, 2, 3])
def test_an_end_between_two_checkpoints_is_refused(
    num_whole, written, tmp_path, monkeypatch
):
    chunks = shutil.copytree(written / "chunks", tmp_path / "chunks")
    for path in sorted(chunks.iterdir()):
        about, arrays = read_chunk(path)
        path = chunks / file_name("sam", arrays["models"])
        write_chunk(path, about | {"optimizer": "sam"}, arrays)
    write, begun = orbax_files.write_checkpoint, []

    def stop(*arguments):
        begun.append(arguments)
        if len(begun) > num_whole:
            raise KeyboardInterrupt
        write(*arguments)

    folder, names = tmp_path / "models", ["sgd", "sam"]
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(orbax_files, "write_checkpoint", stop)
        orbax_files.export_models(chunks, names, 4, folder)
    with pytest.raises(ValueError, match="not written to its end"):
        load_models(folder)
    orbax_files.export_models(chunks, names, 4, folder)
    assert set(load_models(folder)) == set(names)


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="no sha256sum")
def test_sha256sum_checks_the_files(models):
    for path in models.glob("*.sha256"):
        subprocess.run(
            ["sha256sum", "--check", "--quiet", path.name], cwd=models, check=True
        )


def test_names_that_would_be_one_on_disk_are_refused():
    params = {"a.b": np.ones((2, 1)), "a": {"b": np.zeros((2, 1))}}
    with pytest.raises(ValueError, match=r"dots and slashes .* got params/a/b twice"):
        weight_arrays(TrainState(params, {}, (), np.zeros(2, bool)))
