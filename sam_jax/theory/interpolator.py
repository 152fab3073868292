"""Linear interpolators of least norm in a metric, and the variance of their outputs.

The setting: ``n < d`` rows ``x_i ~ N(0, Sigma)`` and labels ``y``. Least squares by
gradient descent from zero converges to the interpolator of least Euclidean norm.
Regularising the sharpness of the squared loss, whose Hessian is ``Sigma``, is modelled
as least norm in the metric ``G = I + eta Sigma``.
"""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from jaxtyping import Float, Float64

from sam_jax._checks import ArgumentError
from sam_jax.theory import _arrays
from sam_jax.theory._arrays import Floats

Product: TypeAlias = Callable[[np.ndarray], np.ndarray]
"""Vectors -> a matrix times each."""

MAX_CONDITION = 1e12
"""Largest condition number that leaves about four correct digits in float64."""


def sharpness_metric(
    covariance: Float[np.ndarray, "..."], eta: float | int
) -> Float64[np.ndarray, "..."]:
    """Returns ``G = I + eta Sigma``, the metric that models sharpness regularisation.

    Args:
        covariance: ``Sigma``: its diagonal [d], or a matrix [*batch, d, d].
        eta: Strength of the regularisation, >= 0; 0 gives the identity (plain SGD).

    Returns:
        ``G`` in the layout of ``covariance``.

    Raises:
        ArgumentError: If ``eta`` is negative or anything is not finite.

    References:
        Kim, Agiollo, Agrawal, Royset, Khanna, "Membership Privacy Risks of Sharpness
        Aware Minimization", 2026, https://arxiv.org/abs/2310.00488.
    """
    eta = float(_arrays.non_negative("eta", eta))
    covariance = _arrays.finite("covariance", covariance)
    identity = 1.0 if covariance.ndim == 1 else np.eye(covariance.shape[-1])
    return identity + eta * covariance


def min_norm_interpolator(
    X: Float[np.ndarray, "*batch n d"],
    y: Float[np.ndarray, "*batch n"],
    G: Float[np.ndarray, "..."],
) -> Float64[np.ndarray, "*batch d"]:
    """Returns the minimiser of ``w^T G w`` among all ``w`` with ``X w = y``.

    With ``G = L L^T`` and the factorisation ``L^-1 X^T = Q R`` the solution is
    ``w = L^-T Q R^-T y``: ``X G^-1 X^T``, whose condition number is the square of that
    of ``R``, is never formed. Rows are first scaled to length 1 in the metric, so that
    their units do not matter.

    Args:
        X: Rows are examples, ``n <= d``, of full row rank.
        y: Labels.
        G: A symmetric positive definite metric: a diagonal [d], one diagonal for each
            problem [*batch, 1, d], or matrices [d, d] or [*batch, d, d].

    Returns:
        The interpolator of each problem.

    Raises:
        ArgumentError: If ``n > d``, a shape does not fit, ``X`` has not full row rank,
            ``G`` is not symmetric positive definite, or the problem's condition number,
            ``cond(X G^-1/2) cond(G)^1/2``, exceeds ``MAX_CONDITION``.

    Example:
        >>> X, y = np.array([[1.0, 1.0]]), np.array([1.0])
        >>> min_norm_interpolator(X, y, np.array([1.0, 3.0]))
        array([0.75, 0.25])
    """
    X, y, G = (_arrays.finite(*item) for item in (("X", X), ("y", y), ("G", G)))
    n, d = X.shape[-2:]
    if n > d:
        raise ArgumentError(
            "X",
            f"must have no more rows than columns to interpolate, got n={n}, d={d}.",
        )
    if y.shape != X.shape[:-1]:
        raise ArgumentError(
            "y", f"must have one label per row of X, {X.shape[:-1]}, got {y.shape}."
        )
    if G.ndim == 0 or G.shape[-1] != d or (G.ndim > 1 and G.shape[-2] not in (1, d)):
        raise ArgumentError(
            "G",
            f"must be a diagonal [{d}] or [*batch, 1, {d}], or a matrix "
            f"[*batch, {d}, {d}], got shape {G.shape}.",
        )
    whiten, unwhiten, metric_condition = _square_root(G)
    columns = whiten(np.swapaxes(X, -1, -2))
    # Rows of length 1 in the metric, and labels divided by the same lengths.
    lengths = np.linalg.norm(columns, axis=-2, keepdims=True)
    lengths = np.where(lengths > 0, lengths, 1.0)
    Q, R = np.linalg.qr(columns / lengths)
    # In the 1-norm, which takes an inverse and no singular values.
    _check_condition(X, np.linalg.cond(R, 1), metric_condition)
    labels = y[..., None] / np.swapaxes(lengths, -1, -2)
    v = Q @ np.linalg.solve(np.swapaxes(R, -1, -2), labels)
    return unwhiten(v)[..., 0]


