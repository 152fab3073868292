"""Input populations: mixtures of centred Gaussians with a common eigenbasis."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from sam_jax import _checks
from sam_jax._checks import ArgumentError
from sam_jax.theory import _arrays


class Population(NamedTuple):
    """``x ~ N(0, diag(eigenvalues[k]))`` with probability ``weights[k]``.

    Attributes:
        eigenvalues: Variances of group k along the common eigenvectors, >= 0; each
            direction has a positive variance in some group.
        weights: Probability of each group; they sum to 1.
    """

    eigenvalues: Float64[np.ndarray, "k d"]
    weights: Float64[np.ndarray, " k"]

    @property
    def pooled(self) -> Float64[np.ndarray, " d"]:
        """Eigenvalues of the covariance ``Sigma`` of the whole population."""
        return self.weights @ self.eigenvalues


def single(eigenvalues: Float64[np.ndarray, " d"]) -> Population:
    """Returns one Gaussian group with these eigenvalues, scaled to mean 1.

    Raises:
        ArgumentError: If an eigenvalue is not finite and > 0.
    """
    eigenvalues = _arrays.positive("eigenvalues", eigenvalues)
    return Population((eigenvalues / eigenvalues.mean())[None], np.ones(1))


def isotropic(d: int) -> Population:
    """Returns ``N(0, I)`` in ``d`` dimensions.

    Raises:
        ArgumentError: If ``d`` is below 1.
    """
    _checks.at_least(1, d=d)
    return single(np.ones(d))


def power_law(d: int, exponent: float = 1.0) -> Population:
    """Returns eigenvalues proportional to ``j ** -exponent``, of mean 1.

    Raises:
        ArgumentError: If ``d`` is below 1 or ``exponent`` negative.
    """
    _checks.at_least(1, d=d)
    _checks.non_negative(exponent=exponent)
    return single(np.arange(1, d + 1) ** -float(exponent))


def spiked(d: int, num_spikes: int = 5) -> Population:
    """Returns a flat spectrum with ``num_spikes`` eigenvalues of 20 times its level.

    Raises:
        ArgumentError: If there are more spikes than dimensions.
    """
    _checks.at_least(1, d=d, num_spikes=num_spikes)
    if num_spikes > d:
        raise ArgumentError("num_spikes", f"must be at most d={d}, got {num_spikes}.")
    return single(np.where(np.arange(d) < num_spikes, 20.0, 1.0))


def minority(
    d: int, share: float = 0.2, fraction: float = 0.25, overlap: float = 0.05
) -> Population:
    """Returns a majority, and a subclass whose directions the majority hardly uses.

    The subclass (second group) varies along all directions; along the first
    ``fraction`` of them the majority has only ``overlap`` times its variance, so that
    mainly the subclass can teach them.

    Args:
        d: Number of dimensions.
        share: Probability of the subclass, in (0, 1).
        fraction: Share of the directions that are the subclass's, in (0, 1).
        overlap: Variance of the majority along them, relative to the subclass, > 0.

    Raises:
        ArgumentError: If ``share`` or ``fraction`` is outside (0, 1), no direction is
            left to one of the groups, or ``overlap`` is not finite and > 0.
    """
    _checks.at_least(2, d=d)
    _checks.positive(overlap=overlap)
    num_subclass = round(float(fraction) * d)
    if not 0 < share < 1:
        raise ArgumentError("share", f"must lie in (0, 1), got {share!r}.")
    if not 0 < num_subclass < d:
        raise ArgumentError(
            "fraction",
            f"must leave directions to both groups of d={d}, got {fraction!r}.",
        )
    majority = np.where(np.arange(d) < num_subclass, float(overlap), 1.0)
    eigenvalues = np.stack([majority, np.ones(d)])
    weights = np.array([1.0 - share, share])
    return Population(eigenvalues / (weights @ eigenvalues).mean(), weights)
