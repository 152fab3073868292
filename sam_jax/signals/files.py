"""The reader and writer of files of signals, from an audit or from elsewhere.

| file | content |
| --- | --- |
| ``.npz`` of an audit | ``keep``, ``labels``, and ``NAME/phi`` (...) for each \
training algorithm |
| any other ``.npz``, or a folder of ``.npy`` | ``keep``, ``labels``, and model \
outputs under one of the names of ``conversions.OUTPUTS`` |
| ``.npy`` | model outputs; ``keep`` (and ``labels``) come from separate files |
"""

import json
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int, Integer

from sam_jax import _checks
from sam_jax._checks import ArgumentError
from sam_jax.data import class_ids, safe_npz
from sam_jax.data.atomic_files import open_atomically
from sam_jax.metrics.roc import varying_columns
from sam_jax.signals import exchange
from sam_jax.signals.arrays import listed, signals_from_arrays
from sam_jax.signals.checks import check_targets
from sam_jax.signals.conversions import OUTPUTS, SignalsAre, convert
from sam_jax.types import Signals

SHARED = ("keep", "labels")
"""Fields of ``Signals`` that all algorithms of a file share."""


class LoadedSignals(NamedTuple):
    """What files hold, by training algorithm where files may differ.

    Attributes:
        signals: Checked signals.
        settings: Hyper-parameters, where a file says them.
        canaries: Columns that an audit planted (``sam_jax.data.canaries``), or empty.
        class_ids: The user's id of each class, where labels were encoded; or empty.
        logits: Where they are asked for and a file holds them.
    """

    signals: dict[str, Signals]
    settings: dict[str, dict[str, Any]]
    canaries: Int[np.ndarray, " c"]
    class_ids: Integer[np.ndarray, " k"]
    logits: dict[str, np.ndarray]


def load_signals(
    paths: Sequence[str | pathlib.Path],
    keep: str | pathlib.Path | None = None,
    labels: str | pathlib.Path | None = None,
    signals_are: str | None = None,
    as_shadows: bool = False,
    with_logits: bool = False,
) -> LoadedSignals:
    """Returns checked signals by training algorithm, and what else is known of them.

    An algorithm is called as in its audit, or else by its file's name.

    Args:
        paths: One or more files or folders.
        keep: A mask [M, N] for files that hold none: ``.npy``, or ``.npz`` with
            ``keep`` in it.
        labels: Classes [N] likewise.
        signals_are: What the model outputs are, whatever their array is called; by
            default what its name says, and phi in an ``.npy`` file.
        as_shadows: Whether the target is another model: then these may have trained on
            none of the examples.
        with_logits: Whether to keep logits, too.

    Raises:
        ArgumentError: If a file cannot be read, arrays are missing, their values cannot
            be those of an audit or mean something else than their names, or two
            algorithms have one name; the message says what to fix.
    """
    if signals_are is not None:
        _checks.literal(SignalsAre, signals_are=signals_are)
    if not paths:
        raise ArgumentError("signals", "must name at least one file, got none.")
    given = {
        name: read_array(path, name)
        for name, path in (("keep", keep), ("labels", labels))
        if path is not None
    }
    loaded = LoadedSignals({}, {}, np.zeros(0, np.int64), np.zeros(0, np.int64), {})
    for name, source, arrays in read_algorithms(paths, signals_are, "signals"):
        if source.endswith(".npy") and "keep" not in given:
            rule = f"must come with a mask, but {source!r} holds one array:"
            raise ArgumentError("signals", f"{rule} pass --keep.")
        # The separate mask and labels win over those of the file.
        arrays = arrays | given
        settings = _settings(arrays, source)
        if settings:
            loaded.settings[name] = settings
        loaded.signals[name] = signals_from_arrays(arrays, source, signals_are)
        if with_logits:
            loaded.logits.update(_logits(name, arrays, signals_are))
        if not as_shadows:
            check_targets(np.asarray(loaded.signals[name].keep))
        loaded = loaded._replace(
            canaries=_canaries(arrays, source, loaded.canaries),
            class_ids=ids_of_labels(arrays, loaded.signals[name], loaded.class_ids),
        )
    return loaded


