"""From a pair of functions as `jax.example_libraries.stax` makes them."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from sam_jax.models.adapters import modes
from sam_jax.types import Key, Model, ModelState, Params


def from_stax(
    init_fun: Callable[..., tuple[Any, Params]],
    apply_fun: Callable[..., Any],
    evaluation_apply_fun: Callable[..., Any] | None = None,
) -> Model:
    """Returns a `Model` made of a plain pair of functions.

    Such a pair has no state: stax's batch norm goes by its batch in both modes, so
    ``state`` is ``{}``. The mode of a dropout layer is fixed when it is made.

    Args:
        init_fun: ``init_fun(key, shape [-1, *features]) -> (output shape, params)``.
        apply_fun: ``apply_fun(params, x [B, *features], rng=key) -> logits [B, C]``.
        evaluation_apply_fun: The same network made for evaluation (``Dropout(rate,
            mode="test")``), where it differs.

    Returns:
        ``Model(init, apply)``. Logits are cast to float32.

    Raises:
        ArgumentError: At ``init``, if evaluation draws random numbers.

    Example:
        >>> def init_fun(key, shape):
        ...     return (-1, 10), jax.random.normal(key, (shape[-1], 10))
        >>> model = from_stax(init_fun, lambda w, x, rng: x @ w)
        >>> x = jnp.ones([8, 5])
        >>> params, state = model.init(jax.random.key(0), x)
        >>> logits, state = model.apply(params, state, x, True, jax.random.key(1))
        >>> logits.shape, state
        ((8, 10), {})
    """
    functions = (evaluation_apply_fun or apply_fun, apply_fun)

    def init(key: Key, x: Any) -> tuple[Params, ModelState, bool]:
        _, params = init_fun(key, (-1, *jnp.shape(x)[1:]))
        return params, {}, False

    def run(
        params: Params, state: ModelState, x: Any, train: bool, key: Key | None
    ) -> tuple[Any, ModelState]:
        # stax's dropout demands a key in evaluation too, and does not use it.
        key = jax.random.key(0) if key is None else key
        return functions[train](params, x, rng=key), state

    return modes.model_in_both_modes(init, run)
