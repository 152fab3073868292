"""From a `flax.nnx` module to the pair of pure functions that is trained."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from sam_jax._checks import ArgumentError
from sam_jax.models.adapters import modes
from sam_jax.types import Key, Model, ModelState, Params


def from_nnx(make_module: Callable[[Any], Any]) -> Model:
    """Returns a `Model` made of a `flax.nnx` module.

    ``params`` are the module's ``nnx.Param`` and ``state`` its other variables, batch
    statistics above all, both as nested dicts of arrays. The mode is that of the
    module's ``train()`` and ``eval()``; random streams start from ``key`` in each
    call.

    Args:
        make_module: ``make_module(rngs) -> module``, with ``rngs`` an ``nnx.Rngs``.
            The module maps ``x [B, *features]`` to logits ``[B, C]``.

    Returns:
        ``Model(init, apply)``. Logits are cast to float32.

    Raises:
        ArgumentError: If ``make_module`` returns something else than a module; at
            ``init``, if batch norm or dropout do not follow the mode.

    Example:
        >>> from flax import nnx
        >>> model = from_nnx(lambda rngs: nnx.Linear(5, 10, rngs=rngs))
        >>> x = jnp.ones([8, 5])
        >>> params, state = model.init(jax.random.key(0), x)
        >>> logits, state = model.apply(params, state, x, True, jax.random.key(1))
        >>> logits.shape, state
        ((8, 10), {})
    """
    from flax import nnx

    abstract = nnx.eval_shape(lambda: make_module(nnx.Rngs(0)))
    if not isinstance(abstract, nnx.Module):
        raise ArgumentError(
            "make_module", f"must return an nnx.Module, got {abstract!r}."
        )
    is_state = nnx.Not(nnx.Any(nnx.Param, nnx.RngState))
    graph, *templates = nnx.split(abstract, nnx.Param, nnx.RngState, ...)
    structures = [jax.tree.structure(template) for template in templates]
    streams = jax.tree.leaves(templates[1])
    has_dropout = any(
        isinstance(layer, nnx.Dropout) and layer.rate > 0
        for _, layer in nnx.iter_modules(abstract)
    )

    def init(key: Key, x: Any) -> tuple[Params, ModelState, bool]:
        module = make_module(nnx.Rngs(key))
        params = nnx.to_pure_dict(nnx.state(module, nnx.Param))
        state = nnx.to_pure_dict(nnx.state(module, is_state))
        return params, state, has_dropout

    def run(
        params: Params, state: ModelState, x: Any, train: bool, key: Key | None
    ) -> tuple[Any, ModelState]:
        # Evaluation draws nothing, but the module holds its streams all the same.
        key = jax.random.key(0) if key is None else key
        # Streams start anew in each call: keys from the call's key, counters from 0.
        seeded = []
        for index, leaf in enumerate(streams):
            if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
                seeded.append(jax.random.fold_in(key, index))
            else:
                seeded.append(jnp.zeros(leaf.shape, leaf.dtype))
        leaves = (jax.tree.leaves(params), seeded, jax.tree.leaves(state))
        module = nnx.merge(graph, *map(jax.tree.unflatten, structures, leaves))
        if train:
            module.train()
        else:
            module.eval()
        return module(x), nnx.to_pure_dict(nnx.state(module, is_state))

    return modes.model_in_both_modes(init, run)
