import numpy as np
import pytest

from sam_jax.metrics import example_risk


def audit(rng, num_targets=10, num_examples=60, spread=1.0):
    keep = rng.permuted(
        np.tile(np.arange(num_targets)[:, None] < num_targets // 2, num_examples),
        axis=0,
    )
    shift = np.linspace(0, 4, num_examples)  # the last examples are the most exposed
    return spread * rng.normal(size=keep.shape) + keep * shift, keep


def naive_exposure(scores, keep, target, example):
    others = ~keep[target]
    others[example] = False
    as_high = (scores[target, others] >= scores[target, example]).sum()
    return -np.log10((1 + as_high) / (1 + others.sum()))


def test_exposure_is_that_of_a_loop_over_pairs():
    scores, keep = audit(np.random.default_rng(0))
    scores = scores.round(1)  # with ties
    exposures = example_risk.pair_exposure(scores, keep)
    for target, example in np.ndindex(keep.shape):
        expected = naive_exposure(scores, keep.copy(), target, example)
        assert exposures[target, example] == pytest.approx(expected)


def test_summaries_are_those_of_a_loop_over_examples():
    scores, keep = audit(np.random.default_rng(1))
    exposures, found = (
        example_risk.pair_exposure(scores, keep),
        example_risk.risk(scores, keep, 0.05),
    )
    inside = [exposures[keep[:, i], i] for i in range(60)]
    pooled = sum(((x - x.mean()) ** 2).sum() for x in inside) / (60 * 4)
    for i, x in enumerate(inside):
        outside = exposures[~keep[:, i], i]
        assert found.exposure[i] == pytest.approx(x.mean())
        shrunk = (4 * pooled + ((x - x.mean()) ** 2).sum()) / (4 + 4)
        assert found.error[i] == pytest.approx(np.sqrt(shrunk / 5))
        above = (x[:, None] > outside) + 0.5 * (x[:, None] == outside)
        assert found.auc[i] == pytest.approx(above.mean())
        assert found.caught[i] == (x >= -np.log10(0.05)).sum()
        assert found.score[i] == pytest.approx(scores[keep[:, i], i].mean())
    assert sorted(found.rank) == list(range(1, 61))
    assert found.exposure[found.rank == 1] == found.exposure.max()
    assert ((found.rank_low <= found.rank) & (found.rank <= found.rank_high)).all()


def test_errors_are_those_of_repeated_audits():
    """The standard error is that of an exposure when the whole audit is repeated."""
    rng = np.random.default_rng(2)
    found = [example_risk.risk(*audit(rng)) for _ in range(60)]
    spread = np.std([f.exposure for f in found], axis=0)
    stated = np.sqrt(np.mean([f.error**2 for f in found], axis=0))
    assert np.median(stated / spread) == pytest.approx(1, abs=0.15)


def test_an_example_that_no_target_had_is_nan_and_comes_last():
    scores, keep = audit(np.random.default_rng(3))
    keep[:, 7] = False
    found = example_risk.risk(scores, keep)
    assert np.isnan(found.exposure[7]) and np.isnan(found.auc[7])
    assert found.rank[7] == 60 and found.num_in[7] == 0


def test_changes_are_paired_and_zero_against_oneself():
    scores, keep = audit(np.random.default_rng(4))
    value, error = example_risk.exposure_change(scores, scores, keep)
    assert (value == 0).all() and (error == 0).all()
    weaker = np.where(keep, scores - 1, scores)
    value, error = example_risk.exposure_change(weaker, scores, keep)
    assert (value <= 0).all() and value.mean() < -3 * error.mean() / np.sqrt(60)


def test_luck_of_the_ranking_shows_in_the_other_half():
    rng = np.random.default_rng(5)
    noise, keep = rng.normal(size=(16, 400)), rng.random((16, 400)) < 0.5
    null = example_risk.reliability(noise, keep)
    assert null.top_seen > null.everyone + 0.4
    assert abs(null.top_again - null.everyone) < 0.15 and abs(null.correlation) < 0.15
    real = example_risk.reliability(*audit(rng, 16, 400))
    assert real.correlation > 0.7 and real.top_again > real.everyone + 0.4
    constant = example_risk.reliability(np.zeros((4, 10)), np.eye(4, 10) > 0)
    assert np.isnan(constant.correlation)
