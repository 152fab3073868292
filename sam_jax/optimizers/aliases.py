"""Sharpness-aware minimization and its relatives, each before a base optimizer.

``sam(base, rho)`` is ``optax.chain(sharpness_aware(SAM(), rho), base)``, and so on; one
``update`` is one step and needs the gradient as a function (``sam_jax.optimizers.transform``):

    tx = sam(optax.sgd(0.1), rho=0.05)
    updates, opt_state = tx.update(grads, opt_state, params, grad_fn=grad_fn, step=step)

Formulas and sources are in ``sam_jax.optimizers.methods``. Everything public about SAM can be
imported from here.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from sam_jax import _checks
from sam_jax.optimizers.ascent import climb, direction, init_memory, perturb
from sam_jax.optimizers.methods import (
    ASAM,
    GNP,
    GSAM,
    MSAM,
    SAM,
    USAM,
    FriendlySAM,
    LookSAM,
    Method,
    RandomSAM,
)
from sam_jax.optimizers.transform import (
    Radius,
    SharpnessAwareState,
    fill_masked,
    sharpness_aware,
)

__all__ = [
    "ASAM",
    "GNP",
    "GSAM",
    "MSAM",
    "SAM",
    "USAM",
    "FriendlySAM",
    "LookSAM",
    "Method",
    "Radius",
    "RandomSAM",
    "SharpnessAwareState",
    "asam",
    "climb",
    "direction",
    "fill_masked",
    "friendly_sam",
    "gnp",
    "gsam",
    "init_memory",
    "looksam",
    "m_sam",
    "perturb",
    "random_sam",
    "rho_from_learning_rate",
    "sam",
    "sharpness_aware",
    "usam",
]

Optimizer: TypeAlias = optax.GradientTransformationExtraArgs


def sam(base: optax.GradientTransformation, rho: Radius = 0.05) -> Optimizer:
    """Returns ``base`` behind ``SAM``.

    Args:
        base: Receives the gradient at the perturbed weights as if it were the gradient.
        rho: Radius; published: 0.05 on CIFAR-10, 0.1 on CIFAR-100.

    Raises:
        ValueError: If a concrete ``rho`` is negative or not finite.
    """
    return optax.chain(sharpness_aware(SAM(), rho), base)


def usam(base: optax.GradientTransformation, rho: Radius = 0.05) -> Optimizer:
    """Returns ``base`` behind ``USAM``.

    Args:
        base: Receives the gradient at the perturbed weights as if it were the gradient.
        rho: Step along the gradient, not its length: in units of the learning rate.

    Raises:
        ValueError: If a concrete ``rho`` is negative or not finite.
    """
    return optax.chain(sharpness_aware(USAM(), rho), base)


def asam(
    base: optax.GradientTransformation,
    rho: Radius = 0.5,
    eta: ArrayLike = 0.01,
    scale_biases: bool = False,
) -> Optimizer:
    """Returns ``base`` behind ``ASAM``.

    Args:
        base: Receives the gradient at the perturbed weights as if it were the gradient.
        rho: Radius relative to the weights; published: 0.5 on CIFAR-10, 1 on CIFAR-100.
        eta: Added to the size of each weight.
        scale_biases: Whether biases are scaled like the other weights.

    Raises:
        ValueError: If a concrete ``rho`` or ``eta`` is negative or not finite.
    """
    return optax.chain(sharpness_aware(ASAM(eta, scale_biases), rho), base)


def gsam(
    base: optax.GradientTransformation,
    rho: Radius = 0.05,
    alpha: ArrayLike = 0.4,
    decompose: str = "clean",
) -> Optimizer:
    """Returns ``base`` behind ``GSAM``.

    Args:
        base: Receives GSAM's direction as if it were the gradient.
        rho: Radius; the paper's follows the learning rate (``rho_from_learning_rate``).
        alpha: Weight of the orthogonal part; published: 0.4 to 0.7.
        decompose: ``"clean"`` gradient (the paper) or the ``"perturbed"`` one.

    Raises:
        ValueError: If a concrete number is negative or not finite, or ``decompose``
            is another word.
    """
    return optax.chain(sharpness_aware(GSAM(alpha, decompose), rho), base)


def looksam(
    base: optax.GradientTransformation,
    rho: Radius = 0.05,
    period: int = 5,
    alpha: ArrayLike = 0.7,
    per_tensor: bool = False,
) -> Optimizer:
    """Returns ``base`` behind ``LookSAM``. Under ``vmap`` over models, pass ``step``.

    Args:
        base: Receives LookSAM's direction as if it were the gradient.
        rho: Radius.
        period: Steps from one SAM step to the next.
        alpha: Weight of the reused part.
        per_tensor: Whether norms run over each tensor alone.

    Raises:
        ValueError: If a concrete number is negative or not finite, or ``period`` is not
            a whole number >= 1.
    """
    return optax.chain(sharpness_aware(LookSAM(period, alpha, per_tensor), rho), base)


def friendly_sam(
    base: optax.GradientTransformation,
    rho: Radius = 0.2,
    sigma: ArrayLike = 1.0,
    decay: ArrayLike = 0.6,
    form: str = "authors",
) -> Optimizer:
    """Returns ``base`` behind ``FriendlySAM``; defaults of CIFAR-100 with ResNet-18.

    Args:
        base: Receives the gradient at the perturbed weights as if it were the gradient.
        rho: Radius.
        sigma: Share of the running mean that is removed from the ascent.
        decay: Of the running mean, in [0, 1].
        form: ``"authors"`` (the code) or ``"paper"``.

    Raises:
        ValueError: If a concrete number is out of range, or ``form`` is another word.
    """
    return optax.chain(sharpness_aware(FriendlySAM(sigma, decay, form), rho), base)


def gnp(
    base: optax.GradientTransformation, rho: Radius = 0.1, alpha: ArrayLike = 0.8
) -> Optimizer:
    """Returns ``base`` behind ``GNP``.

    Args:
        base: Receives the mix of the two gradients as if it were the gradient.
        rho: Radius.
        alpha: Weight of the perturbed gradient, in [0, 1].

    Raises:
        ValueError: If a concrete ``rho`` or ``alpha`` is out of range.
    """
    return optax.chain(sharpness_aware(GNP(alpha), rho), base)


def m_sam(
    base: optax.GradientTransformation, rho: Radius = 0.05, num_groups: int = 8
) -> Optimizer:
    """Returns ``base`` behind ``MSAM``; ``update`` needs ``group_grad_fn``.

    Args:
        base: Receives the mean over the groups as if it were the gradient.
        rho: Radius of each group's ascent.
        num_groups: Number of equal groups that split the batch.

    Raises:
        ValueError: If a concrete ``rho`` is negative or not finite, or ``num_groups``
            is not a whole number >= 1.
    """
    return optax.chain(sharpness_aware(MSAM(num_groups), rho), base)


def random_sam(
    base: optax.GradientTransformation,
    rho: Radius = 0.05,
    per_filter: bool = False,
    seed: ArrayLike = 0,
) -> Optimizer:
    """Returns ``base`` behind ``RandomSAM``. Under ``vmap`` over models, pass ``key``.

    Args:
        base: Receives the gradient at the perturbed weights as if it were the gradient.
        rho: Radius.
        per_filter: Whether the noise follows the filter norms of the weights.
        seed: Of the noise, where ``update`` is not handed a ``key``.

    Raises:
        ValueError: If a concrete ``rho`` is negative or not finite.
    """
    return optax.chain(sharpness_aware(RandomSAM(per_filter, seed), rho), base)


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
        ValueError: Unless ``lr_min < lr_max`` and the radii are finite and >= 0.

    References:
        Zhuang et al., "Surrogate Gap Minimization Improves Sharpness-Aware Training",
        2022, https://arxiv.org/abs/2203.08065, algorithm 1.
    """
    _checks.non_negative(lr_min=lr_min, rho_min=rho_min, rho_max=rho_max)
    if not lr_min < lr_max:
        raise ValueError(f"lr_max must be > lr_min ({lr_min!r}), got {lr_max!r}.")

    def schedule(step):
        share = (learning_rate(step) - lr_min) / (lr_max - lr_min)
        return jnp.maximum(rho_min + (rho_max - rho_min) * share, 0)

    return schedule
