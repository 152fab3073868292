"""Convolution that stays fast when many models train at once.

Under `vmap` over parameters `flax.linen.Conv` becomes a grouped convolution, whose
gradients XLA runs far below the matrix rate of a CPU. `conv` becomes what is fast on
the platform that it is compiled for (`primitives`).
"""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jaxtyping import Array, Float

from sam_jax._checks import ArgumentError
from sam_jax.models.ensemble_conv.geometry import make_geometry, pair
from sam_jax.models.ensemble_conv.primitives import conv_p


def conv(
    x: Float[Array, "b h w c"],
    kernel: Float[Array, "kh kw c f"],
    strides: int | Sequence[int] = 1,
    padding: str | int | Sequence[Any] = "SAME",
) -> Float[Array, "b out_h out_w f"]:
    """Returns the convolution (cross-correlation) of images with a kernel.

    Differentiable to any order in both modes, and meant for `vmap` over ``kernel`` and
    over ``x``. Models that share ``x`` are one convolution with more features.

    Args:
        x: Images, NHWC, of the dtype of ``kernel``.
        kernel: Height, width, input and output channels.
        strides: Steps between windows, one number or one per axis.
        padding: ``"SAME"``, ``"VALID"``, a number or ((top, bottom), (left, right)).

    Raises:
        ValueError: If ``padding`` is unknown or the window exceeds the padded image.

    Example:
        >>> conv(jnp.ones([1, 4, 4, 1]), jnp.ones([3, 3, 1, 2]), strides=2).shape
        (1, 2, 2, 2)
    """
    geo = make_geometry(x, kernel.shape[:2], strides, padding)
    return conv_p.bind(x[None], kernel[None], geo=geo)[0]


class Conv(nn.Module):
    """`flax.linen.Conv` in two dimensions: same arguments, parameters and results.

    Attributes:
        features: Number of output channels.
        kernel_size: Height and width of the window.
        strides: Steps between windows, one number or one per axis.
        padding: ``"SAME"``, ``"VALID"``, a number or ((top, bottom), (left, right)).
        use_bias: Whether to add a bias per output channel.
        dtype: Of the computation; inferred from input and parameters where None.
        param_dtype: Of the parameters.
        kernel_init: Initialiser of the kernel [kh, kw, in, out].
        bias_init: Initialiser of the bias [out].
    """

    features: int
    kernel_size: int | Sequence[int]
    strides: int | Sequence[int] | None = 1
    padding: str | int | Sequence[Any] = "SAME"
    use_bias: bool = True
    dtype: Any = None
    param_dtype: Any = jnp.float32
    kernel_init: Callable[..., jax.Array] = nn.initializers.lecun_normal()
    bias_init: Callable[..., jax.Array] = nn.initializers.zeros_init()

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Returns the convolution of images x [B, H, W, C]."""
        if x.ndim != 4:
            raise ArgumentError(
                "x", f"must be images [B, H, W, C], got {x.ndim} axes: shape {x.shape}."
            )
        shape = (*pair(self.kernel_size), x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape, self.param_dtype)
        bias = None
        if self.use_bias:
            bias = self.param(
                "bias", self.bias_init, (self.features,), self.param_dtype
            )
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        out = conv(x, kernel, self.strides or 1, self.padding)
        return out if bias is None else out + jnp.broadcast_to(bias, out.shape)
