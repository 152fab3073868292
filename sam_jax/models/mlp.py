"""Fully connected networks."""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from sam_jax import _checks
from sam_jax.models.adapters.linen import from_linen
from sam_jax.types import Model


class MLP(nn.Module):
    """Dense layers with an activation between them; flattens its input."""

    num_classes: int
    hidden: Sequence[int]
    activation: Callable[[jax.Array], jax.Array]
    dropout_rate: float
    dtype: Any

    @nn.compact
    def __call__(self, x, train=False):
        """Returns logits [B, C]."""
        x = x.reshape(len(x), -1)
        for size in self.hidden:
            x = self.activation(nn.Dense(size, dtype=self.dtype)(x))
            if self.dropout_rate > 0:
                x = nn.Dropout(self.dropout_rate, deterministic=not train)(x)
        return nn.Dense(self.num_classes)(x.astype(jnp.float32))


def mlp(
    num_classes: int,
    hidden: Sequence[int] = (128,),
    activation: Callable[[jax.Array], jax.Array] = nn.relu,
    dropout_rate: float = 0.0,
    dtype: Any = jnp.float32,
) -> Model:
    """Returns a multilayer perceptron that flattens inputs of any shape.

    Args:
        num_classes: Number of classes C, at least 2.
        hidden: Width of each hidden layer; ``()`` is a linear classifier.
        activation: Applied after every hidden layer.
        dropout_rate: Fraction of hidden units dropped while training, in [0, 1].
        dtype: Of the computation; parameters and logits are float32.

    Raises:
        ValueError: If a width is below 1, or a setting lies out of its range.

    Example:
        >>> model = mlp(10, hidden=(64, 32))
        >>> params, state = model.init(jax.random.key(0), jnp.ones([2, 28, 28, 1]))
        >>> params["Dense_1"]["kernel"].shape
        (64, 32)
    """
    _checks.at_least(2, num_classes=num_classes)
    for size in hidden:
        _checks.at_least(1, hidden=size)
    _checks.in_unit_interval(dropout_rate=dropout_rate)
    return from_linen(MLP(num_classes, tuple(hidden), activation, dropout_rate, dtype))


def mlp_tanh(
    num_classes: int,
    hidden: Sequence[int] = (1024, 512, 256, 128),
    dropout_rate: float = 0.0,
    dtype: Any = jnp.float32,
) -> Model:
    """Returns the network usual for Purchase-100 and Texas-100: `mlp` with tanh.

    Inputs of 600 features (Purchase-100) or 6,169 (Texas-100) and 100 classes make it
    the classifiers of the references. Takes the arguments of `mlp`.

    References:
        Nasr et al., "Machine Learning with Membership Privacy using Adversarial
        Regularization", 2018, https://arxiv.org/abs/1807.05852; Tang et al.,
        "Mitigating Membership Inference Attacks by Self-Distillation Through a Novel
        Ensemble Architecture", 2022, https://arxiv.org/abs/2110.08324.
    """
    return mlp(num_classes, hidden, jnp.tanh, dropout_rate, dtype)
