import numpy as np
import pytest
from scipy import stats

from sam_jax import metrics
from sam_jax.metrics import attack_metrics, bootstrap_attack, replicates
from sam_jax.metrics.estimate import (
    Estimate,
    IntervalConfig,
    p_value,
    targets_to_resolve,
)


def _measure(scores, keep, num_replicates=400, seed=0, level=0.95, **options):
    """The metrics of one attack."""
    intervals = IntervalConfig(level, num_replicates, seed)
    boot = bootstrap_attack(scores, keep, intervals=intervals, **options)
    return attack_metrics.attack_metrics(boot)


def _difference(ours, theirs, keep, num_replicates=400, seed=0, **options):
    """The paired difference of two attacks."""
    intervals = IntervalConfig(0.95, num_replicates, seed)
    return attack_metrics.paired_difference(
        bootstrap_attack(ours, keep, intervals=intervals, **options),
        bootstrap_attack(theirs, keep, intervals=intervals, **options),
    )


def _balanced(rng, num_targets, num_examples):
    half = np.arange(num_targets)[:, None] < num_targets // 2
    return rng.permuted(np.tile(half, (1, num_examples)), axis=0)


def _audit(rng, num_targets, num_examples, row=0.0, column=0.0):
    """Two optimizers whose member shift varies by target and by example."""
    keep = _balanced(rng, num_targets, num_examples)
    noise, fresh = rng.normal(size=(2, *keep.shape))
    shift = 0.4 + row * rng.normal(size=(num_targets, 1))
    shift = shift + column * (rng.exponential(size=num_examples) - 1)
    ours = noise + keep * shift
    theirs = 0.8 * noise + 0.6 * fresh + keep * shift
    return ours, theirs, keep


@pytest.mark.parametrize("row,column", [(0.0, 0.0), (0.2, 0.0), (0.0, 0.5)])
def test_pooled_values_are_those_of_one_curve_over_all_targets(row, column):
    scores, _, keep = _audit(np.random.default_rng(0), 4, 500, row, column)
    result = _measure(scores, keep, num_replicates=20)
    roc = metrics.roc_curve(scores.ravel(), keep.ravel())
    assert result.pooled["auc"].value == metrics.auc(roc)
    assert result.pooled["tpr_at_fpr_0.01"].value == metrics.tpr_at_fpr(roc, 0.01)
    alone = [
        metrics.auc(metrics.roc_curve(s, k)) for s, k in zip(scores, keep, strict=True)
    ]
    assert result.per_target["auc"] == alone
    np.testing.assert_allclose(result.mean["auc"].value, np.mean(alone))
    assert result.num_non_members == 1000


def test_unweighted_histogram_has_the_metrics_of_the_full_curve():
    scores, _, keep = _audit(np.random.default_rng(1), 8, 2000, 0.1, 0.5)
    codes, num_codes = replicates.bin_codes(scores, keep)
    counts = np.bincount(codes.ravel(), minlength=num_codes)[None].astype(float)
    rates = (0.01, 0.001)
    exact = replicates.exact_metrics(replicates.sort_scores(scores, keep), rates)
    binned = replicates.binned_metrics(counts, rates)[0]
    np.testing.assert_allclose(binned[:2], exact[:2], atol=5e-4)
    # A bin spans at most this ratio of FPR, and a concave curve's TPR grows no faster.
    ratio = (~keep).sum() ** (1 / (replicates.NUM_QUANTILES - 1))
    np.testing.assert_allclose(binned[2:], exact[2:], rtol=ratio - 1)


def test_variance_over_examples_equals_delongs_for_one_target():
    scores, _, keep = _audit(np.random.default_rng(2), 2, 3000)
    scores, keep = scores[:1], keep[:1]
    members, others = scores[keep], scores[~keep]
    above = members[:, None] > others
    delong = above.mean(1).var(ddof=1) / len(members)
    delong += above.mean(0).var(ddof=1) / len(others)
    got = _measure(scores, keep, num_replicates=2000).pooled["auc"]
    np.testing.assert_allclose(got.standard_error, np.sqrt(delong), rtol=0.1)


def test_the_difference_of_an_optimizer_to_itself_is_zero_and_never_significant():
    scores, _, keep = _audit(np.random.default_rng(3), 4, 300)
    result = _difference(scores, scores, keep, num_replicates=20)
    for estimate in result.pooled.values():
        if not np.isnan(estimate.value):
            assert estimate[:4] == (0, 0, 0, 0)
            assert p_value(estimate) == 1
    assert targets_to_resolve(result.pooled["auc"], 4) == np.inf


