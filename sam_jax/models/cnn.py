"""A small convolutional network for images of about 28 x 28."""

from collections.abc import Sequence

import flax.linen as nn

from sam_jax import _checks
from sam_jax.models.conv import Conv, max_pool
from sam_jax.models.linen import from_linen
from sam_jax.types import Model


class CNN(nn.Module):
    """Blocks of 3 x 3 convolution, batch norm, ReLU and pooling, then two layers."""

    num_classes: int
    widths: Sequence[int]
    hidden: int

    @nn.compact
    def __call__(self, x, train=False):
        """Returns logits [B, C]."""
        for width in self.widths:
            x = Conv(width, (3, 3), use_bias=False)(x)
            x = nn.BatchNorm(use_running_average=not train, momentum=0.9)(x)
            x = max_pool(nn.relu(x))
        x = x.reshape(len(x), -1)
        x = nn.relu(nn.Dense(self.hidden)(x))
        return nn.Dense(self.num_classes)(x)


def cnn(num_classes: int, widths: Sequence[int] = (16, 32), hidden: int = 128) -> Model:
    """Returns a small convolutional network with batch norm, for images [B, H, W, C].

    Args:
        num_classes: Number of classes C, at least 2.
        widths: Channels of each block; every block halves the image.
        hidden: Width of the dense layer before the last.

    Raises:
        ValueError: If a number is below its minimum.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> model = cnn(10)
        >>> params, state = model.init(jax.random.key(0), jnp.ones([2, 28, 28, 1]))
        >>> params["Conv_1"]["kernel"].shape
        (3, 3, 16, 32)
    """
    _checks.at_least(2, num_classes=num_classes)
    _checks.at_least(1, hidden=hidden)
    for width in widths:
        _checks.at_least(1, widths=width)
    return from_linen(CNN(num_classes, tuple(widths), hidden))
