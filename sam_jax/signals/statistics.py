"""Statistics of logits: phi, entropy, modified entropy."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from sam_jax._checks import ArgumentError


def logit_scaled_confidence(
    logits: Float[Array | np.ndarray, "*batch classes"],
    labels: Int[Array | np.ndarray, "*batch"],
) -> Float[Array, "*batch"]:
    """Returns phi = log(p_y / (1 - p_y)), the statistic LiRA models as a Gaussian.

    Computed as ``z_y - logsumexp(z_c for c != y)``: finite where ``p_y`` rounds to 1.

    Args:
        logits: Unnormalised log-probabilities ``z``, in nats.
        labels: Class of each example, in ``[0, classes)``; not checked under ``jit``.

    Returns:
        phi, in nats and in the dtype of ``logits``. Higher means more confident.

    Raises:
        ArgumentError: If there are fewer than two classes.

    Example:
        >>> logits = jnp.log(jnp.array([0.8, 0.1, 0.1]))
        >>> float(jnp.exp(logit_scaled_confidence(logits, jnp.array(0)))).__round__(4)
        4.0

    References:
        Carlini et al., "Membership Inference Attacks From First Principles", 2022,
        https://arxiv.org/abs/2112.03570, section IV-C.
    """
    is_label = _is_label(logits, labels)
    others = jnp.where(is_label, -jnp.inf, logits)
    return jnp.sum(logits, -1, where=is_label) - jax.nn.logsumexp(others, axis=-1)


def entropy(
    logits: Float[Array | np.ndarray, "*batch classes"],
) -> Float[Array, "*batch"]:
    """Returns the entropy ``-sum_c p_c log p_c`` of each prediction, in nats.

    Between 0 and ``log(classes)``; a class of probability 0 adds nothing.
    """
    log_p = jax.nn.log_softmax(logits)
    return -jnp.sum(_times_log(jnp.exp(log_p), log_p), axis=-1)


def modified_entropy(
    logits: Float[Array | np.ndarray, "*batch classes"],
    labels: Int[Array | np.ndarray, "*batch"],
) -> Float[Array, "*batch"]:
    """Returns Song and Mittal's modified entropy, in nats.

    ``-(1 - p_y) log p_y - sum_{c != y} p_c log(1 - p_c)``: 0 for a sure and right
    prediction, large for a sure and wrong one, which plain entropy cannot tell apart.
    ``log(1 - p_c)`` is ``log1p(-p_c)`` but for the likeliest class, where it is a
    log-sum-exp of the others, so that it stays finite where ``p_c`` rounds to 1.

    Args:
        logits: Unnormalised log-probabilities, in nats.
        labels: Class of each example, in ``[0, classes)``; not checked under ``jit``.

    Returns:
        The modified entropy, >= 0, in the dtype of ``logits``.

    Raises:
        ArgumentError: If there are fewer than two classes.

    References:
        Song and Mittal, "Systematic Evaluation of Privacy Risks of Machine Learning
        Models", 2021, https://arxiv.org/abs/2003.10595, equation 8.
    """
    is_label = _is_label(logits, labels)
    log_p = jax.nn.log_softmax(logits)
    p = jnp.exp(log_p)
    is_top = _is_label(logits, jnp.argmax(logits, axis=-1))
    log_rest = jax.nn.logsumexp(
        jnp.where(is_top, -jnp.inf, log_p), axis=-1, keepdims=True
    )
    small_p = jnp.where(is_top, 0.0, p)
    log_not_p = jnp.where(is_top, log_rest, jnp.log1p(-small_p))
    terms = jnp.where(
        is_label, _times_log(jnp.exp(log_not_p), log_p), _times_log(p, log_not_p)
    )
    return -jnp.sum(terms, axis=-1)


def _is_label(
    logits: Float[Array | np.ndarray, "*batch classes"],
    labels: Int[Array | np.ndarray, "*batch"],
) -> Bool[Array, "*batch classes"]:
    """One-hot mask of the labels, of at least two classes."""
    num_classes = logits.shape[-1]
    if num_classes < 2:
        rule = f"must have at least 2 classes, got shape {logits.shape}."
        raise ArgumentError("logits", rule)
    return jax.nn.one_hot(labels, num_classes, dtype=jnp.bool_)


def _times_log(
    weight: Float[Array, "*batch"], log_value: Float[Array, "*batch"]
) -> Float[Array, "*batch"]:
    """``weight * log_value`` with 0 * -inf = 0."""
    return jnp.where(weight > 0, weight * jnp.where(weight > 0, log_value, 0.0), 0.0)
