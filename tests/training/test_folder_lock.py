"""Two runs in one folder: one works, the other is told."""

import subprocess
import sys
import textwrap

import pytest

from sam_jax._checks import ArgumentError
from sam_jax.training import folder_lock
from sam_jax.training.folder_lock import FolderLock


def test_a_second_run_is_told_who_is_at_work(tmp_path):
    """Another process holds the lock until it is killed with SIGKILL."""
    script = f"""
        import pathlib, sys
        from sam_jax.training.folder_lock import FolderLock
        lock = FolderLock(pathlib.Path({str(tmp_path)!r}))
        lock.acquire("cache_dir")
        print("locked", flush=True)
        sys.stdin.read()
    """
    other = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdout is not None and other.stdout.readline() == "locked\n"
    lock = FolderLock(tmp_path)
    with pytest.raises(ArgumentError, match=f"process {other.pid} on .* is at work"):
        lock.acquire("cache_dir")
    other.kill()
    other.wait()
    lock.acquire("cache_dir")
    lock.release()


def test_shards_share_a_folder_with_each_other_alone(tmp_path):
    first, second = (FolderLock(tmp_path, (i, 2)) for i in range(2))
    first.acquire("cache_dir")
    second.acquire("cache_dir")
    with pytest.raises(ArgumentError, match="no other run"):
        FolderLock(tmp_path).acquire("cache_dir")
    with pytest.raises(ArgumentError, match="no other run"):
        FolderLock(tmp_path, (1, 2)).acquire("cache_dir")
    first.release()
    second.release()
    whole = FolderLock(tmp_path)
    whole.acquire("cache_dir")
    with pytest.raises(ArgumentError, match="no other run"):
        FolderLock(tmp_path, (0, 2)).acquire("cache_dir")
    whole.release()


def test_a_lock_whose_file_was_removed_is_taken_anew(tmp_path, monkeypatch):
    """A run ends between another's opening of the file and its lock."""
    first, second, third = (FolderLock(tmp_path) for _ in range(3))
    first.acquire("cache_dir")
    try_lock = folder_lock._try_lock
    opened = []

    def end_the_first_before(file, shared):
        if not opened:
            first.remove()
        opened.append(file)
        return try_lock(file, shared)

    monkeypatch.setattr(folder_lock, "_try_lock", end_the_first_before)
    second.acquire("cache_dir")
    assert len(opened) == 2
    monkeypatch.setattr(folder_lock, "_try_lock", try_lock)
    with pytest.raises(ArgumentError, match="no other run"):
        third.acquire("cache_dir")
    second.remove()
    assert not list(tmp_path.iterdir())
