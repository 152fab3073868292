import jax
import numpy as np
import pytest
from scipy import integrate, optimize

from sam_jax import theory
from sam_jax.theory import sampling, simulation

POPULATIONS = {
    "isotropic": theory.isotropic,
    "power law": theory.power_law,
    "spiked": theory.spiked,
    "minority": theory.minority,
}


@pytest.mark.parametrize("make", POPULATIONS.values(), ids=POPULATIONS.keys())
def test_spectra_have_mean_one_and_shares_that_sum_to_one(make):
    population = make(60)
    assert population.pooled.mean() == pytest.approx(1.0)
    assert population.weights.sum() == pytest.approx(1.0)
    assert population.eigenvalues.shape == (len(population.weights), 60)


def test_the_minority_has_directions_nearly_of_its_own():
    majority, subclass = theory.minority(8, fraction=0.25, overlap=0.1).eigenvalues
    np.testing.assert_allclose(majority / subclass, [0.1] * 2 + [1.0] * 6)


@pytest.mark.parametrize("ratio", [0.05, 0.3, 0.9, 0.98, 0.9999])
@pytest.mark.parametrize("exponent", [0.0, 1.0, 4.0])
def test_the_trace_of_one_group_solves_the_equation_of_kappa(ratio, exponent):
    h = theory.power_law(400, exponent).pooled
    n = 400 * ratio
    kappa = theory.effective_traces(h[None], np.array([n]))[0] / n
    excess = lambda log_kappa: np.sum(h / (h + np.exp(log_kappa))) - n
    expected = np.exp(optimize.brentq(excess, -60, 10, xtol=1e-14))
    assert kappa == pytest.approx(expected, rel=1e-9)


def test_the_traces_of_a_mixture_solve_their_equations():
    population = theory.minority(200)
    counts = 190 * population.weights
    traces = theory.effective_traces(population.eigenvalues, counts)
    R = 1 / (1 + (counts / traces) @ population.eigenvalues)
    np.testing.assert_allclose(population.eigenvalues @ R, traces, rtol=1e-12)
    assert np.sum(1 - R) == pytest.approx(190)


def test_equal_groups_are_one_group():
    one = theory.power_law(100)
    two = theory.Population(np.repeat(one.eigenvalues, 2, 0), np.array([0.3, 0.7]))
    beta = np.linspace(-1, 1, 100)
    single, mixed = (
        theory.deterministic_equivalent(p, 40, 2.0, beta, 0.5) for p in (one, two)
    )
    assert mixed.variance == pytest.approx(single.variance, rel=1e-12)
    assert mixed.risk == pytest.approx(single.risk, rel=1e-12)


def textbook(population, n, eta, beta, noise):
    """The formulas for one group, written out with kappa and the degrees of freedom."""
    eigenvalues = population.pooled
    h = eigenvalues / (1 + eta * eigenvalues)
    b2 = (1 + eta * eigenvalues) * beta**2
    kappa = np.exp(
        optimize.brentq(lambda k: np.sum(h / (h + np.exp(k))) - n, -40, 9, xtol=1e-14)
    )
    df2 = np.sum((h / (h + kappa)) ** 2)
    level = kappa**2 * np.sum(h * b2 / (h + kappa) ** 2) + noise**2
    signal = np.sum(h * b2 * (h / (h + kappa)) ** 2)
    return signal + level * df2 / (n - df2), level * n / (n - df2) - noise**2


@pytest.mark.parametrize("eta", [0.0, 1.0, 100.0])
@pytest.mark.parametrize("make", [theory.isotropic, theory.power_law, theory.spiked])
def test_one_group_has_the_textbook_equivalents(make, eta):
    population, beta = make(120), np.linspace(0.0, 1.0, 120)
    got = theory.deterministic_equivalent(population, 50, eta, beta, 0.7)
    variance, risk = textbook(population, 50, eta, beta, 0.7)
    assert got.variance == pytest.approx(variance, rel=1e-10)
    assert got.risk == pytest.approx(risk, rel=1e-10)


def test_isotropic_noise_converges_like_one_over_n_to_the_exact_mean():
    """The inverse Wishart mean gives E variance = n / (d - n - 1) at every size."""
    errors = []
    for n in (25, 50, 100, 200):
        exact = n / (4 * n - n - 1)
        got = theory.deterministic_equivalent(theory.isotropic(4 * n), n, noise=1.0)
        errors.append(abs(got.variance / exact - 1))
    assert errors[2] < 0.03
    np.testing.assert_allclose(np.array(errors) * [25, 50, 100, 200], 1 / 3, rtol=1e-6)


def test_isotropic_teacher_is_the_projection_of_the_teacher():
    """A random n-dimensional subspace keeps n / d of the teacher, at every size."""
    beta = np.ones(40) / np.sqrt(40)
    got = theory.deterministic_equivalent(theory.isotropic(40), 10, 3.0, beta)
    assert got.variance == pytest.approx(0.25)
    assert got.risk == pytest.approx(0.75)


