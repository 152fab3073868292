"""Where there is no signal: intervals hold 1/2 as often as they say they do."""

import numpy as np
import pytest

from sam_jax import metrics
from sam_jax.attacks import ATTACKS, lira, score_targets
from tests.attacks.examples import balanced_keep, make_signals

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
        bootstrap = metrics.bootstrap_attack(
            scores[:, audit],
            signals.keep[:, audit],
            fprs=(),
            intervals=metrics.IntervalConfig(num_replicates=50),
            pooled_only=True,
        )
        found.append(metrics.pooled_metrics(bootstrap)["auc"][:3])
    return np.array(found).T


def test_intervals_hold_one_half_in_null_audits():
    value, low, high = pooled_aucs("lira_online", 60)
    covered = np.mean((low <= 0.5) & (0.5 <= high))
    # 4 standard errors of a fraction over 60 audits below 95 %.
    assert covered >= 0.95 - 4 * np.sqrt(0.95 * 0.05 / 60)
    assert abs(value.mean() - 0.5) < 3 * value.std() / np.sqrt(60)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["lira_online", "lira_offline", "calibrated_loss", "confidence"],
)
def test_intervals_hold_one_half_in_92_to_98_percent_of_500_null_audits(name):
    value, low, high = pooled_aucs(name, 500)
    assert 0.92 <= np.mean((low <= 0.5) & (0.5 <= high)) <= 0.98


def test_plain_references_score_members_of_noise_lower():
    """Distances from a mean over k are k + 1 / k as large; own side has one model less.

    Gaps of ``(1 + 1/3) - (1 + 1/4)`` on either side, halved: members score 1/12 lower.
    """
    signals = null_audits(400)
    plain = lira.lira_online(variance="global", matched=False)
    scores = score_targets(plain, signals)
    gap = scores[signals.keep].mean() - scores[~signals.keep].mean()
    error = scores.std() / np.sqrt(scores.size / 4)
    assert abs(gap + 1 / 12) < 4 * error
