"""Attacks that compare the target with 'out' models without fitting a distribution."""

from typing import Any

import jax
import jax.numpy as jnp

from sam_jax.attacks import leave_one_out as loo
from sam_jax.attacks.base import PHI_LIMIT, Attack
from sam_jax.attacks.population import mean_phi
from sam_jax.types import Signals


def reference_attack() -> Attack:
    """Attack-R: the fraction of 'out' models less confident than the target.

    Among M models the fraction has about M / 2 values; equal ones are ordered by the
    distance of phi from the mean of the 'out' models, within less than one step. The
    score lies in (0, 1); strictly less confident models count.

    Assumes: the target's phi (mean over views), and shadow models trained without the
    examples. Ye et al., "Enhanced Membership Inference Attacks against Machine
    Learning Models", 2022, https://arxiv.org/abs/2111.09679, section 4.
    """

    def score(_: Any, signals: Signals, target: Any) -> Any:
        phi = mean_phi(signals)
        others = loo.moments_without_each(
            phi[..., None] - jnp.mean(phi, 0)[None, :, None], ~signals.keep
        )
        above = phi - jnp.mean(phi, 0)[None] - others.mean[..., 0]
        place = 0.5 + 0.5 * above / (1 + jnp.abs(above))
        below = _count_below(phi, ~signals.keep)
        return ((below + place) / (others.count + 1))[target]

    return Attack(score, needs=("out_models",))


def calibrated_loss() -> Attack:
    """The target's log p_y less its mean over 'out' models: the loss, for difficulty.

    Assumes: the target's loss (mean over views), and shadow models trained without the
    examples. Where there is none the loss is not calibrated. Watson et al., "On the
    Importance of Difficulty Calibration in Membership Inference Attacks", 2022,
    https://arxiv.org/abs/2111.08440, equation 2.
    """

    def score(_: Any, signals: Signals, target: Any) -> Any:
        phi = jnp.clip(signals.phi, -PHI_LIMIT, PHI_LIMIT)
        log_p = jnp.mean(jax.nn.log_sigmoid(phi), axis=-1, keepdims=True)
        others = loo.moments_without_each(log_p, ~signals.keep)
        return (log_p - others.mean)[target, :, 0]

    return Attack(score, needs=("out_models",))


def _count_below(values, group):
    """Number of the group's models strictly below each model, per example, [M, N]."""
    ordered = jnp.sort(jnp.where(group, values, jnp.inf), axis=0)
    return jax.vmap(jnp.searchsorted, (1, 1), 1)(ordered, values).astype(values.dtype)
