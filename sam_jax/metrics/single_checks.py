"""Facts of single models, and checks of those that stand out or learned nothing."""

from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from sam_jax.metrics.member_auc import mean_of_aucs, member_aucs
from sam_jax.metrics.model_identity import check_order
from sam_jax.metrics.phi_meaning import likely_meaning
from sam_jax.metrics.roc import varying_columns
from sam_jax.types import Signals

STANDARD_ERRORS = 4.0
"""Between two rates, before they count as different."""

MANY_DEVIATIONS = 6.0
"""A model further from the median than so many robust standard deviations was not
trained like the others."""

ACCURACY_FLOOR, LOSS_FLOOR, AUC_FLOOR = 0.05, float(np.log(3)), 0.1
"""Gaps never remarked: accuracy, log of the loss, AUC of the confidence; the first and
the last also not within four standard errors of the examples."""

BROKEN_ACCURACY = 0.25
"""A training accuracy this far from the median is another training algorithm."""

MOST_CHANCE = 0.9
"""Share of the most frequent class up to which accuracy shows what was learned."""

CHANCE_LOSS, LITTLE_LOSS = 0.97, 0.85
"""Training loss, in entropies of the labels, of models that learned nothing, and
little."""

LEARNED = 0.1
"""Share of the way from chance to 1 that training accuracy must have gone."""

Severity = Literal["ok", "warning", "invalid"]


class Check(NamedTuple):
    """One thing that was looked at.

    Attributes:
        name: What was looked at.
        severity: ``"ok"``; ``"warning"``, to be read before the figures are used; or
            ``"invalid"``, the figures mean nothing.
        text: What was seen, and what to do about it.
    """

    name: str
    severity: Severity
    text: str


def graded(name: str, fact: str, *doubts: tuple[Any, Severity, str]) -> Check:
    """Returns a check of the first doubt that is there, or else of the fact alone.

    A doubt is whether it is there, how severe it is, and how it goes on with the fact.
    """
    for is_there, severity, text in doubts:
        if is_there:
            return Check(name, severity, fact + text)
    return Check(name, "ok", fact + ".")


class ModelFacts(NamedTuple):
    """What is compared, one value a model.

    Attributes:
        num_members: Size of the training set.
        accuracy: Accuracy on the model's training set.
        loss: Mean cross-entropy on its training set, in nats.
        unseen_accuracy: Accuracy on examples that other models trained on.
        unseen_loss: Mean cross-entropy on these.
        auc: How well its confidence alone tells its members from those.
    """

    num_members: Float[np.ndarray, " m"]
    accuracy: Float[np.ndarray, " m"]
    loss: Float[np.ndarray, " m"]
    unseen_accuracy: Float[np.ndarray, " m"]
    unseen_loss: Float[np.ndarray, " m"]
    auc: Float[np.ndarray, " m"]


def model_facts(
    signals: Signals, columns: Bool[np.ndarray, " n"] | None = None
) -> ModelFacts:
    """Returns what is compared, over examples that some models had and others not.

    Infinite losses are left out of the mean losses.

    Args:
        signals: Of all models.
        columns: Other examples to look at.
    """
    pool = varying_columns(np.asarray(signals.keep)) if columns is None else columns
    keep = np.asarray(signals.keep)[:, pool]
    phi = np.asarray(signals.phi)[:, pool, 0].astype(np.float64)
    correct = np.asarray(signals.correct)[:, pool].astype(np.float64)
    loss = np.logaddexp(0, -phi)
    is_finite = np.isfinite(loss)

    def mean(values: np.ndarray, where: np.ndarray) -> np.ndarray:
        counts = where.sum(axis=1)
        sums = np.sum(values, axis=1, where=where)
        return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)

    return ModelFacts(
        num_members=keep.sum(axis=1).astype(np.float64),
        accuracy=mean(correct, keep),
        loss=mean(loss, keep & is_finite),
        unseen_accuracy=mean(correct, ~keep),
        unseen_loss=mean(loss, ~keep & is_finite),
        auc=member_aucs(phi, keep),
    )


def check_balance(signals: Signals, facts: ModelFacts) -> Check:
    """Compares the sizes of training sets."""
    size = facts.num_members
    num_examples = int(varying_columns(np.asarray(signals.keep)).sum())
    middle = float(np.median(size))
    # Independent coins make sizes binomial: sd below sqrt(N) / 2.
    allowed = max(0.1 * middle, 2.5 * np.sqrt(num_examples))
    odd = np.flatnonzero(np.abs(size - middle) > allowed)
    text = (
        f"training sets of {int(size.min()):,} to {int(size.max()):,} of "
        f"{num_examples:,} examples"
    )
    doubt = ": with sizes this different models are not trained alike."
    doubt = _odd_one(size, odd, ",.0f") + doubt
    return graded("balance", text, (odd.size, "warning", doubt))


def check_accuracy(facts: ModelFacts) -> Check:
    """Compares training accuracies."""
    floor = accuracy_floor(facts.accuracy, facts.num_members)
    odd, gap = _outliers(facts.accuracy, floor)
    text = _range("training accuracy", facts.accuracy)
    doubt = _odd_one(facts.accuracy, odd, ".3f") + (
        ": not trained like the others, or its row of keep is another model's. Drop it "
        "or correct keep."
    )
    severity = "invalid" if gap.max() > BROKEN_ACCURACY else "warning"
    return graded("training accuracy", text, (odd.size, severity, doubt))


