"""Where there is no signal: intervals hold 1/2 as often as they say they do."""

import numpy as np
import pytest

from sam_jax.attacks import ATTACKS, lira, score_targets
from sam_jax.metrics import attack_metrics
from tests.attacks.examples import CASES, balanced_keep, make_signals
from tests.attacks.test_lira import naive_statistics

NUM_MODELS, NUM_EXAMPLES = 8, 50


def null_audits(num_audits):
    """Phi that knows nothing of membership, for many audits side by side."""
    rng = np.random.default_rng(7)
    keep = balanced_keep(NUM_MODELS, NUM_EXAMPLES * num_audits, rng)
    level = rng.normal(0, 2, size=(1, keep.shape[1], 1))
    return make_signals(level + rng.normal(size=(*keep.shape, 1)), keep)


def pooled_aucs(name, num_audits):
    signals = null_audits(num_audits)
    scores = score_targets(ATTACKS[name], signals)
    found = []
    for audit in np.split(np.arange(signals.keep.shape[1]), num_audits):
        own = scores[:, audit], signals.keep[:, audit]
        found.append(attack_metrics.pooled_metrics(*own, num_replicates=50)["auc"][:3])
    return np.array(found).T


def test_intervals_hold_one_half_in_null_audits():
    value, low, high = pooled_aucs("lira_online_corrected", 60)
    covered = np.mean((low <= 0.5) & (0.5 <= high))
    # 4 standard errors of a fraction over 60 audits below 95 %.
    assert covered >= 0.95 - 4 * np.sqrt(0.95 * 0.05 / 60)
    assert abs(value.mean() - 0.5) < 3 * value.std() / np.sqrt(60)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["lira_online_corrected", "lira_offline", "calibrated_loss", "confidence"],
)
def test_intervals_hold_one_half_in_92_to_98_percent_of_500_null_audits(name):
    value, low, high = pooled_aucs(name, 500)
    assert 0.92 <= np.mean((low <= 0.5) & (0.5 <= high)) <= 0.98


def test_without_the_correction_few_models_score_members_of_noise_lower():
    """Distances from a mean over k are k + 1 / k as large; own side has one model less.

    Gaps of ``(1 + 1/3) - (1 + 1/4)`` on either side, halved: members score 1/12 lower.
    """
    signals = null_audits(400)
    known = lira.lira_online(variance="global")
    scores = score_targets(known, signals)
    gap = scores[signals.keep].mean() - scores[~signals.keep].mean()
    error = scores.std() / np.sqrt(scores.size / 4)
    assert abs(gap + 1 / 12) < 4 * error


@pytest.mark.parametrize("case", CASES)
def test_the_correction_divides_squared_distances_by_one_plus_one_over_k(case):
    signals = CASES[case]
    plain = score_targets(ATTACKS["lira_online"], signals)
    corrected = score_targets(ATTACKS["lira_online_corrected"], signals)
    offline = score_targets(ATTACKS["lira_offline_two_sided"], signals)
    for target in (0, 11):
        _, sides = naive_statistics(signals, target, "mean")
        pooled = {name: pooled_variance(sides, name) for name in ("in", "out")}
        for i in range(signals.keep.shape[1]):
            num_in, num_out = sides["in", i][2], sides["out", i][2]
            if min(num_in, num_out) == 0:
                continue
            # From log densities in two parts: squared distances, and the rest.
            out_score = -float(offline[target, i])
            in_score = float(plain[target, i]) + out_score
            variances = [shrunk(pooled[name], sides[name, i]) for name in ("in", "out")]
            rest = [-0.5 * np.mean(np.log(2 * np.pi * v)) for v in variances]
            expected = (in_score - rest[0]) / (1 + 1 / num_in) + rest[0]
            expected -= (out_score - rest[1]) / (1 + 1 / num_out) + rest[1]
            np.testing.assert_allclose(
                corrected[target, i], expected, rtol=1e-4, atol=1e-4
            )


def pooled_variance(sides, side):
    own = [part for (name, _), part in sides.items() if name == side]
    scatter = sum((deviations**2).sum(axis=0) for _, deviations, _ in own)
    return scatter / sum(max(count - 1, 0) for *_, count in own)


def shrunk(pooled, side):
    _, deviations, count = side
    scatter = (deviations**2).sum(axis=0)
    return (4 * pooled + scatter) / (4 + max(count - 1, 0))
