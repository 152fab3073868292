"""Chunks of models on disk, so that a run that was killed goes on.

A file that is not what its name says is never used: damaged, renamed and doubled ones
are put aside as ``*.bad`` and their models trained again. A chunk whose models depend
on something else than now stops the run before it trains.
"""

import hashlib
import pathlib
import re
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from sam_jax._checks import ArgumentError
from sam_jax.data.atomic_files import StorageError, make_folder, remove_drafts
from sam_jax.training.chunk_files import (
    Arrays,
    leaf_bytes,
    leaf_from_bytes,
    read_chunk,
    write_chunk,
)
from sam_jax.training.chunk_training import PartialChunk
from sam_jax.training.folder_lock import FolderLock
from sam_jax.training.identity import Identity
from sam_jax.training.saved_models import has_models, write_models
from sam_jax.types import TrainLog, TrainState


class ChunkStore:
    """The folder of a run's chunks; a context manager that holds its lock.

    Attributes:
        folder: Where the chunks are, made if need be; None keeps none.
        retrain_changed: Whether chunks that depend on something else are put aside and
            trained again, instead of stopping the run.
        shard: Number of this shard and of all shards, where several processes share
            the folder.
        save_models: Where weights are kept too, for ``load_models``; None keeps none.
            Chunks whose weights are not there are trained again.
        say: Called with a line about each file that is put aside.
    """

    def __init__(
        self,
        folder: str | pathlib.Path | None,
        *,
        retrain_changed: bool = False,
        shard: tuple[int, int] | None = None,
        save_models: str | pathlib.Path | None = None,
        say: Callable[[str], None] = warnings.warn,
    ):
        self.folder = None if folder is None else pathlib.Path(folder)
        self.retrain_changed, self.shard, self.say = retrain_changed, shard, say
        self.save_models = None if save_models is None else pathlib.Path(save_models)
        self._lock = None if self.folder is None else FolderLock(self.folder, shard)

    def __enter__(self) -> "ChunkStore":
        """Locks the folder and removes what a killed run left half-written.

        Raises:
            ArgumentError: If another run is using the folder.
            StorageError: If it cannot be made or written.
        """
        if self.save_models is not None:
            make_folder(self.save_models)
        if self.folder is None or self._lock is None:
            return self
        make_folder(self.folder)
        self._lock.acquire("cache_dir")
        if self.shard is None:  # Other shards may be writing theirs.
            remove_drafts(self.folder)
        return self

    def __exit__(self, *_: Any) -> None:
        """Unlocks the folder."""
        if self._lock is not None:
            self._lock.release()

    def chunks_of(
        self, optimizer: str, make_identity: Callable[[], Identity]
    ) -> "OptimizerChunks":
        """Returns the chunks of one optimizer.

        Args:
            optimizer: Its name.
            make_identity: Returns what its models depend on. It traces programs, and is
                not called where nothing is kept.
        """
        if self.folder is None:
            return OptimizerChunks(self, optimizer, None)
        return OptimizerChunks(self, optimizer, make_identity())

    def put_aside(self, path: pathlib.Path, reason: str) -> None:
        """Renames a file that is not used; it stays for whoever wants to look.

        Raises:
            StorageError: If it cannot be renamed.
        """
        aside = path.with_name(f"{path.name}.bad")
        try:
            path.replace(aside)
        except OSError as error:
            raise StorageError(
                error.errno, f"{path} could not be renamed: {error.strerror}"
            ) from error
        self.say(
            f"{path} is not used, its models are trained again (it is kept as "
            f"{aside.name}): {reason}"
        )


