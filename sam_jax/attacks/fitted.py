"""Classifiers of membership fitted on shadow models and carried to the target.

A target in one half of the models is scored by a logistic regression fitted on the
other half (``population.other_halves``), whose members are known to the attacker.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sam_jax.attacks.base import Attack
from sam_jax.attacks.lira import lira_online
from sam_jax.attacks.loss import confidence
from sam_jax.attacks.population import (
    NUM_TUNING,
    mean_phi,
    of_other_half,
    other_halves,
    spread_columns,
)
from sam_jax.attacks.reference import calibrated_loss
from sam_jax.attacks.rmia import rmia_online
from sam_jax.types import Signals

NUM_NEWTON_STEPS = 20
RIDGE = 1e-3
FEATURE_LIMIT = 8.0
"""Standardised features are clipped to +- this, so that no outlier decides a fit."""


class Logistic(NamedTuple):
    """A logistic regression on standardised features."""

    center: Float[Array, "*h f"]
    scale: Float[Array, "*h f"]
    weights: Float[Array, "*h f1"]


def shadow_classifier() -> Attack:
    """Log-odds of membership by a classifier of one model's answers.

    Features: phi (mean over views) and its square, log p_y, correctness, entropy and
    modified entropy. The original sees the sorted probabilities, which ``Signals`` do
    not hold; these are the summaries of them that they do. One classifier serves all
    classes.

    Assumes: all of the target's probabilities and the label, and shadow models of any
    training set (the examples themselves need not be in theirs). Shokri et al.,
    "Membership Inference Attacks Against Machine Learning Models", 2017,
    https://arxiv.org/abs/1610.05820, section V.
    """

    def features(signals: Signals) -> Any:
        phi = mean_phi(signals)
        return jnp.stack(
            [
                phi,
                jnp.square(phi),
                jax.nn.log_sigmoid(phi),
                signals.correct.astype(phi.dtype),
                signals.entropy,
                signals.modified_entropy,
            ],
            axis=-1,
        )

    def fit(signals: Signals, target: Any) -> Logistic:
        halves, is_valid = _tuning_halves(signals)
        fit_half = lambda half: fit_logistic(features(half), half.keep, is_valid)
        return of_other_half(jax.vmap(fit_half)(halves), signals, target)

    def score(fitted: Logistic, signals: Signals, target: Any) -> Any:
        return log_odds(fitted, features(signals)[target])

    return Attack(score, fit, needs=("out_models", "tuning", "entropy"))


def combined(attacks: Sequence[Attack] | None = None) -> Attack:
    """Log-odds of membership by a logistic regression on several attacks' scores.

    On the half of the models that it is fitted on, each is attacked with the others of
    that half as its shadows, so scores are a little noisier than on the target.

    Assumes: what the combined attacks assume together, and the members of the shadow
    models.

    Args:
        attacks: By default ``confidence``, ``calibrated_loss``, ``lira_online`` and
            ``rmia_online``.

    Returns:
        The attack.

    Raises:
        ValueError: If ``attacks`` is empty.
    """
    if attacks is None:
        attacks = (confidence(), calibrated_loss(), lira_online(), rmia_online())
    if not attacks:
        raise ValueError("attacks must hold at least one attack, got none.")

    def all_scores(signals: Signals) -> Any:
        models = jnp.arange(signals.phi.shape[0])
        lifted = [jax.vmap(attack, (None, 0))(signals, models) for attack in attacks]
        return jnp.stack(lifted, axis=-1)

    def fit(signals: Signals, target: Any) -> Any:
        halves, is_valid = _tuning_halves(signals, with_population=True)
        fit_half = lambda half: fit_logistic(all_scores(half), half.keep, is_valid)
        fits = jax.vmap(fit_half)(halves)
        own = tuple(attack.fit(signals, target) for attack in attacks)
        return own, of_other_half(fits, signals, target)

    def score(fitted: Any, signals: Signals, target: Any) -> Any:
        own, logistic = fitted
        scores = [
            attack.score(part, signals, target)
            for attack, part in zip(attacks, own, strict=True)
        ]
        return log_odds(logistic, jnp.stack(scores, axis=-1))

    needs = {"tuning"} | {need for attack in attacks for need in attack.needs}
    return Attack(score, fit, tuple(sorted(needs)))


def fit_logistic(features: Float[Array, "m n f"], keep: Any, is_valid: Any) -> Logistic:
    """Returns a ridge logistic regression of ``keep`` on features, by Newton's method.

    Args:
        features: One row per model and example.
        keep: Bool [M, N], what to predict.
        is_valid: Bool [N], examples that count.

    Returns:
        The fitted regression.
    """
    weight = jnp.broadcast_to(is_valid[None], keep.shape).astype(features.dtype)
    weight = weight / jnp.maximum(jnp.sum(weight), 1)
    mean = lambda values: jnp.einsum("mn,mnf->f", weight, values)
    center = mean(features)
    spread = jnp.sqrt(mean(jnp.square(features - center[None, None])))
    scale = jnp.where(spread > 1e-6 * (1 + jnp.abs(center)), spread, jnp.inf)
    x = _standardise(features, center, scale)
    y = keep.astype(features.dtype)
    ridge = RIDGE * jnp.eye(x.shape[-1], dtype=x.dtype)

    def newton_step(_, w):
        p = jax.nn.sigmoid(x @ w)
        gradient = jnp.einsum("mn,mnf->f", weight * (y - p), x) - ridge @ w
        hessian = jnp.einsum("mn,mnf,mng->fg", weight * p * (1 - p), x, x) + ridge
        return w + jnp.linalg.solve(hessian, gradient)

    start = jnp.zeros(x.shape[-1], x.dtype)
    return Logistic(
        center, scale, jax.lax.fori_loop(0, NUM_NEWTON_STEPS, newton_step, start)
    )


def log_odds(fitted: Logistic, features: Float[Array, "n f"]) -> Float[Array, "n"]:
    """Returns the regression's log-odds of membership."""
    return _standardise(features, fitted.center, fitted.scale) @ fitted.weights


def _standardise(features, center, scale):
    """Standardised and clipped features, and a constant; a constant feature is 0."""
    lead = (None,) * (features.ndim - 1)
    x = (features - center[lead]) / scale[lead]
    x = jnp.clip(x, -FEATURE_LIMIT, FEATURE_LIMIT)
    return jnp.concatenate([x, jnp.ones_like(x[..., :1])], axis=-1)


def _tuning_halves(signals, with_population=False):
    """Both halves of the models on few examples, with which of these count."""
    num_examples = signals.keep.shape[1]
    is_member = jnp.any(signals.keep, axis=0)
    size = min(NUM_TUNING, num_examples)
    columns, is_valid = spread_columns(is_member, size)
    if with_population:
        others, _ = spread_columns(~is_member, size)
        columns = jnp.concatenate([columns, others])
        is_valid = jnp.concatenate([is_valid, jnp.zeros(size, bool)])
    return other_halves(signals.select(examples=columns)), is_valid
