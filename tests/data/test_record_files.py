"""Files of records with flipped, lost and added bytes."""

import random
import shutil
import struct

import google_crc32c
import numpy as np
import pytest

from sam_jax import data
from sam_jax._checks import ArgumentError
from sam_jax.data import record_files, tfds

RETINA = tfds.EMBEDDED_DIR / "retinamnist" / "1.0.0"
SOURCE = RETINA / "retinamnist-validation.array_record-00000-of-00001"


def write_tfrecords(path, records):
    """Writes the format as it is documented, with checksums of ``google_crc32c``."""

    def checksum(content):
        crc = google_crc32c.value(content)
        rotated = ((crc >> 15) | (crc << 17)) & 0xFFFFFFFF
        return struct.pack("<I", (rotated + 0xA282EAD8) & 0xFFFFFFFF)

    with path.open("wb") as file:
        for record in records:
            length = struct.pack("<Q", len(record))
            file.write(length + checksum(length) + record + checksum(record))


def damages(content, count, seed):
    """Copies with one bit flipped, cut off, or with bytes added."""
    rng = random.Random(seed)
    for number in range(count):
        changed = bytearray(content)
        place = rng.randrange(len(changed))
        if number % 10 == 8:
            changed = changed[:place]
        elif number % 10 == 9:
            changed[place:place] = rng.randbytes(rng.randrange(1, 9))
        else:
            changed[place] ^= 1 << rng.randrange(8)
        yield bytes(changed)


def count_damage(path, content, read, expected, count):
    """(named with the file, all records as they were, anything else)"""
    named = harmless = silent = 0
    for changed in damages(content, count, seed=len(content)):
        path.write_bytes(changed)
        try:
            same = read(str(path)) == expected
            harmless, silent = harmless + same, silent + (not same)
        except ArgumentError as error:
            assert str(path) in str(error) and "\n" not in str(error)
            named += 1
    return named, harmless, silent


def test_damage_to_array_records_is_named_or_harmless(tmp_path):
    content, path = SOURCE.read_bytes(), tmp_path / "a.array_record"
    expected = record_files.read_array_records(str(SOURCE))
    read = record_files.read_array_records
    named, harmless, silent = count_damage(path, content, read, expected, 400)
    # A cut to whole chunks has fewer records, which the set's description knows.
    assert named > 200 and silent == 0


def test_the_first_damaged_array_record_is_named(tmp_path):
    content = bytearray(SOURCE.read_bytes())
    content[200_000] ^= 1
    path = tmp_path / "a.array_record"
    path.write_bytes(content)
    with pytest.raises(ArgumentError, match=r"but record \d+ of .*a.array_record is"):
        record_files.read_array_records(str(path))


def test_damage_to_tfrecords_is_named_with_its_record(tmp_path):
    rng, path = random.Random(0), tmp_path / "a.tfrecord"
    records = [rng.randbytes(rng.randrange(1, 90)) for _ in range(20)]
    write_tfrecords(path, records)
    content, read = path.read_bytes(), record_files.read_tfrecords
    assert read(str(path)) == records
    named, harmless, silent = count_damage(path, content, read, records, 400)
    # A cut between two records is seen by the number of them alone.
    assert named >= 395 and harmless == 0 and silent <= 5
    place = content.index(records[7])
    path.write_bytes(content[:place] + b"?" + content[place + 1 :])
    with pytest.raises(ArgumentError, match="record 7 of .*its checksum is not that"):
        read(str(path))


def test_the_checksum_of_a_tfrecord_is_that_of_the_specification():
    """CRC-32C of 32 zero bytes, RFC 3720 B.4, masked as TensorFlow does."""
    assert google_crc32c.value(bytes(32)) == 0x8A9136AA
    (masked,) = struct.unpack("<I", record_files.masked_crc(bytes(32)))
    unmasked = (masked - 0xA282EAD8) & 0xFFFFFFFF
    assert (unmasked << 15 | unmasked >> 17) & 0xFFFFFFFF == 0x8A9136AA


@pytest.fixture
def embedded(tmp_path, monkeypatch):
    """A copy of an embedded set in the place of the package's."""
    shutil.copytree(RETINA, tmp_path / "retinamnist" / "1.0.0")
    shutil.copy(tfds.EMBEDDED_DIR / "SHA256SUMS", tmp_path)
    monkeypatch.setattr(tfds, "EMBEDDED_DIR", tmp_path)
    return tmp_path / "retinamnist" / "1.0.0"


def test_no_damage_to_an_embedded_set_gives_other_rows(embedded):
    """Any file of the set, flipped, cut or added to."""
    whole = data.load("retinamnist")
    files = [p for p in sorted(embedded.iterdir()) if p.name != "LICENSE"]
    num_named = 0
    for file in files:
        content = file.read_bytes()
        for changed in damages(content, 20, seed=len(content)):
            file.write_bytes(changed)
            try:
                loaded = data.load("retinamnist")
            except ArgumentError as error:
                assert file.name in str(error)
                num_named += 1
                continue
            for ours, theirs in zip(
                (*whole.train, *whole.test), (*loaded.train, *loaded.test), strict=True
            ):
                np.testing.assert_array_equal(ours, theirs)
        file.write_bytes(content)
    assert num_named > 15 * len(files)


def test_a_missing_description_is_named(embedded):
    (embedded / "label.labels.txt").unlink()
    with pytest.raises(ArgumentError, match="label.labels.txt is not: it is missing"):
        data.load("retinamnist")
