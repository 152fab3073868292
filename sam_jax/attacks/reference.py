"""Attacks that compare the target with 'out' models without fitting a distribution."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from sam_jax.attacks import equal_counts, gaussian
from sam_jax.attacks import leave_one_out as loo
from sam_jax.attacks.base import Attack
from sam_jax.attacks.lira import Fitted
from sam_jax.attacks.population import mean_phi
from sam_jax.attacks.shadow_statistics import pool_sides
from sam_jax.types import Signals


def reference_attack() -> Attack:
    """Attack-R: the fraction of 'out' models less confident than the target.

    Among M models the fraction has about M / 2 values; equal ones are ordered by the
    z-score of phi among 'out' models of one variance, by less than one step. The
    score lies in [0, 1]; strictly less confident models count.

    Assumes: the target's phi (mean over queries), and shadow models trained without the
    examples. Ye et al., "Enhanced Membership Inference Attacks against Machine
    Learning Models", 2022, https://arxiv.org/abs/2111.09679, section 4.
    """

    def fit(signals: Signals, target: Any) -> Fitted:
        phi = mean_phi(signals)[..., None]
        pooled = pool_sides(signals._replace(phi=phi), "mean", joint=False)
        pooled = jax.tree.map(lambda a: a[target], pooled)
        return Fitted(pooled, equal_counts.fit_matching(signals.keep, target))

    def score(fitted: Fitted, signals: Signals, target: Any) -> Any:
        phi, outside = mean_phi(signals), ~jnp.asarray(signals.keep)
        models = equal_counts.left_out(fitted.matching, signals, target).outside
        centred = loo.centred(phi[..., None])
        others = loo.moments_without_each(centred, outside)
        others = equal_counts.take_rows(others, models)
        variance = jnp.broadcast_to(fitted.pooled.out_variance, others.mean.shape)
        inflation = jnp.ones_like(others.count)
        fitted_out = gaussian.Gaussian(others.mean, variance, inflation)
        z = gaussian.z_score(centred[target], fitted_out)
        below = _count_below(phi[target], phi, outside, models)
        # Within (0, 1) and increasing in z: ties are ordered by less than one model.
        place = 0.5 + 0.5 * z / (1 + jnp.abs(z))
        return (below + place) / (others.count + 1)

    return Attack(score, fit, needs=("out_models",), name="attack_r")


def calibrated_loss() -> Attack:
    """The target's log p_y minus its mean over 'out' models: the loss, for difficulty.

    Assumes: the target's loss (mean over queries), and shadow models trained without
    the examples. Where there is none the loss is not calibrated. Watson et al., "On the
    Importance of Difficulty Calibration in Membership Inference Attacks", 2022,
    https://arxiv.org/abs/2111.08440, equation 2.
    """

    def fit(signals: Signals, target: Any) -> Float[Array, "2 m"]:
        return equal_counts.fit_matching(signals.keep, target)

    def score(probability: Any, signals: Signals, target: Any) -> Any:
        log_p = jnp.mean(jax.nn.log_sigmoid(signals.phi), axis=-1, keepdims=True)
        others = loo.moments_without_each(log_p, ~signals.keep)
        models = equal_counts.left_out(probability, signals, target).outside
        return (log_p[target] - equal_counts.take_rows(others.mean, models))[:, 0]

    return Attack(score, fit, needs=("out_models",), name="calibrated_loss")


def _count_below(
    values: Float[Array, "n"],
    phi: Float[Array, "m n"],
    group: Bool[Array, "m n"],
    left_out: Any,
) -> Float[Array, "n"]:
    """Number of the group's models strictly below each example's value.

    Minus the model that is left out, so that all targets share one sort.
    """
    ordered = jnp.sort(jnp.where(group, phi, jnp.inf), axis=0)
    below = jax.vmap(jnp.searchsorted, (1, 0))(ordered, values)
    index = left_out[None]
    was_counted = jnp.take_along_axis(group, index, axis=0)[0] & (
        jnp.take_along_axis(phi, index, axis=0)[0] < values
    )
    return (below - was_counted.astype(below.dtype)).astype(values.dtype)
