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
from collections.abc import Mapping

import optax
from jax.typing import ArrayLike

from sam_jax import _checks
from sam_jax._checks import ArgumentError
from sam_jax.optimizers.factories import OptimizerFactory, checked_base, make_factory
from sam_jax.optimizers.memory_methods import FriendlySAM, LookSAM
from sam_jax.optimizers.methods import (
    ASAM,
    GNP,
    GSAM,
    MSAM,
    SAM,
    USAM,
    RandomSAM,
)
from sam_jax.optimizers.radius import Radius, check_setting
from sam_jax.optimizers.transform import clipped


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
        raise ArgumentError(
            "rho", f"must be 0 for sgd, which has no radius, got {rho!r}."
        )
    base = optax.with_extra_args_support(checked_base(base))
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
