"""Deterministic equivalents: what interpolators do on average in high dimension.

For ``n`` examples of a Gaussian mixture in ``d > n`` dimensions, n and d large, the
output variance and the risk of the interpolator of least ``G_eta``-norm stay close to
numbers that depend on the spectrum alone; the relative error is of order 1/n.
Derivation: docs/theory.md.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from sam_jax import _checks
from sam_jax._checks import ArgumentError
from sam_jax.theory import _arrays, advantage
from sam_jax.theory.populations import Population

_MAX_STEPS = 200


class Equivalent(NamedTuple):
    """Deterministic equivalents for labels ``y = x beta + noise``.

    Attributes:
        variance: Of the output on a non-member, ``E w^T Sigma w``.
        risk: Excess squared error, ``E (w - beta)^T Sigma (w - beta)``.
        group_variance: ``E w^T Sigma_k w``, for non-members of group k alone.
        group_risk: ``E (w - beta)^T Sigma_k (w - beta)``.
    """

    variance: Float64[np.ndarray, ""]
    risk: Float64[np.ndarray, ""]
    group_variance: Float64[np.ndarray, " k"]
    group_risk: Float64[np.ndarray, " k"]


class Advantages(NamedTuple):
    """Deterministic equivalents of attack advantages for random labels ±1."""

    confidence: Float64[np.ndarray, "..."]
    likelihood_ratio: Float64[np.ndarray, "..."]


def effective_traces(
    eigenvalues: Float64[np.ndarray, "k d"], counts: Float64[np.ndarray, " k"]
) -> Float64[np.ndarray, " k"]:
    """Solves ``D_k = sum_j h_kj R_j``, ``R_j = 1 / (1 + sum_k n_k h_kj / D_k)``.

    For one group ``D = n kappa`` with ``sum_j h_j / (h_j + kappa) = n``. The right-hand
    side is concave and increasing in ``D``, so Newton's method from above, ``D_k =
    sum_j h_kj``, comes down to the one positive solution without passing it. A step
    that rounding spoils is replaced by the right-hand side, which also comes down.

    Args:
        eigenvalues: ``h``, >= 0.
        counts: Number of examples ``n_k`` of each group, > 0 (need not be whole).

    Raises:
        ArgumentError: If there are not more non-zero directions than examples, or too
            few fewer for float64 (the iteration does not converge).

    References:
        Hastie, Montanari, Rosset, Tibshirani, "Surprises in High-Dimensional Ridgeless
        Least Squares Interpolation", 2022, https://arxiv.org/abs/1903.08560; Wu and Xu,
        "On the Optimal Weighted l2 Regularization in Overparameterized Linear
        Regression", 2020, https://arxiv.org/abs/2006.05800.
    """
    h = _arrays.non_negative("eigenvalues", eigenvalues)
    counts = _arrays.positive("counts", counts)
    # Each group by itself, and all together.
    sizes = np.append(counts, counts.sum())
    ranks = np.append(np.count_nonzero(h, axis=1), np.count_nonzero(h.max(0)))
    if np.any(ranks <= sizes):
        worst = np.argmin(ranks - sizes)
        raise ArgumentError(
            "eigenvalues",
            "must have more non-zero directions than there are examples, "
            f"got {ranks[worst]} directions for {sizes[worst]:g} examples.",
        )
    D = h.sum(1)
    for _ in range(_MAX_STEPS):
        R, A = _linearise(h, counts, D)
        right_side = h @ R
        newton = D - np.linalg.solve(np.eye(len(D)) - A, D - right_side)
        step = np.where((newton > 0) & (newton <= right_side), newton, right_side)
        if np.all(np.abs(step - D) <= 1e-14 * D):
            return step
        D = step
    raise ArgumentError(
        "counts",
        f"must leave more room below {ranks[-1]} directions in float64, "
        f"got {sizes[-1]:g} examples.",
    )


def _linearise(
    h: np.ndarray, counts: np.ndarray, D: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns R [d] and the derivative A [k, k] of the right-hand side at D."""
    R = 1 / (1 + (counts / D) @ h)
    A = (h * R**2) @ h.T * (counts / D**2)
    return R, A


def deterministic_equivalent(
    population: Population,
    n: float | int,
    eta: float | int = 0.0,
    beta: Float64[np.ndarray, " d"] | None = None,
    noise: float | int = 0.0,
) -> Equivalent:
    """Returns the limits for the interpolator of least ``w^T (I + eta Sigma) w``.

    Args:
        population: The mixture; group k has ``n * weights[k]`` examples.
        n: Number of training examples; ``0 < n < d``.
        eta: Strength of the sharpness regularisation, >= 0.
        beta: Weights of the teacher in the eigenbasis; zero by default.
        noise: Standard deviation of the labels around the teacher. Random labels ±1
            are noise 1 and no teacher.

    Raises:
        ArgumentError: If ``n`` is not below the number of directions, a setting is
            negative, or ``beta`` has the wrong size.

    Example:
        >>> from sam_jax.theory import isotropic
        >>> equivalent = deterministic_equivalent(isotropic(400), 100, noise=1.0)
        >>> equivalent.group_variance.round(4)
        array([0.3333])
    """
    _checks.positive(n=n)
    _checks.non_negative(eta=eta, noise=noise)
    pooled = population.pooled
    beta = np.zeros_like(pooled) if beta is None else _arrays.finite("beta", beta)
    if beta.shape != pooled.shape:
        raise ArgumentError(
            "beta",
            f"must have one entry per direction, {pooled.shape}, got {beta.shape}.",
        )
    metric = 1 + eta * pooled
    # In the coordinates G^1/2 w the metric is the identity.
    h = population.eigenvalues / metric
    b2 = metric * beta**2
    counts = n * population.weights
    D = effective_traces(h, counts)
    R, A = _linearise(h, counts, D)
    resolve = np.linalg.inv(np.eye(len(D)) - A)
    noise_part = R**2 * ((counts / D**2 * resolve.sum(1)) @ h)

    # The mean of w is (1 - R) beta, which takes the risk to the variance.
    def moments(target: np.ndarray) -> tuple[np.floating, np.floating]:
        E = resolve @ (h * R**2 @ target)
        bias = R**2 * (target + (counts / D**2 * E) @ h)
        risk = bias @ b2 + noise**2 * (noise_part @ target)
        return risk + (target * (1 - 2 * R)) @ b2, risk

    variances, risks = zip(*(moments(target) for target in h), strict=True)
    group_variance, group_risk = np.array(variances), np.array(risks)
    return Equivalent(
        population.weights @ group_variance,
        population.weights @ group_risk,
        group_variance,
        group_risk,
    )


def advantage_equivalents(
    variance: Float64[np.ndarray, "..."], tau: float, threshold: float = 1.0
) -> Advantages:
    """Returns both advantages for random labels ±1, whose margins are N(0, variance).

    The output variance concentrates, so its equivalent goes into the closed forms.

    Args:
        variance: ``Equivalent.group_variance``; average the advantages over the groups
            by their shares (``Equivalent.variance`` where there is one group).
        tau: Resolution of the scores that the likelihood-ratio attack sees, > 0.
        threshold: Of the confidence attack, at most 1.
    """
    sigma = np.sqrt(_arrays.positive("variance", variance))
    return Advantages(
        advantage.confidence_advantage(0.0, sigma, threshold),
        advantage.likelihood_ratio_advantage(0.0, sigma, tau),
    )
