"""From logits to the signals that attacks see, and to and from files."""

import json
import pathlib
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from sam_jax._checks import ArgumentError
from sam_jax.signals.checks import check_keep, check_signals
from sam_jax.signals.compute import signals_from_logits
from sam_jax.types import Signals


def save_signals(path: str | pathlib.Path, signals: Signals, **metadata: Any) -> None:
    """Writes signals, and metadata that JSON can hold, to an ``.npz`` file.

    Raises:
        ValueError: If ``path`` does not end in ``.npz``.
    """
    path = pathlib.Path(path)
    if path.suffix != ".npz":
        raise ArgumentError("path", f"must end in .npz, got {str(path)!r}.")
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
        raise ArgumentError(
            source,
            f"must hold keep [models, examples] and phi or logits; it holds "
            f"{sorted(arrays)}.",
        )
    if "phi" not in arrays:
        if "labels" not in arrays:
            raise ValueError(
                f"{source} holds logits, so it must hold labels [examples]."
            )
        keep = arrays["keep"]
        check_keep(keep, arrays["logits"].shape[:2])
        return signals_from_logits(
            arrays["logits"], arrays["labels"], keep.astype(bool)
        )
    phi = arrays["phi"]
    phi = phi[..., None] if phi.ndim == 2 else phi
    if phi.ndim != 3:
        raise ArgumentError(
            "phi",
            "must be [models, examples] or [models, examples, queries], got shape "
            f"{phi.shape}.",
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
        raise ArgumentError(
            "path", f"must be an .npz file or a folder: no {path}."
        ) from None
    except (ValueError, AttributeError, zipfile.BadZipFile, EOFError) as error:
        raise ArgumentError(
            str(path),
            f"must be an .npz archive, or a folder of .npy files, of plain "
            f"arrays (no pickles): {error}",
        ) from error
