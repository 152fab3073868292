"""The optimizers of optax by name, as bases of the SAM family."""

import ast
import difflib
import functools
import inspect
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import optax
import optax.contrib

from sam_jax import _checks
from sam_jax._checks import ArgumentError

_LEFT_OUT = {
    "lbfgs",  # its line search evaluates the loss itself
    "optimistic_adam",  # deprecated, and takes no schedule
    "schedule_free_adamw",  # leave weights that are not to be evaluated
    "schedule_free_sgd",
    "sophia",  # estimates the Hessian from a function that training does not pass
}


@functools.cache
def base_factories() -> Mapping[str, Callable[..., optax.GradientTransformation]]:
    """Returns the optimizers of optax and ``optax.contrib`` that train by name alone.

    Their first parameter is the learning rate, and no other has to be given.
    """
    factories = {}
    # optax comes last: it wins where both have an optimizer of one name.
    for module in (optax.contrib, optax):
        for name, factory in vars(module).items():
            # nadam and others are partial functions.
            if not isinstance(factory, (types.FunctionType, functools.partial)):
                continue
            parameters = inspect.signature(factory).parameters
            names, others = list(parameters), list(parameters.values())[1:]
            is_alias = names[:1] == ["learning_rate"] and "scale_by" not in name
            is_complete = all(p.default is not p.empty for p in others)
            if is_alias and is_complete and name not in _LEFT_OUT:
                factories[name] = factory
    return factories


def setting_names(name: str) -> list[str]:
    """Returns the settings of an optimizer beyond its learning rate.

    Raises:
        ArgumentError: If there is no such optimizer.
    """
    factory = _checks.one_of(base_factories(), base=name)
    return list(inspect.signature(factory).parameters)[1:]


def make_base(
    name: str, learning_rate: Any, settings: Mapping[str, Any]
) -> optax.GradientTransformation:
    """Returns an optimizer of optax.

    Args:
        name: A key of ``base_factories``.
        learning_rate: A number or a schedule.
        settings: Its further arguments by name.

    Raises:
        ArgumentError: If there is no such optimizer, if it has no such setting, or
            refuses its value; the error lists what there is.

    Example:
        >>> make_base("adamw", 1e-3, {"beta1": 0.9})
        ... # doctest: +ELLIPSIS, +NORMALIZE_WHITESPACE
        Traceback (most recent call last):
        ...
        sam_jax._checks.ArgumentError: base_settings must be of adamw: b1, b2, ...; got
        'beta1'. Did you mean b1?
    """
    allowed = setting_names(name)
    for setting in settings:
        if setting == "learning_rate":
            rule = "must be without learning_rate, a separate option."
            raise ArgumentError("base_settings", rule)
        if setting not in allowed:
            near = difflib.get_close_matches(setting, allowed, 1, cutoff=0.5)
            hint = f" Did you mean {near[0]}?" if near else ""
            rule = f"must be of {name}: {', '.join(allowed)}; got {setting!r}.{hint}"
            raise ArgumentError("base_settings", rule)
    try:
        # Some values are refused only when the state is made.
        base = base_factories()[name](learning_rate, **settings)
        base.init({"weights": np.zeros((2, 2), np.float32)})
    except Exception as error:
        shown = ", ".join(f"{k}={v!r}" for k, v in settings.items())
        rule = f"must be values that {name} takes, got {shown}: {type(error).__name__}:"
        raise ArgumentError("base_settings", f"{rule} {error}") from error
    return base


def parse_settings(texts: Sequence[str]) -> dict[str, Any]:
    """Returns ``name=value`` texts as settings: numbers, True, False, None or text.

    Raises:
        ArgumentError: If one has no name or no value, or a name is there twice.

    Example:
        >>> parse_settings(["weight_decay=1e-4", "nesterov=True", "mu_dtype=bfloat16"])
        {'weight_decay': 0.0001, 'nesterov': True, 'mu_dtype': 'bfloat16'}
    """
    settings: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name.isidentifier() and equals and value):
            raise ArgumentError("base_settings", f"must be name=value, got {text!r}.")
        if name in settings:
            raise ArgumentError("base_settings", f"must differ, got {name} twice.")
        try:
            settings[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            settings[name] = value
    return settings
