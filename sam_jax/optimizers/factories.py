"""Factories of optimizers: a method of the SAM family before a base optimizer."""

import inspect
from collections.abc import Callable
from typing import Any, TypeAlias

import optax
from jax.typing import ArrayLike

from sam_jax._checks import ArgumentError
from sam_jax.optimizers.method import Method
from sam_jax.optimizers.radius import Radius
from sam_jax.optimizers.transform import sharpness_aware

OptimizerFactory: TypeAlias = Callable[..., optax.GradientTransformationExtraArgs]


def make_factory(name: str, method: type[Method], rho: float) -> OptimizerFactory:
    """Returns ``name(base, rho, *settings, clip_norm)``, documented by the method.

    Args:
        name: Name of the factory.
        method: Its fields become the settings.
        rho: Default radius.
    """
    positional = inspect.Parameter.POSITIONAL_OR_KEYWORD
    fields = inspect.signature(method).parameters.values()
    signature = inspect.Signature(
        [
            inspect.Parameter(
                "base", positional, annotation=optax.GradientTransformation
            ),
            inspect.Parameter("rho", positional, default=rho, annotation=Radius),
            *fields,
            inspect.Parameter(
                "clip_norm", positional, default=None, annotation=ArrayLike | None
            ),
        ],
        return_annotation=optax.GradientTransformationExtraArgs,
    )

    def factory(*args: Any, **kwargs: Any) -> optax.GradientTransformationExtraArgs:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        settings = dict(bound.arguments)
        base = checked_base(settings.pop("base"))
        rho, clip_norm = settings.pop("rho"), settings.pop("clip_norm")
        return optax.chain(sharpness_aware(method(**settings), rho, clip_norm), base)

    # What `inspect.signature` returns: for help(), and for `default_rho`.
    factory.__dict__["__signature__"] = signature
    factory.__name__ = factory.__qualname__ = name
    factory.__doc__ = _factory_docstring(method)
    return factory


def checked_base(base: Any) -> optax.GradientTransformation:
    """Returns ``base``; raises ``ArgumentError`` unless it is an optax optimizer."""
    if not (callable(getattr(base, "init", None)) and hasattr(base, "update")):
        raise ArgumentError("base", f"must be an optax optimizer, got {base!r}.")
    return base


def _factory_docstring(method: type[Method]) -> str:
    """The docstring of a factory, with the formula and settings of its method."""
    formula, _, rest = (inspect.getdoc(method) or "").partition("\nAttributes:\n")
    settings, _, references = rest.partition("\nReferences:\n")
    # Of a method without settings the references follow the formula.
    if not settings:
        formula, _, references = formula.partition("\nReferences:\n")
    arguments = "\n".join(
        (
            "    base: Receives the direction as if it were the gradient.",
            "    rho: Radius: a number, a traced scalar or a schedule.",
            *settings.rstrip().splitlines(),
            "    clip_norm: Largest norm of the direction; None for no limit.",
        )
    )
    return (
        f"Returns ``base`` behind ``{method.__name__}``.\n\n{formula.rstrip()}\n\n"
        f"Args:\n{arguments}\n\n"
        "Raises:\n    ArgumentError: If a setting is out of range.\n\n"
        f"References:\n{references.rstrip()}\n"
    )
