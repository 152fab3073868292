"""Checks that signals mean what their names say, recognised from their values."""

import warnings

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import special

from sam_jax._checks import ArgumentError
from sam_jax.metrics import phi_meaning
from sam_jax.metrics.member_auc import mean_member_auc
from sam_jax.signals.label_order import order_of_group, order_of_labels
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
        many = signals.phi.shape[-1] > 1
        if many and (other := _other_queries(signals, has_labels)) is not None:
            _refuse("phi", other, is_certain=not is_stated)
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
        logits: Checked for shape; each query is looked at.
        labels: Of the examples.
        keep: True where the model trained on the example.
        is_stated: Whether the user has said that these are logits, which makes it a
            warning.

    Raises:
        ArgumentError: With the likely cause and the line that corrects it.

    Warns:
        UserWarning: Where the values leave room for doubt.
    """
    queries = logits[:, :, None] if logits.ndim == 3 else logits
    # Every step-th example: at most MAX_ROWS predictions over models and queries.
    step = -(-queries[..., 0].size // MAX_ROWS)
    queries, labels, keep = queries[:, ::step], labels[::step], keep[:, ::step]
    for query, outputs in enumerate(np.moveaxis(queries, 2, 0)):
        name, text, is_certain = "logits", _other_outputs(outputs), True
        given = outputs, labels, keep
        if text is None:
            order = order_of_labels(*given) or order_of_group(*given)
            if order is None:
                continue
            name, is_certain, text = order
        text += f" (query {query})" if query else ""
        _refuse(name, text, is_certain=is_certain and not is_stated)
        return


def _other_queries(signals: Signals, has_labels: bool) -> str | None:
    """What the axis of queries is, or a query, beside a first that looks like phi."""
    phi, keep, labels = map(np.asarray, (signals.phi, signals.keep, signals.labels))
    step = -(-phi.size // MAX_ROWS)
    phi, keep, labels = phi[:, ::step], keep[:, ::step], labels[::step]
    num_queries = phi.shape[2]
    is_class = has_labels and len(labels) >= 64 and labels.max() < num_queries > 1
    for sign, name in ((1, "logits"), (-1, "losses of each class")) if is_class else ():
        # Which query has the largest value has little to do with the class.
        top = (sign * phi).argmax(axis=2)
        agree = float((top == labels).mean())
        chance = (top == np.random.default_rng(0).permutation(labels)).mean()
        if agree - chance > (0.2 if num_queries > 2 else 0.35):
            end = "largest" if sign > 0 else "least"
            return f"the {end} along the last axis is at the label, as of {name}"
    aucs = [mean_member_auc(phi[..., q], keep) for q in range(num_queries)]
    for q in range(1, num_queries):
        if aucs[0].is_above and aucs[q].is_below:
            return f"in query {q} members are less confident: turned signs, or losses"
    return None


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
    if shares or (other := _logarithms(rows)):
        return shares or other
    # Some of the models alone; their own outputs must vary too.
    for m, of_model in enumerate(logits):
        is_share = (of_model >= 0).all() and (of_model[0] != of_model).any()
        if is_share and (np.abs(of_model.sum(axis=1) - 1) < 0.02).all():
            return f"each row of model {m} sums to 1, as of probabilities"
    return None


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
    if varies and rows.size >= 64 and (rows == np.round(rows)).all():
        return "all are whole numbers >= 0, as votes: save the outputs before rounding"
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
