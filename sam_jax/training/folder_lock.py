"""One run at a time in a folder, and several shards of one run."""

import json
import os
import pathlib
import socket
from typing import IO

from sam_jax._checks import ArgumentError
from sam_jax.data.atomic_files import StorageError

try:
    import fcntl
except ImportError:  # Windows has no such locks: folders are not locked there.
    fcntl = None


class FolderLock:
    """A lock of the operating system, which goes with the process that holds it.

    So there is no stale lock: after a kill the folder is free. A whole run excludes
    every other; shards of a run exclude whole runs and shards of the same number.

    Attributes:
        folder: What is locked.
        shard: Number of the shard and of all shards, or None for a whole run.
        name: Of the lock's file in the folder.
    """

    def __init__(
        self,
        folder: pathlib.Path,
        shard: tuple[int, int] | None = None,
        name: str = "run.lock",
    ):
        self.folder, self.shard, self.name = folder, shard, name
        self.files: list[IO[str]] = []

    def acquire(self, argument: str) -> None:
        """Takes the lock.

        Args:
            argument: What to call the folder in an error.

        Raises:
            ArgumentError: If another process holds it; says which.
            StorageError: If no file can be made in the folder.
        """
        self._take(self.name, self.shard is not None, argument)
        if self.shard is not None:
            number, count = self.shard
            self._take(f"{self.name}.{number}-of-{count}", False, argument)

    def remove(self) -> None:
        """Lets others in and, after a whole run, removes the file of the lock."""
        if self.shard is None:
            (self.folder / self.name).unlink(missing_ok=True)
        self.release()

    def release(self) -> None:
        """Lets others in."""
        while self.files:
            self.files.pop().close()

    def _take(self, name: str, shared: bool, argument: str) -> None:
        path = self.folder / name
        while True:
            try:
                # Not "w", which would erase the holder's name before the lock is tried.
                file = path.open("a+")
            except OSError as error:
                self.release()
                raise StorageError(
                    error.errno, f"{path} could not be written: {error.strerror}"
                ) from error
            self.files.append(file)
            if not _try_lock(file, shared):
                holder = _holder(path)
                self.release()
                raise ArgumentError(
                    argument,
                    "must name a folder that no other run is using; in "
                    f"{self.folder} {holder} is at work. Wait for it, stop it, or "
                    "choose another folder.",
                )
            # A run that ended in between has removed the file: the lock of a file
            # without a name keeps no one out.
            if _is_at(file, path):
                break
            self.files.pop().close()
        if not shared:
            file.truncate(0)
            json.dump({"process": os.getpid(), "host": socket.gethostname()}, file)
            file.flush()


def _try_lock(file: IO[str], shared: bool) -> bool:
    """Whether the lock was free; always where there are no locks."""
    if fcntl is None:
        return True
    mode = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(file, mode | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _is_at(file: IO[str], path: pathlib.Path) -> bool:
    """Whether an open file still has its name."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _holder(path: pathlib.Path) -> str:
    """The process that wrote the lock, as far as the file says."""
    try:
        holder = json.loads(path.read_text())
        return f"process {holder['process']} on {holder['host']}"
    except (OSError, ValueError, LookupError, TypeError):
        return "another process"
