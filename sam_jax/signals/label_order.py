"""Recognition of labels that count the classes in another order than the columns."""

import numpy as np
from jaxtyping import Bool, Float, Int

from sam_jax.data.class_order import MAX_CLASSES, best_order
from sam_jax.metrics.member_auc import mean_member_auc
from sam_jax.metrics.phi_meaning import Meaning
from sam_jax.metrics.roc import varying_columns

MIN_MODELS, MIN_EXAMPLES = 8, 64
"""Below these, models without any training may favour another order by chance: it then
counts as certain only where members fit it better."""

MIN_GROUP, NUM_BLOCKS = 16, 8
"""Fewest examples that are looked at, and parts into which the columns are cut."""


def order_of_labels(
    logits: Float[np.ndarray, "m n c"],
    labels: Int[np.ndarray, " n"],
    keep: Bool[np.ndarray, "m n"],
) -> Meaning | None:
    """Returns another order of classes, or of signs, that is far more accurate.

    The order is chosen on half of the examples and judged on the other half.
    """
    num_models, num_examples, num_classes = logits.shape
    if num_examples < MIN_GROUP or num_classes > MAX_CLASSES:
        return None
    predicted = logits.argmax(axis=-1)
    accuracy = float((predicted == labels).mean())
    lowest = logits.argmin(axis=-1)
    # The best order by the even examples, judged on the odd ones.
    half = np.arange(num_examples) % 2 == 0
    order = best_order(predicted[:, half], labels[half], num_classes)
    candidates = {"order": predicted == order[labels], "sign": lowest == labels}
    judged = {name: right[:, ~half] for name, right in candidates.items()}
    name = max(judged, key=lambda name: judged[name].mean())
    if num_classes == 2:  # the other order of two classes is the other sign
        name = "order"
    # Far better: twice as accurate, by 20 points, and clearly above chance.
    better = float(judged[name].mean())
    if better < max(2 * accuracy, accuracy + 0.2, 1.5 / num_classes):
        return None
    # Certain only if each model gains, and there is more behind it than chance.
    by_model = candidates[name].mean(axis=1) > (predicted == labels).mean(axis=1)
    is_certain = bool(by_model.all()) and (
        (num_models >= MIN_MODELS and num_examples >= MIN_EXAMPLES)
        or _fits_members(candidates[name], keep)
    )
    shown = (
        f"the largest logit is that of the label for {100 * accuracy:.0f} % of the "
        "predictions"
    )
    if name == "sign":
        text = (
            f"{shown} and the smallest for {100 * better:.0f} %: the signs are turned "
            "(save -logits)"
        )
        return Meaning("labels", is_certain, text)
    text = f"{shown} and {_describe(order, better)}"
    return Meaning("labels", is_certain, text)


def order_of_group(
    logits: Float[np.ndarray, "m n c"],
    labels: Int[np.ndarray, " n"],
    keep: Bool[np.ndarray, "m n"],
) -> Meaning | None:
    """Returns another order of classes that holds for a model or some examples alone.

    Looked at are the examples that no model trained on, eighths of the columns, as the
    sets of a file may follow each other, and each model. Classes count alike, so that
    one class that models get wrong makes no other order.
    """
    num_models, num_examples, num_classes = logits.shape
    if num_classes > MAX_CLASSES:
        return None
    predicted = logits.argmax(axis=-1)
    parts = {"the examples that no model trained on": np.flatnonzero(~keep.any(0))}
    for block in np.array_split(np.arange(num_examples), NUM_BLOCKS):
        parts[f"columns {block[0]} to {block[-1]}" if block.size else ""] = block
    every_model, every_example = np.arange(num_models), np.arange(num_examples)
    # Parts of the columns may lie across the two ends of what is in another order.
    families = [
        (2, {name: (every_model, part) for name, part in parts.items()}),
        (0, {f"model {m}": (np.array([m]), every_example) for m in every_model}),
    ]
    for num_between, groups in families:
        groups = {k: v for k, v in groups.items() if len(v[1]) >= MIN_GROUP}
        accuracy = {
            name: _balanced(predicted[np.ix_(models, chosen)], labels[chosen])
            for name, (models, chosen) in groups.items()
        }
        usual = float(np.quantile(list(accuracy.values()), 0.75)) if groups else 0.0
        # Trained models are alike; by luck, untrained ones are anything.
        alike = num_models >= MIN_MODELS and num_classes > 2 and usual > 0.7
        between = sum(0.6 * usual < a < 0.9 * usual for a in accuracy.values())
        alike &= between <= num_between
        for name, (models, chosen) in groups.items():
            given, of_group = accuracy[name], predicted[np.ix_(models, chosen)]
            order = _order_there(of_group, labels[chosen], num_classes, given, usual)
            if order is None:
                continue
            right = of_group == order[labels[chosen]]
            text = (
                f"for {name} the largest logit is that of the label for "
                f"{100 * given:.0f} % of the predictions (classes counted alike), "
                f"elsewhere for {100 * usual:.0f} %, and "
                f"{_describe(order, float(right.mean()))}"
            )
            fits = _fits_members(right, keep[np.ix_(models, chosen)])
            if alike or fits:
                return Meaning("labels", True, text)
    return None


