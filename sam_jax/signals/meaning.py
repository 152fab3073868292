"""Checks that signals mean what their names say, recognised from their values."""

import warnings

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import optimize, special

from sam_jax._checks import ArgumentError
from sam_jax.metrics import phi_meaning
from sam_jax.metrics.member_auc import mean_member_auc
from sam_jax.metrics.roc import varying_columns
from sam_jax.types import Signals

MAX_ROWS = 1_000_000
"""Predictions of which the outputs are looked at, where there are more."""

MAX_CLASSES = 1000
"""Classes among which another order is searched; it takes time cubic in them."""

MIN_MODELS, MIN_EXAMPLES = 8, 64
"""Below these, models without any training may favour another order by chance: it then
counts as certain only where members fit it better."""

READ_AS = ("probabilities", "losses", "log_probabilities")
"""Meanings that a reader can convert from, on request (``conversions``)."""


def check_phi_meaning(
    signals: Signals, has_correct: bool, has_labels: bool, is_stated: bool
) -> None:
    """Refuses phi that are something else, as far as the values show it.

    An inverted mask is left to ``model_checks.check_models``, which calls the models
    invalid.

    Args:
        signals: Checked signals.
        has_correct: Whether ``correct`` was given, not derived from phi.
        has_labels: Whether labels are known.
        is_stated: Whether the user has said that these are phi, which makes it a
            warning.

    Raises:
        ArgumentError: With the likely cause and the line that corrects it.

    Warns:
        UserWarning: Where the values leave room for doubt.
    """
    meaning = phi_meaning.likely_meaning(
        np.asarray(signals.phi)[..., 0],
        np.asarray(signals.keep),
        np.asarray(signals.correct) if has_correct else None,
        np.asarray(signals.labels) if has_labels else None,
        np.asarray(signals.modified_entropy),
    )
    if meaning is None or meaning.name == "inverted_mask":
        return
    name = "keep" if meaning.name == "transposed_mask" else "phi"
    text = meaning.text
    if meaning.name in READ_AS:
        text += f" ({_option(meaning.name)})"
    _refuse(name, text, is_certain=meaning.is_certain and not is_stated)


def check_logits_meaning(
    logits: Float[np.ndarray, "m n *queries c"],
    labels: Int[np.ndarray, "n"],
    keep: Bool[np.ndarray, "m n"],
    is_stated: bool,
) -> None:
    """Refuses logits that are probabilities or losses, and labels of other classes.

    Args:
        logits: Checked for shape; the first query is looked at.
        labels: Of the examples.
        keep: True where the model trained on the example.
        is_stated: Whether the user has said that these are logits, which makes it a
            warning.

    Raises:
        ArgumentError: With the likely cause and the line that corrects it.

    Warns:
        UserWarning: Where the values leave room for doubt.
    """
    first = logits if logits.ndim == 3 else logits[:, :, 0]
    # Every step-th example: at most MAX_ROWS predictions over all models.
    step = -(-first.shape[0] * first.shape[1] // MAX_ROWS)
    first, labels, keep = first[:, ::step], labels[::step], keep[:, ::step]
    other = _other_outputs(first)
    if other is not None:
        _refuse("logits", other, is_certain=not is_stated)
        return
    order = _class_order(first, labels, keep)
    if order is not None:
        _refuse("labels", order[0], is_certain=order[1] and not is_stated)


def _option(signals_are: str) -> str:
    return f"signals_are={signals_are!r}, or --signals-are {signals_are}"


def _refuse(name: str, text: str, is_certain: bool) -> None:
    """Raises where it is certain, warns otherwise."""
    if is_certain:
        raise ArgumentError(name, f"must be {_EXPECTED[name]}, but {text}.")
    warnings.warn(f"{name} may not be {_EXPECTED[name]}: {text}.", stacklevel=5)


_EXPECTED = {
    "phi": "log(p / (1 - p)) of the label",
    "logits": "unnormalised log-probabilities",
    "labels": "those of the columns of logits",
    "keep": "[models, examples]",
}


def _other_outputs(logits: np.ndarray) -> str | None:
    """What the rows are, if they are probabilities, percentages or losses."""
    rows = logits.reshape(-1, logits.shape[-1]).astype(np.float64)
    if len(rows) < 4 or not np.isfinite(rows).all() or (rows < 0).any():
        return None
    sums = rows.sum(axis=1)
    if np.isin(rows, (0, 1)).all() and (sums == 1).all():
        return (
            "each row is one-hot, a decision without its confidence: save the model's "
            "outputs before argmax"
        )
    for total, unit in ((1, "probabilities"), (100, "percentages")):
        if (np.abs(sums - total) < 0.02 * total).all():
            return (
                f"each row sums to {total} and none is negative, as {unit} do: save "
                f"the outputs before softmax, or np.log(p{'' if total == 1 else '/100'}"
                f"), or read them as probabilities ({_option('probabilities')})"
            )
    if (np.abs(special.logsumexp(-rows, axis=1)) < 0.02).all():
        return (
            "exp(-row) sums to 1 in each row, as losses of each class do: save their "
            "negative"
        )
    return None


def _class_order(
    logits: np.ndarray, labels: np.ndarray, keep: np.ndarray
) -> tuple[str, bool] | None:
    """Another order of classes, or of signs, under which models are far more accurate.

    The order is chosen on half of the examples and judged on the other half.

    Returns:
        The text, and whether it is certain; None where the labels fit.
    """
    num_models, num_examples, num_classes = logits.shape
    if num_examples < 16 or num_classes > MAX_CLASSES:
        return None
    predicted = logits.argmax(axis=-1)
    accuracy = float((predicted == labels).mean())
    lowest = logits.argmin(axis=-1)
    # The best order by the even examples, judged on the odd ones.
    half = np.arange(num_examples) % 2 == 0
    order = _best_order(predicted[:, half], labels[half], num_classes)
    candidates = {
        "order": predicted == order[labels],
        "sign": lowest == labels,
    }
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
        return text, is_certain
    return f"{shown} and {_describe(order, better)}", is_certain


def _best_order(
    predicted: np.ndarray, labels: np.ndarray, num_classes: int
) -> np.ndarray:
    """The column that fits each class best, one each."""
    pairs = np.broadcast_to(labels, predicted.shape) * num_classes + predicted
    confusion = np.bincount(pairs.ravel(), minlength=num_classes**2)
    confusion = confusion.reshape(num_classes, num_classes)
    return optimize.linear_sum_assignment(-confusion)[1]


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
