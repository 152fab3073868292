"""Training of one model, and of hundreds at once."""

from sam_jax.training.chunk_training import Callbacks
from sam_jax.training.membership import balanced_keep
from sam_jax.training.optimizer_check import check_optimizer
from sam_jax.training.shadow_models import train_chunks, train_shadow_models
from sam_jax.training.trainer import TrainingTask
from sam_jax.training.vmap_models import use_all_cores

__all__ = [
    "Callbacks",
    "TrainingTask",
    "balanced_keep",
    "check_optimizer",
    "train_chunks",
    "train_shadow_models",
    "use_all_cores",
]
