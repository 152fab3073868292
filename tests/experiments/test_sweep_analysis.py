"""Equal-loss matches, main effects and the mechanism, on data with known answers."""

import dataclasses

import numpy as np
import pytest

from experiments.common.cells import Cell
from experiments.common.effects import main_effects
from experiments.common.equal_loss import match_losses, measure_match
from experiments.common.measure import measure_cell, model_metrics, sd_over_models
from experiments.common.mechanism import FACTORS, mechanism_of
from experiments.common.sweep_results import fitted_effects
from experiments.common.tables import read_rows, write_rows
from sam_jax.types import Signals


def gaussian_signals(seed, gap=1.0, sd_unseen=1.0, num_models=8, num_examples=120):
    """Signals whose phi is N(gap, 1) for members and N(0, sd) for others."""
    rng = np.random.default_rng(seed)
    keep = np.zeros((num_models, num_examples + 30), bool)
    order = rng.random((num_models, num_examples)).argsort(axis=0)
    keep[:, :num_examples] = order < num_models // 2
    noise = np.random.default_rng(1).normal(size=keep.shape)
    phi = np.where(keep, gap + noise, sd_unseen * noise)
    loss = np.logaddexp(0, -phi)
    labels = np.arange(keep.shape[1]) % 3
    return Signals(
        phi[..., None].astype(np.float32),
        phi > 0,
        loss.astype(np.float32),
        loss.astype(np.float32),
        keep,
        labels.astype(np.int32),
    )


def test_model_metrics_match_loops_over_models_and_examples():
    signals = gaussian_signals(0)
    phi, pool = np.asarray(signals.phi, float)[..., 0], slice(0, 120)
    metrics = model_metrics(signals)
    for m in range(8):
        mine = phi[m, pool][signals.keep[m, pool]]
        others = phi[m, pool][~signals.keep[m, pool]]
        confidence = 1 / (1 + np.exp(-others))
        assert metrics["train_loss"][m] == pytest.approx(np.log1p(np.exp(-mine)).mean())
        assert metrics["phi_mean_members"][m] == pytest.approx(mine.mean())
        assert metrics["phi_sd_unseen"][m] == pytest.approx(others.std())
        assert metrics["confidence_variance_unseen"][m] == pytest.approx(
            confidence.var()
        )
    column = phi[~signals.keep[:, 7], 7]
    assert metrics["phi_sd_over_models_unseen"][7] == pytest.approx(column.std(ddof=1))
    assert sd_over_models(phi[:, :1], np.ones((8, 1), bool))[0] == pytest.approx(
        phi[:, 0].std(ddof=1)
    )


@pytest.fixture(scope="module")
def measured():
    signals = {"sgd": gaussian_signals(0), "sam-0.1": gaussian_signals(0, gap=2.0)}
    return measure_cell("c", signals)


def test_rows_of_sgd_are_zero_and_a_wider_gap_is_more_leakage(measured):
    rows = {(r.optimizer, r.attack, r.metric): r for r in measured}
    # 480 non-members do not resolve a rate of 0.1 %.
    assert np.isnan(rows["sgd", "loss", "tpr_at_fpr_0.001"].value)
    for row in rows.values():
        if row.optimizer == "sgd" and not np.isnan(row.value):
            assert (row.difference, row.low, row.high) == (0, 0, 0)
    for attack in ("loss", "lira_online_global", "rmia_online"):
        row = rows["sam-0.1", attack, "auc"]
        assert row.low > 0
        assert row.difference == pytest.approx(row.value - row.sgd)
    assert rows["sam-0.1", "models", "phi_mean_members"].difference == pytest.approx(1)


def test_rows_survive_a_table(tmp_path, measured):
    write_rows(tmp_path / "cells.csv", measured)
    for row, again in zip(measured, read_rows(tmp_path / "cells.csv"), strict=True):
        assert dataclasses.astuple(row)[:4] == dataclasses.astuple(again)[:4]
        np.testing.assert_allclose(
            dataclasses.astuple(row)[4:], dataclasses.astuple(again)[4:], rtol=1e-4
        )


def test_a_sam_run_is_matched_with_the_nearest_sgd_of_the_same_data_only():
    cells = {
        "a": Cell(weight_decay=4e-3),
        "b": Cell(weight_decay=5e-3),
        "other pool": Cell(pool_size=500),
    }
    losses = {
        ("b", "sam-0.1"): 0.100,
        ("b", "sgd"): 0.120,
        ("a", "sgd"): 0.102,
        ("other pool", "sgd"): 0.100,
        ("other pool", "sam-0.1"): 0.2,
    }
    (match,) = match_losses(cells, losses)
    assert (match.cell, match.optimizer, match.sgd_cell) == ("b", "sam-0.1", "a")
    assert match.loss_ratio == pytest.approx(0.100 / 0.102)
    rows = measure_match(match, gaussian_signals(0), gaussian_signals(0))
    assert {row.difference for row in rows if row.metric == "auc"} == {0}


def test_main_effects_are_those_of_an_exact_linear_response():
    rng = np.random.default_rng(0)
    design = rng.normal(size=(30, 2))
    response = 0.5 + design @ [2.0, -1.0]
    effects = main_effects(["a", "b"], design, response, np.arange(30) // 2)
    np.testing.assert_allclose(
        [e.value for e in effects], [response.mean(), 2.0, -1.0], atol=1e-12
    )


def test_intervals_of_main_effects_cover_as_often_as_they_say():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(25), 3)
    covered = []
    for _ in range(300):
        design = np.repeat(rng.normal(size=(25, 1)), 3, axis=0)
        shared = np.repeat(rng.normal(size=25), 3)
        response = design[:, 0] + shared + 0.3 * rng.normal(size=75)
        effect = main_effects(["a"], design, response, groups)[1]
        covered.append(effect.low <= 1 <= effect.high)
    assert np.mean(covered) > 0.95 - 4 * np.sqrt(0.05 * 0.95 / 300) - 0.02


def test_effects_that_the_design_does_not_determine_are_refused():
    design = np.ones((10, 2)) * np.arange(10)[:, None]
    with pytest.raises(ValueError, match="design must determine 3 effects"):
        main_effects(["a", "b"], design, np.arange(10.0), np.arange(10))


def test_nothing_is_fitted_to_too_few_cells(measured):
    assert fitted_effects({"c": Cell()}, measured) == []


@pytest.mark.parametrize(
    ("changed", "factor"),
    [({"gap": 1.5}, "gap of the means"), ({"sd_unseen": 0.5}, "unseen sd")],
)
def test_the_mechanism_names_the_factor_that_changed(changed, factor):
    sgd, sam = gaussian_signals(0), gaussian_signals(0, **changed)
    found = {(s, f): (v, low, high) for s, f, v, low, high in mechanism_of(sgd, sam)}
    total = found["phi", "total"][0]
    assert found["phi", factor][0] == pytest.approx(total, rel=0.15)
    assert found["phi", factor][1] > 0
    parts = sum(found["phi", f][0] for f in FACTORS[:-1])
    assert parts == pytest.approx(total)
