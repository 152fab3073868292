import numpy as np
import pytest
from scipy import stats

from sam_jax import theory
from sam_jax.theory import advantage

MUS = [-1.0, 0.0, 0.25, 0.9, 1.0, 1.0001, 2.0]
SIGMAS = [1e-8, 1e-6, 1e-3, 0.1, 0.5, 1.0, 3.0]
TAUS = [1e-6, 1e-3, 0.01, 0.3, 1.0]


def total_variation(mu, sigma, tau):
    """Gauss-Legendre quadrature of |p - q| / 2, split where the densities change."""
    s, delta = np.hypot(sigma, tau), 1 - mu
    steps = np.linspace(-40, 40, 241)
    edges = np.array(theory.likelihood_ratio_region(mu, sigma, tau))
    edges = edges[np.abs(edges) < 1e3]
    points = np.unique(np.concatenate([steps * tau, steps * s - delta, edges]))
    nodes, weights = np.polynomial.legendre.leggauss(40)
    half = np.diff(points)[:, None] / 2
    u = points[:-1, None] + half * (1 + nodes)
    gap = np.abs(stats.norm.pdf(u, 0, tau) - stats.norm.pdf(u, -delta, s))
    return np.sum(gap * weights * half) / 2


def largest_error(formula, mus=MUS, sigmas=SIGMAS, taus=TAUS):
    return max(
        abs(float(formula(mu, sigma, tau)) - total_variation(mu, sigma, tau))
        for mu in mus
        for sigma in sigmas
        for tau in taus
    )


def test_likelihood_ratio_advantage_is_the_total_variation():
    assert largest_error(theory.likelihood_ratio_advantage) < 1e-10


def test_quadrature_rejects_a_wrong_advantage():
    """Planted: the resolution forgotten in the non-members' law."""

    def without_resolution(mu, sigma, tau):
        lower, upper = theory.likelihood_ratio_region(mu, sigma, tau)
        member = advantage.normal_interval(lower / tau, upper / tau)
        return member - advantage.normal_interval(
            (lower + 1 - mu) / sigma, (upper + 1 - mu) / sigma
        )

    assert largest_error(without_resolution, [0.0], [0.5], [0.3]) > 1e-2


@pytest.mark.parametrize("mu", MUS)
@pytest.mark.parametrize("tau", TAUS)
def test_the_densities_are_equal_at_the_edges_of_the_region(mu, tau):
    sigma = np.array([0.1, 0.5, 1.0, 3.0]) * tau
    s, delta = np.hypot(sigma, tau), 1 - mu
    for edge in theory.likelihood_ratio_region(mu, sigma, tau):
        member = -np.log(tau) - edge**2 / (2 * tau**2)
        other = -np.log(s) - (edge + delta) ** 2 / (2 * s**2)
        scale = 1 + edge**2 / (2 * tau**2)
        np.testing.assert_allclose((member - other) / scale, 0, atol=1e-11)


def test_equal_variances_give_the_advantage_of_shifted_gaussians():
    for mu, tau in [(0.0, 1.0), (0.9, 0.05), (1.5, 0.3)]:
        expected = 2 * stats.norm.cdf(abs(1 - mu) / (2 * tau)) - 1
        got = theory.likelihood_ratio_advantage(mu, 1e-9, tau)
        assert got == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("tau", [1e-6, 1e-3, 1.0])
def test_nearly_equal_laws_keep_their_relative_accuracy(tau):
    """First order in the excess variance e and shift d: TV of phi and its derivative.

    ``e / 2 * integral of |z^2 - 1| phi / 2 = e phi(1)`` and ``d phi(0)``.
    """
    ratio = np.array([1e-30, 1e-12, 1e-6, 1e-4])
    got = theory.likelihood_ratio_advantage(1.0, ratio * tau, tau)
    np.testing.assert_allclose(got, ratio**2 * stats.norm.pdf(1), rtol=1e-7)
    shift = 2.0**-30  # Exact in 1 - mu.
    got = theory.likelihood_ratio_advantage(1 - shift, 1e-12 * tau, tau)
    expected = 2 * stats.norm.cdf(shift / (2 * tau)) - 1 if tau < 1e-3 else None
    expected = expected or shift / tau * stats.norm.pdf(0)
    np.testing.assert_allclose(got, expected, rtol=1e-7)
    assert 0 <= theory.likelihood_ratio_advantage(1.0, 1e-300, tau) < 1e-100


def test_confidence_advantages_match_sampled_attacks():
    rng = np.random.default_rng(0)
    margins = rng.standard_normal((40, 25_000)).astype(np.float64)
    for mu, sigma, threshold in [(0.0, 1.0, 1.0), (0.3, 0.4, 0.9), (1.2, 0.5, 1.0)]:
        sampled = 1 - np.mean(mu + sigma * margins >= threshold)
        expected = theory.confidence_advantage(mu, sigma, threshold)
        assert abs(sampled - expected) < 4 * 0.5 / 1000
    sampled = 1 - np.mean(np.abs(0.7 * margins) >= 0.8)
    expected = theory.two_sided_confidence_advantage(0.7, 0.8)
    assert abs(sampled - expected) < 4 * 0.5 / 1000


def test_confidence_advantage_rises_as_sigma_falls_below_the_threshold_only():
    sigma = np.array([0.2, 0.4, 0.8, 1.6])
    assert np.all(np.diff(theory.confidence_advantage(0.5, sigma)) < 0)
    assert np.all(np.diff(theory.two_sided_confidence_advantage(sigma)) < 0)
    assert np.all(np.diff(theory.confidence_advantage(1.5, sigma)) > 0)


