"""Thresholds against trying every score on the other models, one by one."""

import numpy as np
import pytest

from sam_jax.metrics import shadow_thresholds as threshold

RNG = np.random.default_rng(0)
KEEP = RNG.random((5, 40)) < 0.5
LABELS = np.arange(40) % 3
SCORES = (RNG.normal(size=(5, 40)) + KEEP + LABELS).round(1)  # with ties


def naive_balanced_accuracy(scores, keep, t):
    called = scores >= t
    return (called[keep].mean() + (~called[~keep]).mean()) / 2


def naive_threshold(scores, keep):
    candidates = [*np.unique(SCORES), np.inf]
    values = [naive_balanced_accuracy(scores, keep, t) for t in candidates]
    return max(values)


@pytest.mark.parametrize("labels", [None, LABELS])
def test_the_threshold_is_the_best_on_the_other_models(labels):
    thresholds = threshold.shadow_thresholds(SCORES, KEEP, labels)
    groups = [np.arange(40)] if labels is None else [labels == c for c in range(3)]
    for target in range(5):
        others = np.arange(5) != target
        for columns in groups:
            (chosen,) = np.unique(thresholds[target, columns])
            pool = SCORES[others][:, columns], KEEP[others][:, columns]
            reached = naive_balanced_accuracy(*pool, chosen)
            assert reached == pytest.approx(naive_threshold(*pool))


def test_the_targets_own_scores_do_not_move_its_threshold():
    changed = SCORES.copy()
    changed[2] = changed[2, ::-1]
    before, after = (threshold.shadow_thresholds(s, KEEP)[2] for s in (SCORES, changed))
    np.testing.assert_array_equal(before, after)


def test_the_oracle_is_the_best_and_never_worse_than_the_shadow_threshold():
    oracle = threshold.oracle_thresholds(SCORES, KEEP)
    best = threshold.accuracy_at(SCORES, KEEP, oracle)
    carried = threshold.accuracy_at(
        SCORES, KEEP, threshold.shadow_thresholds(SCORES, KEEP)
    )
    for target in range(5):
        assert best[target] == pytest.approx(
            naive_threshold(SCORES[target], KEEP[target])
        )
    assert (best >= carried).all() and (best > carried).any()


def test_a_carried_threshold_finds_nothing_in_null_scores_but_the_oracle_does():
    scores = np.random.default_rng(1).normal(size=(40, 60))
    keep = np.random.default_rng(2).random((40, 60)) < 0.5
    carried = threshold.shadow_thresholds(scores, keep)
    assert abs(threshold.accuracy_at(scores, keep, carried).mean() - 0.5) < 0.02
    oracle = threshold.oracle_thresholds(scores, keep)
    assert threshold.accuracy_at(scores, keep, oracle).mean() > 0.55


def test_more_scores_than_candidates_are_thinned_to_quantiles(monkeypatch):
    monkeypatch.setattr(threshold, "MAX_CANDIDATES", 20)
    scores = np.random.default_rng(1).normal(size=(20, 200))
    keep = np.random.default_rng(2).random((20, 200)) < 0.5
    scores = scores + 2 * keep
    thin = threshold.accuracy_at(
        scores, keep, threshold.shadow_thresholds(scores, keep)
    )
    assert thin.mean() == pytest.approx(0.841, abs=0.02)  # Phi(1)


def test_bad_scores_are_refused():
    with pytest.raises(ValueError, match="one shape"):
        threshold.accuracy_at(SCORES, KEEP[:, :3], SCORES)
    with pytest.raises(ValueError, match="must not be NaN"):
        threshold.oracle_thresholds(SCORES * np.nan, KEEP)
    with pytest.raises(ValueError, match="num_models must be"):
        threshold.shadow_thresholds(SCORES[:1], KEEP[:1])
