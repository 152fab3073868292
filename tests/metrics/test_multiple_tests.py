"""Holm's method by its definition; verdicts by planted estimates and simulation."""

import numpy as np
import pytest
from scipy import stats

from sam_jax.attacks import ATTACKS, score_targets
from sam_jax.metrics import IntervalConfig, bootstrap_attack, pooled_metrics
from sam_jax.metrics.attack_metrics import AttackMetrics, Differences
from sam_jax.metrics.estimate import MISSING, CrossedVariance, make_estimate
from sam_jax.metrics.multiple_tests import POWER, change_test, holm, leak_test
from tests.attacks.examples import balanced_keep, make_signals

INTERVALS = IntervalConfig(num_replicates=50)


def estimate(value, error, scale="logit", degrees=1e9):
    return make_estimate(value, CrossedVariance(error**2, degrees, 0.0), 0.95, scale)


def pooled_alone(pooled, errors, fprs, num_targets):
    """Metrics with all that the tests look at, and nothing else."""
    sizes = {"num_targets": num_targets, "num_members": 800, "num_non_members": 800}
    rest = {"non_members_per_target": 50, "fprs": fprs, "level": 0.95}
    return AttackMetrics(pooled, {}, errors, {}, **sizes, **rest)


def measured(auc, error=0.01, tpr=None, num_targets=16):
    fprs = () if tpr is None else (0.01,)
    pooled = {"auc": estimate(auc, error), "balanced_accuracy": estimate(0.8, 0.001)}
    if tpr is not None:
        pooled["tpr_at_fpr_0.01"] = tpr
    errors = {name: e.standard_error for name, e in pooled.items()}
    return pooled_alone(pooled, errors, fprs, num_targets)


def naive_holm(p_values):
    """Rejects the smallest while each is at most a / (tests left), for every a."""

    def rejected(a):
        order, out = np.argsort(p_values), set()
        for rank, index in enumerate(order):
            if p_values[index] > a / (len(p_values) - rank):
                break
            out.add(index)
        return out

    levels = np.linspace(0, 1, 2001)
    sets = [rejected(a) for a in levels]
    return [
        next((a for a, out in zip(levels, sets, strict=True) if i in out), 1.0)
        for i in range(len(p_values))
    ]


def test_adjusted_p_values_are_the_smallest_level_that_rejects():
    p_values = np.random.default_rng(0).random(6) ** 3
    np.testing.assert_allclose(holm(p_values), naive_holm(p_values), atol=6e-4)
    assert holm([0.2]) == [0.2]
    with_missing = holm([0.01, float("nan"), 0.04])
    assert with_missing[0] == 0.02 and np.isnan(with_missing[1])


@pytest.mark.parametrize("correlation", [0.0, 0.9])
def test_any_false_rejection_is_rarer_than_the_level(correlation):
    rng, alarms = np.random.default_rng(1), []
    for _ in range(2000):
        common, noise = rng.normal(), rng.normal(size=8)
        z = np.sqrt(correlation) * common + np.sqrt(1 - correlation) * noise
        alarms.append(min(holm(2 * stats.norm.sf(abs(z)))) <= 0.05)
    assert np.mean(alarms) <= 0.05 + 4 * np.sqrt(0.05 * 0.95 / 2000)


def test_a_leak_of_any_attack_is_found_and_the_strongest_comes_first():
    runs = {"main": measured(0.341), "weak": measured(0.54), "strong": measured(0.6)}
    first, second, last = leak_test(runs)
    assert (first.attack, first.outcome, first.metric) == ("strong", "leak", "auc")
    assert (second.attack, second.outcome) == ("weak", "leak")
    assert (last.attack, last.outcome) == ("main", "below chance")


def test_a_leak_at_a_low_rate_alone_is_a_leak():
    rare = {"a": measured(0.505, tpr=estimate(0.05, 0.005))}
    (finding,) = leak_test(rare)
    assert (finding.outcome, finding.metric) == ("leak", "tpr_at_fpr_0.01")


def test_many_attacks_without_a_leak_are_not_one():
    """One of twenty at 2.5 standard errors: by chance, in one run of nine."""
    alone = leak_test({"a": measured(0.525)})
    assert alone[0].outcome == "leak"
    many = {f"attack {i}": measured(0.5) for i in range(19)} | {"a": measured(0.525)}
    assert {finding.outcome for finding in leak_test(many)} == {"not resolved"}


