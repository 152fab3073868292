import numpy as np
import pytest
from scipy import stats

from sam_jax import metrics, types
from sam_jax.analysis import output_variance
from sam_jax.analysis.output_variance import GaussianFit

FITS = [
    GaussianFit(1.0, 0.5, 0.1),
    GaussianFit(1.0, 2.0, 0.1),
    GaussianFit(0.4, 0.3, 0.9),  # non-members narrower than members
    GaussianFit(2.0, 1.0, 1.0),  # equal deviations
    GaussianFit(-0.5, 0.7, 0.2),
]


def _signals(phi, keep):
    phi = np.asarray(phi, np.float32)[..., None]
    entropy = np.zeros(keep.shape, np.float32)
    labels = np.zeros(keep.shape[1], np.int32)
    return types.Signals(phi, phi[..., 0] > 0, entropy, entropy, keep, labels)


@pytest.mark.parametrize("fit", FITS)
def test_the_advantage_is_half_the_area_between_the_densities(fit):
    x = np.linspace(-20, 20, 400_001)
    member = stats.norm.pdf(x, fit.gap, fit.member_std)
    other = stats.norm.pdf(x, 0, fit.std)
    area = np.abs(member - other).sum() * (x[1] - x[0]) / 2
    assert output_variance.gaussian_advantage(fit) == pytest.approx(area, abs=2e-5)


def test_the_advantage_of_equal_spreads_is_that_of_one_threshold():
    found = output_variance.gaussian_advantage(GaussianFit(2.0, 1.0, 1.0))
    assert found == pytest.approx(2 * stats.norm.cdf(1) - 1, abs=1e-6)


def test_the_attack_on_sampled_scores_reaches_it_by_one_threshold():
    rng = np.random.default_rng(0)
    keep = rng.random((10, 20_000)) < 0.5
    score = np.where(keep, 2.0, 0.0) + rng.normal(size=keep.shape)
    found = output_variance.gaussian_advantage(
        output_variance.fit_gaussians(score, keep)
    )
    measured = metrics.advantage(metrics.roc_curve(score.ravel(), keep.ravel()))
    assert measured == pytest.approx(found, abs=0.01)


@pytest.mark.parametrize("fit", FITS)
def test_contraction_raises_the_advantage_below_the_turning_point_only(fit):
    step = fit._replace(std=fit.std * (1 - 1e-3))
    change = output_variance.gaussian_advantage(
        step
    ) - output_variance.gaussian_advantage(fit)
    assert (change > 0) == output_variance.turning_point(fit).contraction_helps


def test_the_turning_point_is_where_the_advantage_is_smallest():
    fit = GaussianFit(0.6, 1.0, 0.05)
    side = output_variance.turning_point(fit)
    deviations = np.linspace(0.1, 2, 1901)
    advantage = [
        output_variance.gaussian_advantage(fit._replace(std=s)) for s in deviations
    ]
    assert deviations[np.argmin(advantage)] == pytest.approx(side.turning, abs=2e-3)
    assert side.turning == pytest.approx(side.gap, abs=0.05)


def test_factors_and_interaction_sum_to_the_change():
    first, second = FITS[0], FITS[1]._replace(gap=1.3, member_std=0.2)
    found = output_variance.decompose(first, second)
    assert sum(found[2:]) == pytest.approx(found.after - found.before)
    only = output_variance.decompose(first, first._replace(std=0.4))
    assert only.contraction == pytest.approx(only.after - only.before) != 0
    assert only.shift == only.member_std == 0


def test_calibrated_phi_is_phi_minus_the_mean_of_the_other_out_models():
    rng = np.random.default_rng(0)
    keep = rng.random((6, 9)) < 0.5
    keep[:, 0] = True
    signals = _signals(rng.normal(size=keep.shape), keep)
    found, phi = (
        output_variance.calibrated_phi(signals),
        np.float64(signals.phi[..., 0]),
    )
    for m in range(6):
        for i in range(1, 9):
            others = [k for k in range(6) if k != m and not keep[k, i]]
            expected = phi[m, i] - phi[others, i].mean() if others else np.nan
            np.testing.assert_allclose(found[m, i], expected)
    assert np.isnan(found[:, 0]).all()


def test_variances_are_those_of_the_components_that_made_the_confidence():
    rng = np.random.default_rng(0)
    found = []
    for _ in range(60):
        unseen = rng.random((12, 300)) < 0.5
        level = rng.normal(size=300) * 0.8
        confidence = level + 0.5 * rng.normal(size=(12, 300))
        found.append(output_variance.confidence_variances(confidence, unseen))
    total, examples, models = np.mean(found, axis=0)
    error = np.std(found, axis=0) / np.sqrt(60)
    expected = np.array([0.8**2 + 0.5**2, 0.8**2, 0.5**2])
    assert (np.abs([total, examples, models] - expected) < 4 * error).all()


def test_seen_pairs_do_not_enter():
    rng = np.random.default_rng(0)
    unseen = rng.random((8, 40)) < 0.5
    confidence = rng.random((8, 40))
    spoiled = np.where(unseen, confidence, np.nan)
    found = output_variance.confidence_variances(confidence, unseen)
    assert found == output_variance.confidence_variances(spoiled, unseen)
    rows = [c[u].var(ddof=1) for c, u in zip(confidence, unseen, strict=True)]
    assert found.total == pytest.approx(np.mean(rows))


def test_what_cannot_be_computed_is_nan_or_named():
    assert np.isnan(output_variance.gaussian_advantage(GaussianFit(1.0, 0.0, 0.1)))
    nothing = np.zeros((4, 3), bool)
    assert np.isnan(
        output_variance.confidence_variances(np.ones((4, 3)), nothing)
    ).all()
    with pytest.raises(ValueError, match="std must be finite and > 0"):
        output_variance.turning_point(GaussianFit(1.0, 0.0, 0.1))
