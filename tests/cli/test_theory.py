import csv
import dataclasses
import json
import pathlib

import jax
import numpy as np
import pytest

from sam_jax import theory
from sam_jax.analysis import theory_on_networks as nets
from sam_jax.cli import theory as experiment
from sam_jax.data.result_files import plain
from sam_jax.reporting import theory_report
from sam_jax.theory import claims, high_dimension, simulated_problems
from sam_jax.theory.agreement import GridCell
from sam_jax.training.checkpoint import ChunkStore
from sam_jax.training.identity import Identity


@pytest.fixture(scope="module")
def trained():
    key = jax.random.key(0)
    return [
        simulated_problems.simulate_problem(
            key, 48, True, ("power law", "random labels", (10, 30))
        )
    ]


def test_claims_hold_on_a_small_grid(trained):
    key = jax.random.key(1)
    for claim in (
        claims.variance_contraction(trained, key),
        claims.confidence_attack(trained),
        claims.likelihood_ratio_attack(trained, key),
        claims.side_of_the_claim(trained, key),
    ):
        assert claim.holds, claim.worst


def test_a_wrong_formula_fails_its_claim(trained, monkeypatch):
    right = theory.confidence_advantage
    wrong = lambda mu, sigma, t: right(mu, sigma**2, t)
    monkeypatch.setattr(theory, "confidence_advantage", wrong)
    assert not claims.confidence_attack(trained).holds


def test_sam_stays_in_the_row_space_and_bounces():
    claim, notes = nets.linear_models(jax.random.key(0))
    assert claim.holds, claim.worst
    assert notes["largest residual of constant-rho SAM"] > 0.01
    assert notes["mean distance from w_0 to w_G"] > 0.01


def test_radius_zero_is_its_own_baseline():
    measured = nets.networks(jax.random.key(0), "two-layer ReLU", 3, 6)
    assert measured.variance.shape == (len(nets.RHOS), 3)
    assert nets.differences(measured, 0)["variance"].value == 0
    assert np.all(measured.variance[1:] != measured.variance[:1])


def test_the_error_of_the_equivalents_falls_like_one_over_n():
    averages = high_dimension.label_averages(jax.random.key(2), 60, "power law")
    assert [a.eta for a in averages] == list(high_dimension.AVERAGED_ETAS)
    claim = high_dimension.high_dimensional_values([], averages)
    assert claim.holds, claim.worst
    wrong = [dataclasses.replace(a, ratios=1.03 * a.ratios) for a in averages]
    assert not high_dimension.high_dimensional_values([], wrong).holds


def test_an_error_that_does_not_fall_like_one_over_n_is_seen():
    noise = 1e-4 * np.random.default_rng(0).standard_normal((3, 50))
    decay = lambda power: (np.array(high_dimension.SIZES) ** -power)[:, None] + noise
    assert high_dimension._order_cell("", decay(1.0)).deviation == 0
    assert high_dimension._order_cell("", decay(0.5)).deviation > 5


def test_the_average_over_labels_is_that_over_all_of_them():
    rng = np.random.default_rng(0)
    spectrum = np.linspace(0.5, 2.0, 9)
    X = rng.standard_normal((3, 9))
    labels = np.stack(np.meshgrid(*[[-1.0, 1.0]] * 3), -1).reshape(-1, 3)
    w = theory.min_norm_interpolator(np.stack([X] * 8), labels, 1 + 2.0 * spectrum)
    expected = theory.output_variance(w, spectrum).mean()
    got = high_dimension._average_over_labels(X, spectrum, 2.0)
    assert got == pytest.approx(expected, rel=1e-10)


def test_the_reading_follows_the_interval():
    assert nets.Difference(1.0, 0.5, 1.5).sign == "rises"
    assert nets.Difference(-1.0, -1.5, -0.5).sign == "falls"
    assert nets.Difference(0.1, -0.5, 0.7).sign == "no difference seen"
    assert nets.Difference(0.1, 0.05, 0.2, resolution=0.1).sign == "no difference seen"


def fake_run(trained, holds):
    """A result with one claim that holds or fails, and no networks trained."""
    cell = GridCell("somewhere", 1.0 if holds else 9.0, 1.0, 0.5)
    claim = claims.TheoryClaim("1 claim", "statement", "grid", [cell])
    measured = nets.Measured(*np.random.default_rng(0).random((5, len(nets.RHOS), 4)))
    drawing = experiment.theory_figures.deviations(claim)
    return theory_report.TheoryResult(
        [claim], {"x": 1.0}, {"net": measured}, {"cells": drawing}, 8
    )


