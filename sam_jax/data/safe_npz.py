"""NumPy files from anywhere: sizes checked before reading, no pickles.

An ``.npz`` file says twice how large each of its arrays is, in the zip directory and in
the array's header. Both are claims of whoever wrote the file, so they are held against
each other and against the bytes on the disk before any memory is allocated.
"""

import contextlib
import math
import os
import pathlib
import zipfile
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from sam_jax import _checks
from sam_jax._checks import ArgumentError

NPY_MAGIC, ZIP_MAGIC = b"\x93NUMPY", b"PK"

MAX_ARRAYS = 10_000
"""Arrays in one file, at most."""

ALWAYS_UNPACKED, MAX_RATIO = 2**28, 100
"""A compressed file may unpack to 256 MiB, or to 100 times its size, if that is more;
only constants and attempts to fill the memory compress better than that."""

NUMBERS, TEXT = "biufc", "SU"
"""Kinds of dtype (``np.dtype.kind``) that are read."""


class Header(NamedTuple):
    """What the header of an array says.

    Attributes:
        shape: Of the array.
        dtype: Of its entries.
        num_bytes: Of the header itself.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    num_bytes: int


def read_npz(
    path: str | os.PathLike[str], *, argument: str = "path"
) -> dict[str, np.ndarray]:
    """Returns the arrays of an ``.npz`` file by name.

    Args:
        path: The file.
        argument: What to call it in an error.

    Returns:
        Arrays of numbers or text, as ``numpy.load`` would give them.

    Raises:
        ArgumentError: If there is no such file; it is no ``.npz``, damaged or
            encrypted; it holds pickled objects, or one name twice; or it claims to hold
            more than it can.

    Example:
        >>> import tempfile
        >>> with tempfile.NamedTemporaryFile(suffix=".npz") as file:
        ...     np.savez(file.name, x=np.arange(3))
        ...     read_npz(file.name)
        {'x': array([0, 1, 2])}
    """
    rule = (
        f"must be an .npz archive, but {path} is an .npy file of one array: give it "
        "the ending .npy, or save it with np.savez."
    )
    with _opened(path, argument, NPY_MAGIC, rule) as (file, size):
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            _check_members(members, size)
            return {
                member.filename.removesuffix(".npy"): _read_member(archive, member)
                for member in members
            }


def read_npy(path: str | os.PathLike[str], *, argument: str = "path") -> np.ndarray:
    """Returns the array of an ``.npy`` file.

    Args:
        path: The file.
        argument: What to call it in an error.

    Raises:
        ArgumentError: If there is no such file; it is no ``.npy`` or damaged; it holds
            pickled objects; or it claims to hold more than it does.
    """
    hint = "give it the ending .npz."
    rule = f"must be an .npy file of one array, but {path} is an .npz archive: {hint}"
    with _opened(path, argument, ZIP_MAGIC, rule) as (file, size):
        _check_header(_read_header(file), size)
        file.seek(0)
        return np.lib.format.read_array(file, allow_pickle=False)


def _file_size(path: pathlib.Path, argument: str) -> int:
    """Bytes of a file that exists."""
    try:
        if path.is_file():
            return path.stat().st_size
    except OSError:  # a name that no file system takes, or a folder that is closed
        pass
    rule = f"must name a file that exists: there is no {str(path)!r}."
    raise ArgumentError(argument, rule)


@contextlib.contextmanager
def _opened(
    path: str | os.PathLike[str], argument: str, other: bytes, rule: str
) -> Iterator[tuple[Any, int]]:
    """A file and its size; whatever it raises becomes one error that names it.

    ``rule`` is broken by a file that begins as the other format does.
    """
    path = pathlib.Path(path)
    size = _file_size(path, argument)
    try:
        with path.open("rb") as file:
            if file.read(len(other)) == other:
                raise ArgumentError(argument, rule)
            file.seek(0)
            yield file, size
    except ArgumentError:
        raise
    except Exception as error:  # zipfile, zlib and NumPy raise a dozen types of them
        rule = "must be an .npz or .npy file of plain arrays (no pickles),"
        hint = f"but {str(path)!r} is not: {_checks.first_line(error)}"
        raise ArgumentError(argument, f"{rule} {hint}") from error


def _check_members(members: list[zipfile.ZipInfo], size: int) -> None:
    """Refuses an archive by its directory alone."""
    if len(members) > MAX_ARRAYS:
        raise ValueError(f"it holds {len(members):,} arrays, more than {MAX_ARRAYS:,}.")
    names: set[str] = set()
    for member in members:
        name, claimed = member.filename, member.compress_size
        method, known = member.compress_type, (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
        for is_wrong, what in (
            (not name.endswith(".npy"), "is no array: its name must end in .npy"),
            (name in names, "is there twice"),
            (member.flag_bits & 1, "is encrypted"),
            (method not in known, f"is compressed by method {method}, unlike np.savez"),
            (claimed > size, f"claims {claimed:,} of {size:,} bytes: it is cut off"),
        ):
            if is_wrong:
                raise ValueError(f"{ascii(name)} in it {what}.")
        names.add(name)
    # What is stored as it is cannot exceed the file, nor the rest a sane ratio.
    unpacked = sum(m.file_size for m in members)
    is_stored = [m.compress_type == zipfile.ZIP_STORED for m in members]
    stored = sum(
        m.file_size for m, kept in zip(members, is_stored, strict=True) if kept
    )
    if stored > size:
        raise ValueError(f"it claims {stored:,} stored bytes, but has {size:,}.")
    limit = max(ALWAYS_UNPACKED, MAX_RATIO * size)
    if unpacked > limit:
        raise ValueError(
            f"it unpacks to {unpacked:,} bytes, {unpacked / size:,.0f} times its size; "
            f"{limit:,} are allowed. Save it with np.savez, without compression."
        )


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    """One array, after its header was held against its size."""
    try:
        with archive.open(member) as file:
            _check_header(_read_header(file), member.file_size)
        with archive.open(member) as file:
            return np.lib.format.read_array(file, allow_pickle=False)
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise ValueError(f"{ascii(member.filename)} in it: {reason}") from error


def _read_header(file: Any) -> Header:
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    elif version == (2, 0):
        shape, _, dtype = np.lib.format.read_array_header_2_0(file)
    else:
        raise ValueError(f"arrays of format {version} are not read.")
    return Header(shape, dtype, file.tell())


def _check_header(header: Header, num_bytes: int) -> None:
    """Refuses objects, records, and a size other than what is there."""
    dtype, shape = header.dtype, header.shape
    if dtype.hasobject:
        raise ValueError("it holds Python objects (a pickle), which are never loaded.")
    if dtype.kind not in NUMBERS + TEXT or not dtype.itemsize:
        text = f"it holds entries of dtype {dtype};"
        raise ValueError(f"{text} numbers are wanted (save bfloat16 as float32).")
    if any(length < 0 for length in shape):
        raise ValueError(f"its header claims the shape {shape}.")
    claimed = math.prod(shape) * dtype.itemsize
    present = num_bytes - header.num_bytes
    if claimed != present:
        raise ValueError(
            f"its header claims {math.prod(shape):,} entries of {dtype} ({claimed:,} "
            f"bytes), but {present:,} bytes are there."
        )
