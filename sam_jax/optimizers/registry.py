"""Optimizers by name: each method of the SAM family before a base, and the base alone.

A factory takes ``(base, rho, *settings, clip_norm)``: the base optimizer, the radius (a
number, a schedule, or a traced scalar, so that many radii train in one vmapped call),
the settings of the method and a limit for the length of its direction.
``sam(base, rho)`` is ``optax.chain(sharpness_aware(SAM(), rho), base)``; one ``update``
is one step and needs the gradient as a function (``sam_jax.optimizers.transform``):

    tx = sam(optax.sgd(0.1), rho=0.05)
    updates, opt_state = tx.update(grads, opt_state, params, grad_fn=grad_fn, step=step)
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import optax
from jax.typing import ArrayLike

from sam_jax import _checks
from sam_jax._checks import ArgumentError
from sam_jax.optimizers.base import Method
from sam_jax.optimizers.memory_methods import FriendlySAM, LookSAM
from sam_jax.optimizers.methods import ASAM, GNP, GSAM, MSAM, SAM, USAM, RandomSAM
from sam_jax.optimizers.radius import Radius, check_setting
from sam_jax.optimizers.transform import clipped, sharpness_aware

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
        base = _checked_base(settings.pop("base"))
        rho, clip_norm = settings.pop("rho"), settings.pop("clip_norm")
        return optax.chain(sharpness_aware(method(**settings), rho, clip_norm), base)

    # What `inspect.signature` returns: for help(), and for `default_rho`.
    factory.__dict__["__signature__"] = signature
    factory.__name__ = factory.__qualname__ = name
    factory.__doc__ = _factory_docstring(method)
    return factory


def _checked_base(base: Any) -> optax.GradientTransformation:
    if not (callable(getattr(base, "init", None)) and hasattr(base, "update")):
        raise ArgumentError("base", f"must be an optax optimizer, got {base!r}.")
    return base


def _factory_docstring(method: type[Method]) -> str:
    whole, _, references = (inspect.getdoc(method) or "").partition("\nReferences:\n")
    formula, _, settings = whole.partition("\nAttributes:\n")
    return (
        f"Returns ``base`` behind ``{method.__name__}``.\n\n{formula.rstrip()}\n\n"
        "Args:\n    base: Receives the direction as if it were the gradient.\n"
        f"    rho: Radius: a number, a traced scalar or a schedule.\n{settings}"
        "    clip_norm: Largest norm of the direction; None for no limit.\n\n"
        "Raises:\n    ArgumentError: If a setting is out of range.\n\n"
        f"References:\n{references.rstrip()}\n"
    )


def sgd(
    base: optax.GradientTransformation,
    rho: Radius = 0.0,
    clip_norm: ArrayLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Returns ``base`` alone, which ignores the extra arguments of the SAM family.

    Args:
        base: Any optimizer; despite the name, not only stochastic gradient descent.
        rho: Accepted so that all factories are called alike; 0 where concrete.
        clip_norm: Largest norm of the gradient that ``base`` receives.

    Raises:
        ArgumentError: If a concrete ``rho`` is not 0.
    """
    if _checks.is_concrete(rho) and rho != 0:
        rule = f"must be 0 for sgd, which has no radius, got {rho!r}."
        raise ArgumentError("rho", rule)
    base = optax.with_extra_args_support(_checked_base(base))
    if clip_norm is None:
        return base
    check_setting(_checks.positive, clip_norm=clip_norm)
    clip = optax.stateless(lambda grads, params: clipped(grads, clip_norm))
    return optax.chain(clip, base)


OPTIMIZERS: Mapping[str, OptimizerFactory] = {
    "sgd": sgd,
    "sam": make_factory("sam", SAM, rho=0.05),
    "usam": make_factory("usam", USAM, rho=0.05),
    "asam": make_factory("asam", ASAM, rho=0.5),
    "gsam": make_factory("gsam", GSAM, rho=0.05),
    "looksam": make_factory("looksam", LookSAM, rho=0.05),
    "friendly_sam": make_factory("friendly_sam", FriendlySAM, rho=0.2),
    "gnp": make_factory("gnp", GNP, rho=0.1),
    "m_sam": make_factory("m_sam", MSAM, rho=0.05),
    "random_sam": make_factory("random_sam", RandomSAM, rho=0.05),
}

sam, usam, asam = OPTIMIZERS["sam"], OPTIMIZERS["usam"], OPTIMIZERS["asam"]
gsam, gnp, m_sam = OPTIMIZERS["gsam"], OPTIMIZERS["gnp"], OPTIMIZERS["m_sam"]
looksam, friendly_sam = OPTIMIZERS["looksam"], OPTIMIZERS["friendly_sam"]
random_sam = OPTIMIZERS["random_sam"]


def default_rho(name: str) -> float:
    """Returns the radius that an optimizer has by default.

    Args:
        name: A key of ``OPTIMIZERS``.

    Raises:
        ArgumentError: If it is none.

    Example:
        >>> default_rho("sam"), default_rho("asam"), default_rho("sgd")
        (0.05, 0.5, 0.0)
    """
    factory = _checks.one_of(OPTIMIZERS, optimizer=name)
    return inspect.signature(factory).parameters["rho"].default
