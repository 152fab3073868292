import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sam_jax import theory
from sam_jax.theory import sampling, simulation
from sam_jax.theory.agreement import agrees, paired_cell

ETAS = np.array([0.0, 0.1, 1.0, 10.0, 100.0])
KEYS = jax.random.split(jax.random.key(0), 48)


def run(population, n=10, mean=None, noise=1.0, beta=None, **settings):
    """Returns the outcome and the closed-form models [s, e, d] of its training sets."""
    problem = sampling.make_problem(population, beta, mean, noise)
    counts = sampling.group_counts(population, n)
    outcome = simulation.simulate(KEYS, problem, counts, ETAS, **settings)
    X, y = sampling.training_sets(KEYS, problem, counts)
    models = [
        theory.min_norm_interpolator(
            X, y, theory.sharpness_metric(population.pooled, e)
        )
        for e in ETAS
    ]
    return outcome, np.stack(models, axis=1)


def cells(samples, expected, smallest_error=1e-9):
    """One cell for each eta and group."""
    return [
        paired_cell(f"{e} {k}", samples[:, e, k], expected[:, e, k], smallest_error)
        for e in range(samples.shape[1])
        for k in range(samples.shape[2])
    ]


def gradient_descent(X, y, metric, num_steps):
    """``w <- w - step G^-1 X^T (X w - y)`` from zero, by plain steps."""
    step = 1 / jnp.sum(X**2 / metric[None, :])

    def one_step(_, w):
        return w - step * (X.T @ (X @ w - y)) / metric

    return jax.lax.fori_loop(0, num_steps, one_step, jnp.zeros_like(metric))


@pytest.mark.parametrize("eta", [0.0, 3.0])
def test_descent_reaches_the_closed_form(eta):
    population = theory.power_law(30)
    problem = sampling.random_labels(population)
    X, y = sampling.training_sets(KEYS[:4], problem, (12,))
    metric = theory.sharpness_metric(population.pooled, eta)
    expected = theory.min_norm_interpolator(X, y, metric)
    with sampling.double_precision():
        X, y, metric = jnp.asarray(X), jnp.asarray(y), jnp.asarray(metric)
        fast = jax.vmap(simulation.descend, (0, 0, None))(X, y, metric)
        np.testing.assert_allclose(fast, expected, rtol=1e-7, atol=1e-9)
        slow = gradient_descent(X[0], y[0], metric, 40_000)
        np.testing.assert_allclose(slow, expected[0], rtol=1e-6, atol=1e-8)


def test_training_sets_are_those_that_were_simulated():
    population = theory.power_law(30)
    beta = np.linspace(0.0, 1.0, 30)
    outcome, models = run(population, beta=beta)
    assert outcome.residual.max() < 1e-9
    variance = models**2 @ population.eigenvalues.T
    np.testing.assert_allclose(outcome.expected_variance, variance, rtol=1e-7)
    risk = (models - beta) ** 2 @ population.eigenvalues.T
    np.testing.assert_allclose(outcome.expected_risk, risk, rtol=1e-7)


@pytest.mark.parametrize("make", [theory.power_law, theory.minority])
def test_simulated_attacks_agree_with_the_closed_forms(make):
    population = make(30)
    mean = np.full(30, 0.3)
    outcome, models = run(population, mean=mean, tau=0.2)
    variance = models**2 @ population.eigenvalues.T
    mu, sigma = (models @ mean)[..., None], np.sqrt(variance)
    least = 1 / (100 * len(KEYS))
    assert agrees(cells(outcome.variance, variance))
    ratio = theory.likelihood_ratio_advantage(mu, sigma, 0.2)
    assert agrees(cells(outcome.likelihood_ratio, ratio, least))
    for i, threshold in enumerate((0.5, 0.9)):
        passing = theory.confidence_advantage(mu, sigma, threshold)
        assert agrees(cells(outcome.confidence[..., i], passing, least))


def test_the_check_rejects_wrong_formulas():
    """Planted: Euclidean norm for the variance; sigma^2 for sigma; no resolution."""
    population = theory.power_law(30)
    outcome, models = run(population, tau=0.5)
    variance = models**2 @ population.eigenvalues.T
    least = 1 / (100 * len(KEYS))
    norm = np.sum(models**2, axis=-1, keepdims=True)
    assert not agrees(cells(outcome.variance, norm))
    wrong = theory.confidence_advantage(0.0, variance, 0.9)
    assert not agrees(cells(outcome.confidence[..., 1], wrong, least))
    wrong = theory.likelihood_ratio_advantage(0.0, np.sqrt(variance), 0.1)
    assert not agrees(cells(outcome.likelihood_ratio, wrong, least))


def test_two_sided_attack_and_risk_agree_with_the_closed_forms():
    population = theory.spiked(30, num_spikes=2)
    outcome, models = run(population)
    sigma = np.sqrt(models**2 @ population.eigenvalues.T)
    expected = theory.two_sided_confidence_advantage(sigma, 0.5)
    least = 1 / (100 * len(KEYS))
    assert agrees(cells(outcome.two_sided[..., 0], expected, least))
    beta = np.linspace(0.0, 1.0, 30)
    outcome, models = run(population, beta=beta, noise=0.3)
    error = (models - beta) ** 2 @ population.eigenvalues.T
    assert agrees(cells(outcome.risk, error))


def test_a_training_set_is_the_same_in_any_batch():
    population = theory.power_law(30)
    problem = sampling.random_labels(population)
    many = simulation.simulate(KEYS, problem, (10,), ETAS)
    order = np.random.default_rng(0).permutation(len(KEYS))
    mixed = simulation.simulate(KEYS[order], problem, (10,), ETAS)
    np.testing.assert_allclose(many.variance[order], mixed.variance, rtol=1e-9)


def test_groups_are_counted_by_their_shares():
    assert sampling.group_counts(theory.minority(20), 15) == (12, 3)
    with pytest.raises(ValueError, match="smallest_group must be .* >= 1, got 0"):
        sampling.group_counts(theory.minority(20, share=0.01), 10)


def test_bad_problems_are_refused():
    population = theory.isotropic(10)
    problem = sampling.random_labels(population)
    with pytest.raises(ValueError, match="less than d=10, got 10"):
        simulation.simulate(KEYS, problem, (10,), ETAS)
    with pytest.raises(ValueError, match="tau must be finite and > 0, got 0"):
        simulation.simulate(KEYS, problem, (5,), ETAS, tau=0.0)
    with pytest.raises(ValueError, match=r"mean must have shape \(10,\), got \(3,\)"):
        sampling.make_problem(population, mean=np.ones(3))
    with pytest.raises(ValueError, match="noise must be finite and >= 0"):
        sampling.make_problem(population, noise=-1.0)
