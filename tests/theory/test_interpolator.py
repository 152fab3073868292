import inspect

import numpy as np
import pytest
import scipy.linalg
import scipy.optimize

from sam_jax import theory


def problem(seed, n=6, d=15):
    rng = np.random.default_rng(seed)
    covariance = scipy.linalg.toeplitz(0.6 ** np.arange(d)) * np.arange(1, d + 1)
    covariance = (covariance + covariance.T) / 2 + d * np.eye(d)
    X = rng.standard_normal((n, d)) @ np.linalg.cholesky(covariance).T
    return X, rng.choice([-1.0, 1.0], n), covariance


@pytest.mark.parametrize("eta", [0.0, 0.3, 50.0])
def test_the_interpolator_solves_the_optimality_system(eta):
    """The twin: Lagrange's equations for w and the multipliers, solved whole."""
    X, y, covariance = problem(0)
    G = theory.sharpness_metric(covariance, eta)
    system = np.block([[2 * G, X.T], [X, np.zeros((len(y), len(y)))]])
    rhs = np.concatenate([np.zeros(X.shape[1]), y])
    expected = np.linalg.solve(system, rhs)[: X.shape[1]]
    w = theory.min_norm_interpolator(X, y, G)
    np.testing.assert_allclose(w, expected, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(X @ w, y, rtol=1e-10)


def test_the_identity_metric_gives_the_pseudoinverse():
    X, y, _ = problem(1)
    w = theory.min_norm_interpolator(X, y, np.ones(X.shape[1]))
    np.testing.assert_allclose(w, np.linalg.pinv(X) @ y, rtol=1e-10, atol=1e-13)


def test_diagonal_dense_and_batched_metrics_agree():
    data = [problem(seed) for seed in range(4)]
    X, y = (np.stack([item[i] for item in data]) for i in (0, 1))
    diagonals = np.random.default_rng(0).uniform(0.5, 3.0, (4, 15))
    batched = theory.min_norm_interpolator(X, y, diagonals[:, None, :])
    dense = np.einsum("bi,ij->bij", diagonals, np.eye(15))
    np.testing.assert_allclose(
        theory.min_norm_interpolator(X, y, dense), batched, rtol=1e-9, atol=1e-12
    )
    for i in range(4):
        single = theory.min_norm_interpolator(X[i], y[i], diagonals[i])
        np.testing.assert_allclose(single, batched[i], rtol=1e-9, atol=1e-12)


def test_the_gram_matrix_is_not_squared():
    """cond(X) = 1e9: normal equations would lose every digit, QR keeps seven."""
    rng = np.random.default_rng(0)
    left, _ = np.linalg.qr(rng.standard_normal((8, 8)))
    right, _ = np.linalg.qr(rng.standard_normal((20, 8)))
    singular_values = np.logspace(0, -9, 8)
    coefficients = rng.standard_normal(8)
    X, expected = (left * singular_values) @ right.T, right @ coefficients
    w = theory.min_norm_interpolator(X, X @ expected, np.ones(20))
    assert np.linalg.norm(w - expected) < 1e-5 * np.linalg.norm(expected)
    normal = X.T @ np.linalg.solve(X @ X.T, X @ expected)
    assert np.linalg.norm(normal - expected) > 1e-2 * np.linalg.norm(expected)


def test_the_units_of_the_rows_do_not_matter():
    X, y, covariance = problem(6)
    units = np.logspace(-20, 20, len(y))
    w = theory.min_norm_interpolator(units[:, None] * X, units * y, covariance)
    expected = theory.min_norm_interpolator(X, y, covariance)
    np.testing.assert_allclose(w, expected, rtol=1e-10)


@pytest.mark.parametrize("seed", range(5))
def test_output_variance_decreases_strictly_in_eta(seed):
    X, y, covariance = problem(seed)
    variances = [
        theory.output_variance(
            theory.min_norm_interpolator(X, y, theory.sharpness_metric(covariance, e)),
            covariance,
        )
        for e in (0.0, 0.01, 0.1, 1.0, 10.0, 1000.0)
    ]
    assert np.all(np.diff(variances) < 0)


def test_the_population_metric_minimises_the_output_variance():
    """The limit of large eta: no interpolator has less output variance."""
    X, y, covariance = problem(2)
    best = theory.min_norm_interpolator(X, y, covariance)
    null_space = scipy.linalg.null_space(X)
    rng = np.random.default_rng(0)
    for _ in range(20):
        other = best + null_space @ rng.standard_normal(null_space.shape[1])
        assert theory.output_variance(other, covariance) > theory.output_variance(
            best, covariance
        )


def test_isotropic_and_training_covariances_change_nothing():
    X, y, covariance = problem(3)
    plain = theory.min_norm_interpolator(X, y, np.ones(15))
    for same in (4.0 * np.eye(15), X.T @ X / len(y)):
        w = theory.min_norm_interpolator(X, y, theory.sharpness_metric(same, 7.0))
        np.testing.assert_allclose(w, plain, rtol=1e-8, atol=1e-11)
    moved = theory.min_norm_interpolator(X, y, theory.sharpness_metric(covariance, 7.0))
    assert np.abs(moved - plain).max() > 1e-3


def test_output_variance_is_the_variance_of_sampled_outputs():
    _, _, covariance = problem(4)
    rng = np.random.default_rng(0)
    w = rng.standard_normal(15)
    outputs = rng.standard_normal((200_000, 15)) @ np.linalg.cholesky(covariance).T @ w
    expected = theory.output_variance(w, covariance)
    assert abs(outputs.var() / expected - 1) < 4 * np.sqrt(2 / 200_000)
    assert theory.output_variance(w, np.diag(covariance).copy()) == pytest.approx(
        np.sum(w**2 * np.diag(covariance))
    )


def test_bad_problems_are_refused():
    X, y, covariance = problem(5)
    with pytest.raises(ValueError, match="no more rows than columns.*n=15, d=6"):
        theory.min_norm_interpolator(X.T, np.ones(15), np.ones(6))
    with pytest.raises(ValueError, match="full row rank 3, got rank 2"):
        theory.min_norm_interpolator(X[[0, 0, 1]], y[:3], np.ones(15))
    with pytest.raises(ValueError, match="full row rank"):
        theory.min_norm_interpolator(0 * X, y, np.ones(15))
    with pytest.raises(ValueError, match="positive definite, got -1"):
        theory.min_norm_interpolator(X, y, np.r_[-1.0, np.ones(14)])
    with pytest.raises(ValueError, match="positive definite, got the eigenvalue"):
        theory.min_norm_interpolator(X, y, covariance - 100 * np.eye(15))
    with pytest.raises(ValueError, match="symmetric"):
        theory.min_norm_interpolator(X, y, np.triu(covariance))
    with pytest.raises(ValueError, match="at most 1e.12 in float64"):
        theory.min_norm_interpolator(X, y, np.logspace(0, 28, 15))
    with pytest.raises(ValueError, match="at most 1e.12 in float64"):
        theory.min_norm_interpolator(np.eye(8) + 0.1, np.ones(8), np.logspace(0, 32, 8))
    with pytest.raises(ValueError, match=r"one label per row of X, \(6,\), got \(5,\)"):
        unchecked = inspect.unwrap(theory.min_norm_interpolator)
        unchecked(X, y[:5], np.ones(15))
    with pytest.raises(ValueError, match=r"G must be a diagonal \[15\]"):
        theory.min_norm_interpolator(X, y, np.ones(14))
    with pytest.raises(ValueError, match="X must be finite, got nan"):
        theory.min_norm_interpolator(X * np.nan, y, np.ones(15))
    with pytest.raises(ValueError, match="eta must be >= 0, got -1"):
        theory.sharpness_metric(covariance, -1.0)
    with pytest.raises(ValueError, match="covariance must have the 15 columns"):
        theory.output_variance(np.ones(15), np.ones(3))
