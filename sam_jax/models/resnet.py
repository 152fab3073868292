"""Residual networks for small images: ResNet-18 and wide ones."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from sam_jax import _checks
from sam_jax._checks import ArgumentError
from sam_jax.models.adapters.linen import from_linen
from sam_jax.models.layers import NORMS, check_network, conv1x1, conv3x3
from sam_jax.types import Model


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions, each normalised, and a shortcut; ReLU after the sum."""

    features: int
    strides: int
    norm: str
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Returns the block's output [B, H, W, features]."""
        norm = NORMS[self.norm]
        y = conv3x3(self.features, strides=self.strides, dtype=self.dtype)(x)
        y = nn.relu(norm(y, train))
        y = norm(conv3x3(self.features, dtype=self.dtype)(y), train)
        if x.shape != y.shape:
            x = conv1x1(self.features, strides=self.strides, dtype=self.dtype)(x)
            x = norm(x, train)
        return nn.relu(x + y)


class ResNet18(nn.Module):
    """A 3 x 3 stem without pooling and four stages of two blocks."""

    num_classes: int
    width: int
    norm: str
    dtype: Any

    @nn.compact
    def __call__(self, x, train=False):
        """Returns logits [B, C]."""
        x = conv3x3(self.width, dtype=self.dtype)(x.astype(self.dtype))
        x = nn.relu(NORMS[self.norm](x, train))
        for stage in range(4):
            for block in range(2):
                strides = 2 if stage > 0 and block == 0 else 1
                features = self.width * 2**stage
                x = BasicBlock(features, strides, self.norm, self.dtype)(x, train)
        x = jnp.mean(x, axis=(1, 2), dtype=jnp.float32)
        return nn.Dense(self.num_classes)(x)


class WideBlock(nn.Module):
    """Normalisation and ReLU before each of two 3 x 3 convolutions, and a shortcut."""

    features: int
    strides: int
    norm: str
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Returns the block's output [B, H, W, features]."""
        norm = NORMS[self.norm]
        y = nn.relu(norm(x, train))
        if x.shape[-1] != self.features or self.strides != 1:
            x = conv1x1(self.features, strides=self.strides, dtype=self.dtype)(y)
        y = conv3x3(self.features, strides=self.strides, dtype=self.dtype)(y)
        y = nn.relu(norm(y, train))
        return x + conv3x3(self.features, dtype=self.dtype)(y)


class WideResNet(nn.Module):
    """A stem of 16 channels and three stages of ``(depth - 4) / 6`` blocks."""

    num_classes: int
    depth: int
    widen_factor: int
    norm: str
    dtype: Any

    @nn.compact
    def __call__(self, x, train=False):
        """Returns logits [B, C]."""
        x = conv3x3(16, dtype=self.dtype)(x.astype(self.dtype))
        for stage in range(3):
            for block in range((self.depth - 4) // 6):
                strides = 2 if stage > 0 and block == 0 else 1
                features = 16 * self.widen_factor * 2**stage
                x = WideBlock(features, strides, self.norm, self.dtype)(x, train)
        x = nn.relu(NORMS[self.norm](x, train))
        x = jnp.mean(x, axis=(1, 2), dtype=jnp.float32)
        return nn.Dense(self.num_classes)(x)


def resnet18(
    num_classes: int, width: int = 64, norm: str = "batch", dtype: Any = jnp.float32
) -> Model:
    """Returns ResNet-18 with the stem for small images (3 x 3, stride 1, no pooling).

    11,173,962 parameters at width 64 for 10 classes and 3 channels, as in the code
    that most work on CIFAR goes by, https://github.com/kuangliu/pytorch-cifar.

    Args:
        num_classes: Number of classes C, at least 2.
        width: Channels of the stem and the first stage; doubled by each later stage.
        norm: ``"batch"`` or ``"group"`` normalisation.
        dtype: Of the computation; parameters, normalisation and logits are float32.

    Raises:
        ValueError: If a number is below its minimum or ``norm`` is unknown.

    Example:
        >>> import jax
        >>> x = jax.ShapeDtypeStruct([1, 32, 32, 3], jnp.float32)
        >>> params, _ = jax.eval_shape(resnet18(10).init, jax.random.key(0), x)
        >>> sum(leaf.size for leaf in jax.tree.leaves(params))
        11173962

    References:
        He et al., "Deep Residual Learning for Image Recognition", 2016,
        https://arxiv.org/abs/1512.03385.
    """
    check_network(num_classes, norm, width=width)
    return from_linen(ResNet18(num_classes, width, norm, dtype))


def wide_resnet(
    num_classes: int,
    depth: int = 28,
    widen_factor: int = 2,
    norm: str = "batch",
    dtype: Any = jnp.float32,
) -> Model:
    """Returns a wide residual network, WRN-``depth``-``widen_factor``.

    1,467,610 parameters as 28-2, 36,479,194 as 28-10 and 2,748,890 as 16-4, for 10
    classes and 3 channels.

    Args:
        num_classes: Number of classes C, at least 2.
        depth: Number of layers, 4 more than a multiple of 6.
        widen_factor: Channels of the first stage in multiples of 16.
        norm: ``"batch"`` or ``"group"`` normalisation.
        dtype: Of the computation; parameters, normalisation and logits are float32.

    Raises:
        ValueError: If a number is out of range or ``norm`` is unknown.

    References:
        Zagoruyko and Komodakis, "Wide Residual Networks", 2016,
        https://arxiv.org/abs/1605.07146.
    """
    check_network(num_classes, norm, widen_factor=widen_factor)
    _checks.at_least(10, depth=depth)
    if (depth - 4) % 6:
        raise ArgumentError(
            "depth", f"must be 4 more than a multiple of 6, got {depth}."
        )
    return from_linen(WideResNet(num_classes, depth, widen_factor, norm, dtype))
