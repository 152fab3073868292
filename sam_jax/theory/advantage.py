"""Advantage of membership attacks on Gaussian margins, in closed form.

Members of an interpolating model have margin 1, non-members N(mu, sigma^2). The
advantage of an attack is its true minus its false-positive rate. The likelihood-ratio
attack sees scores with a resolution tau > 0: N(1, tau^2) for members, N(mu, s^2) with
``s^2 = sigma^2 + tau^2`` for the others. Without it equality would be a perfect test.
All arguments broadcast; everything is float64. Derivations: docs/theory.md.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64
from scipy import special

from sam_jax._checks import ArgumentError
from sam_jax.theory import _arrays
from sam_jax.theory._arrays import Floats, Reals


def confidence_advantage(
    mu: Reals, sigma: Reals, threshold: Reals = 1.0
) -> Float64[np.ndarray, "..."]:
    """Returns the advantage of "member iff the margin is at least ``threshold``".

    ``Phi((threshold - mu) / sigma)``: every member is detected, and a non-member passes
    with probability ``Q((threshold - mu) / sigma)``. Rises as ``sigma`` falls while
    ``mu < threshold``, and falls with it where ``mu > threshold``.

    Args:
        mu: Mean margin of a non-member.
        sigma: Standard deviation of a non-member's margin, > 0.
        threshold: At most 1, the margin of every member.

    Raises:
        ArgumentError: If ``sigma <= 0``, ``threshold > 1`` or anything is not finite.

    Example:
        >>> confidence_advantage(0.0, [0.5, 1.0]).round(4)
        array([0.9772, 0.8413])
    """
    mu = _arrays.finite("mu", mu)
    sigma = _arrays.positive("sigma", sigma)
    threshold = _members_pass(threshold)
    return np.asarray(special.ndtr((threshold - mu) / sigma))


def two_sided_confidence_advantage(
    sigma: Reals, threshold: Reals = 1.0
) -> Float64[np.ndarray, "..."]:
    """Returns the advantage of "member iff ``|f| >= threshold``" for ``mu = 0``.

    ``2 Phi(threshold / sigma) - 1``: the attack knows neither label nor margin.

    Args:
        sigma: Standard deviation of a non-member's output, > 0.
        threshold: In (0, 1].

    Raises:
        ArgumentError: If ``sigma <= 0`` or the threshold is outside (0, 1].
    """
    sigma = _arrays.positive("sigma", sigma)
    threshold = _arrays.positive("threshold", _members_pass(threshold))
    return np.asarray(special.erf(threshold / (sigma * np.sqrt(2.0))))


def _members_pass(threshold: Reals) -> np.ndarray:
    threshold = _arrays.finite("threshold", threshold)
    if threshold.size and threshold.max() > 1:
        rule = f"must be <= 1, the margin of a member, got {threshold.max()}."
        raise ArgumentError("threshold", rule)
    return threshold


class Region(NamedTuple):
    """Interval of scores, as offsets from the members' mean 1; may be infinite."""

    lower: Float64[np.ndarray, "..."]
    upper: Float64[np.ndarray, "..."]


def likelihood_ratio_region(mu: Reals, sigma: Reals, tau: Reals) -> Region:
    """Returns where a member's score is the more likely: ``1 + [lower, upper]``.

    With ``u = score - 1``, ``delta = 1 - mu`` and ``l = log(s / tau)`` the densities
    are equal at the roots of ``sigma^2 u^2 - 2 delta tau^2 u - tau^2 (delta^2 +
    2 s^2 l) = 0``, whose discriminant is a sum of positive terms. The larger root in
    size is computed first and the other from their product, so that neither cancels
    as the variances become equal and the larger root goes to infinity.

    Args:
        mu: Mean of a non-member's margin.
        sigma: Its standard deviation, > 0.
        tau: Resolution of the released score, > 0.

    Raises:
        ArgumentError: If ``sigma <= 0``, ``tau <= 0`` or anything is not finite.
    """
    delta, sigma, tau, s = _gaussians(mu, sigma, tau)
    log_ratio = 0.5 * np.log1p((sigma / tau) ** 2)
    root = np.sqrt(delta**2 + 2 * sigma**2 * log_ratio)
    sign = np.where(delta < 0, -1.0, 1.0)
    numerator = tau * (delta * tau + sign * s * root)
    with np.errstate(over="ignore", divide="ignore"):
        large = numerator / sigma**2
    small = -(tau**2) * (delta**2 + 2 * s**2 * log_ratio) / numerator
    return Region(np.minimum(large, small), np.maximum(large, small))


