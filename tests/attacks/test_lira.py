"""LiRA against SciPy written from the paper, and against its power in closed form."""

import functools
import inspect

import jax
import numpy as np
import pytest
from scipy import stats

from sam_jax import metrics
from sam_jax._checks import ArgumentError
from sam_jax.attacks import lira, score_targets
from tests.attacks.examples import CASES, planted_signals, random_signals
from tests.attacks.naive import finite_phi, references

KINDS = ("online", "offline", "two_sided")


def naive_sides(signals, target, location, matched):
    """Location, deviations and count of each example's two sides."""
    phi, locate = finite_phi(signals), {"mean": np.mean, "median": np.median}[location]
    sides = {}
    groups = references(signals, target, matched)
    for i in range(phi.shape[1]):
        for name, group in zip(("in", "out"), groups, strict=True):
            x = phi[group[:, i], i]
            where = locate(x, axis=0) if len(x) else None
            deviations = x - x.mean(0) if len(x) else np.zeros((0, phi.shape[2]))
            sides[name, i] = where, deviations, len(x)
    return sides


def side_scatter(side):
    return side[1].T @ side[1]


def naive_pool(sides, num_examples, joint):
    """Variance of each side and shift between them; outliers lose weight."""
    pooled, num_queries = {}, sides["in", 0][1].shape[1]
    for name in ("in", "out"):
        scatters = np.stack([side_scatter(sides[name, i]) for i in range(num_examples)])
        freedom = np.array([max(sides[name, i][2] - 1, 0) for i in range(num_examples)])
        pooled[name] = np.zeros((num_queries, num_queries))
        for q in range(1 if joint else num_queries):
            which = slice(None) if joint else slice(q, q + 1)
            size = np.trace(scatters[:, which, which], axis1=1, axis2=2)
            size = size / num_queries if joint else size
            ratio = size / np.maximum(freedom, 1)
            limit = 30 * np.median(ratio[ratio > 0])
            excess = np.maximum(ratio / limit, 1)
            weights = excess**-2
            total = np.einsum("n,nij->ij", weights, scatters[:, which, which])
            pooled[name][which, which] = total / (weights * freedom).sum()
        level = np.trace(pooled[name]) / num_queries
        pooled[name] += 1e-6 * level * np.eye(num_queries) * joint
    shifts = [
        sides["in", i][0] - sides["out", i][0]
        for i in range(num_examples)
        if sides["in", i][2] and sides["out", i][2]
    ]
    shift = np.median(shifts, axis=0)
    return pooled, {"in": shift, "out": -shift}


def naive_lira(
    signals, target, kind, variance, location, queries, matched=True, prior_count=4.0
):
    phi = finite_phi(signals)
    num_examples, num_queries = phi.shape[1:]
    everyone = naive_sides(signals, target, location, matched=False)
    pooled, shift = naive_pool(everyone, num_examples, queries == "joint")
    sides = naive_sides(signals, target, location, matched)

    def gaussian(name, i):
        where, deviations, count = sides[name, i]
        if where is None:
            other = "out" if name == "in" else "in"
            where = sides[other, i][0] + shift[name]
        inflation = 1 + 1 / max(count, 1) if matched else 1.0
        if variance == "global":
            return where, inflation * pooled[name]
        shrunk = prior_count * pooled[name] + deviations.T @ deviations
        return where, inflation * shrunk / (prior_count + max(count - 1, 0))

    def log_density(name, i):
        where, cov = gaussian(name, i)
        if queries == "joint":
            return stats.multivariate_normal.logpdf(phi[target, i], where, cov)
        return stats.norm.logpdf(phi[target, i], where, np.sqrt(np.diag(cov))).mean()

    def z_score(i):
        where, cov = gaussian("out", i)
        distance = phi[target, i] - where
        if queries == "joint":
            weights = np.linalg.solve(cov, np.ones(num_queries))
            return weights @ distance / np.sqrt(weights.sum())
        return (distance / np.sqrt(np.diag(cov))).mean()

    columns = range(num_examples)
    if kind == "offline":
        return np.array([z_score(i) for i in columns])
    out = np.array([log_density("out", i) for i in columns])
    if kind == "two_sided":
        return -out
    return np.array([log_density("in", i) for i in columns]) - out


FACTORIES = {
    "online": lira.lira_online,
    "offline": lira.lira_offline,
    "two_sided": functools.partial(lira.lira_offline, two_sided=True),
}


@functools.cache
def made(kind, variance="per_example", location="mean", queries="mean", matched=True):
    return FACTORIES[kind](variance, location, queries, matched=matched)


FORMS = [
    ("online", "per_example", "mean", "mean"),
    ("offline", "per_example", "median", "mean"),
    ("offline", "global", "mean", "mean"),
    ("online", "per_example", "mean", "joint"),
    ("online", "global", "median", "mean"),
    ("offline", "per_example", "mean", "joint"),
    ("two_sided", "per_example", "mean", "mean"),
]
# Without matching, each option once: it changes nothing that the others see.
MATCHED = [(case, *form, True) for form in FORMS for case in CASES]
PLAIN = [("random", *form, False) for form in FORMS[:4]]


@pytest.mark.parametrize(
    ("case", "kind", "variance", "location", "queries", "matched"), MATCHED + PLAIN
)
def test_lira_equals_the_loop_over_targets_and_examples(
    case, kind, variance, location, queries, matched
):
    signals = CASES[case]
    if queries == "joint":  # a covariance with a value of 700 is singular in float32
        phi = np.clip(signals.phi, -20.0, 20.0)
        signals = signals._replace(phi=phi)
    options = kind, variance, location, queries, matched
    scores = score_targets(made(*options), signals)
    for target in range(len(signals.phi)):
        expected = naive_lira(signals, target, *options)
        np.testing.assert_allclose(scores[target], expected, rtol=2e-5, atol=2e-5)


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


def test_the_target_does_not_enter_the_statistics_of_the_plain_form():
    signals = CASES["random"]
    keep = signals.keep.copy()
    keep[4] = ~keep[4]
    for attack in (
        made("online", matched=False),
        made("offline", location="median", matched=False),
    ):
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
        (dict(queries="max"), "queries must be one of"),
        (dict(prior_count=0.0), "prior_count must be finite and > 0"),
    ],
)
def test_unknown_options_are_refused(options, message):
    # Without run-time type checks, which would refuse the type before the value.
    with pytest.raises(ArgumentError, match=message):
        inspect.unwrap(lira.lira_online)(**options)
