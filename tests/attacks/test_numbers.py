"""No entry, unit, type or order of the input moves what it should not."""

import functools

import hypothesis
import hypothesis.strategies as st
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from sam_jax._checks import ArgumentError
from sam_jax.attacks import ATTACKS, medians, score_targets
from tests.attacks.examples import balanced_keep, make_signals, random_signals

SIGNALS = random_signals(num_models=8, num_examples=300, num_queries=1)
POOL = SIGNALS.keep.any(axis=0)
ATTACK_NAMES = (
    "lira_online",
    "lira_online_global",
    "lira_online_median",
    "lira_offline",
    "rmia_online",
    "calibrated_loss",
    "attack_r",
    "attack_p",
    "quantile_regression",
    "loss",
)
NOT_SCALE_FREE = ("rmia_online", "calibrated_loss")
SCALE_FREE = tuple(name for name in ATTACK_NAMES if name not in NOT_SCALE_FREE)
MANY = random_signals(num_models=8, num_examples=3_000, num_queries=1)


@functools.cache
def clean_scores(name, many=False):
    """Scores as they should be; made when needed, not by all that collect tests."""
    return score_targets(ATTACKS[name], MANY if many else SIGNALS)


def shares_below(scores):
    """Each score's rank among all, as a share."""
    return stats.rankdata(scores) / scores.size


@hypothesis.settings(max_examples=15, deadline=None)
@hypothesis.given(
    model=st.integers(0, 7),
    example=st.integers(0, 2_999),
    value=st.sampled_from([np.inf, -np.inf, 1e300, -1e300, 1e30, -1e17, 1e4, 0.0]),
)
@pytest.mark.parametrize("name", ATTACK_NAMES)
def test_the_other_examples_keep_their_ranks_whatever_one_entry_is(
    name, model, example, value
):
    phi = np.float64(MANY.phi)
    phi[model, example] = value
    scores = score_targets(ATTACKS[name], MANY._replace(phi=phi))
    assert np.isfinite(scores).all()
    others = MANY.keep.any(axis=0) & (np.arange(phi.shape[1]) != example)
    clean = clean_scores(name, many=True)
    moved = shares_below(scores[:, others]) - shares_below(clean[:, others])
    # In a pooled variance an example weighs at most 30 times as much as the median one,
    # 1 % of 3,000 examples, and none where it is far beyond. A few scores far from both
    # sides are a difference of large squares, which 1 % of a variance moves further.
    assert np.quantile(np.abs(moved), 0.999) < 0.02
    assert np.abs(moved).mean() < 0.001


@pytest.mark.parametrize("name", SCALE_FREE)
@pytest.mark.parametrize("scale", [1e-3, 300.0, 1e6])
def test_the_unit_of_phi_does_not_matter(name, scale):
    scaled = SIGNALS._replace(phi=(SIGNALS.phi * np.float32(scale)))
    scores = score_targets(ATTACKS[name], scaled)
    moved = shares_below(scores[:, POOL]) - shares_below(clean_scores(name)[:, POOL])
    assert np.abs(moved).max() < 1e-3


@pytest.mark.parametrize("name", ["lira_online", "lira_offline", "attack_r", "loss"])
def test_phi_of_rounded_probabilities_loses_the_rounding_alone(name):
    """At infinity or at the largest logit of a float32 below 1: the same AUC."""
    rng = np.random.default_rng(0)
    keep = balanced_keep(8, 600, rng)
    phi = rng.normal(14, 3, (1, 600)) + 2 * keep + rng.normal(size=keep.shape)
    p = (1 / (1 + np.exp(-phi))).astype(np.float32)
    with np.errstate(divide="ignore"):
        rounded = np.log(p) - np.log1p(-p)
    assert np.isinf(rounded).mean() > 0.1
    limit = rounded[np.isfinite(rounded)].max()
    aucs = []
    for values in (rounded, np.minimum(phi, limit)):
        scores = score_targets(ATTACKS[name], make_signals(values[..., None], keep))
        pairs = scores[keep].ravel(), scores[~keep].ravel()
        aucs.append(stats.mannwhitneyu(*pairs).statistic / keep.sum() / (~keep).sum())
    # Attack-R counts models below: ties at infinity cost it a little more.
    assert aucs[0] > 0.6 and aucs[0] > aucs[1] - 0.02


@pytest.mark.parametrize("name", ["lira_online", "rmia_online", "shadow_classifier"])
def test_masks_of_ones_and_zeros_orders_and_types_change_nothing(name):
    given = SIGNALS._replace(
        phi=np.asfortranarray(SIGNALS.phi.astype(">f8")),
        keep=SIGNALS.keep.astype(np.int8),
        correct=SIGNALS.correct.astype(float),
        labels=SIGNALS.labels.astype(">i8"),
    )
    expected = score_targets(ATTACKS[name], SIGNALS)
    np.testing.assert_array_equal(score_targets(ATTACKS[name], given), expected)
    with pytest.raises(ArgumentError, match="keep must be a mask"):
        score_targets(ATTACKS[name], given._replace(keep=given.keep + 1))