def _square_root(G: np.ndarray) -> tuple[Product, Product, Floats]:
    """Returns ``v -> L^-1 v``, ``v -> L^-T v`` for ``G = L L^T``, and ``cond(L)``."""
    if G.ndim == 1 or (G.shape[-2] == 1 and G.shape[-1] > 1):
        diagonal = G if G.ndim == 1 else G[..., 0, :]
        if diagonal.min() <= 0:
            raise ArgumentError(
                "G", f"must be positive definite, got {diagonal.min()}."
            )
        root = np.sqrt(diagonal)[..., None]

        def scale(v: np.ndarray) -> np.ndarray:
            return v / root

        return scale, scale, root.max((-1, -2)) / root.min((-1, -2))
    # No diagonal: the root of a matrix is a triangle, which is solved and not inverted.
    if not np.allclose(G, np.swapaxes(G, -1, -2), rtol=1e-10, atol=0):
        raise ArgumentError("G", "must be symmetric, got an asymmetric matrix.")
    try:
        L = np.linalg.cholesky(G)
    except np.linalg.LinAlgError:
        smallest = np.linalg.eigvalsh(G).min()
        raise ArgumentError(
            "G", f"must be positive definite, got the eigenvalue {smallest:.3g}."
        ) from None

    def whiten(v: np.ndarray) -> np.ndarray:
        return np.linalg.solve(L, v)

    def unwhiten(v: np.ndarray) -> np.ndarray:
        return np.linalg.solve(np.swapaxes(L, -1, -2), v)

    return whiten, unwhiten, np.linalg.cond(L, 1)


def _check_condition(
    X: np.ndarray, rows_condition: Floats, metric_condition: Floats
) -> None:
    """Raises ``ValueError`` where float64 cannot hold the result, and says whose."""
    worst = np.max(rows_condition * metric_condition)
    if not worst <= MAX_CONDITION:
        lengths = np.linalg.norm(X, axis=-1, keepdims=True)
        rows = X / np.where(lengths > 0, lengths, 1.0)
        rank, n = np.min(np.linalg.matrix_rank(rows)), X.shape[-2]
        if rank < n:
            raise ArgumentError("X", f"must have full row rank {n}, got rank {rank}.")
        raise ValueError(
            "cond(X G^-1/2) cond(G)^1/2 must be at most "
            f"{MAX_CONDITION:.0e} in float64, got {worst:.3g}."
        )


def output_variance(
    w: Float[np.ndarray, "*batch d"], covariance: Float[np.ndarray, "..."]
) -> Float64[np.ndarray, "*batch"]:
    """Returns ``w^T Sigma w``, the variance of ``f(x)`` over non-members ``x``.

    Args:
        w: Weights.
        covariance: ``Sigma``: its diagonal [d], or a matrix [d, d].

    Raises:
        ArgumentError: If anything is not finite or the sizes differ.

    Example:
        >>> output_variance(np.array([1.0, 2.0]), np.array([3.0, 0.5]))
        array(5.)
    """
    w = _arrays.finite("w", w)
    covariance = _arrays.finite("covariance", covariance)
    if covariance.shape[-1] != w.shape[-1]:
        raise ArgumentError(
            "covariance",
            f"must have the {w.shape[-1]} columns of w, got shape {covariance.shape}.",
        )
    product = w * covariance if covariance.ndim == 1 else w @ covariance
    return np.asarray(np.sum(product * w, axis=-1))
