"""Attacks of one formula, each against that formula in float64, and the fitted ones."""

import inspect

import jax
import numpy as np
import pytest
from scipy import special, stats
from sklearn.linear_model import LogisticRegression

from sam_jax import metrics
from sam_jax._checks import ArgumentError
from sam_jax.attacks import ATTACKS, direct, fitted, score_targets, tuning
from tests.attacks.examples import CASES, make_signals, planted_signals
from tests.attacks.naive import finite_phi, log_p, references

FIT_LOGISTIC = jax.jit(fitted.fit_logistic)


@pytest.mark.parametrize("case", CASES)
def test_direct_scores_are_their_formulas(case):
    s = CASES[case]
    p = special.expit(finite_phi(s))
    is_moderate = np.abs(finite_phi(s)).max(axis=-1) < 15
    mean_p = np.where(is_moderate, p.mean(-1), 0.5)
    expected = np.log(mean_p / (1 - mean_p))
    actual = score_targets(ATTACKS["confidence"], s)
    np.testing.assert_allclose(
        actual[is_moderate], expected[is_moderate], rtol=1e-5, atol=1e-5
    )
    formulas = {
        "loss": -np.log(-log_p(s).mean(-1)),
        "correctness": s.correct,
        "entropy": -s.entropy,
        "modified_entropy": -s.modified_entropy,
        "label_only": (s.correct + 1.0 * (s.phi[..., 1] > 0)) / 2,
    }
    attacks = {name: ATTACKS[name] for name in formulas}
    attacks["least confidence"] = direct.confidence(queries="min")
    formulas["least confidence"] = finite_phi(s).min(-1)
    for name, expected in formulas.items():
        actual = score_targets(attacks[name], s)
        # The log of a loss of 1 is 0: the error of float32 there is absolute.
        atol = 1e-6 if name == "loss" else 1e-30
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=atol)


