"""Convolution of one model and its gradients where `lax.conv` is fast: GPU and TPU.

The same three operations as in `cpu_kernels`, as JAX derives them. Under `vmap` over
models they become grouped convolutions.
"""

import jax
from jax import lax

from sam_jax.models.ensemble_conv.geometry import Geometry


def conv(x: jax.Array, kernel: jax.Array, geo: Geometry) -> jax.Array:
    """Returns the output [B, out_h, out_w, F] of images and kernel."""
    layout = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(
        x, kernel, geo.strides, geo.pads, dimension_numbers=layout
    )


def input_gradient(g: jax.Array, kernel: jax.Array, geo: Geometry) -> jax.Array:
    """Returns the gradient [B, H, W, C] of the images."""
    x = jax.ShapeDtypeStruct((len(g), *geo.image, kernel.shape[2]), g.dtype)
    (out,) = jax.linear_transpose(lambda x: conv(x, kernel, geo), x)(g)
    return out


def kernel_gradient(x: jax.Array, g: jax.Array, geo: Geometry) -> jax.Array:
    """Returns the gradient [kh, kw, C, F] of the kernel."""
    shape = (*geo.window, x.shape[-1], g.shape[-1])
    kernel = jax.ShapeDtypeStruct(shape, g.dtype)
    (out,) = jax.linear_transpose(lambda k: conv(x, k, geo), kernel)(g)
    return out
