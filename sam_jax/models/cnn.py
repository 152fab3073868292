"""A small convolutional network for images of about 28 x 28."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from sam_jax import _checks
from sam_jax.models.adapters.linen import from_linen
from sam_jax.models.ensemble_conv.conv import Conv
from sam_jax.models.ensemble_conv.pooling import max_pool
from sam_jax.models.layers import NORMS, check_network
from sam_jax.types import Model


class CNN(nn.Module):
    """Blocks of 3 x 3 convolution, batch norm, ReLU and pooling, then two layers."""

    num_classes: int
    widths: Sequence[int]
    hidden: int
    norm: str
    dtype: Any

    @nn.compact
    def __call__(self, x, train=False):
        """Returns logits [B, C]."""
        x = x.astype(self.dtype)
        for width in self.widths:
            x = Conv(width, (3, 3), use_bias=False, dtype=self.dtype)(x)
            x = max_pool(nn.relu(NORMS[self.norm](x, train)))
        x = x.reshape(len(x), -1)
        x = nn.relu(nn.Dense(self.hidden, dtype=self.dtype)(x))
        return nn.Dense(self.num_classes)(x.astype(jnp.float32))


def cnn(
    num_classes: int,
    widths: Sequence[int] = (16, 32),
    hidden: int = 128,
    norm: str = "batch",
    dtype: Any = jnp.float32,
) -> Model:
    """Returns a small convolutional network, for images [B, H, W, C].

    Args:
        num_classes: Number of classes C, at least 2.
        widths: Channels of each block; every block halves the image.
        hidden: Width of the dense layer before the last.
        norm: ``"batch"`` or ``"group"`` normalisation.
        dtype: Of the computation; parameters, normalisation and logits are float32.

    Raises:
        ValueError: If a number is below its minimum or ``norm`` is unknown.

    Example:
        >>> import jax
        >>> model = cnn(10)
        >>> x = jax.ShapeDtypeStruct([2, 28, 28, 1], jnp.float32)
        >>> params, state = jax.eval_shape(model.init, jax.random.key(0), x)
        >>> params["Conv_1"]["kernel"].shape
        (3, 3, 16, 32)
    """
    check_network(num_classes, norm, hidden=hidden)
    for width in widths:
        _checks.at_least(1, widths=width)
    return from_linen(CNN(num_classes, tuple(widths), hidden, norm, dtype))
