"""A TFDS builder that writes small ArrayRecord files and needs no TensorFlow."""

import hashlib
import os
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

import requests
import tensorflow_datasets as tfds
from array_record.python import array_record_module
from tensorflow_datasets.core import writer as writer_lib

WRITER_OPTIONS = "group_size:1000,brotli:11"
"""A thousand records are compressed together, which is smaller than one by one.

RetinaMNIST is a tenth smaller so than with ``zstd:19``, which the other embedded sets
were written with.
"""

_TIMEOUT = 20  # Seconds.


class CompactWriter(writer_lib.ExampleWriter):
    """Writes ArrayRecord files whose records are compressed in large groups."""

    def __init__(self) -> None:
        """Fixes the format; TFDS reads it to name the files."""
        super().__init__(tfds.core.FileFormat.ARRAY_RECORD)

    def write(self, path: Any, examples: Iterable[tuple[Any, bytes]]) -> None:
        """Writes one shard of serialized examples to ``path``."""
        writer = array_record_module.ArrayRecordWriter(os.fspath(path), WRITER_OPTIONS)
        for _, record in examples:
            writer.write(record)
        writer.close()


class CompactBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Base of the builders: ArrayRecord, source order kept, compressed in groups.

    Large groups suit data that is read whole, as ``sam_jax.data`` does; random access
    to single records works and is slower.
    """

    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Source files are downloaded, or taken from manual_dir by their original names."
    )

    CHECKSUMS: Mapping[str, str] = {}
    """MD5 of source files by name, as their publishers state them."""

    def __init__(self, **kwargs: Any) -> None:
        """Takes what ``tfds.core.DatasetBuilder`` takes, without ``file_format``."""
        super().__init__(file_format=tfds.core.FileFormat.ARRAY_RECORD, **kwargs)

    def _example_writer(self) -> CompactWriter:
        return CompactWriter()

    def fetch(self, dl_manager: Any, filename: str, url: str) -> pathlib.Path:
        """The source file: from ``manual_dir`` where it is there, else downloaded.

        Raises:
            ValueError: If its checksum is known and another one.
        """
        path = self._find(dl_manager, filename, url)
        expected = self.CHECKSUMS.get(filename)
        if expected is not None:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "md5").hexdigest()
            if digest != expected:
                text = f"{path} must have the MD5 checksum {expected}, got"
                raise ValueError(f"{text} {digest}; download it again.")
        return path

    def _find(self, dl_manager: Any, filename: str, url: str) -> pathlib.Path:
        try:
            local = pathlib.Path(dl_manager.manual_dir) / filename
        except AssertionError:  # No manual_dir was given, or it is empty.
            local = None
        if local is not None and local.is_file():
            return local
        # TFDS retries for minutes; a machine without network should not wait for it.
        requests.head(url, timeout=_TIMEOUT).close()
        return pathlib.Path(dl_manager.download(url))
