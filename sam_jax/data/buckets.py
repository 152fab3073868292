"""Objects of buckets, ``s3://`` and ``gs://``, and the local mirrors of their folders.

A folder of a bucket is worked on in its mirror, a folder of the user's cache whose path
names the bucket. An object appears whole or not at all, and is written before the file
in the mirror: the mirror never holds what the bucket lacks.
"""

import concurrent.futures
import contextlib
import importlib.util
import os
import pathlib
import re
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from sam_jax._checks import ArgumentError

T = TypeVar("T")

VARIABLE = "SAM_JAX_BUCKETS"
"""Environment variable with another folder for the mirrors."""
PACKAGES = {"s3": "s3fs", "gs": "gcsfs"}
"""Scheme of a URL -> the package through which fsspec opens it."""
TIMEOUT = 20.0
"""Seconds for the first answer. Clients repeat what fails for minutes: right in the
middle of a run, not at its start."""

# pathlib makes one slash of two.
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+(.*)")


def local_path(folder: str | os.PathLike[str], argument: str) -> pathlib.Path:
    """Returns where a folder is worked on: a bucket's in its mirror, any other there.

    Args:
        folder: A local path, or the URL of a folder in a bucket.
        argument: What names it, for errors.

    Raises:
        ArgumentError: If the URL is no bucket's, or the package for it is missing.
    """
    match = _URL.fullmatch(os.fspath(folder))
    if match is None:
        return pathlib.Path(folder).expanduser()
    scheme, path = match.groups()
    parts = path.rstrip("/").split("/")
    if scheme not in PACKAGES or {"", ".", ".."} & set(parts):
        known = ", ".join(f"{name}://BUCKET/FOLDER" for name in PACKAGES)
        raise ArgumentError(
            argument, f"must be a local folder or one of {known}; got {str(folder)!r}."
        )
    package = PACKAGES[scheme]
    if importlib.util.find_spec(package) is None:
        raise ArgumentError(
            argument,
            f"must be a local folder where {package} is not installed (pip install "
            f"{package}); got {str(folder)!r}.",
        )
    return _mirrors().joinpath(scheme, *parts)


def url_of(path: pathlib.Path) -> str | None:
    """Returns the URL that a path in a mirror stands for; None for any other path."""
    if not path.is_relative_to(_mirrors()):
        return None
    scheme, *parts = path.relative_to(_mirrors()).parts
    return f"{scheme}://{'/'.join(parts)}"


def list_objects(url: str) -> dict[str, dict[str, Any]]:
    """Returns what fsspec knows of each object below a URL, by the path from there.

    Raises:
        OSError: If there is no answer in ``TIMEOUT``; NotADirectoryError for an object.
    """

    def find() -> dict[str, dict[str, Any]]:
        system, root = _connect(url)
        return {
            name[len(root) :].lstrip("/"): info
            for name, info in system.find(root, detail=True).items()
            if info["type"] == "file" and not name.endswith("/")
        }

    found = _soon(find)
    if "" in found:
        raise NotADirectoryError("it is an object")
    # A name that leads out of the folder is no file of a run.
    return {n: i for n, i in found.items() if ".." not in pathlib.PurePath(n).parts}


def check_writable(url: str) -> None:
    """Writes an empty object and removes it.

    Raises:
        OSError: If that is not allowed, or there is no answer in ``TIMEOUT``.
    """

    def write() -> None:
        system, root = _connect(url)
        system.pipe_file(f"{root}/.writable", b"")
        with contextlib.suppress(FileNotFoundError):  # Another process did.
            system.rm_file(f"{root}/.writable")

    _soon(write)


def fetch(url: str, file: pathlib.Path) -> None:
    """Downloads an object to a file."""
    with _os_errors():
        system, name = _connect(url)
        system.get_file(name, str(file))


def upload(file: pathlib.Path, url: str) -> None:
    """Writes an object, whole or not at all."""
    with _os_errors():
        system, name = _connect(url)
        system.put_file(str(file), name)


def remove(url: str) -> None:
    """Removes an object and all that is below it; nothing where there is none."""
    with _os_errors(), contextlib.suppress(FileNotFoundError):
        system, name = _connect(url)
        system.rm(name, recursive=True)


def replace_folder(old: str, new: str, last: str) -> None:
    """Puts a folder in the place of another; started again, it ends what it began.

    Args:
        old: URL of the folder to be replaced.
        new: URL of its replacement, which is there, whole, until ``old`` is.
        last: Name of the file that marks a folder as whole: the first to go, and the
            last to be written.
    """
    with _os_errors():
        system, target = _connect(old)
        _, source = _connect(new)
        last_at_end = sorted(list_objects(new), key=lambda name: name == last)
        for name in sorted(list_objects(old), key=lambda name: name != last):
            system.rm_file(f"{target}/{name}")
        for name in last_at_end:
            system.cp_file(f"{source}/{name}", f"{target}/{name}")
        for name in reversed(last_at_end):
            system.rm_file(f"{source}/{name}")


def _mirrors() -> pathlib.Path:
    chosen = os.environ.get(VARIABLE)
    if chosen:
        return pathlib.Path(chosen).absolute()
    # Of every file that is written it is asked: no error without a home folder.
    root = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return pathlib.Path(root) / "sam_jax" / "buckets"


def _connect(url: str) -> tuple[Any, str]:
    """The file system of a URL, and the path in it."""
    import fsspec  # Only where a bucket is used.

    # Listings that are kept would not show what other machines write.
    return fsspec.core.url_to_fs(url, use_listings_cache=False)


def _soon(call: Callable[[], T]) -> T:
    """The result of a call, or its error, or after ``TIMEOUT`` another one."""
    future: concurrent.futures.Future[T] = concurrent.futures.Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)

    # A daemon: the end of the process does not wait for a client that repeats.
    threading.Thread(target=run, daemon=True).start()
    with _os_errors():
        if not concurrent.futures.wait([future], TIMEOUT).done:
            raise TimeoutError(f"no answer within {TIMEOUT:.0f} seconds")
        return future.result()


@contextlib.contextmanager
def _os_errors() -> Iterator[None]:
    """Turns what clients of buckets raise, of many classes, into ``OSError``."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise OSError(f"{type(error).__name__}: {error}") from error
