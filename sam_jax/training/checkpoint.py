"""Chunks of models on disk, so that a run that was killed goes on.

A file that is not what its name says is never used: damaged, renamed and doubled ones
are put aside as ``*.bad`` and their models trained again. A chunk whose models depend
on something else than now stops the run before it trains.
"""

import logging
import pathlib
import warnings
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from sam_jax._checks import ArgumentError
from sam_jax.data import buckets, mirrors
from sam_jax.data.atomic_files import make_folder, remove_drafts
from sam_jax.training.chunk_files import (
    PARTIAL,
    Arrays,
    check_name,
    file_name,
    leaf_bytes,
    leaf_from_bytes,
    name_prefix,
    read_chunk,
    write_chunk,
)
from sam_jax.training.chunk_training import PartialChunk
from sam_jax.training.folder_lock import FolderLock
from sam_jax.training.identity import SIGNALS, Identity, difference
from sam_jax.training.saved_models import (
    WEIGHTS_LIMIT,
    SavedModels,
    check_names,
    pop_weights,
    weight_arrays,
)
from sam_jax.types import TrainLog, TrainState


class ChunkStore:
    """The folder of a run's chunks; a context manager that holds its lock.

    Attributes:
        folder: Where the chunks are, made if need be, or the mirror of a folder in a
            bucket (``s3://...``, ``gs://...``); None keeps none.
        retrain_changed: Whether chunks that depend on something else are put aside and
            trained again, instead of stopping the run.
        shard: Number of this shard and of all shards, where several processes share
            the folder.
        save_models: Whether chunks hold the weights of their models, for
            ``load_models`` and for signals of other augmented queries, whatever their
            size; chunks without are trained again.
        weights_limit: Otherwise they do where the weights of an optimizer's models take
            at most so many bytes.
        say: Called with a line about each file that is put aside.
    """

    def __init__(
        self,
        folder: str | pathlib.Path | None,
        *,
        retrain_changed: bool = False,
        shard: tuple[int, int] | None = None,
        save_models: bool = False,
        weights_limit: int = WEIGHTS_LIMIT,
        say: Callable[[str], None] = warnings.warn,
    ):
        if folder is not None:
            folder = buckets.local_path(folder, "cache_dir")
        self.folder = folder
        self.retrain_changed, self.shard, self.say = retrain_changed, shard, say
        self.save_models, self.weights_limit = save_models, weights_limit
        self._lock = None if self.folder is None else FolderLock(self.folder, shard)

    def __enter__(self) -> "ChunkStore":
        """Locks the folder and removes what a killed run left half-written.

        Raises:
            ArgumentError: If another run is using the folder.
            StorageError: If it cannot be made or written.
        """
        if self.folder is None or self._lock is None:
            return self
        make_folder(self.folder)
        self._lock.acquire("cache_dir")
        mirrors.check_writable(self.folder)
        if self.shard is None:  # Other shards may be writing theirs.
            remove_drafts(self.folder)
        return self

    def __exit__(self, *_: Any) -> None:
        """Unlocks the folder."""
        if self._lock is not None:
            self._lock.release()

    def chunks_of(
        self, optimizer: str, make_identity: Callable[[], Identity], like: Any = None
    ) -> "OptimizerChunks":
        """Returns the chunks of one optimizer.

        Args:
            optimizer: Its name.
            make_identity: Returns what its models depend on. It traces programs, and is
                not called where nothing is kept.
            like: Shapes of weights and state of one model; None keeps no weights.
        """
        identity = None if self.folder is None else make_identity()
        chunks = OptimizerChunks(self, optimizer, identity, like)
        if self.weights_limit and chunks.weight_bytes and not chunks.keeps_weights:
            logging.getLogger(__name__).info(
                f"{optimizer}: weights ({chunks.weight_bytes / 2**30:.1f} GiB) are not "
                "kept. --save-models does; then augmented queries need no training."
            )
        return chunks

    def put_aside(self, path: pathlib.Path, reason: str) -> None:
        """Renames a file that is not used; it stays for whoever wants to look.

        Raises:
            StorageError: If it cannot be renamed.
        """
        aside = path.with_name(f"{path.name}.bad")
        mirrors.rename(path, aside)
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
        weight_bytes: Of the weights of all models.
        keeps_weights: Whether its chunks hold these.
        num_measured: Models whose signals ``load`` computed from weights.
    """

    def __init__(
        self, store: ChunkStore, optimizer: str, identity: Identity | None, like: Any
    ):
        self.store, self.optimizer, self.identity = store, optimizer, identity
        self._like, self.num_measured = like, 0
        of_one = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(like))
        self.weight_bytes = of_one * (identity.num_models if identity else 0)
        fits = self.weight_bytes <= store.weights_limit
        self.keeps_weights = fits or store.save_models
        if self.keeps_weights and like is not None:
            check_names(like)

    def load(self, measure: Callable[[SavedModels], Any] | None = None) -> list[Arrays]:
        """Returns the sound chunks in the order of their models.

        Args:
            measure: Computes the signals of chunks that have others, of weights that
                were kept.

        Returns:
            The arrays that ``save`` was given, ``models`` among them.

        Raises:
            ArgumentError: If a chunk's models depend on something else; names it.
            StorageError: If the folder is in a bucket that cannot be read.
        """
        if self.identity is None or self.store.folder is None:
            return []
        # What other machines have trained meanwhile.
        mirrors.download(self.store.folder, "cache_dir")
        chunks: list[Arrays] = []
        changed: list[tuple[pathlib.Path, str]] = []
        taken: set[int] = set()
        files = self.store.folder.glob(f"{name_prefix(self.optimizer)}-*.npz")
        for path in sorted(files):
            try:
                # Any damage is a ValueError: the models of the file train again.
                about, arrays = read_chunk(path)
                check_name(path, self.optimizer, about, arrays["models"], taken)
            except ValueError as error:
                self.store.put_aside(path, str(error))
                continue
            models = arrays["models"]
            if models[-1] >= self.identity.num_models:
                continue  # It belongs to a run of more models.
            saved = pop_weights(about.get("paths", ()), arrays, self._like)
            differs = difference(about["identity"], self.identity.of(models))
            if measure is not None and differs == f"another {SIGNALS}":
                differs += " and no weights that give them"
                if saved is not None:
                    differs = ""
                    arrays |= measure(saved)._asdict()
                    self.save(arrays, saved)
                    self.num_measured += len(models)
            if differs:
                changed.append((path, differs))
                continue
            taken.update(models.tolist())
            if saved is not None or not self.store.save_models:
                chunks.append(arrays)
        # Sound chunks of another training: stop, or put them aside if the user said so.
        for path, differs in changed:
            if not self.store.retrain_changed:
                raise ArgumentError(
                    "cache_dir",
                    "must hold models of this audit or nothing: those of "
                    f"{self.optimizer!r} in {path} have {differs}. Choose another "
                    "folder, or have them trained again.",
                )
            self.store.put_aside(path, f"its models have {differs}")
        return sorted(chunks, key=lambda arrays: int(arrays["models"][0]))

    def save(
        self, arrays: Arrays, trained: TrainState | SavedModels | None = None
    ) -> None:
        """Writes a chunk, whole or not at all, and drops what was kept of its start.

        Args:
            arrays: By name; ``models`` holds their numbers, ascending.
            trained: The models, whose weights are kept where the store keeps any.

        Raises:
            StorageError: If there is no room, or the folder is gone or read-only.
        """
        if self.identity is not None:
            path, about = self._path(arrays["models"]), self._about(arrays["models"])
            if trained is not None and self.keeps_weights:
                about_weights, weights = weight_arrays(trained)
                about, arrays = about | about_weights, arrays | weights
            # The whole chunk is on disk before its partial state goes.
            write_chunk(path, about, arrays)
            mirrors.remove(path.with_suffix(PARTIAL))

    def save_partial(self, partial: PartialChunk) -> None:
        """Keeps a chunk in the middle of its training, in place of an earlier state."""
        if self.identity is None:
            return
        # As bytes: .npz has no bfloat16 and no random keys.
        leaves = jax.tree.leaves(partial.state)
        arrays = {f"leaf{i}": leaf_bytes(leaf) for i, leaf in enumerate(leaves)}
        arrays |= {"models": partial.models, "epoch": np.asarray(partial.epoch)}
        arrays |= {"diverged": partial.diverged} | partial.log._asdict()
        path = self._path(partial.models).with_suffix(PARTIAL)
        write_chunk(path, self._about(partial.models), arrays)

    def resume(self, start: PartialChunk) -> PartialChunk:
        """Returns the chunk as it was last kept, or its start.

        Args:
            start: The chunk before its first epoch.
        """
        if self.identity is None:
            return start
        path = self._path(start.models).with_suffix(PARTIAL)
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
        return self.store.folder / file_name(self.optimizer, models)

    def _about(self, models: np.ndarray) -> dict[str, Any]:
        identity = None if self.identity is None else self.identity.of(models)
        return {"optimizer": self.optimizer, "identity": identity}
