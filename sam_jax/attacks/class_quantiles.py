"""Quantiles of a population by class: what is left of regression without inputs."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from sam_jax.attacks.base import Attack
from sam_jax.attacks.population import (
    clipped,
    mean_phi,
    standardisation,
    standardised,
    take_population,
)
from sam_jax.types import Signals

PRIOR_COUNT = 4.0
"""Points that a class is taken to have with the mean and variance of all classes."""

NO_LABEL = 2**31 - 1
"""Stands for the label of no point at all."""


class ClassFit(NamedTuple):
    """Sums of the standardised phi of population points, in the order of labels."""

    labels: Int[Array, "*t p"]
    scaling: Float[Array, "*t 2"]
    sums: Float[Array, "*t p1"]
    squares: Float[Array, "*t p1"]


def quantile_by_class() -> Attack:
    """How far phi lies above its quantiles in the example's class.

    A Gaussian of the target's phi on the population in each class, mean and variance
    shrunk towards those of all classes as if ``PRIOR_COUNT`` points had them. The score
    is the z-score.

    Assumes: the target's phi, also on a population; no shadow models. Bertran et al.
    (``quantile_regression``) regress on the input, of which ``Signals`` hold the label.
    """

    def fit(signals: Signals, target: Any) -> ClassFit:
        population, is_valid = take_population(signals)
        phi = mean_phi(population)[target]
        scaling = standardisation(phi, is_valid)
        values = clipped(phi, scaling)
        order = jnp.argsort(jnp.where(is_valid, population.labels, NO_LABEL))
        values = jnp.where(is_valid, values, 0)[order]
        # Cumulative in the order of labels, so that a class is a difference of two.
        sums = [
            jnp.concatenate([jnp.zeros(1, phi.dtype), jnp.cumsum(values**k)])
            for k in (1, 2)
        ]
        labels = jnp.where(is_valid, population.labels, NO_LABEL)[order]
        return ClassFit(labels, scaling, *sums)

    def score(fitted: ClassFit, signals: Signals, target: Any) -> Any:
        first, last = (
            jnp.searchsorted(fitted.labels, signals.labels, side=side)
            for side in ("left", "right")
        )
        total, squares = (a[last] - a[first] for a in (fitted.sums, fitted.squares))
        count = (last - first).astype(total.dtype)
        mean = total / (count + PRIOR_COUNT)
        # Values are standardised: the prior's points have mean 0 and variance 1.
        scatter = jnp.maximum(squares - total * mean, 0) + PRIOR_COUNT
        variance = scatter / (count + PRIOR_COUNT)
        value = standardised(mean_phi(signals)[target], fitted.scaling)
        return (value - mean) / jnp.sqrt(variance)

    return Attack(score, fit, ("population",), "quantile_by_class")
