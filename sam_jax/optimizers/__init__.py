"""The SAM family as optax gradient transformations."""

from sam_jax.optimizers.base import Method, perturbed_params
from sam_jax.optimizers.masking import fill_masked
from sam_jax.optimizers.memory_methods import FriendlySAM, LookSAM
from sam_jax.optimizers.methods import ASAM, GNP, GSAM, MSAM, SAM, USAM, RandomSAM
from sam_jax.optimizers.radius import Radius, rho_from_learning_rate
from sam_jax.optimizers.registry import (
    OPTIMIZERS,
    asam,
    default_rho,
    friendly_sam,
    gnp,
    gsam,
    looksam,
    m_sam,
    make_factory,
    random_sam,
    sam,
    usam,
)
from sam_jax.optimizers.transform import SharpnessAwareState, sharpness_aware

__all__ = [
    "ASAM",
    "GNP",
    "GSAM",
    "MSAM",
    "OPTIMIZERS",
    "SAM",
    "USAM",
    "FriendlySAM",
    "LookSAM",
    "Method",
    "Radius",
    "RandomSAM",
    "SharpnessAwareState",
    "asam",
    "default_rho",
    "fill_masked",
    "friendly_sam",
    "gnp",
    "gsam",
    "looksam",
    "m_sam",
    "make_factory",
    "perturbed_params",
    "random_sam",
    "rho_from_learning_rate",
    "sam",
    "sharpness_aware",
    "usam",
]
