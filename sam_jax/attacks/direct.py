"""Direct attacks: one statistic of the target's output, no shadow models.

Entropies and correctness are those of the first query. Where there are several queries
(augmented copies of the example), phi and loss are averaged, or the least is taken.
"""

from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sam_jax import _checks
from sam_jax.attacks.base import Attack
from sam_jax.types import Signals

Queries = Literal["mean", "min"]


def correctness() -> Attack:
    """Score 1 where the target's prediction is right, else 0.

    Assumes: the predicted label only; the gap attack of Yeom et al., "Privacy Risk in
    Machine Learning", 2018, https://arxiv.org/abs/1709.01604, section 3.2.
    """

    def score(_: Any, signals: Signals, target: Any) -> Any:
        return signals.correct[target].astype(signals.phi.dtype)

    return Attack(score, name="correctness")


def augmentation_robustness() -> Attack:
    """The fraction of augmented queries that the target still labels right.

    ``Signals`` hold correctness of the first query only. Of the others one counts as
    right where phi > 0 (p_y above one half), which implies a right label but misses
    right labels of lower confidence; with two classes the two agree. One query makes it
    the ``correctness`` attack.

    Assumes: the label that the target predicts for copies of the example, no
    probabilities, no shadow models. Choquette-Choo et al., "Label-Only Membership
    Inference Attacks", 2021, https://arxiv.org/abs/2007.14321, section 3.2 (there the
    right and wrong labels feed a classifier; here they are counted).
    """

    def score(_: Any, signals: Signals, target: Any) -> Any:
        phi = signals.phi[target]
        num_right = signals.correct[target].astype(phi.dtype)
        num_right += jnp.sum(phi[:, 1:] > 0, axis=-1).astype(phi.dtype)
        return num_right / phi.shape[-1]

    return Attack(score, needs=("queries",), name="label_only")


def confidence(queries: Queries = "mean") -> Attack:
    """Score by the probability p_y that the target gives the label.

    Returned as the logit of the mean (or least) p_y over queries, in nats: the same
    order as p_y, which itself rounds to 1 in float32 from phi = 17 on. With one query
    it is phi.

    Assumes: the target's probabilities and the label; the confidence attack of Song
    and Mittal, "Systematic Evaluation of Privacy Risks of Machine Learning Models",
    2021, https://arxiv.org/abs/2003.10595, equation 5.

    Raises:
        ArgumentError: If ``queries`` is neither ``"mean"`` nor ``"min"``.
    """
    _checks.literal(Queries, queries=queries)

    def score(_: Any, signals: Signals, target: Any) -> Any:
        phi = signals.phi[target]
        return jnp.min(phi, axis=-1) if queries == "min" else _logit_of_mean(phi)

    return Attack(score, needs=("queries",) * (queries == "min"), name="confidence")


def loss() -> Attack:
    """Score by the target's cross-entropy loss: minus its logarithm.

    The order is that of minus the loss, ``-softplus(-phi)``, its mean over queries; the
    loss itself rounds to 0 from phi = 104 on, where all would tie.

    Assumes: the target's loss; Yeom et al., "Privacy Risk in Machine Learning", 2018,
    https://arxiv.org/abs/1709.01604, section 3.2.
    """

    def score(_: Any, signals: Signals, target: Any) -> Any:
        log_loss = _log_loss(signals.phi[target])
        num_queries = jnp.asarray(log_loss.shape[-1], log_loss.dtype)
        return jnp.log(num_queries) - jax.nn.logsumexp(log_loss, axis=-1)

    return Attack(score, name="loss")


def entropy() -> Attack:
    """Score by minus the entropy of the target's prediction; blind to the label.

    Assumes: all of the target's probabilities, no label; Song and Mittal 2021,
    https://arxiv.org/abs/2003.10595, equation 6 (after Shokri et al. 2017).
    """
    return _minus_field("entropy")


def modified_entropy() -> Attack:
    """Score by minus the modified entropy, which knows the label.

    Assumes: all of the target's probabilities and the label; Song and Mittal 2021,
    https://arxiv.org/abs/2003.10595, equations 8 and 9.
    """
    return _minus_field("modified_entropy")


def _minus_field(field: str) -> Attack:
    def score(_: Any, signals: Signals, target: Any) -> Any:
        return -getattr(signals, field)[target]

    return Attack(score, needs=("entropy",), name=field)


def _log_loss(phi: Float[Array, "n q"]) -> Float[Array, "n q"]:
    """``log(softplus(-phi))``, which is ``-phi`` where the loss is tiny."""
    # There softplus(-phi) is exp(-phi) to the precision of float32.
    is_tiny = phi > 15
    moderate = jnp.where(is_tiny, 0, phi)
    return jnp.where(is_tiny, -phi, jnp.log(jax.nn.softplus(-moderate)))


def _logit_of_mean(phi: Float[Array, "n q"]) -> Float[Array, "n"]:
    """``log(mean p / mean (1 - p))``, from logs of both."""
    if phi.shape[-1] == 1:
        return phi[:, 0]
    log_in = jax.nn.logsumexp(jax.nn.log_sigmoid(phi), axis=-1)
    log_out = jax.nn.logsumexp(jax.nn.log_sigmoid(-phi), axis=-1)
    return log_in - log_out
