import numpy as np
import pytest

from sam_jax import analysis, types
from sam_jax.analysis import memorization
from sam_jax.attacks import lira_online

NUM_MODELS, NUM_POOL, NUM_TEST = 24, 240, 60
KINDS = np.repeat([0, 1, 2], NUM_POOL // 3)
"""Of the pool: known to all models, moderately memorized, memorized at the top."""


def _mask(seed=0):
    rng = np.random.default_rng(seed)
    keep = np.argsort(rng.random((NUM_MODELS, NUM_POOL)), axis=0) < NUM_MODELS // 2
    return np.concatenate([keep, np.zeros((NUM_MODELS, NUM_TEST), bool)], axis=1)


def _signals(out_right, seed, spread=1.0):
    """Models that are right on what they saw, else as often as ``out_right`` says.

    phi of unseen examples is N(0, spread^2) about +-2, of seen ones N(6, 1).
    """
    rng, keep = np.random.default_rng(seed), _mask()
    chance = np.concatenate([np.asarray(out_right)[KINDS], np.full(NUM_TEST, 0.7)])
    correct = keep | (rng.random(keep.shape) < chance)
    unseen = np.where(correct, 2, -2) + spread * rng.normal(size=keep.shape)
    phi = np.where(keep, 6 + rng.normal(size=keep.shape), unseen)
    entropy = np.zeros(keep.shape, np.float32)
    labels = np.zeros(keep.shape[1], np.int32)
    phi = phi.astype(np.float32)[..., None]
    return types.Signals(phi, correct, entropy, entropy, keep, labels)


@pytest.fixture(scope="module")
def planted():
    """The second recipe memorizes the moderate kind more: 0.7 for 0.5."""
    signals = {
        "sgd": _signals([1.0, 0.5, 0.02], seed=1),
        "sam": _signals([1.0, 0.3, 0.02], seed=2),
    }
    return analysis.compare_optimizers(signals, "sgd", "sam")


@pytest.fixture(scope="module")
def twins():
    signals = _signals([1.0, 0.5, 0.02], seed=1)
    return analysis.compare_optimizers({"one": signals, "two": signals}, "one", "two")


def test_a_planted_gain_is_found_in_its_bin_and_nowhere_else(planted):
    found = analysis.compare_memorization(planted)
    by_name = dict(zip(range(6), found.by_bin[2], strict=True))
    bins = found.bins
    assert (bins[:, KINDS == 0] == 0).all()
    assert (bins[:, KINDS == 2] == 5).mean() > 0.8
    moderate = [e for b, e in by_name.items() if b in (3, 4)]
    assert all(e.low < 0.2 < e.high and e.low > 0 for e in moderate)
    assert by_name[0].low <= 0 <= by_name[0].high and abs(by_name[0].value) < 0.01
    assert by_name[5].low < 0.05 and abs(by_name[5].value) < 0.1
    np.testing.assert_allclose(
        found.difference.value, found.estimates[1].value - found.estimates[0].value
    )


def test_selection_by_one_optimizer_is_on_demand(planted):
    keep, first = planted.keep, planted.first
    halves = [
        memorization.memorization_halves(
            memorization.outcomes(s)[:, planted.pool], keep, first
        )
        for s in planted.signals
    ]
    found = analysis.compare_memorization(planted, selected_by="compared").bins
    expected = np.digitize(halves[1].values, analysis.BIN_EDGES)
    np.testing.assert_array_equal(found, expected)
    mean = (halves[0].values + halves[1].values) / 2
    expected = np.digitize(mean, analysis.BIN_EDGES)
    np.testing.assert_array_equal(analysis.compare_memorization(planted).bins, expected)


def test_an_optimizer_does_not_differ_from_itself(twins):
    found = analysis.compare_memorization(twins)
    assert found.pearson.value == pytest.approx(1)
    assert found.spearman.value == pytest.approx(1)
    assert all(e.value == 0 for e in found.by_bin[2] if not np.isnan(e.value))
    typical = analysis.compare_typicality(twins, found.estimates)
    assert all(e.value == 0 for e in typical.accuracy[2] if not np.isnan(e.value))
    spread = analysis.compare_variance(twins)
    for parts in spread.decomposition.values():
        for name in ("shift", "contraction", "member_std", "interaction"):
            assert parts[name].value == 0 == parts[name].standard_error
    assert all(e.value == 0 for e in spread.unseen[2].values())


def test_buckets_are_made_by_one_half_and_measured_by_the_other(planted):
    found = analysis.compare_memorization(planted)
    typical = analysis.compare_typicality(planted, found.estimates)
    assert sum(typical.counts) == NUM_TEST
    right = np.concatenate([s.correct[:, planted.test] for s in planted.signals])
    means = [e.value for e in typical.accuracy[0] if not np.isnan(e.value)]
    assert min(means) > 0.5 and max(means) < 0.9
    shares = [
        c * e.value
        for c, e in zip(typical.counts, typical.accuracy[0], strict=True)
        if c
    ]
    assert sum(shares) / NUM_TEST == pytest.approx(right[:NUM_MODELS].mean())
    only = analysis.compare_typicality(planted, found.estimates, selected_by="baseline")
    assert not np.array_equal(only.entropy, typical.entropy)


def test_attack_success_follows_memorization(planted):
    found = analysis.compare_attack_success(planted, lira_online())
    for gap, advantage, pearson, spearman in zip(*found[:4], strict=True):
        assert gap[5].low > gap[0].high and advantage[5].low > 0.5
        assert pearson.low > 0 and spearman.low > 0
    assert found.values[0].shape == (NUM_POOL,)


def test_less_variance_of_the_non_members_is_found_as_contraction():
    signals = {
        "sgd": _signals([1.0, 1.0, 1.0], seed=1, spread=2.0),
        "sam": _signals([1.0, 1.0, 1.0], seed=2, spread=1.2),
    }
    comparison = analysis.compare_optimizers(signals, "sgd", "sam")
    found = analysis.compare_variance(comparison)
    base, other = found.fits["phi"]
    assert base.std == pytest.approx(2.0, rel=0.1)
    assert other.std == pytest.approx(1.2, rel=0.1)
    parts = found.decomposition["phi"]
    assert parts["contraction"].low > 0
    assert parts["shift"].low < 0.02 and abs(parts["shift"].value) < 0.03
    assert found.unseen[2]["models"].high < 0


def test_a_bin_difference_does_not_count_what_its_bins_share():
    """A model that is better everywhere moves both bins, not their difference."""
    rng = np.random.default_rng(0)
    covered, widths = [], []
    for _ in range(200):
        outcome = 3 * rng.normal(size=(12, 1)) + rng.normal(size=(12, 90))
        halves = memorization.mean_halves(outcome, memorization.split_models(12))
        bins = np.tile(np.arange(90) % 3, (2, 1))
        found = analysis.bin_difference(bins, halves, 0, 2)
        means = memorization.mean_by_bin(bins, halves, 3)
        assert found.value == pytest.approx(means[0].value - means[2].value)
        covered.append(found.low < 0 < found.high)
        widths.append((found.high - found.low) / (means[0].high - means[0].low))
    assert 0.91 <= np.mean(covered) <= 0.99 and np.mean(widths) < 0.4
    empty = analysis.bin_difference(bins, halves, 0, 5)
    assert np.isnan(empty.value)


def test_bad_input_is_named():
    signals = {"sgd": _signals([1, 1, 1], 0), "sam": _signals([1, 1, 1], 1)}
    with pytest.raises(
        ValueError, match="compared must be one of sam, sgd; got 'asam'"
    ):
        analysis.compare_optimizers(signals, "sgd", "asam")
    with pytest.raises(ValueError, match="compared must not be the baseline"):
        analysis.compare_optimizers(signals, "sgd", "sgd")
    other = signals["sam"]._replace(keep=_mask(1))
    with pytest.raises(ValueError, match="share one keep mask"):
        analysis.compare_optimizers(signals | {"sam": other}, "sgd", "sam")
    cut = {
        name: types.Signals(
            *(np.asarray(a)[:, :NUM_POOL] for a in s[:-1]), labels=s.labels[:NUM_POOL]
        )
        for name, s in signals.items()
    }
    with pytest.raises(ValueError, match="must hold test examples, got none"):
        analysis.compare_optimizers(cut, "sgd", "sam")
    comparison = analysis.compare_optimizers(signals, "sgd", "sam")
    with pytest.raises((ValueError, TypeError), match="selected_by"):
        analysis.compare_memorization(comparison, selected_by="me")
