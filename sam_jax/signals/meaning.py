"""Checks that signals mean what their names say, recognised from their values."""

import warnings

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import special

from sam_jax._checks import ArgumentError
from sam_jax.metrics import phi_meaning
from sam_jax.signals.class_order import order_of_group, order_of_labels
from sam_jax.types import Signals

MAX_ROWS = 1_000_000
"""Predictions of which the outputs are looked at, where there are more."""

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
    order = order_of_labels(first, labels, keep) or order_of_group(first, labels, keep)
    if order is not None:
        _refuse("labels", order.text, is_certain=order.is_certain and not is_stated)


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
    """What the rows are, if they are shares, losses, or logarithms to another base."""
    rows = logits.reshape(-1, logits.shape[-1]).astype(np.float64)
    if len(rows) < 4 or not np.isfinite(rows).all():
        return None
    # Outputs that are the same for all examples have equal sums, whatever they mean.
    varies = bool((logits != logits[:, :1]).any())
    shares = _shares(rows, varies) if (rows >= 0).all() else None
    return shares or _logarithms(rows)


def _shares(rows: np.ndarray, varies: bool) -> str | None:
    """Decisions, probabilities in any unit, or a sigmoid of each class."""
    sums = rows.sum(axis=1)
    if np.isin(rows, (0, 1)).all() and (sums == 1).all():
        return (
            "each row is one-hot, a decision without its confidence: save the model's "
            "outputs before argmax"
        )
    middle = float(np.median(sums))
    for total, unit in ((1, "probabilities"), (100, "percentages"), (middle, "shares")):
        is_clear = total in (1, 100) or (varies and total > 0)
        if is_clear and (np.abs(sums - total) < 0.02 * total).all():
            p = "p" if total == 1 else f"p/{total:.4g}"
            return (
                f"each row sums to {total:.4g} and none is negative, as {unit} do: "
                f"save the outputs before softmax, or np.log({p}), or read {p} as "
                f"probabilities ({_option('probabilities')})"
            )
    if 0.9 < rows.max() <= 1 and rows.size >= 64:
        return (
            "all lie in [0, 1], as a sigmoid of each class and rounded probabilities "
            "do: save the outputs before it"
        )
    return None


def _logarithms(rows: np.ndarray) -> str | None:
    """Losses of each class, and log-probabilities to another base than e."""
    for base, factor in ((np.e, ""), (2, "np.log(2) * "), (10, "np.log(10) * ")):
        for sign, unit in ((1, "log-probabilities"), (-1, "losses of each class")):
            sums = special.logsumexp(sign * np.log(base) * rows, axis=1)
            if (np.abs(sums) >= 0.02).any():
                continue
            if sign == 1 and base == np.e:  # what logits may be
                return None
            minus = "-" if sign < 0 else ""
            shown = "exp(" if base == np.e else f"{base}**("
            return (
                f"{shown}{minus}row) sums to 1 in each row, as {unit} do: save "
                f"{minus}{factor}logits"
            )
    return None
