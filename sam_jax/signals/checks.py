"""Checks of the shape, type and values of signals."""

import warnings
from typing import Any

import numpy as np

from sam_jax import _checks
from sam_jax._checks import ArgumentError
from sam_jax.types import Signals

LARGEST = float(np.finfo(np.float32).max)
"""Signals are float32: a larger value would turn infinite."""


def check_signals(signals: Signals) -> Signals:
    """Returns the signals as NumPy arrays, or raises an error that says what to fix.

    Byte order, memory order, precision and library of the arrays make no difference.

    Args:
        signals: As in ``Signals``; masks may be 0/1 integers. Unknown entropies
            are NaN throughout, and the attacks that need them give NaN.

    Returns:
        The same signals: ``phi`` and entropies float32, ``keep`` and ``correct``
        bool, ``labels`` int32.

    Raises:
        ArgumentError: If shapes disagree, ``phi`` holds NaN or is beyond float32,
            ``keep`` is not a mask, some models trained on everything or nothing, or
            an example is in every one of several models.

    Warns:
        UserWarning: If ``phi`` holds infinite values.
    """
    phi = plain_array(phi=signals.phi)
    if phi.ndim != 3 or not phi.size:
        rule = "must be [models, examples, queries], at least one of each, got"
        raise ArgumentError("phi", f"{rule} shape {phi.shape}.")
    phi = check_values(phi=phi)
    shape = phi.shape[:2]
    checked = Signals(
        phi=phi,
        correct=_checks.mask(correct=plain_array(correct=signals.correct)),
        entropy=_check_entropy(entropy=signals.entropy),
        modified_entropy=_check_entropy(modified_entropy=signals.modified_entropy),
        keep=check_keep(signals.keep, shape),
        labels=check_labels(signals.labels, shape[1]),
    )
    for name in ("correct", "entropy", "modified_entropy"):
        if getattr(checked, name).shape != shape:
            rule = f"must be [models, examples] = {shape}, got"
            raise ArgumentError(name, f"{rule} {getattr(checked, name).shape}.")
    num_infinite = int(np.isinf(phi).sum())
    if num_infinite:
        warnings.warn(
            f"phi holds {num_infinite:,} infinite values among {phi.size:,}, as it "
            "does when computed from rounded probabilities; those of one sign tie. "
            "Compute phi from logits.",
            stacklevel=3,
        )
    return checked


def plain_array(**arguments: Any) -> np.ndarray:
    """Returns the one argument as a NumPy array in the machine's byte order."""
    ((name, value),) = arguments.items()
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise ArgumentError(name, "must be a plain array, got one with masked entries.")
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, RuntimeError) as error:
        rule = f"must be an array, got {type(value).__name__}: "
        raise ArgumentError(name, rule + _checks.first_line(error)) from error
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def is_float(array: np.ndarray) -> bool:
    """Returns whether entries are floats; bfloat16 is, though of NumPy's kind "V"."""
    return array.dtype.kind == "f" or array.dtype.name == "bfloat16"


def check_values(**arguments: Any) -> np.ndarray:
    """Returns the one argument as float32, or raises ``ArgumentError``.

    Infinite values pass, but not those that half precision or float32 made so.
    """
    ((name, value),) = arguments.items()
    array = plain_array(**arguments)
    if not is_float(array):
        raise ArgumentError(name, f"must be a float array, got {array.dtype}.")
    is_nan = np.isnan(array)
    if is_nan.any():
        raise ArgumentError(
            name,
            f"must not hold NaN: {int(is_nan.sum()):,} values do, the first at index "
            f"{_first(is_nan)}. Drop those models, or find why their training "
            "diverged.",
        )
    if array.dtype == np.float16 and np.isinf(array).any():
        rule = "overflows float16 (values above 65504 became infinite):"
        raise ArgumentError(name, f"{rule} save it as float32.")
    # Only wider types can hold finite values beyond float32.
    is_wide = array.dtype.itemsize > np.dtype(np.float32).itemsize
    too_large = np.isfinite(array) & (np.abs(array) > LARGEST) if is_wide else False
    if np.any(too_large):
        first = _first(np.asarray(too_large))
        rule = f"must fit into float32, up to {LARGEST:.2g}, got"
        raise ArgumentError(name, f"{rule} {array[first]:.3g} at index {first}.")
    return np.ascontiguousarray(array, np.float32)


def _first(where: Any) -> tuple[int, ...]:
    return tuple(int(i) for i in np.argwhere(where)[0])


def _check_entropy(**arguments: Any) -> np.ndarray:
    """The one argument as float32: finite and >= 0 but for rounding, or all NaN.

    Modified entropy is infinite where a label's probability was rounded to 0.
    """
    ((name, value),) = arguments.items()
    array = plain_array(**arguments)
    if array.dtype.kind != "f":
        raise ArgumentError(name, f"must be a float array, got {array.dtype}.")
    array = array.astype(np.float32)
    if np.isnan(array).all():
        return array
    wrong = ~np.isfinite(array) | (array < -1e-3)
    wrong &= (name != "modified_entropy") | (array != np.inf)
    if wrong.any():
        first = _first(wrong)
        rule = "must be finite and >= 0, or NaN throughout where it is unknown, got"
        raise ArgumentError(name, f"{rule} {array[first]} at index {first}.")
    return array


