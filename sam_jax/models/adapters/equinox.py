"""From an `equinox` module to the pair of pure functions that is trained."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.extend
import jax.numpy as jnp

from sam_jax._checks import ArgumentError
from sam_jax.models.adapters import modes
from sam_jax.types import Key, Model, ModelState, Params


def from_equinox(
    make_module: Callable[[Any], Any], *, axis_name: str = "batch"
) -> Model:
    """Returns a `Model` made of an `equinox` module.

    ``params`` are the floating-point arrays of the module by path, ``state`` its other
    arrays and what its ``eqx.nn.State`` holds (batch statistics). The module is mapped
    over the batch; the mode is that of ``eqx.nn.inference_mode``.

    Args:
        make_module: ``make_module(key) -> module``, or ``-> (module, state)`` as from
            ``eqx.nn.make_with_state``. The module maps one example ``x [*features]``,
            the state where there is one, and ``key=`` where it takes one, to logits
            ``[C]`` and the new state.
        axis_name: Name of the axis of the batch, for ``eqx.nn.BatchNorm``.

    Returns:
        ``Model(init, apply)``. Logits are cast to float32.

    Raises:
        ArgumentError: If ``make_module`` returns something else; at ``init``, if batch
            norm or dropout do not follow the mode.

    Example:
        >>> import equinox as eqx
        >>> model = from_equinox(lambda key: eqx.nn.Linear(5, 10, key=key))
        >>> x = jnp.ones([8, 5])
        >>> params, state = model.init(jax.random.key(0), x)
        >>> logits, state = model.apply(params, state, x, True, jax.random.key(1))
        >>> logits.shape, sorted(params), state
        ((8, 10), ['bias', 'weight'], {})
    """
    import equinox as eqx

    # The structure comes from one abstract module for all models: the places of its
    # state are known by identity, and differ from one call of make_module to the next.
    abstract = _abstract_module(make_module)
    stateful = isinstance(abstract, tuple)
    paths, structure = jax.tree_util.tree_flatten_with_path(abstract)
    names = [_name(path, stateful) for path, _ in paths]
    static = [leaf for _, leaf in paths]

    def init(key: Key, x: Any) -> tuple[Params, ModelState, bool]:
        params, state = {}, {}
        made = jax.tree.leaves(make_module(key))
        for name, shape, leaf in zip(names, static, made, strict=True):
            if not isinstance(shape, jax.ShapeDtypeStruct):
                continue
            is_weight = jnp.issubdtype(shape.dtype, jnp.inexact)
            is_weight = is_weight and not name.startswith("state/")
            (params if is_weight else state)[name] = leaf
        return params, state, False

    def run_module(
        train: bool, params: Params, state: ModelState, x: Any, key: Key | None
    ) -> tuple[Any, ModelState]:
        arrays = params | state
        leaves = [arrays.get(n, leaf) for n, leaf in zip(names, static, strict=True)]
        made = jax.tree.unflatten(structure, leaves)
        module, layer_state = made if stateful else (made, None)
        module = eqx.nn.inference_mode(module, value=not train)
        logits, layer_state = _on_batch(module, layer_state, x, key, axis_name)
        updated = [name for name in names if name.startswith("state/")]
        return logits, state | dict(
            zip(updated, jax.tree.leaves(layer_state), strict=True)
        )

    def run(
        params: Params, state: ModelState, x: Any, train: bool, key: Key | None
    ) -> tuple[Any, ModelState]:
        in_mode = functools.partial(run_module, train)
        return _without_mesh(in_mode, params, state, x, key)

    return modes.model_in_both_modes(init, run)


def _abstract_module(make_module: Callable[[Any], Any]) -> Any:
    """What ``make_module`` returns, with shapes for arrays; checked."""
    import equinox as eqx

    abstract = eqx.filter_eval_shape(make_module, jax.random.key(0))
    module = abstract[0] if isinstance(abstract, tuple) else abstract
    if not isinstance(module, eqx.Module):
        raise ArgumentError(
            "make_module",
            "must return an equinox module, or a module and its eqx.nn.State, got "
            f"{abstract!r}.",
        )
    return abstract


def _on_batch(
    module: Any, layer_state: Any, x: Any, key: Key | None, axis_name: str
) -> tuple[Any, Any]:
    """Logits of a batch and the new state of the layers, None where there is none."""
    takes_key = "key" in inspect.signature(type(module).__call__).parameters

    def one(x: Any, layer_state: Any, key: Any) -> tuple[Any, Any]:
        keyword = {"key": key} if takes_key else {}
        if layer_state is None:
            return module(x, **keyword), None
        return module(x, layer_state, **keyword)

    keys = None if key is None else jax.random.split(key, x.shape[0])
    batched = jax.vmap(
        one, in_axes=(0, None, 0), out_axes=(0, None), axis_name=axis_name
    )
    return batched(x, layer_state, keys)


def _without_mesh(function: Callable[..., Any], *arguments: Any) -> Any:
    """``function`` of the arguments, traced as if there were one device.

    Under ``shard_map`` equinox takes a constant that it writes to its state for another
    type than the value before, because only one of the two has a mesh.
    """
    with jax.sharding.use_abstract_mesh(jax.sharding.AbstractMesh((), ())):
        trace = jax.make_jaxpr(function, return_shape=True)
        jaxpr, result = trace(*modes.shapes(arguments))
    outputs = jax.extend.core.jaxpr_as_fun(jaxpr)(*jax.tree.leaves(arguments))
    return jax.tree.unflatten(jax.tree.structure(result), outputs)


def _name(path: tuple[Any, ...], stateful: bool) -> str:
    """The path of a leaf in its module, ``state/...`` for one of the state."""
    place, rest = ("0", path) if not stateful else (str(path[0].idx), path[1:])
    name = jax.tree_util.keystr(rest, simple=True, separator="/")
    return name if place == "0" else f"state/{name}"
