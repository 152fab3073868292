"""The two modes of a network, training and evaluation: the argument that switches them.

A network whose batch norm or dropout does not follow the mode trains all the same, on
other statistics than it is evaluated with; adapters trace both modes and refuse it.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from sam_jax._checks import ArgumentError
from sam_jax.types import Key, Model, ModelState, Params

ModeKeywords: TypeAlias = Callable[[bool], dict[str, Any]]
"""``train -> keyword arguments`` of a network's function."""

InitFn: TypeAlias = Callable[[Key, Any], tuple[Params, ModelState, bool]]
"""``(key, x) -> (params, state, whether the network is known to hold dropout)``."""

RunFn: TypeAlias = Callable[..., tuple[Any, ModelState]]
"""``(params, state, x, train, key) -> (logits, state)``, with the state as the network
made it in evaluation too, where a key is only passed to see whether it is used."""

MODE_ARGUMENTS: Mapping[str, tuple[bool, bool]] = {
    "train": (True, False),
    "training": (True, False),
    "is_training": (True, False),
    "deterministic": (False, True),
    "use_running_average": (False, True),
}
"""Usual names of the mode: their values in training and in evaluation."""

HINT = (
    f"let it take an argument called {', '.join(MODE_ARGUMENTS)}, or name the argument "
    "that it takes: mode_argument=..., mode_values=(in training, in evaluation)"
)


def mode_keywords(
    function: Callable[..., Any],
    mode_argument: str | None,
    mode_values: tuple[Any, Any],
) -> ModeKeywords:
    """Returns the keyword arguments with which ``function`` runs in each mode.

    Args:
        function: The function of the network; every argument of it in
            ``MODE_ARGUMENTS`` is switched, unless one is named.
        mode_argument: The one argument to switch; None to look for it.
        mode_values: Its values in training and in evaluation.

    Raises:
        ArgumentError: If ``function`` does not take ``mode_argument``.

    Example:
        >>> keywords = mode_keywords(lambda x, training: x, None, (True, False))
        >>> keywords(True), keywords(False)
        ({'training': True}, {'training': False})
    """
    parameters = inspect.signature(function).parameters
    if mode_argument is None:
        values = {n: v for n, v in MODE_ARGUMENTS.items() if n in parameters}
    else:
        any_name = any(p.kind == p.VAR_KEYWORD for p in parameters.values())
        if mode_argument not in parameters and not any_name:
            names = ", ".join(name for name in parameters if name != "self")
            raise ArgumentError(
                "mode_argument", f"must be one of {names}; got {mode_argument!r}."
            )
        values = {mode_argument: mode_values}

    def keywords(train: bool) -> dict[str, Any]:
        return {name: value[0 if train else 1] for name, value in values.items()}

    return keywords


def model_in_both_modes(init: InitFn, run: RunFn) -> Model:
    """Returns the ``Model`` of a network that its library can run in both modes.

    The model's ``init`` raises ``ArgumentError`` unless batch norm and dropout follow
    the mode; both modes are traced once for each shape of the inputs. Logits are cast
    to float32, and evaluation leaves the state as it is.
    """
    checked_shapes = set()

    def checked_init(key: Key, x: Any) -> tuple[Params, ModelState]:
        params, state, has_dropout = init(key, x)
        if jnp.shape(x) not in checked_shapes:
            _check_modes(run, shapes(params), shapes(state), shapes(x), has_dropout)
            checked_shapes.add(jnp.shape(x))
        return params, state

    def apply(
        params: Params, state: ModelState, x: Any, train: bool, key: Key
    ) -> tuple[Any, ModelState]:
        logits, new_state = run(params, state, x, train, key if train else None)
        return logits.astype(jnp.float32), new_state if train else state

    return Model(checked_init, apply)


def _check_modes(
    run: RunFn, params: Params, state: ModelState, x: Any, has_dropout: bool
) -> None:
    """Raises ``ArgumentError`` unless batch norm and dropout follow the mode.

    Training must change some statistics and evaluation none; evaluation must draw no
    random numbers, and training some where there is dropout.
    """
    updates, draws = _updates_and_draws(run, params, state, x, train=True)
    if jax.tree.leaves(state) and not updates:
        _refuse("update its batch statistics in training; they would stay at 0 and 1")
    if has_dropout and not draws:
        _refuse("apply its dropout in training; it would never be on")
    updates, draws = _updates_and_draws(run, params, state, x, train=False)
    if updates:
        _refuse("use its running statistics in evaluation, not those of each batch")
    if draws:
        _refuse("draw no random numbers in evaluation; dropout would stay on")


def _refuse(rule: str) -> None:
    raise ArgumentError("module", f"must {rule}. To switch the mode, {HINT}.")


def shapes(tree: Any) -> Any:
    """Returns the shape and dtype of each array."""
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(jnp.shape(a), a.dtype), tree)


def _updates_and_draws(
    run: RunFn, params: Params, state: ModelState, x: Any, *, train: bool
) -> tuple[bool, bool]:
    """Whether a mode changes some of the state, and whether its logits use the key."""

    def flat(params: Params, state: ModelState, x: Any, key: Any) -> list[Any]:
        logits, new_state = run(params, state, x, train, key)
        return [logits, *jax.tree.leaves(new_state)]

    key = jax.eval_shape(jax.random.key, 0)
    jaxpr = jax.make_jaxpr(flat)(params, state, x, key).jaxpr
    num_params, num_states = (len(jax.tree.leaves(tree)) for tree in (params, state))
    before = jaxpr.invars[num_params : num_params + num_states]
    logits, *after = jaxpr.outvars
    # A state that is passed on as it came is the same variable of the program.
    updates = any(a is not b for a, b in zip(before, after, strict=True))
    # Back from the logits: everything that they are computed from.
    needed = {id(logits)}
    for equation in reversed(jaxpr.eqns):
        if any(id(variable) in needed for variable in equation.outvars):
            needed.update(map(id, equation.invars))
    return updates, id(jaxpr.invars[-1]) in needed
