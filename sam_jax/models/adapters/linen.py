"""From a `flax.linen` module to the pair of pure functions that is trained."""

import inspect

import flax.linen as nn
import jax
import jax.numpy as jnp

from sam_jax._checks import ArgumentError
from sam_jax.types import Model


def from_linen(module: nn.Module) -> Model:
    """Returns a `Model` made of a `flax.linen` module.

    ``params`` is the collection of that name and ``state`` is ``batch_stats`` (``{}``
    where there is none). With ``train=True``, ``apply`` returns the updated batch
    statistics and the caller decides whether to keep them (SAM keeps those of the clean
    pass only); with ``train=False`` it returns ``state`` as it came.

    Args:
        module: Maps ``x [B, *features]`` to logits ``[B, C]``. Where its ``__call__``
            takes an argument ``train``, it is passed as a keyword. Dropout draws from
            the stream ``"dropout"``, seeded with ``key``.

    Returns:
        ``Model(init, apply)``. Logits are cast to float32.

    Raises:
        ValueError: At ``init``, if the module makes variables other than ``params`` and
            ``batch_stats``.

    Example:
        >>> model = from_linen(nn.Dense(10))
        >>> x = jnp.ones([8, 5])
        >>> params, state = model.init(jax.random.key(0), x)
        >>> logits, state = model.apply(params, state, x, True, jax.random.key(1))
        >>> logits.shape, state
        ((8, 10), {})
    """
    takes_train = "train" in inspect.signature(type(module).__call__).parameters

    def keywords(train):
        return {"train": train} if takes_train else {}

    def init(key, x):
        params_key, dropout_key = jax.random.split(key)
        rngs = {"params": params_key, "dropout": dropout_key}
        variables = module.init(rngs, x, **keywords(False))
        unknown = sorted(set(variables) - {"params", "batch_stats"})
        if unknown:
            raise ArgumentError(
                "module",
                "must make no variables but params and batch_stats, "
                f"got {', '.join(unknown)}.",
            )
        return variables.get("params", {}), variables.get("batch_stats", {})

    def apply(params, state, x, train, key):
        variables = {"params": params}
        if state:
            variables["batch_stats"] = state
        rngs = {"dropout": key} if train else {}
        logits, updated = module.apply(
            variables, x, rngs=rngs, mutable=["batch_stats"], **keywords(train)
        )
        new_state = updated.get("batch_stats", {}) if train else state
        return logits.astype(jnp.float32), new_state

    return Model(init, apply)
