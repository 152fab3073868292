"""Classifiers of membership fitted on shadow models and applied to the target.

A logistic regression is fitted on the half of the models that the target is not in,
whose members are known to the attacker, and on other examples than it scores
(``tuning``).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from sam_jax._checks import ArgumentError
from sam_jax.attacks.base import Attack
from sam_jax.attacks.direct import confidence
from sam_jax.attacks.lira import lira_online
from sam_jax.attacks.population import mean_phi
from sam_jax.attacks.reference import calibrated_loss
from sam_jax.attacks.rmia import rmia_online
from sam_jax.attacks.tuning import example_folds, robust_center_and_scale, tune
from sam_jax.types import Signals

NUM_NEWTON_STEPS = 20
RIDGE = 1e-3
FEATURE_LIMIT = 8.0
"""Standardised features are clipped to +- this, so that no outlier decides a fit."""


class Logistic(NamedTuple):
    """A logistic regression on standardised features; one a fold once tuned."""

    center: Float[Array, "*fold f"]
    scale: Float[Array, "*fold f"]
    weights: Float[Array, "*fold f1"]


def shadow_classifier() -> Attack:
    """Log-odds of membership by a classifier of one model's outputs.

    Features: phi (mean over queries) and its square, log p_y, correctness, entropy and
    modified entropy. The original sees the sorted probabilities, which ``Signals`` do
    not hold; these are the summaries of them that they do. One classifier serves all
    classes.

    Assumes: all of the target's probabilities and the label, and shadow models of any
    training set (the examples themselves need not be in theirs). Shokri et al.,
    "Membership Inference Attacks Against Machine Learning Models", 2017,
    https://arxiv.org/abs/1610.05820, section V.
    """

    def features(signals: Signals) -> Float[Array, "m n f"]:
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

    def fit_half(half: Signals, is_valid: Bool[Array, "k"]) -> Logistic:
        return fit_logistic(features(half), half.keep, is_valid)

    def fit(signals: Signals, target: Any) -> Logistic:
        return tune(fit_half, signals, target)

    def score(fitted: Logistic, signals: Signals, target: Any) -> Any:
        return log_odds(fitted, features(signals)[target], example_folds(signals))

    return Attack(score, fit, needs=("tuning", "entropy"), name="shadow_classifier")


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
        ArgumentError: If ``attacks`` is empty.
    """
    if attacks is None:
        attacks = (confidence(), calibrated_loss(), lira_online(), rmia_online())
    if not attacks:
        raise ArgumentError("attacks", "must hold at least one attack, got none.")

    def fit_half(half: Signals, is_valid: Bool[Array, "k"]) -> Logistic:
        models = jnp.arange(len(half.phi))
        columns = [jax.vmap(attack, (None, 0))(half, models) for attack in attacks]
        return fit_logistic(jnp.stack(columns, axis=-1), half.keep, is_valid)

    def fit(signals: Signals, target: Any) -> tuple[Any, Logistic]:
        fits = tuple(attack.fit(signals, target) for attack in attacks)
        return fits, tune(fit_half, signals, target, with_population=True)

    def score(fitted: tuple[Any, Logistic], signals: Signals, target: Any) -> Any:
        fits, logistic = fitted
        scores = [
            attack.score(fit_of_attack, signals, target)
            for attack, fit_of_attack in zip(attacks, fits, strict=True)
        ]
        return log_odds(logistic, jnp.stack(scores, axis=-1), example_folds(signals))

    needs = {"tuning"} | {need for attack in attacks for need in attack.needs}
    return Attack(score, fit, tuple(sorted(needs)), "combined")


def fit_logistic(
    features: Float[Array, "m n f"],
    keep: Bool[Array | np.ndarray, "m n"],
    is_valid: Bool[Array, "n"],
) -> Logistic:
    """Returns a ridge logistic regression of ``keep`` on features, by Newton's method.

    Args:
        features: One row per model and example.
        keep: What to predict.
        is_valid: Examples that count.

    Returns:
        The fitted regression.
    """
    weight = jnp.broadcast_to(is_valid[None], keep.shape)
    flat = features.reshape(-1, features.shape[-1])
    center, scale = robust_center_and_scale(flat, weight.ravel())
    # A feature that is constant up to rounding becomes 0.
    scale = jnp.where(scale > 1e-6 * jnp.abs(center), scale, jnp.inf)
    x = _standardise(features, center, scale)
    y = keep.astype(features.dtype)
    weight = weight.astype(features.dtype)
    # Weights of sum 1: the ridge does not depend on the number of examples.
    weight = weight / jnp.maximum(jnp.sum(weight), 1)
    ridge = RIDGE * jnp.eye(x.shape[-1], dtype=x.dtype)

    def newton_step(_: Any, w: Array) -> Array:
        p = jax.nn.sigmoid(x @ w)
        gradient = jnp.einsum("mn,mnf->f", weight * (y - p), x) - ridge @ w
        hessian = jnp.einsum("mn,mnf,mng->fg", weight * p * (1 - p), x, x) + ridge
        return w + jnp.linalg.solve(hessian, gradient)

    # Of fixed length: under `vmap` all fits would go on until the last one is done.
    start = jnp.zeros(x.shape[-1], x.dtype)
    weights = jax.lax.fori_loop(0, NUM_NEWTON_STEPS, newton_step, start)
    return Logistic(center, scale, weights)


def log_odds(
    fitted: Logistic, features: Float[Array, "n f"], fold: Int[Array, "n"]
) -> Float[Array, "n"]:
    """Returns each example's log-odds of membership by the regression of its fold."""
    center, scale, weights = (leaf[fold] for leaf in fitted)
    return jnp.sum(_standardise(features, center, scale) * weights, axis=-1)


def _standardise(features: Array, center: Array, scale: Array) -> Array:
    """Standardised and clipped features, and a constant; a constant feature is 0."""
    shape = (1,) * (features.ndim - center.ndim) + center.shape
    x = (features - center.reshape(shape)) / scale.reshape(shape)
    x = jnp.clip(x, -FEATURE_LIMIT, FEATURE_LIMIT)
    return jnp.concatenate([x, jnp.ones_like(x[..., :1])], axis=-1)