def likelihood_ratio_advantage(
    mu: Reals, sigma: Reals, tau: Reals
) -> Float64[np.ndarray, "..."]:
    """Returns the advantage of the best attack there is on scores of resolution tau.

    The total variation distance between N(1, tau^2) and N(mu, sigma^2 + tau^2). The gap
    of the two distribution functions is not below 0 at the upper edge of the region and
    not above 0 at the lower one; each is computed without cancellation, so that nearly
    equal distributions keep their relative accuracy.

    Arguments and errors are those of ``likelihood_ratio_region``.

    Example:
        >>> likelihood_ratio_advantage(0.0, [0.5, 1.0, 2.0], 0.01).round(4)
        array([0.992 , 0.9831, 0.9874])
    """
    region = likelihood_ratio_region(mu, sigma, tau)
    delta, sigma, tau, s = _gaussians(mu, sigma, tau)
    # u / tau - (u + delta) / s, with s - tau = sigma^2 / (s + tau).
    slope = (sigma / s) * (sigma / tau) / (s + tau)
    lower, upper = (
        _interval_of_width((u + delta) / s, u * slope - delta / s) for u in region
    )
    return np.asarray(upper - lower)


def likelihood_ratio_power(
    mu: Reals, sigma: Reals, tau: Reals, fpr: Reals
) -> Float64[np.ndarray, "..."]:
    """Returns the largest true-positive rate of any attack at a false-positive rate.

    Every Neyman-Pearson region is an interval with the same centre, ``1 + delta tau^2 /
    sigma^2``; its edge nearer to the non-members is computed by bisection on the
    false-positive rate, which falls as that edge moves to the centre.

    Args:
        mu: Mean of a non-member's margin.
        sigma: Its standard deviation, > 0.
        tau: Resolution of the released score, > 0.
        fpr: False-positive rate in (0, 1).

    Raises:
        ArgumentError: If ``sigma <= 0``, ``tau <= 0`` or ``fpr`` is outside (0, 1).

    Example:
        >>> likelihood_ratio_power(0.0, 0.5, 0.1, [0.001, 0.05]).round(4)
        array([0.0377, 0.9687])
    """
    fpr = _arrays.positive("fpr", fpr)
    if fpr.size and fpr.max() >= 1:
        raise ArgumentError("fpr", f"must be < 1, got {fpr.max()}.")
    delta, sigma, tau, s = _gaussians(mu, sigma, tau)
    delta = np.abs(delta)  # By symmetry: the non-members lie below the members.
    with np.errstate(over="ignore", divide="ignore"):
        centre = delta * (tau / sigma) ** 2

    def false_positives(edge: Floats) -> np.ndarray:
        return _interval_of_width((edge + delta) / s, 2 * (centre - edge) / s)

    # Between the edges of the central interval of mass fpr and the one-sided region.
    low = -delta + s * (special.ndtri((1 - fpr) / 2) - 1e-15)
    high = np.minimum(centre, -delta - s * special.ndtri(fpr))
    low, high, fpr = np.broadcast_arrays(low, high, fpr)
    # More halvings than float64 can tell apart: it ends at neighbours.
    for _ in range(200):
        middle = low + (high - low) / 2
        too_many = false_positives(middle) > fpr
        low, high = np.where(too_many, middle, low), np.where(too_many, high, middle)
    return np.asarray(_interval_of_width(high / tau, 2 * (centre - high) / tau))


def likelihood_ratio_slope(
    mu: Reals, sigma: Reals, tau: Reals
) -> Float64[np.ndarray, "..."]:
    """Returns the derivative of the likelihood-ratio advantage in ``sigma``.

    By the envelope theorem only the non-members' distribution moves: ``(sigma / s^2)
    (b' phi(b') - a' phi(a'))`` with ``a', b'`` the edges of the region in
    standard deviations of the non-members. Negative: contraction of ``sigma`` raises
    the advantage.

    Arguments and errors are those of ``likelihood_ratio_region``.
    """
    region = likelihood_ratio_region(mu, sigma, tau)
    delta, sigma, _, s = _gaussians(mu, sigma, tau)
    with np.errstate(invalid="ignore", under="ignore", over="ignore"):
        edges = [(edge + delta) / s for edge in region]
        # An infinite edge adds nothing.
        lower, upper = (
            np.where(np.isinf(a), 0.0, a * np.exp(-(a**2) / 2)) for a in edges
        )
        difference = upper - lower
    return np.asarray(sigma / s**2 * difference / np.sqrt(2 * np.pi))


