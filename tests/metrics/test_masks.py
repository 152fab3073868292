"""Masks of 0 and 1 of any type give what True and False give; nothing else is taken."""

import dataclasses

import numpy as np
import pytest

from sam_jax import metrics
from sam_jax.analysis import memorization
from sam_jax.metrics import IntervalConfig, bootstrap_attack, example_risk
from sam_jax.metrics.attack_metrics import attack_metrics
from sam_jax.metrics.one_run_epsilon import one_run_audit
from sam_jax.metrics.thresholds import epsilon_of_decisions, shadow_threshold_decisions

RNG = np.random.default_rng(0)
KEEP = np.argsort(RNG.random((6, 60)), axis=0) < 3
SCORES = RNG.normal(size=KEEP.shape) + KEEP
INTERVALS = IntervalConfig(num_replicates=20)

FUNCTIONS = {
    "roc_curve": lambda keep: metrics.roc_curve(SCORES[0], keep[0]),
    "check_scores": lambda keep: metrics.check_scores(SCORES, keep),
    "audited_epsilon": lambda keep: metrics.audited_epsilon(SCORES, keep),
    "counts_at": lambda keep: metrics.counts_at(SCORES, keep, 0.5),
    "varying_columns": metrics.varying_columns,
    "attack_metrics": lambda keep: dataclasses.asdict(
        attack_metrics(bootstrap_attack(SCORES, keep, fprs=(0.1,), intervals=INTERVALS))
    ),
    "one_run_audit": lambda keep: one_run_audit(SCORES, keep),
    "decisions": lambda keep: shadow_threshold_decisions(SCORES, keep, fprs=(0.1,)),
    "decision_epsilon": lambda keep: epsilon_of_decisions(
        shadow_threshold_decisions(SCORES, keep, fprs=(0.1,))
    ),
    "pair_exposure": lambda keep: example_risk.pair_exposure(SCORES, keep),
    "risk": lambda keep: example_risk.risk(SCORES, keep),
    "exposure_change": lambda keep: example_risk.exposure_change(SCORES, -SCORES, keep),
    "reliability": lambda keep: example_risk.reliability(SCORES, keep),
    "memorization": lambda keep: memorization.memorization(SCORES, keep),
    "memorization_halves": lambda keep: memorization.memorization_halves(
        SCORES, keep, np.arange(6) < 3
    ),
}


@pytest.mark.parametrize("dtype", [np.int32, np.uint8, np.float32])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_mask_of_zeros_and_ones_is_a_mask(name, dtype):
    expected, found = FUNCTIONS[name](KEEP), FUNCTIONS[name](KEEP.astype(dtype))
    np.testing.assert_equal(found, expected)


@pytest.mark.parametrize("keep", [KEEP + 1, np.ma.array(KEEP, mask=KEEP)])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_other_numbers_and_missing_entries_are_no_mask(name, keep):
    with pytest.raises(ValueError, match="keep must be a mask of True and False"):
        FUNCTIONS[name](keep)


def test_the_columns_to_count_are_a_mask_too():
    counted = np.arange(60) < 40
    expected, found = (
        bootstrap_attack(SCORES, KEEP, mask=mask, fprs=(), intervals=INTERVALS)
        for mask in (counted, counted.astype(np.int64))
    )
    assert metrics.pooled_metrics(found) == metrics.pooled_metrics(expected)
