"""Fully connected networks."""

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax

from sam_jax import _checks
from sam_jax.models.linen import from_linen
from sam_jax.types import Model


class MLP(nn.Module):
    """Dense layers with an activation between them; flattens its input."""

    num_classes: int
    hidden: Sequence[int]
    activation: Callable[[jax.Array], jax.Array]
    dropout_rate: float

    @nn.compact
    def __call__(self, x, train=False):
        """Returns logits [B, C]."""
        x = x.reshape(len(x), -1)
        for size in self.hidden:
            x = self.activation(nn.Dense(size)(x))
            if self.dropout_rate > 0:
                x = nn.Dropout(self.dropout_rate, deterministic=not train)(x)
        return nn.Dense(self.num_classes)(x)


def mlp(
    num_classes: int,
    hidden: Sequence[int] = (128,),
    activation: Callable[[jax.Array], jax.Array] = nn.relu,
    dropout_rate: float = 0.0,
) -> Model:
    """Returns a multilayer perceptron that flattens inputs of any shape.

    Args:
        num_classes: Number of classes C, at least 2.
        hidden: Width of each hidden layer; ``()`` is a linear classifier.
        activation: Applied after every hidden layer.
        dropout_rate: Fraction of hidden units dropped while training, in [0, 1].

    Raises:
        ValueError: If a width is below 1, or a setting lies out of its range.

    Example:
        >>> import jax.numpy as jnp
        >>> model = mlp(10, hidden=(64, 32))
        >>> params, state = model.init(jax.random.key(0), jnp.ones([2, 28, 28, 1]))
        >>> params["Dense_1"]["kernel"].shape
        (64, 32)
    """
    _checks.at_least(2, num_classes=num_classes)
    for size in hidden:
        _checks.at_least(1, hidden=size)
    _checks.in_unit_interval(dropout_rate=dropout_rate)
    return from_linen(MLP(num_classes, tuple(hidden), activation, dropout_rate))
