"""The SAM family as optax gradient transformations."""

from sam_jax.optimizers.aliases import (
    asam,
    friendly_sam,
    gnp,
    gsam,
    looksam,
    m_sam,
    random_sam,
    rho_from_learning_rate,
    sam,
    usam,
)
from sam_jax.optimizers.ascent import climb, direction, init_memory, perturb
from sam_jax.optimizers.methods import (
    ASAM,
    GNP,
    GSAM,
    MSAM,
    SAM,
    USAM,
    FriendlySAM,
    LookSAM,
    Method,
    RandomSAM,
)
from sam_jax.optimizers.registry import OPTIMIZERS, default_rho
from sam_jax.optimizers.transform import (
    Radius,
    SharpnessAwareState,
    fill_masked,
    sharpness_aware,
)

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
    "climb",
    "default_rho",
    "direction",
    "fill_masked",
    "friendly_sam",
    "gnp",
    "gsam",
    "init_memory",
    "looksam",
    "m_sam",
    "perturb",
    "random_sam",
    "rho_from_learning_rate",
    "sam",
    "sharpness_aware",
    "usam",
]
