"""Recognition of values that stand under the name phi and are something else.

Losses, probabilities, a binary classifier's single logit and turned signs pass every
check of shape and range, and give figures that look like results. Two facts tell them
apart without knowledge of the models: a quantity that is bounded by 0 piles up there
and has nothing beyond, while phi crosses 0 smoothly; and models are more confident of
what they trained on than of what others trained on.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy import special

from sam_jax.metrics.member_auc import MeanAuc, mean_member_auc
from sam_jax.metrics.roc import varying_columns

MIN_VALUES = 64
"""Fewer finite values than these have no recognizable range."""

EDGE_VALUES, EDGE_WIDTH = 20, 0.05
"""A hard edge at 0: so many different values within this many standard deviations of
it on one side and none on the other. A smooth density puts half of them on each side,
so chance makes an edge in about one of 2**20 sets of values."""

MAX_EXAMPLES = 4096
"""Examples that are ranked, evenly spaced, where there are more."""


class Meaning(NamedTuple):
    """What values under the name phi seem to be.

    Attributes:
        name: ``"probabilities"``, ``"percentages"``, ``"losses"``,
            ``"log_probabilities"``, ``"margins"``, ``"single_logit"``, ``"turned"``,
            ``"transposed_mask"`` or ``"inverted_mask"``; or ``"labels"``, where those
            of the columns are in another order.
        is_certain: Whether sound phi practically never look like this.
        text: What was seen, the likely cause, and the line that corrects it.
    """

    name: str
    is_certain: bool
    text: str


def likely_meaning(
    phi: Float[np.ndarray, "m n"],
    keep: Bool[np.ndarray, "m n"],
    correct: Bool[np.ndarray, "m n"] | None = None,
    labels: np.ndarray | None = None,
    modified_entropy: Float[np.ndarray, "m n"] | None = None,
) -> Meaning | None:
    """Returns what phi seem to be instead of phi, or None where nothing speaks for it.

    | seen | taken for |
    | --- | --- |
    | all in [0, 1] | probabilities, or losses where members have smaller values |
    | all in [0, 100], with a hard edge at 100 | percentages |
    | all >= 0, with a hard edge at 0, or with wrong predictions, or with smaller \
values of members | losses |
    | all <= 0, with a hard edge at 0 | log-probabilities of the label |
    | all in [-1, 1], with a hard edge at 1 | margins between probabilities |
    | of two classes, members of the first have smaller values, of the second larger | \
the single logit of a binary classifier |
    | positive where the prediction is wrong, or strongly negative for members | \
turned signs, or other labels |
    | as many models as examples; members stand out by the transposed mask alone | a \