def check_learning(signals: Signals, facts: ModelFacts) -> Check:
    """Models at chance have nothing to leak; that is no property of their training.

    ``correct`` may be derived from phi, and then misses right predictions of little
    confidence, so the loss must be that of chance too.
    """
    keep, labels = np.asarray(signals.keep), np.asarray(signals.labels)
    counted = varying_columns(keep) | (len(keep) == 1)
    shares = np.unique(labels[counted], return_counts=True)[1]
    shares = shares / shares.sum()
    train, unseen = float(facts.accuracy.mean()), float(facts.unseen_accuracy.mean())
    text = f"accuracy {train:.3f} on training sets and {unseen:.3f} on other examples"
    if len(shares) < 2:
        return Check("learning", "ok", text + "; classes are not known.")
    chance, entropy = float(shares.max()), float(-(shares * np.log(shares)).sum())
    text += f", {chance:.3f} by naming the most frequent class"
    num_members = float(facts.num_members.sum())
    noise = 3 * np.sqrt(chance * (1 - chance) / max(num_members, 1))
    loss = float(np.nanmean(facts.loss)) / entropy
    # Outputs that tell members were learned, however unsure (as at a temperature).
    num_others = counted.sum() - facts.num_members
    auc = mean_of_aucs(facts.auc, facts.num_members, num_others)
    nothing = (
        ": the models are at chance level and learned nothing, so there is nothing to "
        "leak and no figure says anything about their training. Check inputs (scale, "
        "order of axes), labels, learning rate and epochs."
    )
    little = (
        ": the models barely learned. Figures of models that fit their training sets "
        "say more; train longer."
    )
    is_nothing = train <= chance + noise and loss > CHANCE_LOSS and not auc.is_above
    is_little = train < chance + LEARNED * (1 - chance) and loss > LITTLE_LOSS
    is_little &= train <= unseen + noise
    # Where nearly all examples are of one class, accuracy says too little.
    severity = "invalid" if chance < MOST_CHANCE else "warning"
    doubts = (is_nothing, severity, nothing), (is_little, "warning", little)
    return graded("learning", text, *doubts)


def check_loss(name: str, loss: np.ndarray) -> Check:
    """Compares mean losses, of members or of others."""
    odd, _ = _outliers(np.log(np.maximum(loss, 1e-12)), LOSS_FLOOR)
    text = f"{name} {loss.min():.3g} to {loss.max():.3g} nats"
    doubt = _odd_one(loss, odd, ".3g") + ": trained longer, shorter or otherwise."
    return graded(name, text, (odd.size, "warning", doubt))


def check_mask(signals: Signals, facts: ModelFacts) -> Check:
    """Looks for a mask, or phi, that are something else than they should be."""
    phi, keep = np.asarray(signals.phi)[..., 0], np.asarray(signals.keep)
    auc = facts.auc
    text = _range("AUC of the confidence alone", auc)
    meaning = likely_meaning(
        phi,
        keep,
        np.asarray(signals.correct),
        np.asarray(signals.labels),
        np.asarray(signals.modified_entropy),
    )
    if meaning is not None:
        severity = "invalid" if meaning.is_certain else "warning"
        return Check("mask", severity, f"{text}: {meaning.text}.")
    if (order := check_order(phi, keep)) is not None:
        return Check("mask", "invalid", f"{text}: {order}.")
    noise = 4 / np.sqrt(6 * facts.num_members)  # 4 standard errors without signal
    odd, _ = _outliers(auc, np.maximum(AUC_FLOOR, noise))
    odd = odd[auc[odd] < np.median(auc)]
    doubt = _odd_one(auc, odd, ".3f") + ": its row of keep may be another model's."
    return graded("mask", text, (odd.size, "warning", doubt))


def accuracy_floor(accuracy: np.ndarray, num_examples: Any) -> Any:
    """Returns how far an accuracy may be from the median by chance, or a little more.

    Args:
        accuracy: Of models that are alike.
        num_examples: Behind the accuracy that is compared with them.
    """
    # As if two more of each outcome had been seen: an accuracy of 1 has noise too.
    middle = (np.median(accuracy) * num_examples + 2) / (num_examples + 4)
    noise = STANDARD_ERRORS * np.sqrt(middle * (1 - middle) / num_examples)
    return np.maximum(ACCURACY_FLOOR, noise)


def allowed_gap(values: np.ndarray, floor: Any) -> Any:
    """Returns how far from the median is usual: the floor, or more if they differ."""
    # 1.4826 median deviations are one standard deviation of a Gaussian.
    deviation = 1.4826 * np.median(np.abs(values - np.median(values)))
    return np.maximum(floor, MANY_DEVIATIONS * deviation)


def _outliers(
    values: np.ndarray, floor: float | np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Models further from the median than the floor and the others allow."""
    gap, allowed = np.abs(values - np.median(values)), allowed_gap(values, floor)
    odd = np.flatnonzero(gap > allowed)
    return odd[np.argsort(-gap[odd])], gap


def _range(name: str, values: np.ndarray) -> str:
    return f"{name} {values.min():.3f} to {values.max():.3f} over models"


def _odd_one(values: np.ndarray, odd: np.ndarray, digits: str) -> str:
    if not odd.size:
        return ""
    more = f" (and {len(odd) - 1} more)" if len(odd) > 1 else ""
    value, middle = (f"{v:{digits}}" for v in (values[odd[0]], np.median(values)))
    return f"; model {odd[0]} has {value} against a median of {middle}{more}"