def test_confidence_of_one_view_is_phi_and_never_saturates():
    phi = np.linspace(-900, 900, 120, dtype=np.float32).reshape(12, 10, 1)
    s = make_signals(phi, np.zeros((12, 10)))
    scores = score_targets(direct.confidence(), s)
    np.testing.assert_allclose(scores, phi[..., 0], rtol=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_calibrated_loss_and_attack_r_equal_the_loop(case):
    s = CASES[case]
    phi, log_probability = finite_phi(s).mean(-1), log_p(s).mean(-1)
    calibrated = score_targets(ATTACKS["calibrated_loss"], s)
    ranks = score_targets(ATTACKS["attack_r"], s)
    outside = [references(s, target)[1] for target in range(len(phi))]
    for target, i in np.ndindex(s.keep.shape):
        out_loss = log_probability[outside[target][:, i], i]
        difficulty = out_loss.mean() if len(out_loss) else 0.0
        expected = log_probability[target, i] - difficulty
        assert calibrated[target, i] == pytest.approx(expected, rel=1e-5, abs=1e-5)
        out_phi = phi[outside[target][:, i], i]
        if phi[target, i] in out_phi or len(out_phi) == 0:
            continue  # equal in float64 but not in float32 means, or nothing to rank
        position = ranks[target, i] * (len(out_phi) + 1)
        assert np.floor(position) == (out_phi < phi[target, i]).sum()


def test_attack_p_is_the_rank_in_the_population():
    s = CASES["random"]
    phi = finite_phi(s).mean(-1)
    is_population = ~s.keep.any(axis=0)
    scores = score_targets(ATTACKS["attack_p"], s)[:, ~is_population]
    below = phi[:, ~is_population, None] > phi[:, None, is_population]
    fraction = below.mean(-1)
    inside = (fraction > 0) & (fraction < 1)
    gap = (scores - (fraction - 1))[inside]
    assert ((gap > -1e-6) & (gap < 1 / is_population.sum() + 1e-6)).all()
    top = phi - phi[:, is_population].max(axis=1, keepdims=True)
    beats_all = fraction == 1
    np.testing.assert_allclose(
        scores[beats_all], top[:, ~is_population][beats_all], rtol=1e-4, atol=1e-5
    )


def standardised(values, reference):
    """Values minus the median of the reference, over the range of its central 98 %."""
    low, center, high = np.quantile(reference, [0.01, 0.5, 0.99], axis=0)
    scale = (high - low) / (2 * 2.3263)
    return (values - center) / np.where(scale > 1e-6 * abs(center), scale, np.inf)


def test_quantile_by_class_is_the_z_score_among_the_population_of_the_class():
    s = CASES["random"]
    scores = score_targets(ATTACKS["quantile_by_class"], s)
    phi, aside = s.phi.mean(-1).astype(np.float64), ~s.keep.any(axis=0)
    for target, row in enumerate(phi):
        of_all = row[aside]
        low, center, high = np.quantile(of_all, [0.01, 0.5, 0.99])
        scale = (high - low) / (2 * stats.norm.ppf(0.99))
        value = (row - center) / scale
        for label in np.unique(s.labels):
            of_class = value[aside & (s.labels == label)]
            # As if four more points had the mean 0 and the variance 1 of all.
            count = len(of_class) + 4
            mean = of_class.sum() / count
            variance = (np.sum(of_class**2) + 4 - count * mean**2) / count
            mine = s.labels == label
            expected = (value[mine] - mean) / np.sqrt(variance)
            np.testing.assert_allclose(scores[target, mine], expected, rtol=1e-3)


def test_quantile_regression_is_least_squares_on_the_population():
    s = CASES["random"]
    phi = finite_phi(s).mean(-1)
    is_population = ~s.keep.any(axis=0)
    scores = score_targets(ATTACKS["quantile_regression"], s)
    for target in (0, 11):
        outside = references(s, target)[1]
        difficulty = np.array(
            [phi[outside[:, i], i].mean() for i in range(phi.shape[1])]
        )
        y = standardised(phi[target], phi[target, is_population])
        x = standardised(difficulty, difficulty[is_population])
        x = np.stack([np.ones_like(x), x], axis=1)
        assert np.abs(np.c_[x, y]).max() < 8  # nothing is an outlier

        def fit(values, x=x):
            return np.linalg.lstsq(x[is_population], values, rcond=None)[0]

        location = fit(y[is_population])
        # The slope of phi on the difficulty itself, in units of neither.
        slope = np.polyfit(difficulty, x @ location, 1)[0]
        slope /= np.polyfit(phi[target], y, 1)[0]
        residual = y - x @ location
        residual /= np.sqrt(1 + slope**2 / outside.sum(axis=0))
        log_square = np.log(residual[is_population] ** 2)
        shape = np.exp(0.5 * x @ fit(log_square))
        level = np.square(residual / shape)[is_population].mean()
        expected = residual / shape / np.sqrt(level)
        np.testing.assert_allclose(scores[target], expected, rtol=2e-3, atol=2e-3)


def test_the_logistic_regression_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 300, 3)).astype(np.float32)
    keep = rng.random((2, 300)) < 1 / (1 + np.exp(-x @ np.array([1.0, -2.0, 0.5])))
    fit = FIT_LOGISTIC(x, keep, np.ones(300, bool))
    flat, y = x.reshape(-1, 3), keep.ravel()
    scaled = standardised(flat, flat)
    # The sum of losses over 600 rows against a mean: C = 1 / (600 ridge).
    twin = LogisticRegression(
        C=1 / (600 * fitted.RIDGE), fit_intercept=False, tol=1e-10, max_iter=1000
    ).fit(np.c_[scaled, np.ones(600)], y)
    np.testing.assert_allclose(fit.weights, twin.coef_[0], rtol=1e-3, atol=1e-4)