transposed mask |
    | members have smaller values, and positive ones are right | an inverted mask |

    Args:
        phi: Values of one query.
        keep: True where the model trained on the example.
        correct: Whether predictions are right, where that is known by other means.
        labels: Class of each example, where known.
        modified_entropy: Of the same outputs, where known: what it fits is phi.
    """
    # The examples that tell models apart; of a single model there are no others.
    columns = np.flatnonzero(varying_columns(keep) | (len(keep) == 1))
    columns = columns[:: -(-len(columns) // MAX_EXAMPLES) or 1]
    ranked, kept = phi[:, columns], keep[:, columns]
    auc = mean_member_auc(ranked, kept)
    # The one value of two classes first: its range says less than its members.
    by_class = None if labels is None else _by_class(ranked, kept, labels[columns])
    if by_class is not None and by_class.is_certain:
        return by_class
    # Then the range: losses or probabilities would mislead all checks of signs.
    is_phi = modified_entropy is not None and _fits(phi, modified_entropy)
    if not is_phi and (by_range := _by_range(phi, auc, correct)) is not None:
        return by_range
    if by_class is not None:
        return by_class
    if correct is not None and (by_sign := _by_correctness(phi, correct)) is not None:
        return by_sign
    if keep.shape[0] == keep.shape[1] and (transposed := _transposed(phi, keep, auc)):
        return transposed
    return _by_members(ranked, kept, auc) if auc.is_below else None


def _by_range(
    phi: np.ndarray, auc: MeanAuc, correct: np.ndarray | None
) -> Meaning | None:
    """Values that are bounded by 0, or by 0 and 1."""
    finite = phi[np.isfinite(phi)]
    if finite.size < MIN_VALUES or np.ptp(finite) == 0:
        return None
    low, high = float(finite.min()), float(finite.max())
    shown = f"all {finite.size:,} finite values lie in [{low:.3g}, {high:.3g}]"
    # Bounded below by 0: losses, or probabilities if bounded above by 1 too.
    if low >= 0:
        is_loss = auc.is_below or (
            high <= 1 and _has_edge(finite) and not _has_edge(1 - finite)
        )
        if 50 < high <= 100 and not auc.is_below and _has_edge(100 - finite):
            text = (
                f"{shown} and they pile up at 100, as percentages do: save "
                "p = phi / 100 and phi = log(p) - log1p(-p), better from logits"
            )
            return Meaning("percentages", True, text)
        if high <= 1 and not is_loss:
            text = (
                f"{shown}, as probabilities of the label do: save "
                "phi = log(p) - log1p(-p), better from logits, or read them as "
                "probabilities"
            )
            return Meaning("probabilities", True, text)
        is_wrong = correct is not None and bool((~correct).mean() > 0.02)
        if is_loss or is_wrong or _has_edge(finite):
            text = (
                f"{shown} and {_why_losses(auc, is_wrong)}, as losses do: save "
                "phi = -log(expm1(loss)), or read them as losses"
            )
            if not _has_edge(finite) and auc.is_below:
                text += (
                    ". If they are phi of models that are always right, keep is "
                    "inverted: save ~keep"
                )
            return Meaning("losses", True, text)
    if high <= 0 and _has_edge(-finite):
        text = (
            f"{shown} and they pile up at 0, as log-probabilities of the label do: "
            "save phi = log_p - log(-expm1(log_p)), or read them as log_probabilities"
        )
        return Meaning("log_probabilities", True, text)
    if -1 <= low < 0 < high <= 1 and _has_edge(1 - finite):
        text = "they pile up at 1, as the probability of the label minus another does"
        return Meaning("margins", True, f"{shown} and {text}: save phi from logits")
    return None


def _fits(phi: np.ndarray, modified_entropy: np.ndarray) -> bool:
    """Whether a modified entropy is one that outputs with these phi can have.

    The other classes share 1 - p, so that their part is at most that of the label,
    ``(1 - p) (-log p)``, which a class of two with all of it reaches.
    """
    known = np.isfinite(phi) & np.isfinite(modified_entropy)
    if known.sum() < MIN_VALUES:
        return False
    values = phi[known].astype(np.float64)
    of_label = special.expit(-values) * np.logaddexp(0, -values)
    ratio = modified_entropy[known] / np.maximum(of_label, 1e-30)
    # Phi from -3 to 3 are those whose rounding, in half precision too, is small.
    sure = np.abs(values) < 3
    inside = (ratio[sure] > 0.98) & (ratio[sure] < 2.04)
    return bool(sure.sum() >= MIN_VALUES and inside.mean() > 0.99)


def _why_losses(auc: MeanAuc, is_wrong: bool) -> str:
    if auc.is_below:
        return f"are smaller for members (AUC {auc.value:.3f})"
    return "belong to wrong predictions too" if is_wrong else "pile up at 0"


def _has_edge(values: np.ndarray) -> bool:
    """Whether values >= 0 pile up at 0."""
    near = values[values < EDGE_WIDTH * values.std()]
    # Models that give a class and not an example repeat a few values many times.
    return len(np.unique(near)) + int((near == 0).sum()) >= EDGE_VALUES


def _by_class(phi: np.ndarray, keep: np.ndarray, labels: np.ndarray) -> Meaning | None:
    """The value of one of two classes: turned, as phi, for examples of the other."""
    classes = np.unique(labels)
    if len(classes) != 2:
        return None
    of_class = [labels == c for c in classes]
    aucs = [mean_member_auc(phi[:, c], keep[:, c]) for c in of_class]
    positive = [float((phi[:, c] > 0).mean()) for c in of_class]
    for turned, scored in ((0, 1), (1, 0)):
        name = classes[scored]
        cause = (
            "as the single logit of a binary classifier does: save "
            f"phi = np.where(labels == {name}, z, -z)"
        )
        if phi.min() >= 0 and phi.max() <= 1:
            cause = (
                f"as the probability of class {name} does: save "
                "phi = log(p) - log1p(-p) with "
                f"p = np.where(labels == {name}, phi, 1 - phi)"
            )
        # Members tell it surely.
        if aucs[turned].is_below and aucs[scored].is_above:
            text = (
                f"members of class {classes[turned]} have smaller values than others "
                f"(AUC {aucs[turned].value:.3f}) and members of class {name} larger "
                f"ones ({aucs[scored].value:.3f}), {cause}"
            )
            return Meaning("single_logit", True, text)
        # Without members that stand out, the signs of both may still hint at it.
        is_even = 0.35 < float(of_class[0].mean()) < 0.65
        is_apart = positive[turned] < 0.25 and positive[scored] > 0.75
        if is_even and is_apart and not aucs[turned].is_above:
            text = (
                f"{100 * positive[turned]:.0f} % of the values of class "
                f"{classes[turned]} and {100 * positive[scored]:.0f} % of those of "
                f"class {name} are positive, {cause}"
            )
            return Meaning("single_logit", False, text)
    return None


def _by_correctness(phi: np.ndarray, correct: np.ndarray) -> Meaning | None:
    """Where phi > 0, p > 1/2, so that the prediction must be right."""
    sure = phi > 1e-2  # beyond what rounding to half precision turns
    wrong = int((sure & ~correct).sum())
    if wrong <= 0.05 * sure.sum() or wrong < 3:
        return None
    text = (
        f"{wrong:,} of {int(sure.sum()):,} positive values are those of wrong "
        "predictions, but phi > 0 means that the label has a probability above 1/2: "
        "the signs are turned (save -phi), or phi and correct were computed with "
        "different labels"
    )
    return Meaning("turned", True, text)


def _transposed(phi: np.ndarray, keep: np.ndarray, auc: MeanAuc) -> Meaning | None:
    """As many models as examples: the content alone tells rows from columns."""
    other = mean_member_auc(phi, keep.T)
    if auc.is_above or not other.is_above or other.value < auc.value + 0.05:
        return None
    text = (
        f"members have larger values by the transposed mask (AUC {other.value:.3f}) "
        f"and not by keep ({auc.value:.3f}): save keep.T"
    )
    return Meaning("transposed_mask", True, text)


def _by_members(phi: np.ndarray, keep: np.ndarray, auc: MeanAuc) -> Meaning:
    """Members are less confident: the mask, the signs or the labels are wrong.

    Models are surest of their members. If those are the examples that ``keep`` calls
    'out', they have the largest values, above 0; if signs are turned or labels are
    wrong, it is the examples called 'in' that have the smallest, below 0.
    """
    middle = float(np.median(phi[keep])) + float(np.median(phi[~keep]))
    seen = f"members are less confident than non-members (AUC {auc.value:.3f})"
    is_clear = auc.value < 0.45
    if middle > 0:
        text = (
            f"{seen}. keep looks inverted; True must mean that the model trained on "
            "the example: save ~keep"
        )
        return Meaning("inverted_mask", is_clear, text)
    text = (
        f"{seen} and most values are negative: the signs are turned (save -phi), or "
        "phi was computed with labels of other classes, such as labels shifted by one "
        "or columns in another order"
    )
    return Meaning("turned", is_clear, text)
