"""A checkpoint that plain Orbax restores, what it is in JSON, and checksums of both.

``NAME/`` is the checkpoint, ``NAME.json`` says what it is, and ``NAME.sha256`` is for
``sha256sum --check`` as well as for ``read_checkpoint``: Orbax itself does not notice
every turned bit. The checksums are written last, so that a checkpoint without them is
one whose writing was ended.
"""

import functools
import hashlib
import json
import operator
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import numpy as np

from sam_jax.data import mirrors
from sam_jax.data.atomic_files import StorageError, make_folder
from sam_jax.data.result_files import write_json, write_text
from sam_jax.training import chunk_files
from sam_jax.training.chunk_files import Arrays

CHECKSUMS = ".sha256"
_ABOUT = ".json"


def write_checkpoint(
    folder: pathlib.Path, about: Mapping[str, Any], tree: Mapping[str, Any]
) -> None:
    """Writes the checkpoint and the two files beside it, in place of earlier ones.

    Args:
        folder: Of the checkpoint.
        about: What JSON can hold.
        tree: Nested dicts of NumPy arrays, none of them empty.

    Raises:
        StorageError: If it cannot be written.
    """
    folder = folder.absolute()
    mirrors.remove(_beside(folder, CHECKSUMS))
    try:
        with _checkpointer() as checkpointer:
            checkpointer.save(folder, tree, force=True)
            checkpointer.wait_until_finished()
    except (OSError, ValueError) as error:  # a full disk is a ValueError of Orbax
        raise StorageError(
            f"{folder} could not be written: {str(error).splitlines()[0]}"
        ) from error
    mirrors.upload(folder)
    write_json(_beside(folder, _ABOUT), about)
    lines = [f"{_sha256(path)}  {name}\n" for name, path in _files(folder).items()]
    write_text(_beside(folder, CHECKSUMS), "".join(lines))


def list_checkpoints(folder: pathlib.Path) -> list[pathlib.Path]:
    """Returns the checkpoints in a folder, those without checksums among them."""
    checkpoints = {path for path in folder.iterdir() if path.is_dir()}
    for suffix in (_ABOUT, CHECKSUMS):
        checkpoints |= {path.with_suffix("") for path in folder.glob(f"*{suffix}")}
    return sorted(checkpoints)


def read_about(folder: pathlib.Path) -> dict[str, Any]:
    """Returns what a checkpoint is, once all of its files are as they were written.

    Raises:
        ValueError: If one is missing, damaged or was not there; names it.
    """
    if not _beside(folder, CHECKSUMS).exists():
        raise ValueError(
            f"it was not written to its end, {folder.name}{CHECKSUMS} is missing"
        )
    text = _beside(folder, CHECKSUMS).read_text(errors="replace")
    stored = {}
    for line in text.splitlines():
        digest, _, name = line.partition("  ")
        stored[name] = digest
    files = _files(folder)
    for name in sorted(stored.keys() | files.keys()):
        if name not in files:
            raise ValueError(f"{name} is missing")
        if name not in stored:
            raise ValueError(f"{name} has no checksum in {folder.name}{CHECKSUMS}")
        if stored[name] != _sha256(files[name]):
            raise ValueError(f"{name} is damaged, its checksum is another one")
    return json.loads(_beside(folder, _ABOUT).read_text())


def read_arrays(path: pathlib.Path, about: Mapping[str, Any]) -> Arrays:
    """Returns the arrays of a checkpoint by the names that they have in a chunk.

    Args:
        path: Of the checkpoint.
        about: From ``read_about``, which says whether they are sound.
    """
    with _checkpointer() as checkpointer:
        tree = checkpointer.restore(path.absolute())
    arrays = {"models": np.asarray(about["models"])}
    for keys in about["paths"]:
        key = "/".join(keys)
        if key in about["empty"]:
            arrays[key] = np.zeros(about["empty"][key], np.float32)
        else:
            arrays[key] = np.asarray(functools.reduce(operator.getitem, keys, tree))
    return arrays


def nested(leaves: Mapping[tuple[str, ...], np.ndarray]) -> tuple[Any, Any]:
    """Returns weights and state as nested dicts, of their leaves by path."""
    tree: dict[str, Any] = {"params": {}, "state": {}}
    for (*outer, last), leaf in leaves.items():
        place = tree
        for key in outer:
            place = place.setdefault(key, {})
        place[last] = leaf
    return tree["params"], tree["state"]


def export_models(
    chunks: pathlib.Path,
    optimizers: Iterable[str],
    num_models: int,
    folder: pathlib.Path,
) -> None:
    """Writes an Orbax checkpoint of each chunk, one after the other.

    Each says how many models of which optimizers all of them together hold.

    Args:
        chunks: Folder of chunks that hold weights.
        optimizers: Whose models to write.
        num_models: Models of an optimizer in the run; the folder may have more.
        folder: Replaced if it is there.

    Raises:
        StorageError: If a checkpoint cannot be written.
    """
    mirrors.remove(folder)  # Of a run that was killed here.
    make_folder(folder)
    total = dict.fromkeys(optimizers, num_models)
    for name in total:
        for path in sorted(chunks.glob(f"{chunk_files.name_prefix(name)}-*.npz")):
            about, arrays = chunk_files.read_chunk(path)
            if arrays["models"][-1] >= num_models:
                continue
            about |= {"models": arrays["models"].tolist(), "empty": {}, "total": total}
            leaves = {}
            for keys in about["paths"]:
                key = "/".join(keys)
                dtype = about.get("dtypes", {}).get(key, arrays[key].dtype)
                if arrays[key].size:
                    leaves[tuple(keys)] = arrays[key].astype(dtype)
                else:  # Orbax writes none of these.
                    about["empty"][key] = arrays[key].shape
            params, state = nested(leaves)
            tree = {"params": params, "state": state}
            write_checkpoint(folder / path.stem, about, tree)


def _checkpointer() -> Any:
    """Of this process alone: others of the job may have ended."""
    import orbax.checkpoint as ocp  # it takes a second

    process = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(
        primary_host=process, active_processes={process}
    )
    return ocp.StandardCheckpointer(multiprocessing_options=alone)


def _beside(folder: pathlib.Path, suffix: str) -> pathlib.Path:
    return folder.with_name(folder.name + suffix)


def _files(folder: pathlib.Path) -> dict[str, pathlib.Path]:
    """The files of a checkpoint, by path from the folder that it is in."""
    paths = [_beside(folder, _ABOUT), *sorted(folder.rglob("*"))]
    return {
        path.relative_to(folder.parent).as_posix(): path
        for path in paths
        if path.is_file()
    }


def _sha256(path: pathlib.Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