def test_two_levels_have_the_quadratic_kappa():
    """Half the eigenvalues 1, half a: the equation of kappa is a quadratic."""
    a, d, n = 0.2, 100, 30
    eigenvalues = np.repeat([1.0, a], d // 2)
    kappa = theory.effective_traces(eigenvalues[None], np.array([float(n)]))[0] / n
    p, q = 1 + a, a
    roots = np.roots([n, n * p - d / 2 * p, n * q - d * q])
    assert kappa == pytest.approx(roots.max(), rel=1e-12)


def sampled(population, n, eta, beta, noise, num_sets, seed=0):
    """Twin in NumPy: variance and risk over training sets, each [S, k]."""
    rng = np.random.default_rng(seed)
    counts = np.rint(n * population.weights).astype(int)
    scales = np.repeat(np.sqrt(population.eigenvalues), counts, axis=0)
    metric = theory.sharpness_metric(population.pooled, eta)
    X = rng.standard_normal((num_sets, n, scales.shape[1])) * scales
    y = X @ beta + noise * rng.choice([-1.0, 1.0], (num_sets, n))
    w = theory.min_norm_interpolator(X, y, metric)
    error = (w - beta) ** 2
    return w**2 @ population.eigenvalues.T, error @ population.eigenvalues.T


@pytest.mark.parametrize("make", POPULATIONS.values(), ids=POPULATIONS.keys())
@pytest.mark.parametrize("noise", [0.0, 0.5, 1.0])
def test_equivalents_are_within_three_percent_at_n_100_d_400(make, noise):
    population, etas = make(400), np.array([0.0, 1.0])
    beta = np.full(400, 0.05 if noise < 1 else 0.0)
    problem = sampling.make_problem(population, beta, noise=noise)
    keys = jax.random.split(jax.random.key(0), 64)
    counts = sampling.group_counts(population, 100)
    got = simulation.simulate(keys, problem, counts, etas, num_non_members=2)
    for i, eta in enumerate(etas):
        expected = theory.deterministic_equivalent(population, 100, eta, beta, noise)
        for samples, value in [
            (got.expected_variance[:, i], expected.group_variance),
            (got.expected_risk[:, i], expected.group_risk),
        ]:
            error = samples.std(0, ddof=1) / np.sqrt(len(samples))
            distance = np.abs(samples.mean(0) - value)
            assert np.all(distance < 0.03 * value + 4 * error)


def test_the_check_against_samples_rejects_a_wrong_equivalent():
    """Planted: df1 = n in place of df2 in the degrees of freedom, n - df2."""
    population = theory.power_law(100)
    variance, _ = sampled(population, 25, 1.0, np.zeros(100), 1.0, 60)
    h = population.pooled / (1 + population.pooled)
    kappa = theory.effective_traces(h[None], np.array([25.0]))[0] / 25
    df2 = np.sum((h / (h + kappa)) ** 2)
    error = variance.std(ddof=1) / np.sqrt(60)
    right, wrong = df2 / (25 - df2), df2 / 25
    assert abs(variance.mean() - right) < 0.03 * right + 4 * error
    assert abs(variance.mean() - wrong) > 0.03 * wrong + 4 * error


def test_advantages_are_those_of_the_equivalent_gaussian():
    got = theory.advantage_equivalents(np.array([0.25]), tau=0.1)
    density = lambda m: np.exp(-(m**2) / 0.5) / np.sqrt(0.5 * np.pi)
    below, _ = integrate.quad(density, -np.inf, 1)
    assert got.confidence[0] == pytest.approx(below)
    assert got.likelihood_ratio == theory.likelihood_ratio_advantage(0, [0.5], 0.1)


def test_bad_spectra_and_settings_are_named():
    with pytest.raises(ValueError, match="40 directions for 40 examples"):
        theory.deterministic_equivalent(theory.isotropic(40), 40)
    with pytest.raises(ValueError, match="eta must be finite and >= 0, got -1"):
        theory.deterministic_equivalent(theory.isotropic(40), 4, -1.0)
    with pytest.raises(ValueError, match=r"one entry per direction, \(40,\)"):
        theory.deterministic_equivalent(theory.isotropic(40), 4, 0.0, np.ones(3))
    with pytest.raises(ValueError, match="eigenvalues must be > 0, got 0"):
        theory.single(np.array([1.0, 0.0]))
    with pytest.raises(ValueError, match="num_spikes must be at most d=3"):
        theory.spiked(3)
    with pytest.raises(ValueError, match=r"share must lie in \(0, 1\), got 1.0"):
        theory.minority(10, share=1.0)
    with pytest.raises(ValueError, match="fraction must leave directions"):
        theory.minority(10, fraction=1.0)