def _order_there(
    predicted: np.ndarray,
    labels: np.ndarray,
    num_classes: int,
    given: float,
    usual: float,
) -> np.ndarray | None:
    """An order of the classes that is as good for a group as the usual one elsewhere.

    Chosen on half of the examples and judged on the other half.
    """
    present = np.unique(labels)
    if given > 0.6 * usual or len(present) < max(2, num_classes / 2):
        return None
    half = np.arange(len(labels)) % 2 == 0
    order = best_order(predicted[:, half], labels[half], num_classes)
    better = _balanced(predicted[:, ~half], order[labels[~half]])
    least = max(2 * given, given + 0.2, 1.5 / num_classes, 0.8 * usual)
    # One class alone that is taken for another is hard, not in another order.
    is_order = better >= least and (order[present] != present).sum() >= 2
    return order if is_order else None


def _balanced(predicted: np.ndarray, labels: np.ndarray) -> float:
    """Accuracy as the mean over the classes that are there."""
    right = (predicted == labels).mean(axis=0)
    sums, counts = np.bincount(labels, right), np.bincount(labels)
    return float((sums[counts > 0] / counts[counts > 0]).mean())


def _fits_members(right: np.ndarray, keep: np.ndarray) -> bool:
    """Whether members are predicted better, as only trained models do."""
    pool = varying_columns(keep) | (len(keep) == 1)
    auc = mean_member_auc(right[:, pool].astype(np.float64), keep[:, pool])
    return auc.is_above


def _describe(order: np.ndarray, accuracy: float) -> str:
    """What the order says about the labels, and the line that corrects them."""
    num_classes = len(order)
    percent = f"{100 * accuracy:.0f} %"
    shifts = (order - np.arange(num_classes)) % num_classes
    if num_classes == 2:
        return (
            f"that of the other class for {percent}: the two classes are swapped "
            "(save labels = 1 - labels), or the signs are turned (save -logits)"
        )
    shift = int(np.bincount(shifts).argmax())
    if shift and (shifts == shift).mean() > 0.5:
        # The shorter way round: 9 up, of 10 classes, is 1 down.
        step = shift if shift <= num_classes // 2 else shift - num_classes
        line = f"labels = (labels {step:+d}) % {num_classes}"
        return f"that of the label {step:+d} for {percent}: labels are shifted ({line})"
    if (order == np.arange(num_classes)[::-1]).all():
        return (
            f"that of class {num_classes - 1} - label for {percent}: the columns are "
            "reversed (save logits[..., ::-1])"
        )
    moved = np.flatnonzero(order != np.arange(num_classes))
    return (
        f"{percent} are right where label {moved[0]} is column {order[moved[0]]} and "
        f"so on ({len(moved)} classes): the columns are in another order (save "
        "logits[..., order], with the class of each column as your labels count it)"
    )
