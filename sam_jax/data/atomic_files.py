"""Files that are there whole or not at all, whenever a run is killed."""

import contextlib
import errno
import os
import pathlib
from collections.abc import Iterator
from typing import IO

from sam_jax.data import buckets

DRAFT_SUFFIX = ".draft"
"""Ends the name of a file that is being written; one that is left over is worthless."""


class StorageError(OSError):
    """A file that could not be written: a full disk, a read-only or removed folder.

    What is in the folder stays as it was. The command line shows it in one line.
    """


@contextlib.contextmanager
def open_atomically(path: pathlib.Path) -> Iterator[IO[bytes]]:
    """Opens a new file that takes its name once all of it is on the disk.

    A reader, or a run after a kill or a power failure, sees the old file or the new
    one, never a piece. A file in the mirror of a bucket is uploaded first.

    Args:
        path: The name that the file is to have; a file of that name is replaced.

    Raises:
        StorageError: If it cannot be written; names the file and the reason.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder) / "a.txt"
        ...     with open_atomically(path) as file:
        ...         _ = file.write(b"whole")
        ...     path.read_bytes(), len(list(path.parent.iterdir()))
        (b'whole', 1)
    """
    draft, url = draft_of(path), buckets.url_of(path)
    try:
        with draft.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if url is not None:
            buckets.upload(draft, url)
        os.replace(draft, path)
        _sync_folder(path.parent)
    except OSError as error:
        reason = error.strerror or str(error)
        raise StorageError(
            error.errno or errno.EIO,
            f"{url or path} could not be written: {reason}. Files that were there "
            "before are kept",
        ) from error
    finally:
        # Where all went well it has another name by now.
        with contextlib.suppress(OSError):
            draft.unlink()


def draft_of(path: pathlib.Path) -> pathlib.Path:
    """Returns the name of a file until it is whole."""
    # Two processes that write the same file must not share a draft.
    return path.with_name(f".{path.name}.{os.getpid()}{DRAFT_SUFFIX}")


def make_folder(folder: pathlib.Path) -> None:
    """Makes a folder and those above it, where they are not there.

    Raises:
        StorageError: If it cannot be made; names it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            error.errno, f"{folder} could not be made: {error.strerror}"
        ) from error


def remove_drafts(folder: pathlib.Path) -> None:
    """Removes what killed runs left; the caller holds the folder's lock."""
    for draft in folder.glob(f".*{DRAFT_SUFFIX}"):
        with contextlib.suppress(OSError):
            draft.unlink()


def _sync_folder(folder: pathlib.Path) -> None:
    """Brings the new name to the disk, where the system opens and syncs folders."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
