"""LiRA against SciPy written from the paper, and against its power in closed form."""

import jax
import numpy as np
import pytest
from scipy import stats

from sam_jax import metrics
from sam_jax.attacks import ATTACKS, lira, score_targets
from tests.attacks.examples import CASES, planted_signals, random_signals

KINDS = ("online", "offline", "two_sided")


def naive_statistics(signals, target, location):
    """Location, scatter and count of each example's two sides, without the target."""
    phi = np.clip(np.float64(signals.phi), -1000, 1000)
    others = np.arange(len(phi)) != target
    locate = {"mean": np.mean, "median": np.median}[location]
    sides = {}
    for name, group in (("in", signals.keep), ("out", ~signals.keep)):
        for i in range(phi.shape[1]):
            x = phi[others & group[:, i], i]
            where = locate(x, axis=0) if len(x) else None
            deviations = x - x.mean(0) if len(x) else np.zeros((0, phi.shape[2]))
            sides[name, i] = where, deviations, len(x)
    return phi[target], sides


def naive_lira(signals, target, kind, variance, location, views, prior_count=4.0):
    phi, sides = naive_statistics(signals, target, location)
    num_examples, num_queries = phi.shape

    def scatter(name, i):
        return sides[name, i][1].T @ sides[name, i][1]

    pooled = {}
    for name in ("in", "out"):
        freedom = sum(max(sides[name, i][2] - 1, 0) for i in range(num_examples))
        total = sum(scatter(name, i) for i in range(num_examples))
        pooled[name] = total / freedom + 1e-12 * np.eye(num_queries)
    shifts = [
        sides["in", i][0] - sides["out", i][0]
        for i in range(num_examples)
        if sides["in", i][2] and sides["out", i][2]
    ]
    shift = {"in": np.mean(shifts, 0), "out": -np.mean(shifts, 0)}

    def gaussian(name, i):
        where, deviations, count = sides[name, i]
        if where is None:
            other = "out" if name == "in" else "in"
            where = sides[other, i][0] + shift[name]
        if variance == "global":
            return where, pooled[name]
        shrunk = prior_count * pooled[name] + deviations.T @ deviations
        return where, shrunk / (prior_count + max(count - 1, 0))

    def log_density(name, i):
        where, cov = gaussian(name, i)
        if views == "joint":
            return stats.multivariate_normal.logpdf(phi[i], where, cov)
        return stats.norm.logpdf(phi[i], where, np.sqrt(np.diag(cov))).mean()

    def z_score(i):
        where, cov = gaussian("out", i)
        if views == "joint":
            weights = np.linalg.solve(cov, np.ones(num_queries))
            return weights @ (phi[i] - where) / np.sqrt(weights.sum())
        return ((phi[i] - where) / np.sqrt(np.diag(cov))).mean()

    columns = range(num_examples)
    if kind == "offline":
        return np.array([z_score(i) for i in columns])
    out = np.array([log_density("out", i) for i in columns])
    if kind == "two_sided":
        return -out
    return np.array([log_density("in", i) for i in columns]) - out


def made(kind, variance="per_example", location="mean", views="mean"):
    """The registered attack with these options."""
    name = {"online": "lira_online", "offline": "lira_offline"}.get(
        kind, "lira_offline_two_sided"
    )
    name += "_median" * (location == "median") + "_global" * (variance == "global")
    return ATTACKS[name + "_joint" * (views == "joint")]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(
    ("kind", "variance", "location", "views"),
    [
        ("online", "per_example", "mean", "mean"),
        ("online", "global", "median", "mean"),
        ("online", "per_example", "mean", "joint"),
        ("offline", "per_example", "median", "mean"),
        ("offline", "global", "mean", "mean"),
        ("offline", "per_example", "mean", "joint"),
        ("two_sided", "per_example", "mean", "mean"),
    ],
)
def test_lira_equals_the_loop_over_targets_and_examples(
    case, kind, variance, location, views
):
    signals = CASES[case]
    if views == "joint":  # a covariance with a value of 1000 is singular in float32
        phi = np.nan_to_num(signals.phi, posinf=20.0, neginf=-20.0)
        signals = signals._replace(phi=phi)
    options = kind, variance, location, views
    scores = score_targets(made(*options), signals)
    for target in range(len(signals.phi)):
        expected = naive_lira(signals, target, *options)
        np.testing.assert_allclose(scores[target], expected, rtol=1e-5, atol=1e-5)