@pytest.mark.parametrize("name", ["lira_online", "rmia_offline", "shadow_classifier"])
def test_the_order_of_the_examples_does_not_matter(name):
    order = np.random.default_rng(0).permutation(len(POOL))
    moved = score_targets(ATTACKS[name], SIGNALS.select(examples=order))
    expected = score_targets(ATTACKS[name], SIGNALS)[:, order]
    np.testing.assert_allclose(moved, expected, rtol=1e-4, atol=1e-4)


def test_constant_phi_under_a_balanced_mask_is_one_score():
    constant = SIGNALS._replace(phi=np.full_like(SIGNALS.phi, 1.3))
    for name in ("lira_online", "lira_offline", *NOT_SCALE_FREE, "attack_r"):
        assert len(np.unique(score_targets(ATTACKS[name], constant)[:, POOL])) == 1


def test_quantile_regression_meets_nominal_false_positive_rates():
    rng = np.random.default_rng(0)
    keep = np.pad(balanced_keep(9, 4_000, rng), ((0, 0), (0, 6_000)))
    level = rng.normal(1, 2, size=(1, 10_000))
    for scale in (1e-3, 1.0, 1e6):
        phi = scale * (level + 0.5 * rng.normal(size=keep.shape) + keep)
        signals = make_signals(phi[..., None], keep)
        scores = score_targets(ATTACKS["quantile_regression"], signals)
        for group in (~keep.any(axis=0)[None] & ~keep, keep.any(axis=0) & ~keep):
            for nominal in (0.25, 0.05, 0.01):
                above = scores > stats.norm.isf(nominal)
                # A location and a scale from 6,000 points each add to the error.
                error = np.sqrt(nominal / group.sum() * 9 + 0.1 * nominal**2 / 6_000)
                assert abs(above[group].mean() - nominal) < 5 * error + 0.03 * nominal


def test_constant_features_leave_finite_scores():
    constant = np.full(SIGNALS.keep.shape, 0.5, np.float32)
    signals = SIGNALS._replace(entropy=constant, modified_entropy=constant)
    assert np.isfinite(score_targets(ATTACKS["shadow_classifier"], signals)).all()
    same = SIGNALS._replace(phi=np.ones_like(SIGNALS.phi))
    for name in ("shadow_classifier", "quantile_regression"):
        assert np.isfinite(score_targets(ATTACKS[name], same)).all()


def numpy_attack(signals, target):
    """Branches on values, as no traced function can."""
    phi = np.asarray(signals.phi)[target, :, 0]
    return phi if phi.mean() > 0 else -phi


def test_an_attack_in_numpy_runs_as_it_is():
    scores = score_targets(numpy_attack, SIGNALS, targets=np.array([1, 4]))
    for row, target in zip(scores, (1, 4), strict=True):
        np.testing.assert_array_equal(row, numpy_attack(SIGNALS, target))


@pytest.mark.parametrize(
    ("attack", "message"),
    [
        (lambda s, t: s.phi[t], "'<lambda>' must return one score for each example"),
        (lambda s, t: s.phi[t, :, 0] * np.nan, "scores that are numbers, got 2,560"),
    ],
)
def test_scores_of_a_wrong_shape_and_nan_are_refused(attack, message):
    with pytest.raises(ArgumentError, match=message):
        score_targets(attack, SIGNALS)


@pytest.mark.parametrize("num_models", [1, 2, 3, 4, 7, 256])
@pytest.mark.parametrize("scale", [1.0, 1e-30, 1e37])
def test_medians_are_those_of_numpy(num_models, scale):
    rng = np.random.default_rng(num_models)
    values = (rng.standard_normal((num_models, 50)) * scale).astype(np.float32)
    values[0, :5], values[:, 5], values[-1, 6] = values[-1, :5], -0.0, np.inf
    is_valid = rng.random(values.shape) < 0.5
    valid_alone = np.where(is_valid, values, np.nan)
    expected = np.median(values, axis=0), np.nanmedian(valid_alone, axis=0)
    found = medians.median(jnp.asarray(values), 0)[0]
    np.testing.assert_allclose(found, expected[0], rtol=1e-6)
    found = medians.median(jnp.asarray(values), 0, jnp.asarray(is_valid))[0]
    np.testing.assert_allclose(found, np.nan_to_num(expected[1], posinf=np.inf), 1e-6)