def test_pairing_narrows_the_interval_and_the_p_value_agrees_with_it():
    ours, theirs, keep = _audit(np.random.default_rng(4), 8, 1000, 0.2, 0.5)
    paired = _difference(ours, theirs, keep).pooled["auc"]
    alone = [
        _measure(scores, keep).pooled["auc"].standard_error for scores in (ours, theirs)
    ]
    assert paired.standard_error < 0.8 * np.hypot(*alone)
    for null, outside in ((paired.low, 0.05), (paired.high, 0.05)):
        np.testing.assert_allclose(p_value(paired, null), outside, rtol=1e-6)


def test_too_few_non_members_give_nan_and_a_number():
    scores, _, keep = _audit(np.random.default_rng(5), 4, 100)
    result = _measure(scores, keep, fprs=(0.01,), num_replicates=20)
    assert not np.isnan(result.pooled["tpr_at_fpr_0.01"].value)
    assert np.isnan(result.mean["tpr_at_fpr_0.01"]).all()
    assert result.non_members_per_target < 100 <= result.num_non_members


def test_pooled_metrics_alone_are_those_of_the_whole_functions():
    ours, theirs, keep = _audit(np.random.default_rng(12), 4, 200)
    options = {"fprs": (0.05,), "intervals": IntervalConfig(num_replicates=20)}
    whole, base = (bootstrap_attack(s, keep, **options) for s in (ours, theirs))
    alone, baseline = (
        bootstrap_attack(s, keep, pooled_only=True, **options) for s in (ours, theirs)
    )
    expected = attack_metrics.attack_metrics(whole).pooled
    assert attack_metrics.pooled_metrics(alone) == expected
    paired = attack_metrics.paired_difference(whole, base).pooled
    assert attack_metrics.pooled_difference(alone, baseline) == paired


def test_only_bootstraps_with_the_same_draws_are_paired():
    ours, theirs, keep = _audit(np.random.default_rng(13), 4, 200)
    first = bootstrap_attack(ours, keep, fprs=(0.05,))
    other_rates = bootstrap_attack(theirs, keep, fprs=(0.1,))
    with pytest.raises(ValueError, match="baseline must have the same fprs"):
        attack_metrics.paired_difference(first, other_rates)
    other_seed = bootstrap_attack(
        theirs, keep, fprs=(0.05,), intervals=IntervalConfig(seed=1)
    )
    with pytest.raises(ValueError, match="same intervals to be paired"):
        first.minus(other_seed)


def test_masked_columns_do_not_count():
    scores, _, keep = _audit(np.random.default_rng(6), 4, 200)
    wide = np.concatenate([scores, 9 + np.zeros((4, 50))], axis=1)
    wide_keep = np.concatenate([keep, np.zeros((4, 50), bool)], axis=1)
    mask = metrics.varying_columns(wide_keep)
    masked = _measure(wide, wide_keep, mask=mask, num_replicates=20)
    alone = _measure(scores, keep, num_replicates=20)
    assert masked.pooled["auc"] == alone.pooled["auc"]


def test_a_rate_of_zero_or_one_has_the_clopper_pearson_interval():
    keep = _balanced(np.random.default_rng(7), 4, 100)
    perfect = _measure(keep * 1.0, keep, fprs=(0.01,))
    tpr = perfect.pooled["tpr_at_fpr_0.01"]
    assert (tpr.low, tpr.high) == metrics.binomial_interval(200, 200)
    inverse = _measure(keep * -1.0, keep, fprs=(0.01,))
    tpr = inverse.pooled["tpr_at_fpr_0.01"]
    assert (tpr.low, tpr.high) == metrics.binomial_interval(0, 200)


def test_roc_band_holds_the_curve_and_starts_at_one_false_positive():
    scores, _, keep = _audit(np.random.default_rng(8), 8, 500, 0.1)
    band = attack_metrics.roc_band(bootstrap_attack(scores, keep))
    roc = metrics.roc_curve(scores.ravel(), keep.ravel())
    assert band.fpr[0] == 1 / band.num_non_members == 1 / 2000
    expected = [metrics.tpr_at_fpr(roc, alpha) for alpha in band.fpr]
    np.testing.assert_allclose(band.tpr, expected)
    assert (band.low <= band.tpr).all() and (band.tpr <= band.high).all()


def test_targets_to_resolve_inverts_the_variance():
    estimate = Estimate(0.02, -0.02, 0.06, 0.02, np.inf, 0.0003)
    needed = targets_to_resolve(estimate, 16)
    quantile = stats.norm.isf(0.025)
    # 4e-4 = 3e-4 from targets and 1e-4 from examples; more targets help the former.
    for targets, resolved in ((needed, True), (needed - 1, False)):
        error = np.sqrt(0.0003 * 16 / targets + 0.0001)
        assert (quantile * error <= 0.02) == resolved
    fixed = estimate._replace(target_variance=0.0)
    assert targets_to_resolve(fixed, 16) == np.inf


