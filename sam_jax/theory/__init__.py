"""Membership leakage of linear models that interpolate: closed forms and simulation.

Derivations, assumptions and the tests that check them: docs/theory.md.
"""

from sam_jax.theory.advantage import (
    Region,
    confidence_advantage,
    contraction_raises_advantage,
    likelihood_ratio_advantage,
    likelihood_ratio_power,
    likelihood_ratio_region,
    likelihood_ratio_slope,
    turning_sigma,
    two_sided_confidence_advantage,
)
from sam_jax.theory.equivalents import (
    Advantages,
    Equivalent,
    advantage_equivalents,
    deterministic_equivalent,
    effective_traces,
)
from sam_jax.theory.interpolator import (
    min_norm_interpolator,
    output_variance,
    sharpness_metric,
)
from sam_jax.theory.populations import (
    Population,
    isotropic,
    minority,
    power_law,
    single,
    spiked,
)

__all__ = [
    "Advantages",
    "Equivalent",
    "Population",
    "Region",
    "advantage_equivalents",
    "confidence_advantage",
    "contraction_raises_advantage",
    "deterministic_equivalent",
    "effective_traces",
    "isotropic",
    "likelihood_ratio_advantage",
    "likelihood_ratio_power",
    "likelihood_ratio_region",
    "likelihood_ratio_slope",
    "min_norm_interpolator",
    "minority",
    "output_variance",
    "power_law",
    "sharpness_metric",
    "single",
    "spiked",
    "turning_sigma",
    "two_sided_confidence_advantage",
]
