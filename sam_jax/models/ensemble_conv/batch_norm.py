"""Batch normalisation in as few passes over the images as it needs.

`flax.linen.BatchNorm` writes the centred images to memory for the backward pass. Here
the derivative is written out in terms of the images themselves: forwards one pass for
two sums and one for the result, backwards the same. The rule is one for forward mode
whose transpose JAX derives, so that derivatives of any order in both modes stay
available.

On a CPU images with few channels are read as half as many columns of twice the
channels, the shape in which `conv_forms` makes them, as XLA's loops are slower where
they have to go through a reshape (`benchmarks/network_profile.py` times them).
"""

import dataclasses
import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from sam_jax.models.ensemble_conv.kernels import output_columns


@dataclasses.dataclass(frozen=True)
class _Lanes:
    """How images [B, H, W, C] are read: as ``copies`` columns beside one another."""

    channels: int
    copies: int
    own_products: bool

    @classmethod
    def of(cls, x: jax.Array) -> "_Lanes":
        on_cpu = jax.default_backend() == "cpu"
        copies = 1
        if on_cpu and x.ndim == 4:
            copies = output_columns(x.shape[-1], x.shape[-2])
        return cls(x.shape[-1], copies, on_cpu)

    @property
    def _tiles(self) -> jax.Array:
        return jnp.tile(jnp.eye(self.channels), (1, self.copies))

    def widen(self, x: jax.Array) -> jax.Array:
        if self.copies == 1:
            return x
        *batch, columns, channels = x.shape
        return x.reshape(*batch, columns // self.copies, self.copies * channels)

    def tile(self, vector: jax.Array, wide: jax.Array) -> jax.Array:
        """One number per channel, for every pixel of widened images.

        A matrix product, since XLA would fuse anything else into the loop over the
        images and there do it again for every pixel.
        """
        if self.own_products:
            vector = jnp.dot(vector, self._tiles, precision="highest")
        return jnp.broadcast_to(vector, wide.shape)

    def mean(self, wide: jax.Array) -> jax.Array:
        """The mean of widened images per channel."""
        sums = jnp.sum(wide, axis=tuple(range(wide.ndim - 1)))
        if self.own_products:
            sums = jnp.dot(sums, self._tiles.T, precision="highest")
        return sums / (wide.size // self.channels)


def _moments(wide: jax.Array, lanes: _Lanes) -> tuple[jax.Array, jax.Array]:
    mean = lanes.mean(wide)
    return mean, jnp.maximum(lanes.mean(wide * wide) - mean * mean, 0.0)


@functools.partial(jax.custom_jvp, nondiff_argnums=(3,))
def normalise(
    x: Float[Array, "*batch c"],
    scale: Float[Array, " c"],
    bias: Float[Array, " c"],
    epsilon: float = 1e-5,
) -> tuple[Float[Array, "*batch c"], Float[Array, " c"], Float[Array, " c"]]:
    """Returns ``(x - mean) / sqrt(var + epsilon) * scale + bias``, mean and variance.

    Mean and (biased) variance are over all axes but the last. The variance is that of
    flax: the mean square less the squared mean, at least 0.

    Args:
        x: Images [B, H, W, C] or other examples, float32.
        scale: Of each channel.
        bias: Of each channel.
        epsilon: Added to the variance.

    References:
        Ioffe and Szegedy, "Batch Normalization", 2015,
        https://arxiv.org/abs/1502.03167.
    """
    lanes = _Lanes.of(x)
    wide = lanes.widen(x)
    mean, var = _moments(wide, lanes)
    gain = lax.rsqrt(var + epsilon) * scale
    out = wide * lanes.tile(gain, wide) + lanes.tile(bias - mean * gain, wide)
    return out.reshape(x.shape), mean, var


@normalise.defjvp
def _normalise_jvp(epsilon: float, primals: Any, tangents: Any) -> Any:
    x, scale, bias = primals
    out, mean, var = normalise(x, scale, bias, epsilon)
    dx, dscale, dbias = tangents
    lanes = _Lanes.of(x)
    wide, dwide = lanes.widen(x), lanes.widen(dx)
    root = lax.rsqrt(var + epsilon)
    gain = root * scale
    dmean = lanes.mean(dwide)
    dvar = 2.0 * (lanes.mean(wide * dwide) - mean * dmean)
    # As gain' x + (bias - mean gain)', so that the images enter once.
    dgain = root * dscale - 0.5 * gain * jnp.square(root) * dvar
    dshift = dbias - gain * dmean - mean * dgain
    gain, dgain, dshift = (lanes.tile(v, wide) for v in (gain, dgain, dshift))
    dout = dwide * gain + wide * dgain + dshift
    return (out, mean, var), (dout.reshape(x.shape), dmean, dvar)


class BatchNorm(nn.Module):
    """`flax.linen.BatchNorm` in float32: same parameters, statistics and results.

    Attributes:
        use_running_average: Whether to normalise by the running statistics.
        momentum: Of the running statistics: ``momentum * old + (1 - momentum) * new``.
        epsilon: Added to the variance.
        use_scale: Whether to learn a scale per channel.
    """

    use_running_average: bool
    momentum: float = 0.99
    epsilon: float = 1e-5
    use_scale: bool = True

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Returns x [*batch, C] normalised over all axes but the last."""
        shape = (x.shape[-1],)
        old_mean = self.variable("batch_stats", "mean", jnp.zeros, shape)
        old_var = self.variable("batch_stats", "var", jnp.ones, shape)
        scale = jnp.ones(shape)
        if self.use_scale:
            scale = self.param("scale", nn.initializers.ones, shape)
        bias = self.param("bias", nn.initializers.zeros, shape)
        if self.use_running_average:
            gain = lax.rsqrt(old_var.value + self.epsilon) * scale
            shift = bias - old_mean.value * gain
            return x * jnp.broadcast_to(gain, x.shape) + jnp.broadcast_to(
                shift, x.shape
            )
        out, mean, var = normalise(x, scale, bias, self.epsilon)
        if not self.is_initializing():
            for old, new in ((old_mean, mean), (old_var, var)):
                old.value = self.momentum * old.value + (1 - self.momentum) * new
        return out
