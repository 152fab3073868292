"""The lock of a run: one process at a time, or several shards of one audit."""

import contextlib
import pathlib
from collections.abc import Iterator

from sam_jax._checks import ArgumentError
from sam_jax.data.atomic_files import make_folder
from sam_jax.data.buckets import local_path
from sam_jax.training.folder_lock import FolderLock


@contextlib.contextmanager
def locked_run(
    experiment: str,
    name: str,
    shard: tuple[int, int] | None = None,
    *,
    root: str = "runs",
) -> Iterator[None]:
    """Keeps other processes out of ``root/experiment/name``.

    The lock is beside the folder, so that it holds while the folder is replaced.

    Args:
        experiment: Name of the experiment.
        name: Of the run.
        shard: Number of this process and of all that share the run.
        root: Folder of all runs; of one in a bucket the mirror is locked, which keeps
            out processes of this machine alone.

    Raises:
        ArgumentError: If another process has it, or the name is no folder's.
        StorageError: If nothing can be written there.
    """
    check_run_name(name)
    parent = local_path(root, "runs_dir") / experiment
    make_folder(parent)
    lock = FolderLock(parent, shard, f".{name}.lock")
    lock.acquire("name")
    try:
        yield
    finally:
        lock.remove()


def check_run_name(name: str) -> None:
    """Refuses what is no name of one visible folder."""
    is_one = name == pathlib.Path(name).name and name not in ("", "..")
    if not is_one or name.startswith(".") or not name.isprintable():
        raise ArgumentError(
            "name",
            "must be that of one folder, without slashes or a dot in front, got "
            f"{name!r}.",
        )
