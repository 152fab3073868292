"""Folders that may be a bucket's: brought up to date, files removed and renamed.

Writing is ``atomic_files.open_atomically``, for local folders and mirrors alike.
"""

import base64
import contextlib
import errno
import hashlib
import os
import pathlib
import shutil
from collections.abc import Iterator
from typing import Any

from sam_jax._checks import ArgumentError
from sam_jax.data import buckets
from sam_jax.data.atomic_files import DRAFT_SUFFIX, StorageError, draft_of, make_folder


def open_folder(folder: str | os.PathLike[str], argument: str) -> pathlib.Path:
    """Returns a folder to read: a bucket's as its mirror, up to date.

    Raises:
        ArgumentError: If it is no folder, no bucket's or its package is missing.
        StorageError: If it cannot be read.
    """
    path = buckets.local_path(folder, argument)
    download(path, argument)
    return path


def download(folder: pathlib.Path, argument: str) -> None:
    """Makes a mirror hold what the bucket holds; leaves any other folder as it is.

    Locks and what is being written stay.

    Raises:
        ArgumentError: If the URL is that of an object.
        StorageError: If the bucket cannot be read, or the mirror not be written.
    """
    url = buckets.url_of(folder)
    if url is None:
        return
    with _storage_errors(url, "read"):
        try:
            objects = buckets.list_objects(url)
        except NotADirectoryError as error:
            raise ArgumentError(argument, f"must be a folder, got {url}.") from error
        for path in sorted(folder.rglob("*"), reverse=True):
            name = path.relative_to(folder).as_posix()
            if path.is_dir():
                with contextlib.suppress(OSError):
                    path.rmdir()  # It is empty.
            elif name not in objects and not _is_local(path):
                path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            folder.rmdir()
        for name, info in objects.items():
            path = folder / name
            if not _is_same(path, info):
                make_folder(path.parent)
                _fetch(f"{url}/{name}", path)


def check_writable(folder: pathlib.Path) -> None:
    """Raises ``StorageError`` for a mirror whose bucket cannot be written."""
    if url := buckets.url_of(folder):
        with _storage_errors(url, "written"):
            buckets.check_writable(url)


def remove(path: pathlib.Path) -> None:
    """Removes a file, or a folder with all that is in it, if it is there.

    Raises:
        StorageError: If it cannot be removed.
    """
    url = buckets.url_of(path)
    with _storage_errors(url or path, "removed"):
        if url:
            buckets.remove(url)
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def rename(path: pathlib.Path, target: pathlib.Path) -> None:
    """Renames a file, over one that is there.

    Raises:
        StorageError: If it cannot be renamed.
    """
    url, target_url = buckets.url_of(path), buckets.url_of(target)
    with _storage_errors(url or path, "renamed"):
        if url and target_url:
            buckets.upload(path, target_url)
            buckets.remove(url)
        path.replace(target)


def upload(folder: pathlib.Path) -> None:
    """Uploads what another library wrote into a mirror; nothing for other folders.

    Raises:
        StorageError: If the bucket cannot be written.
    """
    if url := buckets.url_of(folder):
        with _storage_errors(url, "written"):
            for path in folder.rglob("*"):
                if path.is_file():
                    name = path.relative_to(folder).as_posix()
                    buckets.upload(path, f"{url}/{name}")


def replace_folder(old: pathlib.Path, new: pathlib.Path, last: str) -> bool:
    """Puts ``new`` in the place of ``old``, if they are a bucket's; whether they are.

    Until ``old`` is replaced, the bucket holds ``new`` with ``last``, the file that
    marks it as whole; after a kill, the same call goes on.

    Raises:
        StorageError: If the bucket cannot be written.
    """
    old_url, new_url = buckets.url_of(old), buckets.url_of(new)
    if not old_url or not new_url:
        return False
    with _storage_errors(old_url, "replaced"):
        buckets.replace_folder(old_url, new_url, last)
        shutil.rmtree(old, ignore_errors=True)
        new.rename(old)
    return True


def _fetch(url: str, path: pathlib.Path) -> None:
    draft = draft_of(path)
    try:
        buckets.fetch(url, draft)
        os.replace(draft, path)
    except FileNotFoundError:  # Another machine has removed it since it was listed.
        path.unlink(missing_ok=True)
    finally:
        draft.unlink(missing_ok=True)


def _is_local(path: pathlib.Path) -> bool:
    """Whether a file of a mirror has no place in the bucket: a lock or a draft."""
    return path.suffix == DRAFT_SUFFIX or ".lock" in path.name


def _is_same(path: pathlib.Path, info: dict[str, Any]) -> bool:
    """Whether a file is the object, by the MD5 that buckets keep of most objects."""
    if not path.is_file() or path.stat().st_size != info["size"]:
        return False
    with path.open("rb") as file:
        md5 = hashlib.file_digest(file, "md5")
    base64_digest = base64.b64encode(md5.digest()).decode()
    known = info.get("ETag", "").strip('"'), info.get("md5Hash")
    return md5.hexdigest() == known[0] or base64_digest == known[1]


@contextlib.contextmanager
def _storage_errors(what: str | pathlib.Path, done: str) -> Iterator[None]:
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise StorageError(
            error.errno or errno.EIO, f"{what} could not be {done}: {reason}"
        ) from error
