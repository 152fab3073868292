"""From logits to the signals that attacks see, and to and from files."""

import json
import pathlib
import warnings
import zipfile
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from sam_jax.types import Signals


def logit_scaled_confidence(
    logits: Float[Array | np.ndarray, "*batch classes"],
    labels: Int[Array | np.ndarray, "*batch"],
) -> Float[Array, "*batch"]:
    """Returns phi = log(p_y / (1 - p_y)), the statistic LiRA models as a Gaussian.

    Computed as ``z_y - logsumexp(z_c for c != y)``: finite where ``p_y`` rounds to 1.

    Args:
        logits: Unnormalised log-probabilities ``z``, in nats.
        labels: Class of each example, in ``[0, classes)``; not checked under ``jit``.

    Returns:
        phi, in nats and in the dtype of ``logits``. Higher means more confident.

    Raises:
        ValueError: If there are fewer than two classes.

    Example:
        >>> logits = jnp.log(jnp.array([0.8, 0.1, 0.1]))
        >>> float(jnp.exp(logit_scaled_confidence(logits, jnp.array(0)))).__round__(4)
        4.0

    References:
        Carlini et al., "Membership Inference Attacks From First Principles", 2022,
        https://arxiv.org/abs/2112.03570, section IV-C.
    """
    is_label = _is_label(logits, labels)
    others = jnp.where(is_label, -jnp.inf, logits)
    return jnp.sum(logits, -1, where=is_label) - jax.nn.logsumexp(others, axis=-1)


def entropy(
    logits: Float[Array | np.ndarray, "*batch classes"],
) -> Float[Array, "*batch"]:
    """Returns the entropy ``-sum_c p_c log p_c`` of each prediction, in nats.

    Between 0 and ``log(classes)``; a class of probability 0 adds nothing.
    """
    log_p = jax.nn.log_softmax(logits)
    return -jnp.sum(_times_log(jnp.exp(log_p), log_p), axis=-1)


def modified_entropy(
    logits: Float[Array | np.ndarray, "*batch classes"],
    labels: Int[Array | np.ndarray, "*batch"],
) -> Float[Array, "*batch"]:
    """Returns Song and Mittal's modified entropy, in nats.

    ``-(1 - p_y) log p_y - sum_{c != y} p_c log(1 - p_c)``: 0 for a sure and right
    prediction, large for a sure and wrong one, which plain entropy cannot tell apart.
    ``log(1 - p_c)`` is ``log1p(-p_c)`` but for the likeliest class, where it is a
    log-sum-exp of the others, so that it stays finite where ``p_c`` rounds to 1.

    Args:
        logits: Unnormalised log-probabilities, in nats.
        labels: Class of each example, in ``[0, classes)``; not checked under ``jit``.

    Returns:
        The modified entropy, >= 0, in the dtype of ``logits``.

    Raises:
        ValueError: If there are fewer than two classes.

    References:
        Song and Mittal, "Systematic Evaluation of Privacy Risks of Machine Learning
        Models", 2021, https://arxiv.org/abs/2003.10595, equation 8.
    """
    is_label = _is_label(logits, labels)
    log_p = jax.nn.log_softmax(logits)
    p = jnp.exp(log_p)
    is_top = _is_label(logits, jnp.argmax(logits, axis=-1))
    log_rest = jax.nn.logsumexp(
        jnp.where(is_top, -jnp.inf, log_p), axis=-1, keepdims=True
    )
    small_p = jnp.where(is_top, 0.0, p)
    log_not_p = jnp.where(is_top, log_rest, jnp.log1p(-small_p))
    terms = jnp.where(
        is_label, _times_log(jnp.exp(log_not_p), log_p), _times_log(p, log_not_p)
    )
    return -jnp.sum(terms, axis=-1)


def signals_from_logits(
    logits: Float[Array | np.ndarray, "m n *queries c"],
    labels: Int[Array | np.ndarray, "n"],
    keep: Bool[Array | np.ndarray, "m n"],
) -> Signals:
    """Returns the signals of M models on N examples, one model at a time.

    Args:
        logits: [M, N, C], or [M, N, Q, C] with Q augmented views, the first of which
            is the example itself.
        labels: Class of each example, in ``[0, C)``.
        keep: True where the model trained on the example.

    Returns:
        Signals whose arrays are in host memory (NumPy), ``phi`` as float32 [M, N, Q].

    Raises:
        ValueError: If shapes or values cannot be those of an audit (see
            ``check_signals``), or a label is out of range.
    """
    labels, logits = np.asarray(labels), np.asarray(logits)
    if logits.ndim not in (3, 4):
        raise ValueError(
            "logits must be [models, examples, classes] or [models, examples, "
            f"queries, classes], got shape {logits.shape}."
        )
    _check_labels(labels, logits.shape[1], num_classes=logits.shape[-1])
    _check_values(logits=logits)
    of_one_model = jax.jit(_answers)
    answers = [of_one_model(jnp.asarray(z, jnp.float32), labels) for z in logits]
    stacked = [np.stack(field) for field in zip(*answers, strict=True)]
    return check_signals(Signals(*stacked, keep=keep, labels=labels))


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
    _check_values(phi=phi)
    _check_keep(keep, phi.shape[:2])
    _check_labels(np.asarray(signals.labels), phi.shape[1])
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


