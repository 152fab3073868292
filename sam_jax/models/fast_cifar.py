"""A fast network for small images, after the records for training on CIFAR-10."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from sam_jax.models.adapters.linen import from_linen
from sam_jax.models.ensemble_conv.conv import Conv
from sam_jax.models.ensemble_conv.pooling import max_pool
from sam_jax.models.layers import NORMS, check_network, conv3x3
from sam_jax.types import Model

LOGIT_SCALE = 1 / 9
"""Of airbench94."""


def partial_identity(
    key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32
) -> jax.Array:
    """He-initialised kernel [kh, kw, in, out] whose first filters pass channels on."""
    kernel = nn.initializers.he_normal()(key, shape, dtype)
    height, width, channels, features = shape
    passed = min(channels, features)
    delta = jnp.zeros((height, width, channels, passed), dtype)
    delta = delta.at[height // 2, width // 2].set(jnp.eye(channels, passed))
    return jnp.concatenate([delta, kernel[..., passed:]], axis=-1)


class FastCifar(nn.Module):
    """A 2 x 2 stem, and three stages of conv, pool, norm, GELU, conv, norm, GELU."""

    num_classes: int
    width: int
    norm: str
    dtype: Any

    @nn.compact
    def __call__(self, x, train=False):
        """Returns logits [B, C]."""

        def conv(x, features):
            kernel_init = partial_identity
            return conv3x3(features, kernel_init=kernel_init, dtype=self.dtype)(x)

        def activate(x):
            norm = NORMS[self.norm]
            return nn.gelu(norm(x, train, momentum=0.6, use_scale=False))

        stem = Conv(8 * x.shape[-1], (2, 2), padding="VALID", dtype=self.dtype)
        x = nn.gelu(stem(x.astype(self.dtype)))
        for multiple in (1, 4, 4):
            x = conv(x, self.width * multiple)
            # Small images run out of pixels before the last stage.
            x = activate(max_pool(x) if min(x.shape[1:3]) > 1 else x)
            x = activate(conv(x, self.width * multiple))
        x = jnp.max(x, axis=(1, 2)).astype(jnp.float32)
        return LOGIT_SCALE * nn.Dense(self.num_classes, use_bias=False)(x)


def fast_cifar(
    num_classes: int, width: int = 64, norm: str = "batch", dtype: Any = jnp.float32
) -> Model:
    """Returns a network that fits CIFAR-10 in few epochs, for large ensembles.

    The shape of airbench94, 1,971,640 parameters at width 64 for 10 classes and 3
    channels: convolution before pooling, normalisation without scale, kernels that
    begin as partial identities, small logits. The stem is learned; there it is set to
    whiten patches of the data and frozen. Long training needs no more than this
    network; the optimizer, schedule and augmentation of the records are not part of it.

    Args:
        num_classes: Number of classes C, at least 2.
        width: Channels of the first stage; the others have 4 times as many.
        norm: ``"batch"`` or ``"group"`` normalisation.
        dtype: Of the computation; parameters, normalisation and logits are float32.

    Raises:
        ValueError: If a number is below its minimum or ``norm`` is unknown.

    References:
        Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", 2024,
        https://arxiv.org/abs/2404.00498, https://github.com/KellerJordan/cifar10-airbench;
        after Page, "How to Train Your ResNet", 2018,
        https://github.com/davidcpage/cifar10-fast.
    """
    check_network(num_classes, norm, width=width)
    return from_linen(FastCifar(num_classes, width, norm, dtype))
