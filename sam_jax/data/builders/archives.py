"""Binary tables in ``.tgz`` archives, with every line checked.

Nothing is unpacked to disk: the one member that is wanted is streamed.
"""

import contextlib
import gzip
import pathlib
import tarfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import IO

import numpy as np
from jaxtyping import Bool

MAX_UNPACKED = 2**33
"""Bytes that an archive may unpack to: ten times the largest of the published ones."""


def read_gzip(path: pathlib.Path, max_unpacked: int = MAX_UNPACKED) -> bytes:
    """Returns what a gzip file holds, read to its end so that its CRC is checked.

    Raises:
        ValueError: If it is damaged or unpacks to more than ``max_unpacked`` bytes.
    """
    return b"".join(_unpack(path, max_unpacked))


def check_gzip(path: pathlib.Path, max_unpacked: int = MAX_UNPACKED) -> None:
    """Reads a gzip file to its end, and keeps nothing.

    A reader that stops at the last row it needs never compares the CRC, which comes
    after it.

    Raises:
        ValueError: As ``read_gzip``.
    """
    for _ in _unpack(path, max_unpacked):
        pass


def _unpack(path: pathlib.Path, max_unpacked: int) -> Iterator[bytes]:
    """The content of a gzip file, a mebibyte at a time."""
    total = 0
    try:
        with gzip.open(path) as file:
            while block := file.read(2**20):
                total += len(block)
                if total > max_unpacked:
                    text = f"{path} must unpack to at most {max_unpacked:,} bytes;"
                    raise ValueError(f"{text} it holds more.")
                yield block
    except (EOFError, OSError, zlib.error) as error:
        text = f"{path} must be a complete gzip file; download it again ({error})."
        raise ValueError(text) from error


@contextlib.contextmanager
def open_member(path: pathlib.Path, member: str) -> Iterator[IO[bytes]]:
    """Opens one file inside of a ``.tgz`` archive for reading.

    Args:
        path: The archive.
        member: Path of the file in it; a leading ``./`` or folder is ignored.

    Raises:
        ValueError: If the archive cannot be read, has an absolute member or one that
            leads out of it, or lacks the file.
    """
    check_gzip(path)
    try:
        with tarfile.open(path, "r:gz") as archive:
            members = archive.getmembers()
            for info in members:
                parts = pathlib.PurePosixPath(info.name).parts
                if info.name.startswith("/") or ".." in parts:
                    text = f"{path} must hold relative paths only, got {info.name!r}."
                    raise ValueError(text)
            matches = [m for m in members if _is_named(m, member)]
            if not matches:
                raise ValueError(
                    f"{path} must hold the file {member!r}, "
                    f"got {', '.join(m.name for m in members) or 'nothing'}."
                )
            stream = archive.extractfile(matches[0])
            assert stream is not None  # A regular file always has a stream.
            yield stream
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        text = f"{path} must be a complete .tgz archive; download it again ({error})."
        raise ValueError(text) from error


def _is_named(info: tarfile.TarInfo, member: str) -> bool:
    """Whether ``info`` is a regular file that ends in the path ``member``."""
    wanted = pathlib.PurePosixPath(member).parts
    return info.isfile() and pathlib.PurePosixPath(info.name).parts[-len(wanted) :] == (
        wanted
    )


def parse_rows(
    lines: Iterable[Sequence[bytes | None]],
    names: tuple[str, str],
    num_features: int,
    num_classes: int,
) -> Iterator[tuple[Bool[np.ndarray, "f"], int]]:
    """Yields features and label (from 0) of lines of a label and of bits.

    ``names`` are those of the files of labels and of bits; None is a line too few.
    """
    for number, (label, bits) in enumerate(lines, start=1):
        if bits is None or label is None:
            text = "feats and labels must have equally many lines,"
            raise ValueError(f"{text} one of them ends before line {number}.")
        of_label, of_bits = (f"{name}, line {number}" for name in names)
        features = parse_bits(bits.strip(), num_features, of_bits)
        yield features, parse_label(label.strip(), num_classes, of_label)


def parse_bits(line: bytes, num_features: int, where: str) -> Bool[np.ndarray, "f"]:
    """The bits of a line ``0,1,1,...``.

    Raises:
        ValueError: If there are not ``num_features`` values, or one is not 0 or 1.
    """
    values = np.frombuffer(line, np.uint8)
    num_values = line.count(b",") + 1 if line else 0
    if num_values != num_features:
        raise ValueError(f"{where}: must have {num_features} bits, got {num_values}.")
    # With so many commas and characters, bits at all even places leave the commas
    # the odd ones: no need to split the line.
    bits = values[::2]
    if values.size != 2 * num_features - 1 or not np.isin(bits, (48, 49)).all():
        bad = next(v for v in line.split(b",") if v not in (b"0", b"1"))
        text = f"{where}: a bit must be 0 or 1, got {bad.decode('latin1')!r}."
        raise ValueError(text)
    return bits == ord("1")


def parse_label(text: bytes, num_classes: int, where: str) -> int:
    """A label 1..num_classes, quoted or not, as a number from 0.

    Raises:
        ValueError: If it is not such a number.
    """
    digits = text.strip(b'"')
    if not digits.isdigit() or not 1 <= int(digits) <= num_classes:
        rule = f"{where}: the label must lie in [1, {num_classes}], got"
        raise ValueError(f"{rule} {text.decode('latin1')!r}.")
    return int(digits) - 1