def contraction_raises_advantage(
    mu: Reals, sigma: Reals, tau: Reals
) -> Bool[np.ndarray, "..."]:
    """Returns on which side a problem lies: True where less variance leaks more.

    Arguments and errors are those of ``likelihood_ratio_region``.

    Returns:
        Whether ``sigma`` is below ``turning_sigma``, where a fall of ``sigma`` raises
        the likelihood-ratio advantage; above it, the fall lowers the advantage.

    Example:
        >>> contraction_raises_advantage(0.0, [0.5, 2.0], tau=0.1)
        array([ True, False])
    """
    return np.asarray(_arrays.positive("sigma", sigma) < turning_sigma(mu, tau))


def turning_sigma(mu: Reals, tau: Reals) -> Float64[np.ndarray, "..."]:
    """Returns the ``sigma`` at which the likelihood-ratio advantage is smallest.

    Below it contraction raises the advantage, above it contraction lowers it. For
    small ``tau`` it is ``|1 - mu|``; for ``mu = 1`` it is 0: contraction only lowers.

    Args:
        mu: Mean of a non-member's margin.
        tau: Resolution of the released score, > 0.

    Raises:
        ArgumentError: If ``tau <= 0`` or anything is not finite.

    Example:
        >>> turning_sigma([0.0, 0.5], 0.001).round(3)
        array([1. , 0.5])
    """
    mu, tau = _arrays.finite("mu", mu), _arrays.positive("tau", tau)
    delta = np.abs(1 - mu)
    low = np.log(1e-3 * np.where(delta == 0, 1.0, delta))
    high = np.log(10 * (delta + tau))
    for _ in range(100):
        middle = (low + high) / 2
        # The advantage falls up to the turning point and rises beyond it.
        rising = likelihood_ratio_slope(mu, np.exp(middle), tau) > 0
        low, high = np.where(rising, low, middle), np.where(rising, middle, high)
    return np.where(delta == 0, 0.0, np.exp(high))


def normal_interval(lower: Reals, upper: Reals) -> Float64[np.ndarray, "..."]:
    """Returns ``Phi(upper) - Phi(lower)``, from the tails where both are positive."""
    lower, upper = np.asarray(lower, np.float64), np.asarray(upper, np.float64)
    right = special.ndtr(-lower) - special.ndtr(-upper)
    left = special.ndtr(upper) - special.ndtr(lower)
    return np.where(lower > 0, right, left)


_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(16)


def _interval_of_width(lower: Floats, width: Floats) -> np.ndarray:
    """Returns ``Phi(lower + width) - Phi(lower)``, to relative accuracy when narrow.

    Gauss-Legendre on widths up to 1, where the subtraction would cancel; infinite
    ``lower`` (the same infinity as ``lower + width``) gives 0.
    """
    lower, width = np.broadcast_arrays(lower, width)
    narrow = np.isfinite(lower) & (np.abs(width) <= 1)
    start, step = np.where(narrow, lower, 0.0), np.where(narrow, width, 0.0)
    points = start[..., None] + step[..., None] * (1 + _NODES) / 2
    with np.errstate(under="ignore", over="ignore"):
        density = np.exp(-(points**2) / 2) / np.sqrt(2 * np.pi)
    with np.errstate(invalid="ignore"):
        upper = np.where(np.isfinite(lower), lower + width, lower)
    return np.where(
        narrow, step / 2 * (density @ _WEIGHTS), normal_interval(lower, upper)
    )


def _gaussians(mu: Reals, sigma: Reals, tau: Reals) -> tuple[Floats, ...]:
    """Returns ``1 - mu``, ``sigma``, ``tau`` and ``s``, checked and broadcast."""
    mu = _arrays.finite("mu", mu)
    sigma = _arrays.positive("sigma", sigma)
    tau = _arrays.positive("tau", tau)
    mu, sigma, tau = np.broadcast_arrays(mu, sigma, tau)
    sigma = np.maximum(sigma, 1e-70 * tau)  # fourth powers of less underflow
    return 1 - mu, sigma, tau, np.hypot(sigma, tau)
