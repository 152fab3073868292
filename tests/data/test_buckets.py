"""Folders in buckets: what is in their mirrors, and which errors name a bucket."""

import threading

import pytest

from sam_jax._checks import ArgumentError
from sam_jax.data import buckets, mirrors
from sam_jax.data.atomic_files import DRAFT_SUFFIX, StorageError
from sam_jax.data.result_files import write_text

URL = "memory://bkt/runs/a"


def texts(folder):
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_text() for path in files}


def write(name, text="x"):
    path = buckets.local_path(URL, "folder") / name
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text)
    return path


def test_what_one_machine_writes_renames_and_removes_another_sees(bucket):
    for name in ("kept", "renamed", "removed", "below/it"):
        write(name, name)
    bucket("second")
    folder = mirrors.open_folder(URL, "folder")
    assert texts(folder) == {n: n for n in ("kept", "renamed", "removed", "below/it")}
    mirrors.rename(folder / "renamed", folder / "aside")
    mirrors.remove(folder / "removed")
    mirrors.remove(folder / "below")
    (folder / "models").mkdir()
    (folder / "models" / "kept").write_text("kept")
    mirrors.upload(folder / "models")
    expected = {"kept": "kept", "models/kept": "kept", "aside": "renamed"}
    assert texts(folder) == expected
    bucket("first")
    assert texts(mirrors.open_folder(URL, "folder")) == expected


def test_a_mirror_keeps_locks_and_drafts_alone_of_what_the_bucket_lacks(bucket):
    write("kept")
    folder = buckets.local_path(URL, "folder")
    for name in ("run.lock.0-of-2", f".b.7{DRAFT_SUFFIX}", "stale"):
        (folder / name).write_text("x")
    mirrors.download(folder, "folder")
    assert set(texts(folder)) == {"kept", "run.lock.0-of-2", f".b.7{DRAFT_SUFFIX}"}


def test_an_object_that_has_changed_at_equal_size_is_downloaded(bucket):
    path = write("a", "old")
    bucket("second").pipe_file(f"{URL}/a", b"new")
    bucket("first")
    mirrors.download(path.parent, "folder")
    assert path.read_text() == "new"


def test_the_digests_of_both_kinds_of_bucket_tell_that_a_file_is_the_object(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"hello")
    # As S3 and Cloud Storage give them.
    s3 = {"size": 5, "ETag": '"5d41402abc4b2a76b9719d911017c592"'}
    gs = {"size": 5, "md5Hash": "XUFAKrxLKna5cZ2REBfFkg=="}
    assert mirrors._is_same(path, s3) and mirrors._is_same(path, gs)
    path.write_bytes(b"hellO")
    assert not mirrors._is_same(path, s3) and not mirrors._is_same(path, gs)


def test_an_object_that_goes_while_the_folder_is_read_is_left_out(bucket, monkeypatch):
    def get_file(self, name, file):
        if name.endswith("gone"):
            raise FileNotFoundError(name)
        return get(self, name, file)

    write("gone")
    write("kept")
    get = type(bucket("second")).get_file
    monkeypatch.setattr(type(bucket("second")), "get_file", get_file)
    assert texts(mirrors.open_folder(URL, "folder")) == {"kept": "x"}


def test_a_file_that_cannot_be_uploaded_is_not_in_the_mirror(bucket, monkeypatch):
    def put_file(*_, **__):
        raise RuntimeError("no room")  # Not every client raises an OSError.

    path = write("a", "old")
    monkeypatch.setattr(type(bucket("first")), "put_file", put_file)
    with pytest.raises(StorageError, match=f"{URL}/a could not be written: .* no room"):
        write("a", "new")
    assert texts(path.parent) == {"a": "old"}


def test_objects_with_names_that_lead_out_of_the_folder_stay_away(bucket, monkeypatch):
    def find(*_, **__):
        return {
            f"/bkt/runs/a/{name}": {"type": "file", "size": 1}
            for name in ("a", "../../../evil")
        }

    monkeypatch.setattr(type(bucket("first")), "find", find)
    assert list(buckets.list_objects(URL)) == ["a"]


@pytest.mark.parametrize("url", ["ftp://h/x", "hdfs:/x", "s3://", "s3://b/../x"])
def test_what_is_no_folder_of_a_bucket_is_refused(url):
    with pytest.raises(ArgumentError, match=r"cache_dir must be .*s3://.*gs://.*got"):
        buckets.local_path(url, "cache_dir")


def test_an_object_is_no_folder(bucket):
    write("a")
    with pytest.raises(ArgumentError, match=f"folder must be a folder, got {URL}/a"):
        mirrors.open_folder(f"{URL}/a", "folder")


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(buckets.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ArgumentError, match="pip install s3fs"):
        buckets.local_path("s3://bkt/x", "cache_dir")


def test_a_bucket_that_does_not_answer_is_named_in_time(bucket, monkeypatch):
    answer = threading.Event()
    monkeypatch.setattr(buckets, "TIMEOUT", 0.05)
    monkeypatch.setattr(
        type(bucket("first")), "find", lambda *_, **__: answer.wait() and {}
    )
    with pytest.raises(StorageError, match=f"{URL} could not be read: no answer"):
        mirrors.open_folder(URL, "folder")
    answer.set()
