"""The file of a chunk: arrays, what they depend on, and a checksum over both."""

import hashlib
import json
import pathlib
import re
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import UInt8

from sam_jax.data.atomic_files import open_atomically
from sam_jax.data.safe_npz import read_npz
from sam_jax.training.identity import hash_arrays

Arrays = dict[str, np.ndarray]

PARTIAL = ".partial"
"""Ends the name of the state of a chunk that is in training."""
_ABOUT, _CHECKSUM = "about", "checksum"


def write_chunk(path: pathlib.Path, about: Mapping[str, Any], arrays: Arrays) -> None:
    """Writes the file, whole or not at all.

    Args:
        path: An ``.npz`` file, replaced if it is there.
        about: What JSON can hold.
        arrays: By name; none of them ``about`` or ``checksum``.

    Raises:
        StorageError: If it cannot be written.
    """
    members = {**arrays, _ABOUT: np.asarray(json.dumps(about, sort_keys=True))}
    with open_atomically(path) as file:
        np.savez(
            file, allow_pickle=False, **members, checksum=np.asarray(_checksum(members))
        )


def read_chunk(path: pathlib.Path) -> tuple[dict[str, Any], Arrays]:
    """Returns ``about`` and the arrays of a chunk.

    Raises:
        ValueError: If the file is damaged in any way, or is no chunk; says how.
    """
    arrays = read_npz(path)
    if not {_ABOUT, _CHECKSUM, "models"} <= arrays.keys():
        raise ValueError(f"it is no chunk of models, it holds {sorted(arrays)}")
    stored = str(arrays.pop(_CHECKSUM))
    if stored != _checksum(arrays):
        raise ValueError("its checksum is not that of its content")
    return json.loads(str(arrays.pop(_ABOUT))), arrays


def _checksum(arrays: Arrays) -> str:
    names = sorted(arrays)
    values = (np.asarray(arrays[name]) for name in names)
    return hash_arrays(np.asarray(names), *values)


def leaf_bytes(leaf: Any) -> UInt8[np.ndarray, " b"]:
    """Returns the bytes of an array of any dtype, of a random key too."""
    return np.frombuffer(np.asarray(plain_leaf(leaf)).tobytes(), np.uint8)


def leaf_from_bytes(data: UInt8[np.ndarray, " b"], like: jax.Array) -> jax.Array:
    """Returns the array that has these bytes.

    Args:
        data: From ``leaf_bytes``.
        like: An array of the same dtype, shape and place on the devices.

    Raises:
        ValueError: If the number of bytes is another one.
    """
    plain = plain_leaf(like)
    array = np.frombuffer(data.tobytes(), plain.dtype).reshape(plain.shape)
    placed = jax.device_put(array, plain.sharding)
    if plain is like:
        return placed
    return jax.random.wrap_key_data(placed, impl=jax.random.key_impl(like))


def plain_leaf(leaf: Any) -> Any:
    """Returns the numbers behind a random key; any other array as it is."""
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jax.random.key_data(leaf)
    return leaf


def name_prefix(optimizer: str) -> str:
    """Returns a name for files: legible, another one for another optimizer."""
    legible = re.sub(r"[^A-Za-z0-9.=_]+", "_", optimizer)[:40]
    return f"{legible}-{hashlib.sha256(optimizer.encode()).hexdigest()[:8]}"


def file_name(optimizer: str, models: np.ndarray) -> str:
    """Returns the name of the file of these models."""
    return f"{name_prefix(optimizer)}-{models[0]:05d}-{models[-1]:05d}.npz"


def check_name(
    path: pathlib.Path,
    optimizer: str,
    about: Mapping[str, Any],
    models: np.ndarray,
    taken: set[int],
) -> None:
    """Raises ``ValueError`` unless the file's name is that of its content."""
    if about["optimizer"] != optimizer:
        raise ValueError(f"it holds models of {about['optimizer']!r}")
    if path.name != file_name(optimizer, models):
        raise ValueError(f"it holds the models {models[0]} to {models[-1]}")
    if twice := taken & set(models.tolist()):
        raise ValueError(f"model {min(twice)} is in another file too")
