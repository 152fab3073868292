"""From a `flax.linen` module to the pair of pure functions that is trained."""

from typing import Any

import flax.linen as nn
import jax

from sam_jax._checks import ArgumentError
from sam_jax.models.adapters import modes
from sam_jax.types import Key, Model, ModelState, Params


def from_linen(
    module: nn.Module,
    *,
    mode_argument: str | None = None,
    mode_values: tuple[Any, Any] = (True, False),
) -> Model:
    """Returns a `Model` made of a `flax.linen` module.

    ``params`` is the collection of that name and ``state`` is ``batch_stats`` (``{}``
    where there is none). With ``train=True``, ``apply`` returns the updated batch
    statistics and the caller decides whether to keep them (SAM keeps those of the clean
    pass only); with ``train=False`` it returns ``state`` as it came.

    Args:
        module: Maps ``x [B, *features]`` to logits ``[B, C]``. Arguments of its
            ``__call__`` named ``train``, ``training``, ``is_training``,
            ``deterministic`` or ``use_running_average`` are passed as the mode has it.
            Dropout draws from the stream ``"dropout"``, seeded with ``key``.
        mode_argument: The argument of ``__call__`` that switches the mode, where it has
            another name.
        mode_values: Its values in training and in evaluation.

    Returns:
        ``Model(init, apply)``. Logits are cast to float32.

    Raises:
        ArgumentError: If ``__call__`` does not take ``mode_argument``; at ``init``, if
            the module makes variables other than ``params`` and ``batch_stats``, or its
            batch norm or dropout does not follow the mode.

    Example:
        >>> model = from_linen(nn.Dense(10))
        >>> import jax.numpy as jnp
        >>> x = jnp.ones([8, 5])
        >>> params, state = model.init(jax.random.key(0), x)
        >>> logits, state = model.apply(params, state, x, True, jax.random.key(1))
        >>> logits.shape, state
        ((8, 10), {})
    """
    keywords = modes.mode_keywords(type(module).__call__, mode_argument, mode_values)

    def init(key: Key, x: Any) -> tuple[Params, ModelState, bool]:
        params_key, dropout_key = jax.random.split(key)
        rngs = {"params": params_key, "dropout": dropout_key}
        dropouts = []

        # Dropout leaves no variables, so its layers are noted as they are called.
        def note_dropout(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
            if isinstance(context.module, nn.Dropout) and context.module.rate > 0:
                dropouts.append(context.module)
            return call(*args, **kwargs)

        with nn.intercept_methods(note_dropout):
            variables = module.init(rngs, x, **keywords(False))
        unknown = sorted(set(variables) - {"params", "batch_stats"})
        if unknown:
            raise ArgumentError(
                "module",
                "must make no variables but params and batch_stats, "
                f"got {', '.join(unknown)}.",
            )
        params, state = variables.get("params", {}), variables.get("batch_stats", {})
        return params, state, bool(dropouts)

    def run(
        params: Params, state: ModelState, x: Any, train: bool, key: Key | None
    ) -> tuple[Any, ModelState]:
        variables = {"params": params}
        if state:
            variables["batch_stats"] = state
        rngs = {} if key is None else {"dropout": key}
        logits, updated = module.apply(
            variables, x, rngs=rngs, mutable=["batch_stats"], **keywords(train)
        )
        return logits, updated.get("batch_stats", {})

    return modes.model_in_both_modes(init, run)
