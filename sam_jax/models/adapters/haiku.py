"""From a `haiku` function to the pair of pure functions that is trained."""

from collections.abc import Callable
from typing import Any

from sam_jax.models.adapters import modes
from sam_jax.types import Key, Model, ModelState, Params


def from_haiku(
    forward: Callable[..., Any],
    *,
    mode_argument: str | None = None,
    mode_values: tuple[Any, Any] = (True, False),
) -> Model:
    """Returns a `Model` made of a function that calls `haiku` modules.

    ``params`` and ``state`` are haiku's.

    Args:
        forward: ``forward(x [B, *features], ...) -> logits [B, C]``, not yet
            transformed. Arguments named ``train``, ``training``, ``is_training``,
            ``deterministic`` or ``use_running_average`` are passed as the mode has it.
        mode_argument: The argument that switches the mode, where it has another name.
        mode_values: Its values in training and in evaluation.

    Returns:
        ``Model(init, apply)``. Logits are cast to float32.

    Raises:
        ArgumentError: If ``forward`` does not take ``mode_argument``; at ``init``, if
            batch norm or dropout do not follow the mode.

    Example:
        >>> import haiku as hk
        >>> import jax
        >>> import jax.numpy as jnp
        >>> model = from_haiku(lambda x: hk.Linear(10)(x))
        >>> x = jnp.ones([8, 5])
        >>> params, state = model.init(jax.random.key(0), x)
        >>> logits, state = model.apply(params, state, x, True, jax.random.key(1))
        >>> logits.shape, state
        ((8, 10), {})
    """
    import haiku as hk

    keywords = modes.mode_keywords(forward, mode_argument, mode_values)
    transformed = hk.transform_with_state(forward)

    def init(key: Key, x: Any) -> tuple[Params, ModelState, bool]:
        # In training mode: batch norm has no statistics to evaluate with yet.
        params, state = transformed.init(key, x, **keywords(True))
        return params, state, False

    def run(
        params: Params, state: ModelState, x: Any, train: bool, key: Key | None
    ) -> tuple[Any, ModelState]:
        return transformed.apply(params, state, key, x, **keywords(train))

    return modes.model_in_both_modes(init, run)
