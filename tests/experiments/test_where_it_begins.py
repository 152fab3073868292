import csv
import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import mitigations, sam_variants, study, where_it_begins
from experiments.common import cells, cost, measure, presets, study_data
from experiments.common.cells import Cell, Perturbation, read_signals
from experiments.common.pages import read_sweep
from experiments.common.presets import sam
from experiments.common.privacy_budget import epsilon
from experiments.common.study_data import undo_differences
from experiments.common.tables import read_rows
from sam_jax.types import Dataset, Examples

TINY = Cell("tiny", 40, width=4, num_epochs=3, batch_size=10, num_models=4)


@pytest.fixture
def tiny(monkeypatch):
    """A data set of two Gaussians in place of every one, and no cached data."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 80).astype(np.int32)
    x = (rng.normal(size=(80, 5)) + y[:, None]).astype(np.float32)
    data = Dataset("tiny", 2, Examples(x[:60], y[:60]), Examples(x[60:], y[60:]))
    monkeypatch.setattr(cells, "load_data", lambda name, data_dir: data)
    monkeypatch.setitem(cost.INPUTS, "tiny", ((5,), 2))
    cells._whole_data.cache_clear()
    with jax.numpy_dtype_promotion("standard"):  # optax's cosine schedule needs it
        yield data
    cells._whole_data.cache_clear()


def filtered(images):
    """The filter that ``undo_differences`` inverts, written out pixel by pixel."""
    red, green, blue = np.moveaxis(images.astype(int), -1, 0)
    planes = np.stack([green, red - green, blue - green])
    for plane in planes:
        plane[:, :, 1:] -= plane[:, :, :-1].copy()
        plane[:, 1:] -= plane[:, :-1].copy()
    return (planes % 256).astype(np.uint8)


def test_the_image_filter_is_undone_exactly():
    images = np.random.default_rng(0).integers(0, 256, (3, 5, 4, 3)).astype(np.uint8)
    np.testing.assert_array_equal(undo_differences(filtered(images)), images)


def test_a_packed_table_and_filtered_images_load_from_a_folder(tmp_path):
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2, (20, 11)).astype(np.uint8)
    np.savez(
        tmp_path / "location30.npz",
        x=np.packbits(bits, axis=1),
        y=np.arange(20, dtype=np.uint8) % 3,
        n_features=np.int64(11),
    )
    table = study_data.load_data("location30_table", str(tmp_path))
    rows = np.concatenate([table.train.x, table.test.x])
    assert table.num_classes == 3
    assert sorted(map(tuple, rows)) == sorted(map(tuple, bits.astype(float)))
    images = rng.integers(0, 256, (4, 6, 6, 3)).astype(np.uint8)
    labels = np.array([0, 1, 0, 1], np.uint8)
    np.savez(
        tmp_path / "cifar10_subset.npz",
        train_d=filtered(images),
        train_y=labels,
        test_d=filtered(images[:2]),
        test_y=labels[:2],
        classes=np.array(["a", "b"]),
    )
    loaded = study_data.load_data("cifar10_subset", str(tmp_path))
    np.testing.assert_allclose(loaded.train.x, images / 255.0, rtol=1e-6)


def test_data_from_files_need_their_folder(tmp_path):
    with pytest.raises(ValueError, match="data_dir must be the folder"):
        study_data.load_data("retail100", None)
    with pytest.raises(ValueError, match="data_dir must hold retail100"):
        study_data.load_data("retail100", str(tmp_path))


def test_a_pool_larger_than_the_data_is_refused(tiny):
    with pytest.raises(ValueError, match="pool_size must be at most the 60 examples"):
        study_data.take_pool(tiny, 61, 10, 0.0, 0)


def test_label_noise_changes_that_share_of_the_labels_only(tiny):
    clean = study_data.take_pool(tiny, 50, 10, 0.0, 0).train
    noisy = study_data.take_pool(tiny, 50, 10, 0.2, 0).train
    np.testing.assert_array_equal(clean.x, noisy.x)
    assert np.sum(clean.y != noisy.y) == 10


def test_sam_of_radius_0_is_sgd_on_the_same_models_and_data(tiny, tmp_path):
    sgd = cells.train_cell(TINY, Perturbation(), tmp_path)
    none = cells.train_cell(TINY, Perturbation("sam", 0.0), tmp_path)
    some = cells.train_cell(TINY, Perturbation("sam", 0.5), tmp_path)
    np.testing.assert_array_equal(sgd.keep, none.keep)
    np.testing.assert_allclose(sgd.phi, none.phi, rtol=1e-4, atol=1e-4)
    assert np.abs(np.asarray(sgd.phi) - some.phi).max() > 1e-2


def test_every_network_of_the_sweep_gives_logits_of_all_classes():
    for network in ("mlp", "mlp_bn", "cnn_bn", "resnet18_bn"):
        model = cells.make_model(Cell(network=network, width=4), num_classes=3)
        x = jnp.ones([2, 8, 8, 1])
        params, state = jax.eval_shape(model.init, jax.random.key(0), x)
        logits, _ = jax.eval_shape(
            lambda p, s, m=model, x=x: m.apply(p, s, x, True, jax.random.key(1)),
            params,
            state,
        )
        assert logits.shape == (2, 3)
        assert bool(state) == network.endswith("_bn")


def test_a_sweep_goes_on_where_it_stopped(tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    designs = tuple(
        (dataclasses.replace(TINY, weight_decay=decay), sam(0.05))
        for decay in (1e-3, 2e-3)
    )
    config = where_it_begins.Config(name="test")
    monkeypatch.setitem(presets.SCALES, "laptop", designs[:1])
    results = where_it_begins.main(config)
    assert results is not None
    first = (results / "cells.csv").read_text()
    kept = read_signals(results.parent / designs[0][0].name / "sam-0.05.npz").phi
    monkeypatch.setitem(presets.SCALES, "laptop", designs)
    capsys.readouterr()
    where_it_begins.main(config)
    assert designs[0][0].name not in capsys.readouterr().out
    assert (results / "cells.csv").read_text().startswith(first)
    again = read_signals(results.parent / designs[0][0].name / "sam-0.05.npz").phi
    np.testing.assert_array_equal(kept, again)
    lines = list(csv.DictReader((results / "cells.csv").open()))
    assert {line["cell"] for line in lines} == {cell.name for cell, _ in designs}
    assert {p.name for p in results.iterdir()} == {
        "cells.csv",
        "effects.csv",
        "equal_loss.csv",
        "explanations.csv",
        "map.svg",
        "mechanism.csv",
        "metadata.json",
        "settings.csv",
    }
    study.write_pages(results, tmp_path)
    for name in study.PAGES:
        assert (tmp_path / f"{name}.md").read_text().startswith("# ")


def test_a_plan_of_every_question_trains_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cost, "_one_gradient", lambda *shape: (1e6, 400))
    study.main(where_it_begins.Config(plan=True, data_dir="x"))
    printed = capsys.readouterr().out
    for question in ("where_it_begins", *study.QUESTIONS):
        for scale in presets.SCALES:
            for device in ("laptop", "gpu"):
                assert f"{question}, {scale} on a {device}" in printed
    assert not any(tmp_path.iterdir())


def test_the_cost_of_a_sweep_is_that_of_its_products(tiny):
    cell = dataclasses.replace(TINY, width=64, batch_size=20)
    # Products: forward, and backward to both weights and the hidden layer.
    products = 2 * 20 * (2 * 5 * 64 + 3 * 64 * 2)
    steps = cell.num_models * cell.num_steps
    for gradients, perturbation in ((1, Perturbation()), (2, Perturbation("sam", 0.1))):
        work = cost.operations(cell, perturbation)
        assert work == pytest.approx(gradients * steps * products, rel=0.25)
    total = cost.cost_of(((cell, sam(0.1)),), "laptop")
    assert (total.models, total.steps) == (8, 2 * steps)
    assert total.bytes == 4 * 4 * cell.num_models * (5 * 64 + 64 + 64 * 2 + 2)


def test_a_filter_that_matches_nothing_is_refused():
    with pytest.raises(ValueError, match="only must match a cell"):
        where_it_begins.main(where_it_begins.Config(only="nowhere"))


@pytest.mark.slow
def test_noise_of_the_radius_is_not_sam_and_each_variant_has_a_line(
    tiny, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    _, variants = presets.VARIANTS["laptop"][0]
    tiny_preset = ((TINY, variants),)
    monkeypatch.setitem(presets.VARIANTS, "laptop", tiny_preset)
    results = sam_variants.main(where_it_begins.Config())
    sweep = read_sweep(results)
    page = results.with_suffix(".md").read_text()
    for optimizer in variants[1:]:
        assert f"models, {optimizer.name} |" in page
    losses = {
        name: sweep.rows[TINY.name, name, "models", "train_loss"].value
        for name in ("sam-0.05", "random_sam-0.05")
    }
    assert losses["sam-0.05"] != losses["random_sam-0.05"]


@pytest.mark.slow
def test_mitigations_are_compared_with_the_same_optimizer_without_any(
    tiny, tmp_path, monkeypatch
):
    pytest.importorskip("dp_accounting")
    monkeypatch.setattr(measure, "ATTACK_NAMES", mitigations.ATTACK_NAMES)
    monkeypatch.chdir(tmp_path)
    smoothed = dataclasses.replace(TINY, mitigation="label_smoothing", strength=0.5)
    private = dataclasses.replace(TINY, batch_size=5, mitigation="dp", strength=2.0)
    design = tuple((cell, sam(0.05)) for cell in (TINY, smoothed, private))
    preset = design
    monkeypatch.setitem(presets.MITIGATIONS, "laptop", preset)
    results = mitigations.main(where_it_begins.Config())
    rows = read_rows(results / "against_none.csv", reference="unmitigated")
    by_key = {(r.cell, r.optimizer, r.attack, r.metric): r for r in rows}
    for optimizer in ("sgd", "sam-0.05"):
        for metric in ("train_loss", "test_accuracy"):
            alone, beside = (
                by_key[cell.name, optimizer, "models", metric]
                for cell in (TINY, smoothed)
            )
            assert (alone.difference, beside.sgd) == (0, alone.value)
        # Smoothed labels hold the confidence of members down.
        margin = by_key[smoothed.name, optimizer, "models", "phi_mean_members"]
        assert margin.difference < 0
    page = results.with_suffix(".md").read_text()
    assert page.count("| label smoothing 0.5 |") == 3
    budgets = {
        line["optimizer"]: float(line["epsilon"])
        for line in csv.DictReader((results / "epsilon.csv").open())
    }
    # 3 epochs of 20 examples, one gradient each under SGD and two under SAM.
    folder = results.parent / private.name
    smallest = read_signals(folder / "sgd.npz").keep.sum(axis=1).min()
    entered = 3 * math.ceil(20 / smallest)
    assert budgets["sgd"] == pytest.approx(epsilon(2.0, entered), rel=1e-4)
    assert budgets["sam-0.05"] == pytest.approx(epsilon(2.0, 2 * entered), rel=1e-4)
    assert (results / "frontier.svg").read_text().count("label smoothing 0.5") == 2
