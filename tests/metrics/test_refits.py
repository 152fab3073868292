"""What targets share through shadow models, against its definition and simulation."""

import numpy as np
import pytest

from sam_jax.attacks import ATTACKS, score_targets
from sam_jax.metrics import IntervalConfig, bootstrap_attack, pooled_metrics, refits
from tests.attacks.examples import (
    DIFFICULTY,
    balanced_keep,
    make_signals,
    planted_signals,
)

SIGNALS = planted_signals(1.5, 1.0, num_models=6, num_examples=80, num_population=10)
MASK = np.arange(90) < 80


def test_each_refit_is_the_attack_on_the_models_that_are_left():
    attack = DIFFICULTY
    scores = score_targets(attack, SIGNALS)
    found = list(refits.leave_models_out(attack, SIGNALS, scores, mask=MASK))
    assert len(found) == 6
    left_out = [int(np.flatnonzero(~refit.models)[0]) for refit in found]
    assert sorted(left_out) == list(range(6))
    for refit in found:
        alone = score_targets(attack, SIGNALS.select(models=refit.models))
        np.testing.assert_allclose(refit.scores, alone[:, MASK], rtol=1e-5, atol=1e-5)
        assert refit.columns.tolist() == list(range(80))


def test_an_attack_on_the_target_alone_is_not_run_again():
    attack = ATTACKS["loss"]
    marked = np.arange(6 * 90, dtype=np.float32).reshape(6, 90)
    for refit in refits.leave_models_out(attack, SIGNALS, marked, mask=MASK):
        np.testing.assert_array_equal(refit.scores, marked[refit.models][:, MASK])


def test_many_models_go_in_groups_and_too_few_are_not_left_out():
    many = planted_signals(1.0, 1.0, num_models=40, num_examples=30, num_population=0)
    scores = score_targets(ATTACKS["loss"], many)
    found = list(refits.leave_models_out(ATTACKS["loss"], many, scores))
    assert len(found) == refits.MAX_MODEL_GROUPS
    left_out = np.sum([~refit.models for refit in found], axis=0)
    np.testing.assert_array_equal(left_out, 1)
    few = SIGNALS.select(models=slice(3))
    assert not list(refits.leave_models_out(ATTACKS["loss"], few, scores))


def test_the_shared_variance_is_that_of_the_models_part():
    """Changes are a model's part, the same on all groups, plus noise of each group."""
    rng, found = np.random.default_rng(0), []
    num_models, num_groups, spread = 12, 8, 0.7
    for _ in range(400):
        model = spread * rng.normal(size=(num_models, 1, 1))
        mean = model.mean() - (model - model.mean()) / (num_models - 1)
        noise = rng.normal(size=(num_models, num_groups, 1)) / 20
        found.append(refits.shared_variance(mean + noise)[0])
    error = np.std(found) / np.sqrt(400)
    assert abs(np.mean(found) - spread**2 / num_models) < 4 * error


def test_without_a_models_part_it_is_near_zero_and_unknown_groups_count_nothing():
    rng = np.random.default_rng(1)
    noise = rng.normal(size=(12, 8, 500))
    jackknife = 11 / 12 * np.sum((noise - noise.mean(0)).mean(1) ** 2, axis=0)
    assert refits.shared_variance(noise).mean() < 0.3 * jackknife.mean()
    noise[0, 0, 0] = np.nan
    assert refits.shared_variance(noise)[0] == 0
    assert refits.shared_variance(noise[:, :1]).tolist() == [0] * 500


def _audit(rng, num_models=8, num_examples=200):
    """Models that overfit more or less: what each adds to all members' phi."""
    keep = balanced_keep(num_models, num_examples, rng)
    overfit = 1 + 0.4 * rng.normal(size=(num_models, 1))
    phi = rng.normal(2, 1, num_examples) + rng.normal(size=keep.shape)
    return make_signals((phi + keep * overfit)[..., None], keep)


def test_intervals_with_refits_cover_where_those_without_are_too_narrow():
    attack, rng = ATTACKS["lira_online"], np.random.default_rng(2)
    intervals, estimates = IntervalConfig(num_replicates=50), []
    for _ in range(60):
        signals = _audit(rng)
        scores = score_targets(attack, signals)
        options = {"fprs": (), "intervals": intervals, "pooled_only": True}
        again = refits.leave_models_out(attack, signals, scores)
        known = bootstrap_attack(scores, signals.keep, refits=again, **options)
        plain = bootstrap_attack(scores, signals.keep, **options)
        estimates.append([pooled_metrics(b)["auc"][:4] for b in (known, plain)])
    value, low, high, error = np.moveaxis(np.array(estimates), -1, 0)
    covered = np.mean((low <= value.mean()) & (value.mean() <= high), axis=0)
    assert covered[0] >= 0.95 - 3 * np.sqrt(0.05 * 0.95 / 60)
    deviation = value[:, 0].std(ddof=1)
    without, with_refits = (np.sqrt(np.mean(error[:, i] ** 2)) for i in (1, 0))
    assert without < 0.9 * deviation
    # 60 audits know the deviation to 9 %.
    assert 0.8 * deviation < with_refits < 1.4 * deviation


def test_paired_intervals_need_the_same_refits():
    attack = ATTACKS["loss"]
    scores = score_targets(attack, SIGNALS)
    again = refits.leave_models_out(attack, SIGNALS, scores, mask=MASK)
    with_refits = bootstrap_attack(scores, SIGNALS.keep, mask=MASK, refits=again)
    without = bootstrap_attack(scores, SIGNALS.keep, mask=MASK)
    with pytest.raises(ValueError, match="same sizes to be paired"):
        with_refits.minus(without)