def check_keep(keep: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Returns the mask as bool [models, examples], or raises ``ArgumentError``.

    One model alone passes, and so do models that had none of the examples; where each
    model is a target in turn, ``check_targets`` refuses both.
    """
    keep = _checks.mask(keep=plain_array(keep=keep))
    if keep.shape != shape:
        hint = " It looks transposed: save keep.T." if keep.shape == shape[::-1] else ""
        rule = f"must be [models, examples] = {shape}, got {keep.shape}.{hint}"
        raise ArgumentError("keep", rule)
    sizes = keep.sum(axis=1)
    if not sizes.any():
        return keep
    for fact, rows in (("nothing", sizes == 0), ("everything", sizes == shape[1])):
        if rows.any():
            raise ArgumentError(
                "keep",
                "must give each model members and non-members, but says that model "
                f"{np.flatnonzero(rows)[0]} trained on {fact}. Drop the model or "
                "correct keep.",
            )
    always = np.flatnonzero(keep.all(axis=0))
    if always.size and shape[0] > 1:
        raise ArgumentError(
            "keep",
            f"must leave each example out of a model, but has {always.size} examples "
            f"that every model trained on (the first is column {always[0]}): no attack "
            "can be fitted there. Drop these columns, or add models trained without "
            "them.",
        )
    return keep


def check_targets(keep: np.ndarray) -> None:
    """Raises ``ArgumentError`` unless each model can be a target, others its shadows.

    Args:
        keep: From ``check_keep``.
    """
    if len(keep) < 2:
        rule = f"must have at least 2 models, got {len(keep)}."
        hint = "One model is attacked as a target whose members are known (--target)."
        raise ArgumentError("keep", f"{rule} {hint}")
    if not keep.any():
        raise ArgumentError(
            "keep",
            "must give each model members and non-members, but says that no model "
            "trained on any example. Such reference models need a target (--target).",
        )


def check_logits(logits: np.ndarray, name: str = "logits") -> np.ndarray:
    """Returns logits [M, N, (Q,) C] of at least two classes, or raises."""
    if logits.ndim == 2 or (logits.ndim in (3, 4) and logits.shape[-1] == 1):
        raise ArgumentError(
            name,
            "must have an axis of classes, [models, examples, classes], got shape "
            f"{logits.shape}. A single logit z of a binary classifier is the logits "
            "np.stack([np.zeros_like(z), z], axis=-1), with z [models, examples].",
        )
    if logits.ndim not in (3, 4) or not logits.size:
        shapes = "[models, examples, classes] or [models, examples, queries, classes]"
        rule = f"must be {shapes}, at least one of each, got shape {logits.shape}."
        raise ArgumentError(name, rule)
    return logits


def check_logit_values(name: str, logits: np.ndarray) -> np.ndarray:
    """Returns one model's logits as float32, or raises where phi would be NaN."""
    values = check_values(**{name: logits})
    if (values == np.inf).any() or np.isneginf(values).all(axis=-1).any():
        rule = "must be finite, or -inf for some of the classes of an example; got"
        raise ArgumentError(name, f"{rule} inf, or -inf for all of them.")
    return values


def check_labels(
    labels: Any, num_examples: int, num_classes: int | None = None
) -> np.ndarray:
    """Returns labels as int32 [examples], or raises ``ArgumentError``.

    Args:
        labels: Classes, of any integer dtype.
        num_examples: How many there must be.
        num_classes: Labels must lie below it; any int32 will do without.
    """
    labels = plain_array(labels=labels)
    if labels.ndim == 2 and len(labels) == num_examples and _is_one_hot(labels):
        rule = f"must be [{num_examples}], one class each,"
        hint = f"but are one-hot {labels.shape}: save labels.argmax(axis=1)."
        raise ArgumentError("labels", f"{rule} {hint}")
    if labels.shape != (num_examples,):
        raise ArgumentError("labels", f"must be [{num_examples}], got {labels.shape}.")
    if labels.dtype.kind not in "iu":
        hint = ""
        if labels.dtype.kind in "USb":
            hint = (
                " Save the number of each label's column of logits, which is "
                "np.unique(labels, return_inverse=True)[1] where columns are sorted."
            )
        raise ArgumentError("labels", f"must be integers, got {labels.dtype}.{hint}")
    top = np.iinfo(np.int32).max if num_classes is None else num_classes - 1
    if labels.size and not (0 <= labels.min() and labels.max() <= top):
        rule = f"must lie in [0, {top}], got {labels.min()} to {labels.max()}."
        raise ArgumentError("labels", rule)
    return labels.astype(np.int32)


def _is_one_hot(labels: np.ndarray) -> bool:
    if labels.dtype.kind not in "biuf":
        return False
    return bool(np.isin(labels, (0, 1)).all() and (labels.sum(axis=1) == 1).all())
