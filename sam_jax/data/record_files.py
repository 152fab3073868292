"""ArrayRecord and TFRecord files, with the checksums of their formats."""

import bisect
import hashlib
import pathlib
import struct

import google_crc32c

from sam_jax import _checks
from sam_jax._checks import ArgumentError

CHECKSUMS = "SHA256SUMS"
"""In a folder of prepared sets: what ``sha256sum`` prints of their descriptions."""


def damaged(path: str, reason: str, record: int | None = None) -> ArgumentError:
    """Returns the error of a file that is not as it was written.

    Args:
        path: The file.
        reason: What is wrong with it.
        record: Number of the record, from 0, where it is known.
    """
    place = path if record is None else f"record {record} of {path}"
    return ArgumentError(
        "data", f"must be undamaged, but {place} is not: {reason}. Prepare it again."
    )


def read_array_records(path: str) -> list[bytes]:
    """Returns all records of an ArrayRecord file.

    Raises:
        ArgumentError: If it is damaged; names file and record.
    """
    from array_record.python import array_record_module

    try:
        reader = array_record_module.ArrayRecordReader(path)
        try:
            return reader.read_all()
        finally:
            reader.close()
    except (RuntimeError, ValueError, IndexError) as error:
        reason = _checks.first_line(error).split(";")[0]
        raise damaged(path, reason, _first_unreadable(path)) from error


def _first_unreadable(path: str) -> int | None:
    """The first record that cannot be read; None if the file cannot be opened."""
    from array_record.python import array_record_module

    def cannot_read_up_to(record: int) -> bool:
        reader = array_record_module.ArrayRecordReader(path)
        try:
            reader.read(range(record + 1))
        except (RuntimeError, ValueError, IndexError):
            return True
        finally:
            reader.close()
        return False

    try:
        count = array_record_module.ArrayRecordReader(path).num_records()
    except (RuntimeError, ValueError, IndexError):
        return None
    # Of a file whose records can all be read one by one it is the last.
    before_last = range(count - 1)
    first = bisect.bisect_left(before_last, True, key=cannot_read_up_to)
    return first if count else None


def read_tfrecords(path: str) -> list[bytes]:
    """Returns all records of a TFRecord file: length, its CRC, data, their CRC.

    https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details

    Raises:
        ArgumentError: If it is damaged; names file and record.
    """
    data, records, start = pathlib.Path(path).read_bytes(), [], 0
    while start < len(data):
        head = data[start : start + 12]
        if len(head) < 12 or head[8:] != masked_crc(head[:8]):
            reason = "the checksum of its length is not that of its length"
            raise damaged(path, reason, len(records))
        (length,) = struct.unpack("<Q", head[:8])
        end = start + 12 + length
        record = data[start + 12 : end]
        if data[end : end + 4] != masked_crc(record):
            reason = "its checksum is not that of its content"
            raise damaged(path, reason, len(records))
        records.append(record)
        start = end + 4
    return records


def masked_crc(data: bytes) -> bytes:
    """Returns the checksum of TFRecord files: CRC-32C, rotated and shifted."""
    crc = google_crc32c.value(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def check_folder(root: pathlib.Path, folder: pathlib.Path) -> None:
    """Holds the description of a prepared set against the checksums that came with it.

    Formats of records hold checksums; JSON and lists of names have none.

    Args:
        root: Folder of prepared sets, with a file ``SHA256SUMS``.
        folder: Of the set.

    Raises:
        ArgumentError: If a file is missing or not as it was written; names it.
    """
    for line in (root / CHECKSUMS).read_text().splitlines():
        expected, name = line.split()
        path = root / name
        if path.parent != folder:
            continue
        if not path.is_file():
            raise damaged(str(path), "it is missing")
        if hashlib.sha256(path.read_bytes()).hexdigest() != expected:
            raise damaged(str(path), f"its SHA-256 is not that in {CHECKSUMS}")
