"""Normalisation, precision and checks that the convolutional networks share."""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from sam_jax import _checks
from sam_jax.models.ensemble_conv.batch_norm import BatchNorm
from sam_jax.models.ensemble_conv.conv import Conv

conv3x3 = functools.partial(
    Conv, kernel_size=(3, 3), use_bias=False, kernel_init=nn.initializers.he_normal()
)
conv1x1 = functools.partial(conv3x3, kernel_size=(1, 1))

GROUP_CHANNELS = 4
"""The fewest channels of a group: one alone on one pixel would be normalised to 0."""


def batch_norm(
    x: jax.Array, train: bool, *, momentum: float = 0.9, use_scale: bool = True
) -> jax.Array:
    """Normalises by the batch, or by running statistics; all of it in float32."""
    normalise = BatchNorm(not train, momentum=momentum, use_scale=use_scale)
    return normalise(x.astype(jnp.float32)).astype(x.dtype)


def group_norm(
    x: jax.Array, train: bool, *, momentum: float = 0.9, use_scale: bool = True
) -> jax.Array:
    """Normalises each example by up to 32 groups of channels, in float32."""
    del train, momentum
    fitting = (n for n in range(1, 33) if x.shape[-1] % n == 0)
    groups = max((n for n in fitting if x.shape[-1] >= n * GROUP_CHANNELS), default=1)
    normalise = nn.GroupNorm(groups, epsilon=1e-5, use_scale=use_scale)
    return normalise(x.astype(jnp.float32)).astype(x.dtype)


NORMS: dict[str, Callable[..., jax.Array]] = {"batch": batch_norm, "group": group_norm}
"""``norm(x, train, momentum=, use_scale=)``; call it in a compact method."""


def check_network(num_classes: int, norm: str, **sizes: int) -> None:
    """Raises ``ValueError`` for a setting that the networks have in common."""
    _checks.at_least(2, num_classes=num_classes)
    _checks.at_least(1, **sizes)
    _checks.one_of(NORMS, norm=norm)


def compute_dtype(precision: str = "auto", platform: str | None = None) -> Any:
    """Returns the dtype that networks compute in; parameters stay float32.

    Args:
        precision: ``"float32"``, ``"bfloat16"``, or ``"auto"``: bfloat16 where the
            hardware has it (GPU, TPU) and float32 on a CPU.
        platform: Where the networks will run: ``"cpu"``, ``"gpu"``, ``"tpu"``; JAX's
            default backend where None.

    Raises:
        ValueError: For another name.

    Example:
        >>> compute_dtype("auto", platform="tpu").__name__
        'bfloat16'
    """
    on_cpu = (platform or jax.default_backend()) == "cpu"
    precisions = {
        "auto": jnp.float32 if on_cpu else jnp.bfloat16,
        "bfloat16": jnp.bfloat16,
        "float32": jnp.float32,
    }
    return _checks.one_of(precisions, precision=precision)