@pytest.mark.parametrize(
    "options,match",
    [
        ({"level": 1.0}, "level must lie strictly"),
        ({"fprs": (0.0,)}, r"fprs must lie in \(0, 1\]"),
        ({"fprs": (2.0,)}, r"fprs must lie in \(0, 1\]"),
        ({"num_replicates": 5}, "num_replicates must be a whole number >= 20"),
        ({"mask": np.zeros(50, bool)}, "mask must count at least one"),
    ],
)
def test_bad_options_are_named(options, match):
    scores, _, keep = _audit(np.random.default_rng(9), 4, 50)
    with pytest.raises(ValueError, match=match):
        _measure(scores, keep, **options)


def test_a_target_without_members_or_with_nan_is_named():
    scores, _, keep = _audit(np.random.default_rng(10), 4, 50)
    empty = keep.copy()
    empty[2] = False
    with pytest.raises(
        ValueError, match=r"keep must mark at least one member .*Target 2"
    ):
        _measure(scores, empty)
    scores[3, 0] = np.nan
    with pytest.raises(ValueError, match=r"scores must not be NaN.*Target 3"):
        _measure(scores, keep)


def _coverage(num_audits, num_targets, num_examples, row, column, num_replicates=80):
    """Fraction of audits whose intervals hold the truth: pooled AUC, TPR, difference.

    The truth of each metric is its mean over all audits.
    """
    rng = np.random.default_rng(11)
    estimates = []
    for seed in range(num_audits):
        audit = _audit(rng, num_targets, num_examples, row, column)
        options = {"fprs": (0.05,), "num_replicates": num_replicates, "seed": seed}
        ours = _measure(audit[0], audit[2], **options)
        difference = _difference(*audit, **options)
        estimates.append(
            [
                ours.pooled["auc"],
                ours.pooled["tpr_at_fpr_0.05"],
                ours.mean["auc"],
                difference.pooled["auc"],
                difference.mean["tpr_at_fpr_0.05"],
            ]
        )
    value, low, high = np.moveaxis(np.array(estimates), -1, 0)[:3]
    truth = value.mean(axis=0)
    return np.mean((low <= truth) & (truth <= high), axis=0)


def test_95_percent_intervals_cover_in_20_small_audits():
    covered = _coverage(20, 6, 80, row=0.2, column=0.5, num_replicates=40)
    # 4 standard errors of a fraction over 20 audits below 95 %.
    assert (covered >= 0.95 - 4 * np.sqrt(0.95 * 0.05 / 20)).all()


@pytest.mark.slow
@pytest.mark.parametrize("num_targets", [8, 16, 64])
@pytest.mark.parametrize("row,column", [(0.0, 0.0), (0.2, 0.0), (0.0, 0.5), (0.2, 0.5)])
def test_95_percent_intervals_cover_92_to_98_percent_of_500_audits(
    num_targets, row, column
):
    covered = _coverage(500, num_targets, 400, row, column)
    assert (covered >= 0.92).all()
    # A TPR with about ten false positives behind it has intervals that are too wide.
    is_auc = [0, 2, 3]
    assert (covered[is_auc] <= 0.98).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("num_levels", [3, 40, 10_000])
def test_metrics_from_sorted_scores_are_those_of_the_curve(num_levels, dtype):
    """Ties and infinite scores too; every rate that the curve can have."""
    rng = np.random.default_rng(num_levels)
    scores = rng.integers(0, num_levels, 700).astype(dtype)
    scores[:3], scores[3:5] = -np.inf, np.inf
    keep = rng.random(700) < 0.4
    rates = [0.001, 0.01, *(np.arange(1, 50) / (~keep).sum()), 0.5, 1.0]
    curve = metrics.roc_curve(scores, keep)
    found = replicates.exact_metrics(replicates.sort_scores(scores, keep), rates)
    expected = [metrics.auc(curve), metrics.balanced_accuracy(curve)]
    expected += [metrics.tpr_at_fpr(curve, rate) for rate in rates]
    np.testing.assert_allclose(found, expected, rtol=1e-15)


def test_blocks_of_targets_count_what_one_block_counts(monkeypatch):
    scores, _, keep = _audit(np.random.default_rng(6), 12, 400, 0.1, 0.5)
    whole = _measure(scores, keep, num_replicates=20)
    monkeypatch.setattr(replicates, "PAIRS_IN_BLOCK", 1000)
    in_blocks = _measure(scores, keep, num_replicates=20)
    for name, estimate in whole.pooled.items():
        np.testing.assert_array_equal(in_blocks.pooled[name], estimate)
