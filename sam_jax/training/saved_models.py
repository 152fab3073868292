"""Weights of an audit's models on disk, and back.

A run's are Orbax checkpoints (``orbax_files``), one for each chunk, of a tree with
``params`` and ``state``. Chunks that a run goes on from hold them in ``.npz``
(``chunk_files``), as arrays ``params/LAYER/NAME``. In both each array has a leading
axis of models.
"""

import collections
import contextlib
import functools
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from sam_jax import _checks
from sam_jax._checks import ArgumentError
from sam_jax.data.mirrors import open_folder
from sam_jax.training import orbax_files
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
        folder: ``models`` of a run with ``--save-models`` (Orbax checkpoints), or a
            ``--cache-dir`` (``cache_dir``) whose chunks hold weights.
        like: Weights and state of any one model (``model.init``), or their shapes,
            whose structure the result has; nested dicts without.
        optimizers: Whose models to keep; of all by default.

    Raises:
        ArgumentError: If the folder holds no models or none of an optimizer, or not all
            of a run's, or a file is damaged or of another structure; names it.

    Example:
        >>> models = load_models("runs/audit/default/models")  # doctest: +SKIP
        >>> params, state = models["sam"].take(3)[1:]  # doctest: +SKIP
    """
    by_optimizer: dict[str, list[Arrays]] = {}
    layouts: dict[str, Any] = {}
    totals: dict[str, int] = {}
    for path, about, read in _saved_chunks(open_folder(folder, "folder")):
        with _refused(path):
            name = about["optimizer"]
            if not about.get("paths"):
                raise ValueError("it holds no weights")
            identity = about["identity"]
            shared = {k: v for k, v in identity.items() if k not in OF_CHUNKS}
            layout = about["paths"], about.get("dtypes", {}), shared
            before = layouts.setdefault(name, layout)
            if before[:2] != layout[:2]:
                raise ValueError("its network is another one's")
            if before != layout:
                raise ValueError("its models are those of another training")
            # Others' weights are not kept: a set of models may be all that fits.
            if not optimizers or name in optimizers:
                by_optimizer.setdefault(name, []).append(read())
            totals |= about.get("total", {})  # Chunks of a run that goes on have none.
    for name in optimizers:
        _checks.one_of(layouts, optimizers=name)
    for name in optimizers or totals:
        held = sum(len(chunk["models"]) for chunk in by_optimizer.get(name, ()))
        if held != totals.get(name, held):
            rule = f"must hold all {totals[name]} models of {name!r}, but {folder} was"
            raise ArgumentError("folder", f"{rule} not written to its end: {held}.")
    loaded = {}
    for name, chunks in by_optimizer.items():
        paths, dtypes, _ = layouts[name]
        models = np.concatenate([chunk["models"] for chunk in chunks])
        # Files are in the order of their names, models are to be in that of the mask.
        order = np.argsort(models)
        leaves = {}
        for path in paths:
            key = "/".join(path)
            leaf = np.concatenate([chunk[key] for chunk in chunks])[order]
            leaves[tuple(path)] = leaf.astype(dtypes.get(key, leaf.dtype))
        parts = (
            orbax_files.nested(leaves)
            if like is None
            else _filled(leaves, like, folder)
        )
        loaded[name] = SavedModels(models[order], *parts)
    return loaded


def _saved_chunks(
    folder: pathlib.Path,
) -> Iterator[tuple[pathlib.Path, dict[str, Any], Callable[[], Arrays]]]:
    """What each chunk in the folder is, and a function that reads its arrays."""
    chunks = sorted(folder.glob("*.npz"))
    checkpoints = []
    if not chunks and folder.is_dir():
        checkpoints = orbax_files.list_checkpoints(folder)
    if not chunks and not checkpoints:
        raise ArgumentError("folder", f"must hold saved models, got {folder}.")
    for path in chunks:
        with _refused(path):
            about, arrays = read_chunk(path)
        yield path, about, functools.partial(dict, arrays)
    for path in checkpoints:
        with _refused(path):
            about = orbax_files.read_about(path)
        yield path, about, functools.partial(orbax_files.read_arrays, path, about)


@contextlib.contextmanager
def _refused(path: pathlib.Path) -> Iterator[None]:
    """Names the file of which something is wrong."""
    try:
        yield
    except (ValueError, LookupError, OSError) as error:
        raise ArgumentError(
            "folder", f"must hold saved models, but {path}: {error}."
        ) from error


def weight_arrays(trained: TrainState | SavedModels) -> tuple[dict[str, Any], Arrays]:
    """Returns what a chunk says about its weights, and weights and state by name.

    That is ``paths``, which the names are made of, and ``dtypes``: those that ``.npz``
    has not, such as bfloat16, whose arrays are float32 there.

    Raises:
        ArgumentError: As ``check_names``.
    """
    check_names((trained.params, trained.state))
    about: dict[str, Any] = {"paths": [], "dtypes": {}}
    arrays = {}
    for path, leaf in _named((trained.params, trained.state)):
        name, array = "/".join(path), np.asarray(plain_leaf(leaf))
        if array.dtype.kind == "V":
            about["dtypes"][name] = str(array.dtype)
            array = array.astype(np.float32)
        about["paths"].append(list(path))
        arrays[name] = array
    return about, arrays


def check_names(parts: tuple[Any, Any]) -> None:
    """Refuses weights of which two would have one name on disk.

    Args:
        parts: Weights and state, or their shapes.

    Raises:
        ArgumentError: If two paths are the same but for dots and slashes.
    """
    names = collections.Counter(
        "/".join(path).replace(".", "/") for path, _ in _named(parts)
    )
    if twice := sorted(name for name, count in names.items() if count > 1):
        raise ArgumentError(
            "model",
            "must have names of layers that differ in more than dots and slashes where "
            f"weights are kept, got {twice[0]} twice.",
        )


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


def _named(parts: tuple[Any, Any]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, tree in zip(_PARTS, parts, strict=True):
        for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
            keys = [jax.tree_util.keystr((key,), simple=True) for key in path]
            yield (name, *keys), leaf


def _filled(
    leaves: Mapping[tuple[str, ...], np.ndarray],
    like: tuple[Any, Any],
    folder: str | pathlib.Path,
) -> Any:
    """The leaves in the structure of one model, whose shapes they must have."""
    plain = jax.eval_shape(lambda tree: jax.tree.map(plain_leaf, tree), like)
    for path, leaf in _named(plain):
        stored = leaves.get(path)
        if stored is None or stored.shape[1:] != leaf.shape:
            shape = "none" if stored is None else stored.shape[1:]
            raise ArgumentError(
                "like",
                f"must be of the network that was saved in {folder}: {'/'.join(path)} "
                f"has the shape {leaf.shape}, saved is {shape}.",
            )
    structure = jax.tree.structure(like)
    # In their own precision again: older chunks hold bfloat16 as float32.
    restored = [leaves[path].astype(leaf.dtype) for path, leaf in _named(plain)]
    return jax.tree.map(_as_key, jax.tree.unflatten(structure, restored), like)


def _as_key(array: np.ndarray, like: Any) -> Any:
    """Random keys where ``like`` is one; any other array as it is."""
    if jax.dtypes.issubdtype(like.dtype, jax.dtypes.prng_key):
        key = jnp.empty((), like.dtype)  # `like` may be a shape alone.
        return jax.random.wrap_key_data(
            jnp.asarray(array), impl=jax.random.key_impl(key)
        )
    return array
