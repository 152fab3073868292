"""Where there is nothing to find: no attack reads the members from the mask."""

import numpy as np
import pytest

from experiments import null_attacks
from sam_jax import metrics
from sam_jax._checks import ArgumentError
from sam_jax.attacks import ATTACKS, lira, score_targets, unmet_needs
from tests.attacks.examples import balanced_keep, make_signals

NUM_MODELS, NUM_EXAMPLES = 8, 50
DISCRETE = ("correctness", "label_only")
"""Attacks of a few values: the rate at 1 % is 0 where none is that rare."""
BIASED = "lira_online_plain"
FEW = ("lira_online", "lira_offline", "rmia_online", "calibrated_loss", "attack_r")


def null_audits(num_audits):
    """Phi that knows nothing of membership, for many audits side by side."""
    rng = np.random.default_rng(7)
    keep = balanced_keep(NUM_MODELS, NUM_EXAMPLES * num_audits, rng)
    level = rng.normal(0, 2, size=(1, keep.shape[1], 1))
    return make_signals(level + rng.normal(size=(*keep.shape, 1)), keep)


def pooled_aucs(name, num_audits):
    signals = null_audits(num_audits)
    scores = score_targets(ATTACKS[name], signals)
    aucs = []
    for audit in np.split(np.arange(signals.keep.shape[1]), num_audits):
        bootstrap = metrics.bootstrap_attack(
            scores[:, audit],
            signals.keep[:, audit],
            fprs=(),
            intervals=metrics.IntervalConfig(num_replicates=50),
            pooled_only=True,
        )
        aucs.append(metrics.pooled_metrics(bootstrap)["auc"][:3])
    return np.array(aucs).T


def check_null(name, mask, num_models, num_examples=2_000, num_draws=8):
    draws = null_attacks.noise_draws(mask, num_models, num_examples, num_draws)
    result = null_attacks.attack_noise(ATTACKS[name], draws)
    if result is None:
        needs = unmet_needs(ATTACKS[name], next(draws))
        assert {"in_models", "out_models"} & set(needs)
        return
    # Eight draws: 5.4 standard errors of Student's t are what 4 are of the normal.
    assert abs(result.auc - 0.5) < 5.4 * result.auc_error
    if name not in DISCRETE:
        assert abs(result.tpr - 0.01) < 5.4 * result.tpr_error
    else:
        assert result.tpr < 0.02


@pytest.mark.parametrize("mask", ["half", "tenth", "independent"])
@pytest.mark.parametrize("name", FEW)
def test_attacks_find_nothing_in_noise(name, mask):
    check_null(name, mask, num_models=8)


@pytest.mark.slow
@pytest.mark.parametrize("num_models", [4, 8, 16, 32, 64])
@pytest.mark.parametrize("name", set(ATTACKS) - {BIASED})
def test_every_attack_finds_nothing_in_noise_or_is_refused(name, num_models):
    for mask in ("half", "tenth", "folds", "one in", "two out", "independent"):
        check_null(name, mask, num_models, 64_000 // num_models)


@pytest.mark.parametrize("num_models", [4, 8])
def test_skewed_noise_is_noise_too(num_models):
    """Exchangeable models are enough: nothing rests on Gaussian values."""
    rng = np.random.default_rng(0)
    keep = balanced_keep(num_models, 40_000, rng)
    signals = make_signals(rng.exponential(size=(*keep.shape, 1)) ** 2, keep)
    for name in ("lira_online", "lira_offline"):
        scores = score_targets(ATTACKS[name], signals)
        # The standard error of an AUC over this many pairs is below 0.0015.
        bootstrap = metrics.bootstrap_attack(scores, keep, fprs=(), pooled_only=True)
        auc = metrics.pooled_metrics(bootstrap)["auc"]
        assert abs(auc.value - 0.5) < 4.5 * auc.standard_error < 0.01


@pytest.mark.parametrize(
    ("mask", "name", "instead"),
    [
        ("one in", "lira_online", "offline attacks"),
        ("folds", "lira_offline", "without shadow models"),
        ("folds", "rmia_online", "without shadow models"),
    ],
)
def test_masks_without_references_are_refused_with_what_to_use(mask, name, instead):
    (signals,) = null_attacks.noise_draws(mask, 6, 100, 1)
    with pytest.raises(ArgumentError, match=rf"'{name}' needs.*{instead}"):
        score_targets(ATTACKS[name], signals)
    with pytest.raises(ArgumentError, match=f"'{name}' needs"):
        ATTACKS[name](signals, 0)


def test_two_models_are_refused():
    (signals,) = null_attacks.noise_draws("half", 2, 100, 1)
    for name in ("lira_online", "lira_offline", "calibrated_loss"):
        with pytest.raises(ArgumentError, match=name):
            score_targets(ATTACKS[name], signals)


def test_intervals_hold_one_half_in_null_audits():
    value, low, high = pooled_aucs("lira_online", 60)
    covered = np.mean((low <= 0.5) & (0.5 <= high))
    # 4 standard errors of a fraction over 60 audits below 95 %.
    assert covered >= 0.95 - 4 * np.sqrt(0.95 * 0.05 / 60)
    assert abs(value.mean() - 0.5) < 3 * value.std() / np.sqrt(60)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["lira_online", "lira_offline", "calibrated_loss", "confidence"]
)
def test_intervals_hold_one_half_in_92_to_98_percent_of_500_null_audits(name):
    value, low, high = pooled_aucs(name, 500)
    assert 0.92 <= np.mean((low <= 0.5) & (0.5 <= high)) <= 0.98


def test_plain_references_score_members_of_noise_lower():
    """Distances from a mean over k are k + 1 / k as large; a member has k - 1 on 'in'.

    Gaps of ``(1 + 1/3) - (1 + 1/4)`` on either side, halved: members score 1/12 lower.
    """
    signals = null_audits(400)
    plain = lira.lira_online(variance="global", matched=False)
    scores = score_targets(plain, signals)
    gap = scores[signals.keep].mean() - scores[~signals.keep].mean()
    error = scores.std() / np.sqrt(scores.size / 4)
    assert abs(gap + 1 / 12) < 4 * error