def load_audit_signals(folder: str | pathlib.Path) -> dict[str, Signals]:
    """Returns the signals of a finished audit, by optimizer, the baseline first.

    Raises:
        ArgumentError: If the folder holds no ``signals.npz`` of an audit.
    """
    path = pathlib.Path(folder) / "signals.npz"
    if not path.is_file():
        rule = f"must be that of a finished audit: there is no {str(path)!r}."
        raise ArgumentError("folder", rule)
    # Computed by the audit itself: doubts about them are warnings.
    return load_signals([path], signals_are="phi").signals


def save_signals(
    path: str | pathlib.Path,
    signals: Mapping[str, Signals],
    *,
    canaries: Int[np.ndarray, " c"] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> None:
    """Writes signals of one audit to an ``.npz`` file, for ``load_signals``.

    Args:
        path: The file; replaced if it is there.
        signals: By training algorithm, on one keep mask and one set of labels.
        canaries: Columns of the canaries, if there are any.
        settings: Hyper-parameters, as JSON can hold them (others by their ``str``).

    Raises:
        ArgumentError: If ``path`` does not end in ``.npz``.
    """
    path = pathlib.Path(path)
    if path.suffix != ".npz":
        raise ArgumentError("path", f"must end in .npz, got {str(path)!r}.")
    first = next(iter(signals.values()))
    arrays = {name: np.asarray(getattr(first, name)) for name in SHARED}
    if canaries is not None and len(canaries):
        arrays["canaries"] = np.asarray(canaries)
    for name, fields in signals.items():
        for field, array in fields._asdict().items():
            if field not in SHARED:
                arrays[f"{name}/{field}"] = np.asarray(array)
    arrays["metadata"] = np.asarray(json.dumps(dict(settings or {}), default=str))
    write_npz(path, arrays)


def write_npz(path: pathlib.Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes an ``.npz`` file, whole or not at all."""
    with open_atomically(path) as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def read_algorithms(
    paths: Sequence[str | pathlib.Path], signals_are: str | None, argument: str
) -> Iterator[tuple[str, str, dict[str, np.ndarray]]]:
    """Yields name, source and arrays of each training algorithm (or target) of files.

    A name that cannot be shown, or is there twice, is an error about ``argument``.
    """
    names = set()
    for path in map(pathlib.Path, paths):
        for name, arrays in _read_file(path, signals_are, argument).items():
            _checks.display_name(**{argument: name})
            if name in names:
                rule = f"must have different names, got {name!r} twice"
                raise ArgumentError(argument, f"{rule}: rename one of the files.")
            names.add(name)
            source = f"{path} ({name})" if name != path.stem else str(path)
            yield name, source, arrays


def _read_file(
    path: pathlib.Path, signals_are: str | None, argument: str
) -> dict[str, dict[str, np.ndarray]]:
    """The arrays of a file by training algorithm (or target) and name."""
    if path.suffix == ".npy":
        return {path.stem: {signals_are or "phi": read_array(path, argument)}}
    arrays = None
    if os.path.isdir(path):  # unlike `Path.is_dir`, of any name
        arrays = exchange.read_folder(path, argument)
    if arrays is None:
        arrays = _read_arrays(path, argument)
    if not arrays and (folders := sorted(p.name for p in path.glob("*/"))):
        # As `--export` writes them; which is the baseline their names do not say.
        rule = f"must be folders of one algorithm each, but {path} holds the folders"
        rest = f"{', '.join(folders)}: name each, the baseline first."
        raise ArgumentError(argument, f"{rule} {rest}")
    # `NAME/field` belongs to one algorithm, an array without a name to all.
    names = list(dict.fromkeys(k.rpartition("/")[0] for k in arrays if "/" in k))
    if not names:
        return {path.stem: arrays}
    algorithms = {
        name: {key: array for key, array in arrays.items() if "/" not in key}
        for name in names
    }
    for key, array in arrays.items():
        name, slash, field = key.rpartition("/")
        if slash:
            algorithms[name][field] = array
    return algorithms


def read_array(path: str | pathlib.Path, name: str) -> np.ndarray:
    """Returns the array of an ``.npy`` file, or of this name in an ``.npz`` file.

    Raises:
        ArgumentError: If there is no such file or array, or it is pickled.
    """
    path = pathlib.Path(path)
    if path.suffix == ".npy":
        return safe_npz.read_npy(path, argument=name)
    arrays = _read_arrays(path, name)
    if name not in arrays:
        rule = f"must be an array in {str(path)!r}, which holds {listed(arrays)}."
        raise ArgumentError(name, rule)
    return arrays[name]


def _read_arrays(path: pathlib.Path, argument: str) -> dict[str, np.ndarray]:
    if os.path.isdir(path):
        return {
            file.stem: safe_npz.read_npy(file, argument=argument)
            for file in sorted(path.glob("*.npy"))
        }
    return safe_npz.read_npz(path, argument=argument)


def _logits(
    name: str, arrays: Mapping[str, np.ndarray], signals_are: str | None
) -> dict[str, np.ndarray]:
    """Logits under the name of their algorithm; {} of other outputs."""
    output = next(n for n in OUTPUTS if n in arrays)
    read_as, values = convert(arrays[output], signals_are or output, output)
    return {name: values} if read_as == "logits" else {}


def _settings(arrays: Mapping[str, np.ndarray], source: str) -> dict[str, Any]:
    """Hyper-parameters, a JSON object in a text array; {} without."""
    stored = arrays.get("metadata", np.asarray("{}"))
    try:
        settings = json.loads(str(stored)) if stored.dtype.kind == "U" else None
    except (ValueError, RecursionError):
        settings = None
    if stored.shape != () or not isinstance(settings, dict):
        rule = f"must be the text of a JSON object, got {str(stored)[:40]!r}..."
        hint = f"of dtype {stored.dtype} and shape {stored.shape}. (File: {source})"
        raise ArgumentError("metadata", f"{rule} {hint}")
    return settings


def _canaries(
    arrays: Mapping[str, np.ndarray], source: str, before: np.ndarray
) -> np.ndarray:
    """Columns of the canaries; those of the files before where there are none."""
    if "canaries" not in arrays:
        return before
    columns, num_examples = arrays["canaries"], np.shape(arrays["keep"])[1]
    is_valid = (
        columns.ndim == 1
        and columns.dtype.kind in ("iu" if columns.size else "iuf")
        and len(np.unique(columns)) == len(columns)
        and bool(((columns >= 0) & (columns < num_examples)).all())
    )
    if not is_valid:
        rule = f"must be different columns, whole numbers in [0, {num_examples}), got"
        got = f"{str(columns.tolist())[:60]} of dtype {columns.dtype}. (File: {source})"
        raise ArgumentError("canaries", f"{rule} {got}")
    pool = varying_columns(_checks.mask(keep=arrays["keep"]))
    if columns.size and not (pool[columns].all() and pool.sum() > columns.size):
        raise ArgumentError(
            "canaries",
            "must be columns that some models trained on and others not, beside other "
            f"such columns, got {str(columns.tolist())[:60]}. (File: {source})",
        )
    if before.size and not np.array_equal(before, columns):
        rule = f"must be the same in all files, but differ. (File: {source})"
        raise ArgumentError("canaries", rule)
    return columns.astype(np.int64)


def ids_of_labels(
    arrays: Mapping[str, np.ndarray], signals: Signals, before: np.ndarray
) -> np.ndarray:
    """Returns the ids of encoded labels; those of the files before where none were."""
    if "labels" not in arrays or np.array_equal(arrays["labels"], signals.labels):
        return before
    return class_ids.encode(arrays["labels"])[0]