def test_columns_that_do_not_count_leave_the_logistic_regression_alone():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 300, 3)).astype(np.float32)
    keep, is_valid = rng.random((2, 300)) < 0.5, np.arange(300) < 150
    other, flipped = x.copy(), keep.copy()
    other[:, 150:], flipped[:, 150:] = 9.0, ~keep[:, 150:]
    for a, b in zip(
        FIT_LOGISTIC(x, keep, is_valid),
        FIT_LOGISTIC(other, flipped, is_valid),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def pooled_auc(scores, signals):
    pool = metrics.varying_columns(signals.keep)
    roc = metrics.roc_curve(scores[:, pool].ravel(), signals.keep[:, pool].ravel())
    return metrics.auc(roc)


def naive_log_odds(features, keep, columns, query):
    """Ridge logistic regression by scikit-learn on clipped, standardised features."""
    flat = np.float64(features[:, columns]).reshape(-1, features.shape[-1])

    def design(x):
        z = standardised(x, flat)
        limit = fitted.FEATURE_LIMIT
        return np.c_[np.clip(z, -limit, limit), np.ones(len(z))]

    strength = 1 / (len(flat) * fitted.RIDGE)
    twin = LogisticRegression(C=strength, fit_intercept=False, tol=1e-10, max_iter=9999)
    twin.fit(design(flat), keep[:, columns].ravel())
    return design(np.float64(query)) @ twin.coef_[0]


def other_half(signals, target):
    """The half of the models that the target is not in."""
    half = len(signals.phi) // 2
    return signals.select(
        models=slice(0, half) if target >= half else slice(half, None)
    )


def tuned_scores(features, signals, target, query):
    """Log-odds of each example, fitted on the examples of the other fold."""
    half, pool = other_half(signals, target), signals.keep.any(axis=0)
    fold = np.asarray(tuning.example_folds(signals))
    scores = np.empty(len(fold))
    for index in (0, 1):
        columns = pool & (fold != index)
        odds = naive_log_odds(features, half.keep, columns, query)
        scores[fold == index] = odds[fold == index]
    return scores


@pytest.mark.parametrize("case", CASES)
def test_the_shadow_classifier_is_fitted_on_the_other_half_and_carried_over(case):
    s = CASES[case]
    phi = finite_phi(s).mean(-1)
    log_probability = -np.logaddexp(0, -phi)
    rest = (s.correct, s.entropy, s.modified_entropy)
    features = np.stack([phi, phi**2, log_probability, *map(np.float64, rest)], axis=-1)
    scores = score_targets(ATTACKS["shadow_classifier"], s)
    for target, rows in ((0, slice(6, 12)), (11, slice(0, 6))):
        expected = tuned_scores(features[rows], s, target, features[target])
        np.testing.assert_allclose(scores[target], expected, rtol=2e-3, atol=5e-3)


def test_a_combination_is_fitted_on_the_other_half_and_no_worse_than_its_parts():
    signals = planted_signals(1.0, 1.0, num_models=16, num_examples=100)
    parts = [ATTACKS[n] for n in ("confidence", "calibrated_loss")]
    scores = [score_targets(part, signals) for part in parts]
    combined = score_targets(fitted.combined(parts), signals)
    for target in (0, 15):
        half = other_half(signals, target)
        features = np.stack([score_targets(part, half) for part in parts], axis=-1)
        query = np.stack([score[target] for score in scores], axis=-1)
        expected = tuned_scores(features, signals, target, query)
        np.testing.assert_allclose(combined[target], expected, rtol=2e-3, atol=5e-3)
    best = max(pooled_auc(score, signals) for score in scores)
    assert pooled_auc(combined, signals) > best - 0.01


def test_a_target_does_not_enter_the_classifier_that_scores_it():
    s = CASES["random"]
    keep = s.keep.copy()
    pool = keep.any(axis=0)
    keep[3, pool] = ~keep[3, pool]
    fit = jax.jit(fitted.shadow_classifier().fit)
    for a, b in zip(fit(s, 3), fit(s._replace(keep=keep), 3), strict=True):
        np.testing.assert_array_equal(a, b)


def test_direct_power_on_planted_gaussians_is_the_closed_form():
    """Levels N(0, 4) do not tell members apart: d' = 1 / sqrt(1 + 4)."""
    signals = planted_signals(1.0, 1.0)
    level_auc = pooled_auc(score_targets(ATTACKS["confidence"], signals), signals)
    expected = stats.norm.cdf(1 / np.sqrt(5) / np.sqrt(2))
    assert abs(level_auc - expected) < 0.012


def test_unknown_queries_and_empty_combinations_are_refused():
    with pytest.raises(ArgumentError, match="queries must be one of"):
        inspect.unwrap(direct.confidence)(queries="max")
    with pytest.raises(ValueError, match="at least one attack"):
        fitted.combined([])
