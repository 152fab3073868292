"""The file of a chunk: arrays, what they depend on, and a checksum over both."""

import json
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import UInt8

from sam_jax.data.atomic_files import open_atomically
from sam_jax.data.safe_npz import read_npz
from sam_jax.training.identity import hash_arrays

Arrays = dict[str, np.ndarray]

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
    return np.frombuffer(np.asarray(_plain(leaf)).tobytes(), np.uint8)


def leaf_from_bytes(data: UInt8[np.ndarray, " b"], like: jax.Array) -> jax.Array:
    """Returns the array that has these bytes.

    Args:
        data: From ``leaf_bytes``.
        like: An array of the same dtype, shape and place on the devices.

    Raises:
        ValueError: If the number of bytes is another one.
    """
    plain = _plain(like)
    array = np.frombuffer(data.tobytes(), plain.dtype).reshape(plain.shape)
    placed = jax.device_put(array, plain.sharding)
    if plain is like:
        return placed
    return jax.random.wrap_key_data(placed, impl=jax.random.key_impl(like))


def _plain(leaf: Any) -> Any:
    """The numbers behind a random key; any other array as it is."""
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jax.random.key_data(leaf)
    return leaf
