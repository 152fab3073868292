"""Optimizers by name, for experiments: the SAM family and the base alone.

A factory takes ``(base, *, rho=..., **settings)``: the base optimizer, the radius (a
number, a schedule, or a traced scalar, so that many radii train in one vmapped call)
and the settings of the method.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import TypeAlias

import optax

from sam_jax import _checks
from sam_jax.optimizers.aliases import (
    Radius,
    asam,
    friendly_sam,
    gnp,
    gsam,
    looksam,
    m_sam,
    random_sam,
    sam,
    usam,
)

OptimizerFactory: TypeAlias = Callable[..., optax.GradientTransformation]


def sgd(
    base: optax.GradientTransformation, rho: Radius = 0.0
) -> optax.GradientTransformationExtraArgs:
    """Returns ``base`` alone, which ignores the extra arguments of the SAM family.

    Args:
        base: Any optimizer; despite the name, not only stochastic gradient descent.
        rho: Accepted so that all factories are called alike; 0 where concrete.

    Raises:
        ValueError: If a concrete ``rho`` is not 0.
    """
    if _checks.is_concrete(rho) and rho != 0:
        raise ValueError(f"rho must be 0 for sgd, which has no radius, got {rho!r}.")
    return optax.with_extra_args_support(base)


OPTIMIZERS: Mapping[str, OptimizerFactory] = {
    "sgd": sgd,
    "sam": sam,
    "usam": usam,
    "asam": asam,
    "gsam": gsam,
    "looksam": looksam,
    "friendly_sam": friendly_sam,
    "gnp": gnp,
    "m_sam": m_sam,
    "random_sam": random_sam,
}


def default_rho(name: str) -> float:
    """Returns the radius that an optimizer has unless told otherwise.

    Args:
        name: A key of ``OPTIMIZERS``.

    Raises:
        ValueError: If it is none.

    Example:
        >>> default_rho("sam"), default_rho("asam"), default_rho("sgd")
        (0.05, 0.5, 0.0)
    """
    factory = _checks.one_of(OPTIMIZERS, optimizer=name)
    return inspect.signature(factory).parameters["rho"].default
