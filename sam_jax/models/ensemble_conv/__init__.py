"""Convolutions and batch normalisation that stay fast under `vmap` over models."""

from sam_jax.models.ensemble_conv.batch_norm import BatchNorm
from sam_jax.models.ensemble_conv.conv import Conv, avg_pool, conv, max_pool

__all__ = ["BatchNorm", "Conv", "avg_pool", "conv", "max_pool"]
