"""Convolutions and batch normalisation that stay fast under `vmap` over models."""

from sam_jax.models.ensemble_conv.batch_norm import BatchNorm
from sam_jax.models.ensemble_conv.conv import Conv, conv
from sam_jax.models.ensemble_conv.pooling import avg_pool, max_pool

__all__ = ["BatchNorm", "Conv", "avg_pool", "conv", "max_pool"]
