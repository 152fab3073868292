"""Checks of signals."""

import warnings

import numpy as np

from sam_jax.types import Signals


def check_signals(signals: Signals) -> Signals:
    """Returns the signals as NumPy arrays, or raises an error that says what to fix.

    Args:
        signals: As in ``Signals``; ``keep`` may be 0/1 integers. Unknown entropies
            are NaN throughout, and the attacks that need them give NaN.

    Returns:
        The same signals: ``phi`` and entropies float32, ``keep`` and ``correct``
        bool, ``labels`` int32.

    Raises:
        ValueError: If shapes disagree, ``phi`` holds NaN, ``keep`` is not a mask, a
            model trained on everything or nothing, or an example is in every model.
    """
    phi, keep = np.asarray(signals.phi), np.asarray(signals.keep)
    if phi.ndim != 3:
        raise ValueError(f"phi must be [models, examples, queries], got {phi.shape}.")
    check_values(phi=phi)
    check_keep(keep, phi.shape[:2])
    check_labels(np.asarray(signals.labels), phi.shape[1])
    for name in ("correct", "entropy", "modified_entropy"):
        shape = np.shape(getattr(signals, name))
        if shape != phi.shape[:2]:
            raise ValueError(
                f"{name} must be [models, examples] = {phi.shape[:2]}, got {shape}."
            )
    return Signals(
        phi=phi.astype(np.float32),
        correct=np.asarray(signals.correct).astype(bool),
        entropy=np.asarray(signals.entropy).astype(np.float32),
        modified_entropy=np.asarray(signals.modified_entropy).astype(np.float32),
        keep=keep.astype(bool),
        labels=np.asarray(signals.labels).astype(np.int32),
    )


def check_values(**arrays):
    for name, array in arrays.items():
        if not np.issubdtype(array.dtype, np.floating):
            raise ValueError(f"{name} must be a float array, got {array.dtype}.")
        num_nan = int(np.isnan(array).sum())
        if num_nan:
            first = tuple(int(i) for i in np.argwhere(np.isnan(array))[0])
            raise ValueError(
                f"{name} must not hold NaN: {num_nan} values do, the first at index "
                f"{first}. Drop those models, or find why their training diverged."
            )
        if not np.isinf(array).any():
            continue
        if array.dtype == np.float16:
            raise ValueError(
                f"{name} overflows float16 (values above 65504 became infinite): save "
                "it as float32."
            )
        warnings.warn(
            f"{name} holds infinite values, as it does when computed from rounded "
            "probabilities; they tie at the top of every score. Compute phi from "
            "logits.",
            stacklevel=4,
        )


def check_keep(keep, shape):
    if keep.shape != shape:
        hint = " It looks transposed." if keep.shape == shape[::-1] else ""
        raise ValueError(
            f"keep must be [models, examples] = {shape}, got {keep.shape}.{hint}"
        )
    if not np.isin(keep, (0, 1)).all():
        raise ValueError("keep must be a mask of True and False (or 1 and 0).")
    if shape[0] < 2:
        raise ValueError(f"keep must have at least 2 models, got {shape[0]}.")
    sizes = keep.astype(bool).sum(axis=1)
    for fact, rows in (("nothing", sizes == 0), ("everything", sizes == shape[1])):
        if rows.any():
            raise ValueError(
                f"keep says that model {np.flatnonzero(rows)[0]} trained on {fact}: "
                "each model needs members and non-members. Drop the model or mend keep."
            )
    always = np.flatnonzero(keep.astype(bool).all(axis=0))
    if always.size:
        raise ValueError(
            f"keep has {always.size} examples that every model trained on (the first "
            f"is column {always[0]}): no attack can be fitted there. Drop these "
            "columns, or add models trained without them."
        )


def check_labels(labels, num_examples, num_classes=None):
    if labels.shape != (num_examples,):
        raise ValueError(f"labels must be [{num_examples}], got {labels.shape}.")
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels must be integers, got {labels.dtype}.")
    top = np.iinfo(np.int32).max if num_classes is None else num_classes - 1
    if labels.size and not (0 <= labels.min() and labels.max() <= top):
        raise ValueError(
            f"labels must lie in [0, {top}], got {labels.min()} to {labels.max()}."
        )