def save_signals(path: str | pathlib.Path, signals: Signals, **metadata: Any) -> None:
    """Writes signals, and metadata that JSON can hold, to an ``.npz`` file.

    Raises:
        ValueError: If ``path`` does not end in ``.npz``.
    """
    path = pathlib.Path(path)
    if path.suffix != ".npz":
        raise ValueError(f"path must end in .npz, got {str(path)!r}.")
    arrays = {name: np.asarray(array) for name, array in signals._asdict().items()}
    arrays["metadata"] = np.asarray(json.dumps(metadata))
    with path.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def load_metadata(path: str | pathlib.Path) -> dict[str, Any]:
    """Returns what ``save_signals`` was told besides the signals; {} if nothing."""
    return json.loads(str(read_arrays(path).get("metadata", "{}")))


def load_signals(path: str | pathlib.Path) -> Signals:
    """Reads signals from an ``.npz`` file or a folder of ``.npy`` files; no pickles.

    Three kinds of content are understood, by the names of the arrays:

    | Arrays | Note |
    | --- | --- |
    | all fields of ``Signals`` | what ``save_signals`` writes |
    | ``logits`` [M, N, C] or [M, N, Q, C], ``labels``, ``keep`` | everything follows |
    | ``phi`` [M, N] or [M, N, Q], ``keep``, maybe ``labels`` | entropies are NaN; \
``correct`` is ``p_y > 1/2`` unless given, which misses right answers of less \
confidence; labels are 0 unless given |

    Args:
        path: The file or folder.

    Returns:
        Checked signals in host memory.

    Raises:
        ValueError: If there is no such file, arrays are missing or pickled, or their
            values cannot be those of an audit; the message says what to fix.
    """
    return signals_from_arrays(read_arrays(path), str(path))


def signals_from_arrays(arrays: Mapping[str, Any], source: str) -> Signals:
    """Returns checked signals from arrays with the names of ``load_signals``.

    Args:
        arrays: By name.
        source: What to call them in an error.

    Raises:
        ValueError: As in ``load_signals``.
    """
    if "keep" not in arrays or not {"phi", "logits"} & arrays.keys():
        raise ValueError(
            f"{source} must hold keep [models, examples] and phi or logits; it holds "
            f"{sorted(arrays)}."
        )
    if "phi" not in arrays:
        if "labels" not in arrays:
            raise ValueError(
                f"{source} holds logits, so it must hold labels [examples]."
            )
        keep = arrays["keep"]
        _check_keep(keep, arrays["logits"].shape[:2])
        return signals_from_logits(
            arrays["logits"], arrays["labels"], keep.astype(bool)
        )
    phi = arrays["phi"]
    phi = phi[..., None] if phi.ndim == 2 else phi
    if phi.ndim != 3:
        raise ValueError(
            "phi must be [models, examples] or [models, examples, queries], got shape "
            f"{phi.shape}."
        )
    unknown = np.full(phi.shape[:2], np.nan, np.float32)
    return check_signals(
        Signals(
            phi=phi,
            correct=arrays.get("correct", phi[..., 0] > 0),
            entropy=arrays.get("entropy", unknown),
            modified_entropy=arrays.get("modified_entropy", unknown),
            keep=arrays["keep"],
            labels=arrays.get("labels", np.zeros(phi.shape[1], np.int32)),
        )
    )


def read_arrays(path: str | pathlib.Path) -> dict[str, np.ndarray]:
    """Returns the arrays of an ``.npz`` file or a folder of ``.npy`` files, by name.

    Raises:
        ValueError: If there is no such file, or it holds anything but plain arrays.
    """
    path = pathlib.Path(path)
    try:
        if path.is_dir():
            return {f.stem: np.load(f, allow_pickle=False) for f in path.glob("*.npy")}
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except FileNotFoundError:
        raise ValueError(f"path must be an .npz file or a folder: no {path}.") from None
    except (ValueError, AttributeError, zipfile.BadZipFile, EOFError) as error:
        raise ValueError(
            f"{path} must be an .npz archive, or a folder of .npy files, of plain "
            f"arrays (no pickles): {error}"
        ) from error


def _is_label(logits, labels):
    """One-hot mask of the labels; phi and its kin need two classes."""
    num_classes = logits.shape[-1]
    if num_classes < 2:
        raise ValueError(f"phi needs at least 2 classes, got {logits.shape=}.")
    return jax.nn.one_hot(labels, num_classes, dtype=jnp.bool_)


def _times_log(weight, log_value):
    """``weight * log_value`` with 0 * -inf = 0."""
    return jnp.where(weight > 0, weight * jnp.where(weight > 0, log_value, 0.0), 0.0)


def _answers(logits, labels):
    """One model's phi, correct, entropy, modified entropy from [N, (Q,) C] logits."""
    views = logits if logits.ndim == 3 else logits[:, None]
    first = views[:, 0]
    view_labels = jnp.broadcast_to(labels[:, None], views.shape[:2])
    return (
        logit_scaled_confidence(views, view_labels),
        jnp.argmax(first, axis=-1) == labels,
        entropy(first),
        modified_entropy(first, labels),
    )


def _check_values(**arrays):
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


def _check_keep(keep, shape):
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


def _check_labels(labels, num_examples, num_classes=None):
    if labels.shape != (num_examples,):
        raise ValueError(f"labels must be [{num_examples}], got {labels.shape}.")
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels must be integers, got {labels.dtype}.")
    top = np.iinfo(np.int32).max if num_classes is None else num_classes - 1
    if labels.size and not (0 <= labels.min() and labels.max() <= top):
        raise ValueError(
            f"labels must lie in [0, {top}], got {labels.min()} to {labels.max()}."
        )