class OptimizerChunks:
    """The chunks of one optimizer in a ``ChunkStore``.

    Attributes:
        store: Where they are.
        optimizer: Its name.
        identity: What its models depend on now; None where nothing is kept.
    """

    def __init__(self, store: ChunkStore, optimizer: str, identity: Identity | None):
        self.store, self.optimizer, self.identity = store, optimizer, identity

    def load(self) -> list[Arrays]:
        """Returns the sound chunks in the order of their models.

        Returns:
            The arrays that ``save`` was given, ``models`` among them.

        Raises:
            ArgumentError: If a chunk's models depend on something else; names it.
        """
        if self.identity is None or self.store.folder is None:
            return []
        chunks: list[Arrays] = []
        changed: list[tuple[pathlib.Path, str]] = []
        taken: set[int] = set()
        for path in sorted(self.store.folder.glob(f"{_prefix(self.optimizer)}-*.npz")):
            try:
                # Any damage is a ValueError: the models of the file train again.
                about, arrays = read_chunk(path)
                _check_name(path, self.optimizer, about, arrays["models"], taken)
            except ValueError as error:
                self.store.put_aside(path, str(error))
                continue
            models = arrays["models"]
            if models[-1] >= self.identity.num_models:
                continue  # It belongs to a run of more models.
            if difference := _difference(about["identity"], self.identity.of(models)):
                changed.append((path, difference))
                continue
            taken.update(models.tolist())
            weights = self._weights_path(models)
            if weights is None or has_models(weights, self._about(models)):
                chunks.append(arrays)
        # Sound chunks of another training: stop, or put them aside if the user said so.
        for path, difference in changed:
            if not self.store.retrain_changed:
                raise ArgumentError(
                    "cache_dir",
                    "must hold models of this audit or nothing: those of "
                    f"{self.optimizer!r} in {path} have {difference}. Choose another "
                    "folder, or have them trained again.",
                )
            self.store.put_aside(path, f"its models have {difference}")
        return sorted(chunks, key=_first_model)

    def save(self, arrays: Arrays, trained: TrainState | None = None) -> None:
        """Writes a chunk, whole or not at all, and drops what was kept of its start.

        Args:
            arrays: By name; ``models`` holds their numbers, ascending.
            trained: The models, whose weights are kept where the store keeps any.

        Raises:
            StorageError: If there is no room, or the folder is gone or read-only.
        """
        weights = self._weights_path(arrays["models"])
        if weights is not None and trained is not None:
            about = self._about(arrays["models"])
            write_models(weights, about, arrays["models"], trained)
        if self.identity is not None:
            # The whole chunk is on disk before its partial state goes.
            path = self._path(arrays["models"])
            write_chunk(path, self._about(arrays["models"]), arrays)
            _partial(path).unlink(missing_ok=True)

    def save_partial(self, partial: PartialChunk) -> None:
        """Keeps a chunk in the middle of its training, in place of an earlier state."""
        if self.identity is None:
            return
        # As bytes: .npz has no bfloat16 and no random keys.
        leaves = jax.tree.leaves(partial.state)
        arrays = {f"leaf{i}": leaf_bytes(leaf) for i, leaf in enumerate(leaves)}
        arrays |= {"models": partial.models, "epoch": np.asarray(partial.epoch)}
        arrays |= {"diverged": partial.diverged} | partial.log._asdict()
        path = _partial(self._path(partial.models))
        write_chunk(path, self._about(partial.models), arrays)

    def resume(self, start: PartialChunk) -> PartialChunk:
        """Returns the chunk as it was last kept, or its start.

        Args:
            start: The chunk before its first epoch.
        """
        if self.identity is None:
            return start
        path = _partial(self._path(start.models))
        if not path.exists():
            return start
        # The start gives the tree, and the dtype, shape and placement of each leaf.
        leaves, structure = jax.tree.flatten(start.state)
        try:
            about, arrays = read_chunk(path)
            if about != self._about(start.models):
                raise ValueError("its models are not those that train now")
            state = [
                leaf_from_bytes(arrays[f"leaf{i}"], leaf)
                for i, leaf in enumerate(leaves)
            ]
        except (ValueError, LookupError) as error:
            self.store.put_aside(path, str(error))
            return start
        return PartialChunk(
            start.models,
            int(arrays["epoch"]),
            jax.tree.unflatten(structure, state),
            TrainLog(arrays["loss"], arrays["accuracy"]),
            arrays["diverged"],
        )

    def _path(self, models: np.ndarray) -> pathlib.Path:
        assert self.store.folder is not None
        return self.store.folder / _file_name(self.optimizer, models)

    def _weights_path(self, models: np.ndarray) -> pathlib.Path | None:
        folder = self.store.save_models
        return None if folder is None else folder / _file_name(self.optimizer, models)

    def _about(self, models: np.ndarray) -> dict[str, Any]:
        identity = None if self.identity is None else self.identity.of(models)
        return {"optimizer": self.optimizer, "identity": identity}


def _prefix(optimizer: str) -> str:
    """A name for files: legible, and different for different optimizers."""
    legible = re.sub(r"[^A-Za-z0-9.=_]+", "_", optimizer)[:40]
    return f"{legible}-{hashlib.sha256(optimizer.encode()).hexdigest()[:8]}"


def _file_name(optimizer: str, models: np.ndarray) -> str:
    return f"{_prefix(optimizer)}-{models[0]:05d}-{models[-1]:05d}.npz"


def _partial(path: pathlib.Path) -> pathlib.Path:
    return path.with_suffix(".partial")


def _first_model(arrays: Arrays) -> int:
    return int(arrays["models"][0])


def _check_name(
    path: pathlib.Path,
    optimizer: str,
    about: Mapping[str, Any],
    models: np.ndarray,
    taken: set[int],
) -> None:
    """Raises ``ValueError`` unless the file's name is that of its content."""
    if about["optimizer"] != optimizer:
        raise ValueError(f"it holds models of {about['optimizer']!r}")
    if path.name != _file_name(optimizer, models):
        raise ValueError(f"it holds the models {models[0]} to {models[-1]}")
    if twice := taken & set(models.tolist()):
        raise ValueError(f"model {min(twice)} is in another file too")


def _difference(then: Mapping[str, str], now: Mapping[str, str]) -> str:
    """What differs, in words; "" if nothing does."""
    names = [k for k in now if then.get(k) != now[k]] + sorted(then.keys() - now.keys())
    if len(names) > 1 and "training program" in names:
        names.remove("training program")  # It changes with the optimizer and the rest.
    texts = []
    for name in names:
        before, after = then.get(name, "none"), now.get(name, "none")
        # Hashes tell a reader nothing; versions and settings do.
        is_hash = len(before) == 64 or len(after) == 64
        texts.append(name if is_hash else f"{name} ({before}; now {after})")
    return f"another {', another '.join(texts)}" if texts else ""