@pytest.mark.parametrize("fpr", [1e-3, 0.05, 0.5])
@pytest.mark.parametrize("mu, sigma, tau", [(0, 1, 0.1), (0.8, 0.3, 0.5), (1, 2, 1)])
def test_power_matches_a_sampled_likelihood_ratio_test(mu, sigma, tau, fpr):
    rng = np.random.default_rng(0)
    s, draws = np.hypot(sigma, tau), 400_000
    ratio = lambda m: stats.norm.logpdf(m, 1, tau) - stats.norm.logpdf(m, mu, s)
    members = ratio(1 + tau * rng.standard_normal(draws))
    others = ratio(mu + s * rng.standard_normal(draws))
    threshold = np.quantile(others, 1 - fpr)
    power = theory.likelihood_ratio_power(mu, sigma, tau, fpr)
    # The threshold is estimated too: its error moves the power by the ratio there.
    error = np.sqrt((0.25 + np.exp(threshold) ** 2 * fpr) / draws)
    assert abs(np.mean(members > threshold) - power) < 4 * error


def test_power_agrees_with_the_noncentral_chi_square():
    """A closed form of another kind: squared distance from the region's centre."""
    mu, sigma, tau, fpr = 0.2, 0.7, 0.3, np.array([1e-6, 1e-3, 0.1, 0.9])
    s, delta = np.hypot(sigma, tau), 1 - mu
    radius = stats.ncx2.ppf(fpr, 1, (delta * s / sigma**2) ** 2) * s**2 / tau**2
    expected = stats.ncx2.cdf(radius, 1, (delta * tau / sigma**2) ** 2)
    got = theory.likelihood_ratio_power(mu, sigma, tau, fpr)
    np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_power_of_equal_variances_is_that_of_the_one_sided_test():
    for tau in (1e-3, 1.0):
        expected = stats.norm.cdf(0.5 / tau + stats.norm.ppf(0.01))
        got = theory.likelihood_ratio_power(0.5, 1e-9, tau, 0.01)
        assert got == pytest.approx(expected, rel=1e-7)


def test_the_best_power_minus_fpr_is_the_advantage():
    fpr = np.linspace(1e-4, 0.9999, 4001)
    gain = theory.likelihood_ratio_power(0.3, 0.8, 0.2, fpr) - fpr
    expected = theory.likelihood_ratio_advantage(0.3, 0.8, 0.2)
    assert gain.max() == pytest.approx(expected, abs=1e-5)
    assert gain.max() <= expected + 1e-12


@pytest.mark.parametrize("mu", [-0.5, 0.0, 0.5, 0.95, 1.0, 1.3])
@pytest.mark.parametrize("tau", [0.01, 0.2, 1.0])
def test_the_slope_is_the_derivative_of_the_advantage(mu, tau):
    sigma = np.array([0.3, 0.7, 1.0, 2.0])
    step = 1e-4 * sigma
    rise = theory.likelihood_ratio_advantage(mu, sigma + step, tau)
    rise = rise - theory.likelihood_ratio_advantage(mu, sigma - step, tau)
    slope = theory.likelihood_ratio_slope(mu, sigma, tau)
    np.testing.assert_allclose(slope, rise / (2 * step), rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("mu", [0.0, 0.25, 0.5, 0.75, 0.99, 1.5])
@pytest.mark.parametrize("tau", [1e-6, 0.01, 0.5, 1.0])
def test_the_advantage_is_smallest_at_the_turning_point_only(mu, tau):
    turn = theory.turning_sigma(mu, tau)
    sigma = turn * np.logspace(-2, 1, 1000)
    slope = theory.likelihood_ratio_slope(mu, sigma, tau)
    away = np.abs(sigma / turn - 1) > 1e-3
    assert np.all(slope[away & (sigma < turn)] <= 0)
    assert np.all(slope[away & (sigma > turn)] >= 0)
    near = theory.likelihood_ratio_slope(mu, turn * np.array([0.99, 1.01]), tau)
    assert near[0] < 0 < near[1]


def test_the_side_of_a_problem_is_that_of_its_slope():
    mu, sigma = np.array([[-0.5], [0.0], [0.7], [1.0]]), np.linspace(0.05, 2, 40)
    for tau in (1e-3, 0.3):
        raises = theory.contraction_raises_advantage(mu, sigma, tau)
        slope = theory.likelihood_ratio_slope(mu, sigma, tau)
        clear = np.abs(slope) > 1e-6
        np.testing.assert_array_equal(raises[clear], slope[clear] < 0)


def test_the_turning_point_tends_to_the_distance_of_the_means():
    mu = np.array([0.0, 0.25, 0.5, 0.75, 1.25])
    for tau in (1e-2, 1e-3, 1e-4):
        gap = np.abs(theory.turning_sigma(mu, tau) - np.abs(1 - mu))
        assert np.all(gap < 0.1 * tau)
    assert theory.turning_sigma(1.0, 0.1) == 0


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="sigma must be > 0, got 0"):
        theory.confidence_advantage(0.0, 0.0)
    with pytest.raises(ValueError, match="threshold must be <= 1.*got 1.5"):
        theory.confidence_advantage(0.0, 1.0, 1.5)
    with pytest.raises(ValueError, match="threshold must be > 0"):
        theory.two_sided_confidence_advantage(1.0, 0.0)
    with pytest.raises(ValueError, match="tau must be > 0, got -1"):
        theory.likelihood_ratio_advantage(0.0, 1.0, -1.0)
    with pytest.raises(ValueError, match="mu must be finite, got nan"):
        theory.turning_sigma(np.nan, 1.0)
    with pytest.raises(ValueError, match="fpr must be < 1, got 1"):
        theory.likelihood_ratio_power(0.0, 1.0, 1.0, 1.0)
