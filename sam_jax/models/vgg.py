"""VGG-16 for small images."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from sam_jax.models.adapters.linen import from_linen
from sam_jax.models.ensemble_conv.pooling import max_pool
from sam_jax.models.layers import NORMS, check_network, conv3x3
from sam_jax.types import Model

STAGES = ((1, 1), (2, 2), (4, 4, 4), (8, 8, 8), (8, 8, 8))
"""Channels of each convolution, in multiples of the width; a pooling after a stage."""


class VGG16(nn.Module):
    """13 convolutions of 3 x 3 in five stages, then one dense layer."""

    num_classes: int
    width: int
    norm: str
    dtype: Any

    @nn.compact
    def __call__(self, x, train=False):
        """Returns logits [B, C]."""
        x = x.astype(self.dtype)
        for stage in STAGES:
            for multiple in stage:
                features = self.width * multiple
                x = conv3x3(features, use_bias=True, dtype=self.dtype)(x)
                x = nn.relu(NORMS[self.norm](x, train))
            if min(x.shape[1:3]) > 1:
                x = max_pool(x)
        x = jnp.mean(x, axis=(1, 2), dtype=jnp.float32)
        return nn.Dense(self.num_classes)(x)


def vgg16(
    num_classes: int, width: int = 64, norm: str = "batch", dtype: Any = jnp.float32
) -> Model:
    """Returns VGG-16 with normalisation and one dense layer, for small images.

    14,728,266 parameters at width 64 for 10 classes and 3 channels, as in
    https://github.com/kuangliu/pytorch-cifar. Poolings halve the image as long as it
    has more than one pixel a side; what is left is averaged.

    Args:
        num_classes: Number of classes C, at least 2.
        width: Channels of the first stage.
        norm: ``"batch"`` or ``"group"`` normalisation.
        dtype: Of the computation; parameters, normalisation and logits are float32.

    Raises:
        ValueError: If a number is below its minimum or ``norm`` is unknown.

    References:
        Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image
        Recognition", 2015, https://arxiv.org/abs/1409.1556.
    """
    check_network(num_classes, norm, width=width)
    return from_linen(VGG16(num_classes, width, norm, dtype))
