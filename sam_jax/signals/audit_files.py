"""Signals of one or more recipes from files: an audit's own, or anybody's.

| file | content |
| --- | --- |
| ``.npz`` of an audit | ``keep``, ``labels``, and ``NAME/phi`` (...) for each recipe |
| any other ``.npz``, or a folder of ``.npy`` | what ``signals.load_signals`` reads |
| ``.npy`` | phi [M, N] or [M, N, Q]; or logits [M, N, C] or [M, N, Q, C] where \
told so; ``keep`` (and ``labels``) come from files of their own |
"""

import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from sam_jax._checks import ArgumentError
from sam_jax.signals.files import load_metadata, read_arrays, signals_from_arrays
from sam_jax.types import Signals

KINDS = ("phi", "logits")


class Recipes(NamedTuple):
    """What files hold.

    Attributes:
        signals: Checked signals by recipe.
        settings: Hyper-parameters by recipe, where a file says them.
        canaries: Columns that an audit planted (``sam_jax.data.canaries``), or empty.
    """

    signals: dict[str, Signals]
    settings: dict[str, dict[str, Any]]
    canaries: Int[np.ndarray, " c"]


def load_recipes(
    paths: Sequence[str | pathlib.Path],
    keep: str | pathlib.Path | None = None,
    labels: str | pathlib.Path | None = None,
    kind: str = "phi",
) -> Recipes:
    """Returns checked signals by recipe, and what else is known of them.

    A recipe is called as in its audit, or else by its file's name.

    Args:
        paths: One or more files or folders.
        keep: A mask [M, N] for files that hold none: ``.npy``, or ``.npz`` with
            ``keep`` in it.
        labels: Classes [N] likewise.
        kind: What an ``.npy`` file holds: ``"phi"`` or ``"logits"``.

    Raises:
        ValueError: If a file cannot be read, arrays are missing or their values cannot
            be those of an audit, or two recipes have one name; the message says what
            to fix.
    """
    if kind not in KINDS:
        raise ArgumentError("kind", f"must be one of {', '.join(KINDS)}; got {kind!r}.")
    if not paths:
        raise ArgumentError("signals", "must name at least one file, got none.")
    shared = {
        name: read_array(path, name)
        for name, path in (("keep", keep), ("labels", labels))
        if path is not None
    }
    found: dict[str, Signals] = {}
    settings: dict[str, dict[str, Any]] = {}
    canaries = np.zeros(0, np.int64)
    for path in map(pathlib.Path, paths):
        known = load_metadata(path) if path.suffix == ".npz" else {}
        for name, arrays in _recipes(path, kind).items():
            if name in found:
                raise ArgumentError(
                    "signals",
                    f"must have different names, got {name!r} twice: rename "
                    "one of the files.",
                )
            source = f"{path} ({name})" if name != path.stem else str(path)
            if path.suffix == ".npy" and "keep" not in shared:
                raise ValueError(
                    f"{path} holds one array, so the mask must come from another file: "
                    "pass --keep."
                )
            found[name] = signals_from_arrays(arrays | shared, source)
            if known:
                settings[name] = known
            canaries = arrays.get("canaries", canaries)
    return Recipes(found, settings, canaries)


def _recipes(path, kind) -> dict[str, dict[str, np.ndarray]]:
    """Arrays by recipe and name."""
    if path.suffix == ".npy":
        return {path.stem: {kind: read_array(path, kind)}}
    arrays = read_arrays(path)
    arrays.pop("metadata", None)
    names = list(dict.fromkeys(k.rpartition("/")[0] for k in arrays if "/" in k))
    if not names:
        return {path.stem: arrays}
    shared = {key: array for key, array in arrays.items() if "/" not in key}
    return {
        name: shared
        | {
            key.removeprefix(f"{name}/"): array
            for key, array in arrays.items()
            if key.rpartition("/")[0] == name
        }
        for name in names
    }


def read_array(path: str | pathlib.Path, name: str) -> np.ndarray:
    """Returns the array of an ``.npy`` file, or of this name in an ``.npz`` file.

    Raises:
        ValueError: If there is no such file or array, or it is pickled.
    """
    path = pathlib.Path(path)
    if path.suffix != ".npy":
        arrays = read_arrays(path)
        if name not in arrays:
            raise ArgumentError(
                str(path), f"must hold {name}; it holds {sorted(arrays)}."
            )
        return arrays[name]
    try:
        return np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise ArgumentError(
            name, f"must be in a file that exists: no {path}."
        ) from None
    except (ValueError, EOFError) as error:
        raise ArgumentError(
            str(path), f"must be an .npy file of a plain array (no pickles): {error}"
        ) from error
