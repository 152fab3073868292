"""The radius rho, a number, a traced value or a schedule, and the other settings."""

import numbers
from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Int

from sam_jax import _checks
from sam_jax._checks import ArgumentError

Radius: TypeAlias = ArrayLike | Callable[[Any], Any]
"""A number, a traced scalar, or a schedule: ``step -> radius``."""


def check_radius(rho: Any) -> None:
    """Raises ``ArgumentError`` unless rho is a schedule or a scalar finite and >= 0."""
    if not callable(rho):
        check_setting(rho=rho)


def radius_at(rho: Radius, step: Int[Array, ""]) -> ArrayLike:
    """Returns the radius of a step; below 0, where only tracing can tell, it is 0.

    Raises:
        ArgumentError: If rho, or what the schedule returns, is no real scalar.
    """
    check_radius(rho)
    value: Any = rho
    if callable(rho):
        value = rho(step)
        _scalar("rho", value, "must be a schedule of scalar numbers")
    if isinstance(value, numbers.Real):
        return max(float(value), 0.0)
    return jnp.maximum(value, 0)


def check_setting(
    rule: Callable[..., None] = _checks.non_negative, **settings: Any
) -> None:
    """Raises ``ArgumentError`` unless each is a real scalar that follows a rule.

    Of a traced one only shape and dtype are known.

    Args:
        rule: A validator of numbers in ``sam_jax._checks``.
        **settings: Values by name.
    """
    for name, value in settings.items():
        _scalar(name, value, "must be a scalar number")
        if not isinstance(value, jax.core.Tracer):
            try:
                number = float(value)
            except OverflowError:
                number = np.inf
            # Beyond float32 it would turn infinite in the weights' arithmetic.
            fits = not number > float(np.finfo(np.float32).max)
            rule(**{name: number if fits else np.inf})


def _scalar(name: str, value: Any, rule: str) -> None:
    if isinstance(value, jax.Array | np.ndarray | np.generic):
        real = jnp.issubdtype(value.dtype, jnp.floating)
        real = real or jnp.issubdtype(value.dtype, jnp.integer)
        if not real or value.ndim:
            rule = f"{rule}, got shape {value.shape} and dtype {value.dtype}."
            raise ArgumentError(name, rule)
    elif isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise ArgumentError(name, f"{rule}, got {value!r}.")


def rho_from_learning_rate(
    learning_rate: Callable[[Any], Any],
    lr_min: float,
    lr_max: float,
    rho_min: float,
    rho_max: float,
) -> Callable[[Any], Any]:
    """Returns GSAM's radius schedule, which follows the learning rate.

    ``rho_min + (rho_max - rho_min) (lr - lr_min) / (lr_max - lr_min)``, never below 0.

    Args:
        learning_rate: The schedule, ``step -> learning rate``.
        lr_min: Learning rate at which the radius is ``rho_min``.
        lr_max: Learning rate at which it is ``rho_max``.
        rho_min: Radius >= 0.
        rho_max: Radius >= 0.

    Raises:
        ArgumentError: Unless ``lr_min < lr_max`` and the radii are finite and >= 0.

    References:
        Zhuang et al., "Surrogate Gap Minimization Improves Sharpness-Aware Training",
        2022, https://arxiv.org/abs/2203.08065, algorithm 1.
    """
    _checks.non_negative(lr_min=lr_min, rho_min=rho_min, rho_max=rho_max)
    if not lr_min < lr_max:
        raise ArgumentError("lr_max", f"must be > lr_min ({lr_min!r}), got {lr_max!r}.")

    def schedule(step: ArrayLike) -> Array:
        share = (learning_rate(step) - lr_min) / (lr_max - lr_min)
        return jnp.maximum(rho_min + (rho_max - rho_min) * share, 0)

    return schedule