def test_an_outlying_target_does_not_spoil_its_own_shadow_statistics():
    signals = random_signals()
    phi = signals.phi.copy()
    phi[0] += 900
    signals = signals._replace(phi=phi)
    scores = score_targets(made("offline"), signals)
    args = ("offline", "per_example", "mean", "mean")
    np.testing.assert_allclose(scores[0], naive_lira(signals, 0, *args), rtol=1e-5)


def test_blocks_of_examples_do_not_change_the_scores():
    signals = CASES["random"]
    attack = made("online")
    whole, blocks = (score_targets(attack, signals, block_size=b) for b in (60, 7))
    np.testing.assert_allclose(whole, blocks, rtol=1e-5, atol=1e-6)


def test_one_target_is_the_same_alone_and_among_all():
    signals = CASES["random"]
    attack = made("online")
    alone = jax.jit(attack)(jax.tree.map(np.asarray, signals), np.int32(5))
    np.testing.assert_allclose(
        alone, score_targets(attack, signals)[5], rtol=1e-5, atol=1e-6
    )


def test_the_target_does_not_enter_its_own_statistics():
    signals = CASES["random"]
    keep = signals.keep.copy()
    keep[4] = ~keep[4]
    for attack in (made("online"), made("offline", location="median")):
        with_and_without = (
            score_targets(attack, s)[4] for s in (signals, signals._replace(keep=keep))
        )
        np.testing.assert_array_equal(*with_and_without)


def auc(scores, signals):
    pool = metrics.varying_columns(signals.keep)
    return metrics.auc(
        metrics.roc_curve(scores[:, pool].ravel(), signals.keep[:, pool].ravel())
    )


def test_power_on_planted_gaussians_is_that_of_the_known_gaussians():
    """d' = 1: AUC Phi(1 / sqrt 2), TPR at 1 % Phi(1 + Phi^-1(0.01)).

    25,600 scores: the standard error of the AUC is 0.003; the location, estimated from
    32 models, costs a factor sqrt(1 + 1/32) in d', 0.004 in AUC.
    """
    signals = planted_signals(shift=1.0, spread=1.0)
    scores = score_targets(made("offline", variance="global"), signals)
    lost = np.sqrt(1 + 1 / 31.5)
    assert abs(auc(scores, signals) - stats.norm.cdf(1 / lost / np.sqrt(2))) < 0.009
    pool = metrics.varying_columns(signals.keep)
    roc = metrics.roc_curve(scores[:, pool].ravel(), signals.keep[:, pool].ravel())
    expected = stats.norm.cdf(1 / lost + stats.norm.ppf(0.01))
    assert abs(metrics.tpr_at_fpr(roc, 0.01) - expected) < 0.015


def test_a_leak_in_the_spread_alone_is_found_online_and_has_its_closed_form():
    """N(0, 4) against N(0, 1): AUC = P(2 |X| > |Y|) = (2 / pi) arctan 2 = 0.705.

    The variances, estimated from 32 models, cost about 0.01; a shift is not there.
    """
    signals = planted_signals(shift=0.0, spread=2.0)
    online = auc(score_targets(made("online"), signals), signals)
    assert abs(online - 2 / np.pi * np.arctan(2)) < 0.02
    assert abs(auc(score_targets(made("offline"), signals), signals) - 0.5) < 0.012


def test_only_the_two_sided_form_rewards_falling_confidence():
    signals = planted_signals(shift=-2.0, spread=1.0)
    assert auc(score_targets(made("offline"), signals), signals) < 0.15
    assert auc(score_targets(made("two_sided"), signals), signals) > 0.7


@pytest.mark.parametrize("kind", KINDS)
def test_no_signal_gives_an_auc_of_one_half(kind):
    signals = planted_signals(shift=0.0, spread=1.0)
    assert abs(auc(score_targets(made(kind), signals), signals) - 0.5) < 0.012


def test_a_one_class_column_and_identical_models_give_finite_scores():
    signals = CASES["degenerate"]
    signals = signals._replace(phi=np.full_like(signals.phi, 3.0))
    for kind in KINDS:
        assert np.isfinite(score_targets(made(kind), signals)).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(variance="pooled"), "variance must be one of"),
        (dict(location="mode"), "location must be one of"),
        (dict(views="max"), "views must be one of"),
        (dict(prior_count=0.0), "prior_count must be finite and > 0"),
    ],
)
def test_unknown_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        lira.lira_online(**options)
