"""Direct attacks: one statistic of the target's own answer, no shadow models.

Their thresholds (for all or per class, from shadow models or an oracle) are in
``sam_jax.attacks.threshold``. A view is an augmented query of the same example;
entropies and correctness are those of the first view.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sam_jax import _checks
from sam_jax.attacks.base import Attack


def correctness() -> Attack:
    """Score 1 where the target's answer is right, else 0.

    Assumes: the predicted label only; the gap attack of Yeom et al., "Privacy Risk in
    Machine Learning", 2018, https://arxiv.org/abs/1709.01604, section 3.2.
    """
    return Attack(
        lambda _, signals, target: signals.correct[target].astype(signals.phi.dtype)
    )


def confidence(views: str = "mean") -> Attack:
    """Score by the probability p_y that the target gives the label.

    Returned as the logit of the mean (or least) p_y over views, in nats: the same
    order as p_y, which itself rounds to 1 in float32 from phi = 17 on. With one view
    it is phi.

    Assumes: the target's probabilities and the label; the confidence attack of Song
    and Mittal, "Systematic Evaluation of Privacy Risks of Machine Learning Models",
    2021, https://arxiv.org/abs/2003.10595, equation 5.

    Raises:
        ValueError: If ``views`` is neither ``"mean"`` nor ``"min"``.
    """
    reduce = _checks.one_of(
        {"mean": _logit_of_mean, "min": lambda a: a.min(-1)}, views=views
    )
    score = lambda _, signals, target: reduce(_target_phi(signals, target))
    return Attack(score, needs=("queries",) * (views == "min"))


def loss(views: str = "mean") -> Attack:
    """Score by minus the target's cross-entropy loss, in nats.

    ``-softplus(-phi)``, its mean (or least) over views. Below the smallest float32
    (phi above 87) losses tie at 0; ``confidence`` does not.

    Assumes: the target's loss; Yeom et al., "Privacy Risk in Machine Learning", 2018,
    https://arxiv.org/abs/1709.01604, section 3.2.

    Raises:
        ValueError: If ``views`` is neither ``"mean"`` nor ``"min"``.
    """
    reduce = _checks.one_of(
        {"mean": lambda a: a.mean(-1), "min": lambda a: a.min(-1)}, views=views
    )

    def score(_: Any, signals: Any, target: Any) -> Any:
        return reduce(jax.nn.log_sigmoid(_target_phi(signals, target)))

    return Attack(score, needs=("queries",) * (views == "min"))


def entropy() -> Attack:
    """Score by minus the entropy of the target's prediction; blind to the label.

    Assumes: all of the target's probabilities, no label; Song and Mittal 2021,
    https://arxiv.org/abs/2003.10595, equation 6 (after Shokri et al. 2017).
    """
    return _negative(lambda signals: signals.entropy)


def modified_entropy() -> Attack:
    """Score by minus the modified entropy, which knows the label.

    Assumes: all of the target's probabilities and the label; Song and Mittal 2021,
    https://arxiv.org/abs/2003.10595, equations 8 and 9.
    """
    return _negative(lambda signals: signals.modified_entropy)


def _negative(field: Callable[[Any], Any]) -> Attack:
    return Attack(
        lambda _, signals, target: -field(signals)[target], needs=("entropy",)
    )


def _target_phi(signals, target):
    return signals.phi[target]


def _logit_of_mean(phi: Float[Array, "n q"]) -> Float[Array, "n"]:
    """``log(mean p / mean (1 - p))``, from logs of both."""
    log_mean = lambda log_p: jax.nn.logsumexp(log_p, axis=-1)
    return log_mean(jax.nn.log_sigmoid(phi)) - log_mean(jax.nn.log_sigmoid(-phi))
