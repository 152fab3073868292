"""Training of one model, and of hundreds at once."""

from sam_jax.training.membership import balanced_keep
from sam_jax.training.shadow_models import train_chunks, train_shadow_models
from sam_jax.training.vmap_models import use_all_cores

__all__ = ["balanced_keep", "train_chunks", "train_shadow_models", "use_all_cores"]
