"""One contract for everything in a registry."""

import numpy as np
import pytest

from sam_jax import metrics
from sam_jax.attacks import ATTACKS, score_targets
from tests.attacks.examples import CASES, planted_signals

SHAPE = dict(num_models=12, num_examples=40, num_queries=2, num_population=20)
SEPARATED, NULL = planted_signals(6.0, 1.0, **SHAPE), planted_signals(0.0, 1.0, **SHAPE)
NAMES = [
    pytest.param(name, marks=[pytest.mark.slow] * (name == "combined"))
    for name in ATTACKS  # combined compiles for 15 seconds
]


@pytest.mark.parametrize("name", NAMES)
def test_an_attack_is_finite_finds_separated_gaussians_and_nothing_in_noise(name):
    for signals in (CASES["degenerate"], SEPARATED):
        scores = score_targets(ATTACKS[name], signals)
        assert scores.shape == signals.keep.shape and scores.dtype == np.float32
        assert np.isfinite(scores).all()
    pool = SEPARATED.keep.any(axis=0)
    scores, keep = scores[:, pool], SEPARATED.keep[:, pool]
    assert scores[keep].mean() > scores[~keep].mean()
    # Nothing is found where nothing is; the same program serves all three.
    scores = score_targets(ATTACKS[name], NULL)
    bootstrap = metrics.bootstrap_attack(
        scores,
        NULL.keep,
        mask=pool,
        fprs=(),
        intervals=metrics.IntervalConfig(level=0.99, num_replicates=50),
    )
    auc = metrics.pooled_metrics(bootstrap)["auc"]
    assert auc.low < 0.5 < auc.high