def test_a_leak_of_the_detectable_size_is_shown_with_the_stated_power():
    (finding,) = leak_test({"a": measured(0.5, error=0.01)})
    expected = 0.5 + 0.01 * (stats.norm.isf(0.05) + stats.norm.ppf(POWER))
    assert finding.detectable["auc"] == pytest.approx(expected, rel=1e-6)
    draws = np.random.default_rng(2).normal(finding.detectable["auc"], 0.01, 2000)
    shown = [leak_test({"a": measured(v)})[0].outcome == "leak" for v in draws]
    assert abs(np.mean(shown) - POWER) < 4 * np.sqrt(POWER * (1 - POWER) / 2000)


def test_a_rate_of_zero_has_a_detectable_size_and_few_models_no_verdict():
    zero = estimate(0.5, 0.0)._replace(value=0.0, low=0.0, high=0.02)
    (finding,) = leak_test({"a": measured(0.5, tpr=zero)})
    assert finding.detectable["tpr_at_fpr_0.01"] > 0.015
    (finding,) = leak_test({"a": measured(0.9, num_targets=2)})
    assert finding.outcome == "too few models"
    missing = measured(0.6, tpr=MISSING)
    assert leak_test({"a": missing})[0].detectable.keys() == {"auc"}


def test_changes_are_named_by_their_sign_and_corrected():
    def change(value, error=0.01, num_targets=16):
        pooled = {
            "auc": estimate(value, error, "linear"),
            "balanced_accuracy": estimate(0.5, 0.001, "linear"),
            "tpr_at_fpr_0.01": MISSING,
        }
        return Differences(pooled, {}, num_targets, 0.95)

    found = change_test({"a": change(0.022), "b": change(-0.05), "c": change(0.0)})
    outcomes = {finding.attack: finding.outcome for finding in found}
    assert outcomes == {"a": "not resolved", "b": "less", "c": "not resolved"}
    assert found[0].attack == "b"
    assert change_test({"a": change(0.022)})[0].outcome == "more"
    few = change_test({"a": change(0.022, num_targets=3)})
    assert few[0].outcome == "too few models"


def test_no_attacks_are_refused():
    with pytest.raises(ValueError, match="num_attacks must be a whole number >= 1"):
        leak_test({})
    with pytest.raises(ValueError, match="level must lie strictly"):
        change_test({"a": Differences({}, {}, 4, 0.95)}, level=1.0)


def _null_audits(num_models, num_examples, num_audits, model_spread=0.5):
    """Scores of attacks on noise whose level differs by example and by model."""
    rng = np.random.default_rng(num_models)
    names = ("lira_online", "lira_offline", "loss", "rmia_online")
    for _ in range(num_audits):
        keep = balanced_keep(num_models, num_examples, rng)
        level = rng.normal(2, 1.5, num_examples)
        phi = level + rng.normal(size=keep.shape)
        phi = phi + model_spread * rng.normal(size=(num_models, 1))
        signals = make_signals(phi[..., None], keep)
        yield {name: score_targets(ATTACKS[name], signals) for name in names}, keep


def _share_of_leaks(num_models, num_examples, num_audits):
    leaks = []
    for scores, keep in _null_audits(num_models, num_examples, num_audits):
        metrics = {}
        for name, score in scores.items():
            bootstrap = bootstrap_attack(
                score, keep, fprs=(0.01,), intervals=INTERVALS, pooled_only=True
            )
            pooled = pooled_metrics(bootstrap)
            errors = dict(zip(pooled, bootstrap.null_errors().tolist(), strict=True))
            metrics[name] = pooled_alone(pooled, errors, (0.01,), num_models)
        leaks.append(any(f.outcome == "leak" for f in leak_test(metrics)))
    return np.mean(leaks)


def test_noise_is_called_a_leak_in_at_most_5_percent_of_60_audits():
    share = _share_of_leaks(4, 200, 60)
    assert share <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 60)


@pytest.mark.slow
@pytest.mark.parametrize("num_models", [4, 8, 16, 64])
def test_noise_is_called_a_leak_in_at_most_5_percent_of_500_audits(num_models):
    share = _share_of_leaks(num_models, 400, 500)
    assert share <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 500)
