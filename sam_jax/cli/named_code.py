"""Networks and attacks by name: registered, or module:attribute of a user."""

import importlib
import inspect
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from sam_jax import _checks
from sam_jax._checks import ArgumentError
from sam_jax.attacks import ATTACKS, NEEDS, missing_needs, unmet_needs
from sam_jax.models import MODELS, compute_dtype
from sam_jax.types import AttackFn, Model, Signals

T = TypeVar("T")

ALL, MAIN = "all", "lira_online"


def import_callable(argument: str, text: str) -> Any:
    """Returns what ``module:attribute`` names; modules of the working folder too.

    Args:
        argument: The option that it was given to.
        text: ``package.module:attribute``; the attribute may have dots too.

    Raises:
        ArgumentError: If the module does not import, or has no such attribute, or this
            is not callable.
    """
    module_name, _, attribute = text.partition(":")
    if not (module_name and attribute):
        raise ArgumentError(argument, f"must be module:function, got {text!r}.")
    # A console script, unlike `python -m`, does not look where it is started.
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        value = importlib.import_module(module_name)
    except Exception as error:
        raise ArgumentError(
            argument,
            f"must name a module that can be imported, got {module_name!r}: "
            f"{type(error).__name__}: {error}",
        ) from error
    for name in attribute.split("."):
        if not hasattr(value, name):
            public = [n for n in dir(value) if not n.startswith("_")]
            raise ArgumentError(
                argument,
                f"must name something in {module_name}, which has no {attribute!r}; "
                f"it has {', '.join(public) or 'nothing public'}.",
            )
        value = getattr(value, name)
    if not callable(value):
        raise ArgumentError(
            argument,
            f"must name something to call, got {text!r}, which is of "
            f"type {type(value).__name__}.",
        )
    return value


def named_attack(text: str, argument: str = "attacks") -> AttackFn:
    """Returns a registered attack, or the one that ``module:attribute`` names."""
    if ":" in text:
        return import_callable(argument, text)
    return _registered(ATTACKS, argument, text)


def _registered(registry: Mapping[str, T], argument: str, text: str) -> T:
    """Returns what a registry has; its error says that code of a user has a colon."""
    try:
        return _checks.one_of(registry, **{argument: text})
    except ArgumentError as error:
        rule = error.rule.replace("; got", ", or module:function of your code; got")
        raise ArgumentError(argument, rule) from error


def choose_attacks(
    names: Sequence[str], signals: Signals, needs: Mapping[str, str] = NEEDS
) -> tuple[dict[str, AttackFn], dict[str, str]]:
    """Returns the attacks by name, and of all those left out what they would need.

    Args:
        names: Of attacks, the main one first; all stands for those registered that the
            signals have the means for, lira_online first.
        signals: Of models, or of a target and its shadow models.
        needs: How each unmet need is called.

    Raises:
        ArgumentError: If an attack is unknown, or was chosen by name and cannot run.
    """
    if not names:
        raise ArgumentError("attacks", "must name at least one, or all; got none.")

    def listed(unmet: Sequence[str]) -> str:
        return " and ".join(needs.get(need, NEEDS[need]) for need in unmet)

    chosen, skipped = {}, {}
    for name in names:
        if name == ALL:
            for other in sorted(ATTACKS, key=lambda other: other != MAIN):
                unmet = unmet_needs(ATTACKS[other], signals)
                if unmet and other not in names:
                    skipped[other] = listed(unmet)
                elif other not in names:
                    chosen[other] = ATTACKS[other]
            continue
        chosen[name] = named_attack(name)
        missing = missing_needs(chosen[name], signals)
        if missing:
            raise ArgumentError(
                "attacks", f"must be able to run, but {name} needs {listed(missing)}."
            )
    return chosen, skipped


def named_model(
    text: str, num_classes: int, precision: str, platform: str | None = None
) -> Model:
    """Returns a registered network, or what ``module:function(num_classes)`` returns.

    Args:
        text: Name, or ``module:function``; a function with a parameter ``dtype`` gets
            the dtype of the computation.
        num_classes: Outputs of the network.
        precision: As in ``sam_jax.models.compute_dtype``.
        platform: What it will run on; the backend by default.

    Raises:
        ArgumentError: If there is no such network, or the function fails or returns
            none.
    """
    dtype = compute_dtype(precision, platform)
    if ":" not in text:
        return _registered(MODELS, "model", text)(num_classes, dtype=dtype)
    function = import_callable("model", text)
    try:
        takes_dtype = "dtype" in inspect.signature(function).parameters
        settings = {"dtype": dtype} if takes_dtype else {}
        model = function(num_classes, **settings)
    except Exception as error:
        raise ArgumentError(
            "model",
            f"must make a network of the number of classes: {text}({num_classes}) "
            f"raised {type(error).__name__}: {error}",
        ) from error
    if isinstance(model, tuple) and len(model) == 2 and all(map(callable, model)):
        model = Model(*model)
    if not isinstance(model, Model):
        raise ArgumentError(
            "model",
            f"must return a sam_jax.Model or a pair (init, apply), got "
            f"{type(model).__name__} from {text}; sam_jax.models.from_linen, from_nnx "
            "and others make one of a module.",
        )
    if not takes_dtype and precision == "bfloat16":
        raise ArgumentError(
            "precision",
            f"must be float32 or auto for {text}, which has no parameter dtype.",
        )
    return model
