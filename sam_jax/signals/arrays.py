"""Signals from arrays by name, as files hold them."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from sam_jax._checks import ArgumentError
from sam_jax.data import class_ids
from sam_jax.signals import conversions, meaning
from sam_jax.signals.checks import check_keep, check_labels, check_signals, plain_array
from sam_jax.signals.compute import signals_from_logits
from sam_jax.signals.conversions import OUTPUTS
from sam_jax.types import Signals


def signals_from_arrays(
    arrays: Mapping[str, Any], source: str, signals_are: str | None = None
) -> Signals:
    """Returns checked signals from arrays by name.

    | arrays | note |
    | --- | --- |
    | all fields of ``Signals`` | as an audit writes them |
    | ``logits`` [M, N, C] or [M, N, Q, C], ``labels``, ``keep`` | everything follows; \
so it does from ``probabilities`` or ``log_probabilities`` of these shapes |
    | ``phi`` [M, N] or [M, N, Q], ``keep``, maybe ``labels`` | entropies are NaN; \
``correct`` is ``p_y > 1/2`` unless given, which misses right predictions of less \
confidence; labels are 0 unless given. ``losses``, and probabilities of the label \
[M, N], are read likewise |

    Args:
        arrays: By name.
        source: What to call them in an error.
        signals_are: What the model outputs are, whatever their array is called; by
            default what its name says.

    Raises:
        ArgumentError: As in ``load_signals``.
    """
    name = next((name for name in OUTPUTS if name in arrays), None)
    if name is None or "keep" not in arrays:
        hint = ""
        if "members" in arrays:
            hint = " A file with the members of one model goes to --target."
        raise ArgumentError(
            "signals",
            "must hold keep [models, examples] and phi or logits (or "
            f"{', '.join(OUTPUTS[2:])}); {source} holds {listed(arrays)}.{hint}",
        )
    try:
        read_as, outputs = conversions.convert(arrays[name], signals_are or name, name)
        if read_as == "logits":
            return _from_logits(outputs, arrays, signals_are)
        return _from_phi(outputs, arrays, signals_are)
    except ArgumentError as error:
        rule, shape = error.rule, getattr(arrays[name], "shape", ())
        if getattr(arrays.get("labels"), "shape", None) == shape[:1] != shape[1:2]:
            rule += f" {name} looks transposed: models come first, then examples."
        raise ArgumentError(error.argument, f"{rule} (File: {source})") from error


def listed(arrays: Mapping[str, Any]) -> str:
    """Returns the names of arrays for an error, the first twenty."""
    names = ", ".join(ascii(name) for name in sorted(arrays)[:20])
    return (names or "nothing") + (" ..." if len(arrays) > 20 else "")


def _from_logits(
    logits: np.ndarray, arrays: Mapping[str, Any], signals_are: str | None
) -> Signals:
    if "labels" not in arrays:
        rule = "must be there, [examples], where there are logits."
        raise ArgumentError("labels", rule)
    num_models, num_examples, *_, num_classes = logits.shape
    keep = check_keep(arrays["keep"], (num_models, num_examples))
    labels = plain_array(labels=arrays["labels"])
    is_whole = labels.ndim == 1 and labels.dtype.kind in "iu" and labels.size
    if is_whole and (labels.min() < 0 or labels.max() >= num_classes):
        # As many ids as columns: those of scikit-learn's classes_, in order.
        ids, (encoded,) = class_ids.encode(labels)
        labels = encoded if len(ids) == num_classes else labels
    labels = check_labels(labels, num_examples, num_classes)
    meaning.check_logits_meaning(logits, labels, keep, signals_are == "logits")
    return signals_from_logits(logits, labels, keep)


def _from_phi(
    phi: np.ndarray, arrays: Mapping[str, Any], signals_are: str | None
) -> Signals:
    """Signals of phi [M, N] or [M, N, Q]; what else is given is kept."""
    phi = phi[..., None] if phi.ndim == 2 else phi
    if phi.ndim != 3:
        rule = "must be [models, examples] or [models, examples, queries], got"
        raise ArgumentError("phi", f"{rule} shape {phi.shape}.")
    labels = plain_array(labels=arrays.get("labels", np.zeros(phi.shape[1], np.int32)))
    if labels.ndim == 1 and labels.dtype.kind in "iu" and class_ids.is_sparse(labels):
        _, (labels,) = class_ids.encode(labels)
    unknown = np.full(phi.shape[:2], np.nan, np.float32)
    signals = check_signals(
        Signals(
            phi=phi,
            correct=arrays.get("correct", phi[..., 0] > 0 if phi.size else unknown),
            entropy=arrays.get("entropy", unknown),
            modified_entropy=arrays.get("modified_entropy", unknown),
            keep=arrays["keep"],
            labels=labels,
        )
    )
    meaning.check_phi_meaning(
        signals, "correct" in arrays, "labels" in arrays, signals_are == "phi"
    )
    return signals
