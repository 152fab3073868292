"""Batch normalisation in as few passes over the images as it needs.

`flax.linen.BatchNorm` writes the centred images to memory for the backward pass. Here
the derivative is written out in terms of the images themselves: forwards one pass for
two sums and one for the result, backwards the same. The rule is one for forward mode
whose transpose JAX derives, so that derivatives of any order in both modes stay
available.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float


def _mean(x: jax.Array) -> jax.Array:
    """The mean per channel."""
    return jnp.mean(x, axis=tuple(range(x.ndim - 1)))


def _affine(x: jax.Array, gain: jax.Array, shift: jax.Array) -> jax.Array:
    """``x * gain + shift`` with one number per channel."""
    return x * jnp.broadcast_to(gain, x.shape) + jnp.broadcast_to(shift, x.shape)


@functools.partial(jax.custom_jvp, nondiff_argnums=(3,))
def normalise(
    x: Float[Array, "*batch c"],
    scale: Float[Array, " c"],
    bias: Float[Array, " c"],
    epsilon: float = 1e-5,
) -> tuple[Float[Array, "*batch c"], Float[Array, " c"], Float[Array, " c"]]:
    """Returns ``(x - mean) / sqrt(var + epsilon) * scale + bias``, mean and variance.

    Mean and (biased) variance are over all axes but the last. The variance is that of
    flax: the mean square minus the squared mean, at least 0.

    Args:
        x: Images [B, H, W, C] or other examples, float32.
        scale: Of each channel.
        bias: Of each channel.
        epsilon: Added to the variance.

    References:
        Ioffe and Szegedy, "Batch Normalization", 2015,
        https://arxiv.org/abs/1502.03167.
    """
    mean = _mean(x)
    var = jnp.maximum(_mean(x * x) - mean * mean, 0.0)
    gain = lax.rsqrt(var + epsilon) * scale
    return _affine(x, gain, bias - mean * gain), mean, var


@normalise.defjvp
def _normalise_jvp(epsilon: float, primals: Any, tangents: Any) -> Any:
    x, scale, bias = primals
    out, mean, var = normalise(x, scale, bias, epsilon)
    dx, dscale, dbias = tangents
    root = lax.rsqrt(var + epsilon)
    gain = root * scale
    dmean = _mean(dx)
    dvar = 2.0 * (_mean(x * dx) - mean * dmean)
    # As gain' x + (bias - mean gain)', so that the images enter once.
    dgain = root * dscale - 0.5 * gain * jnp.square(root) * dvar
    dshift = dbias - gain * dmean - mean * dgain
    dout = dx * jnp.broadcast_to(gain, x.shape) + _affine(x, dgain, dshift)
    return (out, mean, var), (dout, dmean, dvar)


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
            return _affine(x, gain, shift)
        out, mean, var = normalise(x, scale, bias, self.epsilon)
        if not self.is_initializing():
            for old, new in ((old_mean, mean), (old_var, var)):
                old.value = self.momentum * old.value + (1 - self.momentum) * new
        return out