@pytest.mark.parametrize("holds", [True, False])
def test_the_exit_status_and_report_tell_of_failure(
    trained, holds, monkeypatch, tmp_path, capsys
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        experiment, "run", lambda config, store: fake_run(trained, holds)
    )
    assert experiment.command(["--name", "t"]) == (0 if holds else 1)
    folder = tmp_path / "runs" / "theory" / "t"
    page = (folder / "report.html").read_text()
    assert ("FAILS at somewhere" in page) == (not holds)
    verdict = json.loads((folder / "metrics.json").read_text())["claims"][0]["verdict"]
    assert verdict.startswith("holds" if holds else "FAILS")
    with (folder / "cells.csv").open() as file:
        assert next(csv.DictReader(file))["cell"] == "somewhere"
    printed = capsys.readouterr().out
    assert "somewhere" in printed or holds
    assert "SAM on net: " in printed and printed.rstrip().endswith("report.html")
    with pytest.raises(ValueError, match="finished"):
        experiment.main(experiment.Config(name="t"))


def test_a_result_shows_itself_and_saves_all_that_the_command_writes(
    trained, monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        experiment, "run", lambda config, store: fake_run(trained, False)
    )
    result = experiment.main(experiment.Config(name="t"))
    folder = tmp_path / "runs" / "theory" / "t"
    result.save("again", json.loads((folder / "config.json").read_text()))
    again = pathlib.Path("again")
    assert {p.name for p in again.iterdir()} == {p.name for p in folder.iterdir()}
    for name in ("report.html", "metrics.json", "config.json", "cells.csv"):
        assert (again / name).read_bytes() == (folder / name).read_bytes()
    assert "1 of 1 claims fail" in repr(result) and len(repr(result)) < 2000
    assert "FAILS at somewhere" in result._repr_html_()


def test_rows_of_a_result_hold_zero_where_the_claim_holds(trained):
    for holds in (True, False):
        result = fake_run(trained, holds)
        cell, *networks = result.to_rows()
        assert (cell["low"] <= 0 <= cell["high"]) == holds
        assert len(networks) == (len(nets.RHOS) - 1) * len(nets.Measured._fields)
        assert networks[0].keys() == cell.keys()


def test_settings_that_estimate_nothing_are_refused():
    with pytest.raises(ValueError, match="num_sets must be .* >= 8, got 1"):
        experiment.main(experiment.Config(num_sets=1))


class Bar:
    count = 0

    def update(self):
        self.count += 1


def measured_by(folder, calls, problem, **facts):
    """What `sam-jax theory` has of three problems, one of each type."""
    identity = Identity({"seed": "0"} | facts, np.zeros((1, 0), np.bool_), ())
    networks = nets.Measured(*np.random.default_rng(0).random((5, 2, 3)) / 3)
    averages = high_dimension.label_averages(jax.random.key(3), 5, "spiked")
    measured = {
        simulated_problems.SimulatedProblem: problem,
        list[high_dimension.Averaged]: averages,
        nets.Measured: networks,
    }
    with ChunkStore(folder, retrain_changed=True, say=calls.append) as store:
        kept = []
        for number, annotation in enumerate(measured):

            def measure(key, number):
                calls.append(number)
                return list(measured.values())[number]

            arguments = store, identity, Bar(), annotation, jax.random.key(number)
            kept.append(experiment._kept(*arguments, measure, number))
    for one, two in zip(measured.values(), kept, strict=True):
        assert type(one) is type(two)
        jax.tree.map(np.testing.assert_array_equal, plain(one), plain(two))
    assert type(kept[0].outcome) is type(problem.outcome)
    return kept


def test_what_was_measured_before_a_kill_is_not_measured_again(tmp_path, trained):
    calls = []
    measured_by(None, calls, *trained)
    measured_by(tmp_path, calls, *trained)
    assert len(calls) == 6
    next(tmp_path.glob("measure_1_*")).unlink()  # As if killed before it.
    calls.clear()
    measured_by(tmp_path, calls, *trained)
    assert calls == [1]
    # Never with other settings, other code, or a damaged file.
    calls.clear()
    measured_by(tmp_path, calls, *trained, commit="another")
    assert calls[1::2] == [0, 1, 2] and all("commit" in line for line in calls[::2])
    victim = next(tmp_path.glob("measure_0_*.npz"))
    victim.write_bytes(victim.read_bytes()[:-30])
    calls.clear()
    measured_by(tmp_path, calls, *trained, commit="another")
    assert "not used" in calls[0] and calls[1:] == [0]
