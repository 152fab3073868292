"""Weights of an audit's models on disk, and back.

They are in the files of chunks (``chunk_files``): arrays ``params/LAYER/NAME`` and
``state/...`` with a leading axis of models, in plain ``.npz`` that NumPy reads without
JAX, whole or not at all, with a checksum.
"""

import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Int

from sam_jax import _checks
from sam_jax._checks import ArgumentError
from sam_jax.data.mirrors import open_folder
from sam_jax.training.chunk_files import Arrays, plain_leaf, read_chunk
from sam_jax.training.identity import OF_CHUNKS
from sam_jax.types import ModelState, Params, TrainState

WEIGHTS_LIMIT = 2**30
"""Bytes up to which an optimizer's weights are kept in its chunks by default."""
_PARTS = ("params", "state")


class SavedModels(NamedTuple):
    """Trained models of one optimizer, as they were saved.

    Attributes:
        models: Their numbers, ascending: rows of the audit's mask.
        params: Weights, with a leading axis over ``models``.
        state: Batch statistics and the like, likewise.
    """

    models: Int[np.ndarray, "k"]
    params: Params
    state: ModelState

    def take(self, models: Any) -> "SavedModels":
        """Returns some of the models, by number.

        Raises:
            ArgumentError: If one was not saved.
        """
        numbers = np.atleast_1d(np.asarray(models))
        missing = np.setdiff1d(numbers, self.models)
        if missing.size:
            raise ArgumentError("models", f"must be saved, got {missing.tolist()}.")
        rows = np.searchsorted(self.models, numbers)
        params, state = jax.tree.map(lambda a: a[rows], self[1:])
        return SavedModels(numbers, params, state)


def load_models(
    folder: str | pathlib.Path,
    like: tuple[Params, ModelState] | None = None,
    optimizers: Sequence[str] = (),
) -> dict[str, SavedModels]:
    """Returns the models that an audit saved, by optimizer.

    Args:
        folder: ``models`` of a run with ``--save-models``, or a ``--cache-dir``
            (``cache_dir``) whose chunks hold weights.
        like: Weights and state of any one model (``model.init``), or their shapes,
            whose structure the result has; nested dicts without.
        optimizers: Whose models to keep; of all by default.

    Raises:
        ArgumentError: If the folder holds no models or none of an optimizer, or a file
            is damaged or of another structure; names it.

    Example:
        >>> models = load_models("runs/audit/default/models")  # doctest: +SKIP
        >>> params, state = models["sam"].take(3)[1:]  # doctest: +SKIP
    """
    by_optimizer: dict[str, list[Arrays]] = {}
    paths_of: dict[str, list[list[str]]] = {}
    identities: dict[str, dict[str, str]] = {}
    files = sorted(open_folder(folder, "folder").glob("*.npz"))
    if not files:
        raise ArgumentError("folder", f"must hold saved models, got {folder}.")
    for file in files:
        try:
            about, arrays = read_chunk(file)
            name, paths = about["optimizer"], about.get("paths")
            if not paths:
                raise ValueError("holds no weights")
            # Names of layers may hold slashes, so paths are kept beside the arrays.
            if paths_of.setdefault(name, paths) != paths:
                raise ValueError("its network is another one's")
            identity = about["identity"]
            shared = {k: v for k, v in identity.items() if k not in OF_CHUNKS}
            if identities.setdefault(name, shared) != shared:
                raise ValueError("its models are those of another training")
        except (ValueError, LookupError) as error:
            raise ArgumentError(
                "folder", f"must hold saved models, but {file}: {error}"
            ) from error
        # Others' weights are not kept: a set of models may be all that fits.
        if not optimizers or name in optimizers:
            by_optimizer.setdefault(name, []).append(arrays)
    for name in optimizers:
        _checks.one_of(paths_of, optimizers=name)
    loaded = {}
    for name, chunks in by_optimizer.items():
        models = np.concatenate([chunk["models"] for chunk in chunks])
        # Files are in the order of their names, models are to be in that of the mask.
        order = np.argsort(models)
        leaves = {}
        for path in paths_of[name]:
            key = "/".join(path)
            leaves[tuple(path)] = np.concatenate([c[key] for c in chunks])[order]
        parts = _nested(leaves) if like is None else _filled(leaves, like, folder)
        loaded[name] = SavedModels(models[order], *parts)
    return loaded


def weight_arrays(trained: TrainState | SavedModels) -> tuple[list[list[str]], Arrays]:
    """Returns weights and state by name, and the paths that the names are made of."""
    leaves = _leaves((trained.params, trained.state))
    arrays = {"/".join(path): leaf for path, leaf in leaves.items()}
    return [list(path) for path in leaves], arrays


def pop_weights(
    paths: Sequence[Sequence[str]],
    arrays: Arrays,
    like: tuple[Params, ModelState] | None,
) -> SavedModels | None:
    """Takes the weights out of a chunk's arrays; None where they are not of ``like``.

    Args:
        paths: From ``weight_arrays``.
        arrays: With ``models`` among them.
        like: Weights and state of any one model, or their shapes.
    """
    leaves = {tuple(path): arrays.pop("/".join(path)) for path in paths}
    if like is None:
        return None
    try:
        return SavedModels(arrays["models"], *_filled(leaves, like, "the chunk"))
    except ArgumentError:
        return None


def _leaves(parts: tuple[Any, Any]) -> dict[tuple[str, ...], np.ndarray]:
    """Leaves by the path to them; bfloat16, which NumPy has not, as float32."""
    leaves = {}
    for path, leaf in _named(parts):
        array = np.asarray(plain_leaf(leaf))
        leaves[path] = array.astype(np.float32) if array.dtype.kind == "V" else array
    return leaves


def _named(parts: tuple[Any, Any]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, tree in zip(_PARTS, parts, strict=True):
        for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
            keys = [jax.tree_util.keystr((key,), simple=True) for key in path]
            yield (name, *keys), leaf


def _nested(leaves: Mapping[tuple[str, ...], np.ndarray]) -> tuple[Any, Any]:
    tree: dict[str, Any] = {name: {} for name in _PARTS}
    for (*outer, last), leaf in leaves.items():
        place = tree
        for key in outer:
            place = place.setdefault(key, {})
        place[last] = leaf
    return tree["params"], tree["state"]


def _filled(
    leaves: Mapping[tuple[str, ...], np.ndarray],
    like: tuple[Any, Any],
    folder: str | pathlib.Path,
) -> Any:
    """The leaves in the structure of one model, whose shapes they must have."""
    for path, leaf in _named(like):
        stored = leaves.get(path)
        if stored is None or stored.shape[1:] != leaf.shape:
            shape = "none" if stored is None else stored.shape[1:]
            raise ArgumentError(
                "like",
                f"must be of the network that was saved in {folder}: {'/'.join(path)} "
                f"has the shape {leaf.shape}, saved is {shape}.",
            )
    structure = jax.tree.structure(like)
    # In their own precision again: see `_leaves`.
    restored = [leaves[path].astype(leaf.dtype) for path, leaf in _named(like)]
    return jax.tree.unflatten(structure, restored)
