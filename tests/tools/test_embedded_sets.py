"""The makers of the embedded sets, on files written in the published formats."""

import csv
import gzip
import pathlib
import struct

import numpy as np
import pytest

from sam_jax import data
from tools import diabetes130, embedded_sets


def stay(encounter, patient, diagnosis, **columns):
    """A row of ``diabetic_data.csv``, cut down to some columns."""
    row = {
        "encounter_id": encounter,
        "patient_nbr": patient,
        "diag_1": diagnosis,
        "diag_2": "?",
        "diag_3": "?",
        "num_medications": 7,
    }
    return {key: str(value) for key, value in (row | columns).items()}


def test_the_hospital_rule_on_a_table_made_by_hand(tmp_path):
    stays = [
        stay(5, 1, "250", diag_2="401"),  # A later stay of patient 1: dropped.
        stay(4, 4, "?", diag_2="401"),  # No diagnosis: dropped.
        stay(3, 3, "428", diag_2="401", diag_3="401", num_medications=99),
        stay(2, 2, "414", diag_2="401", diag_3="250"),
        stay(1, 1, "414", diag_2="250"),
        stay(6, 6, "999"),  # As frequent as 428 and later in order: dropped.
    ]
    path = tmp_path / "diabetic_data.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, stays[0].keys())
        writer.writeheader()
        writer.writerows(stays)
    made = diabetes130.hospital_table(
        diabetes130.read_stays(path), num_classes=2, min_count=2
    )
    # Sorted by encounter: stays 1, 2, 3. "num_medications=9" occurs once: dropped.
    assert made.feature_names == (
        "num_medications=1",
        "other_diag=250",
        "other_diag=401",
    )
    assert made.class_names == ("414", "428")
    np.testing.assert_array_equal(made.x, [[1, 1, 0], [1, 1, 1], [0, 0, 1]])
    np.testing.assert_array_equal(made.y, [0, 0, 1])


def test_hospital100_refuses_a_source_that_gives_other_bits(tmp_path):
    rows = ["encounter_id,patient_nbr,diag_1,diag_2,diag_3", "1,1,250,?,?"]
    (tmp_path / "diabetic_data.csv").write_text("\n".join(rows))
    builder = embedded_sets.Hospital100(data_dir=tmp_path / "data")
    with pytest.raises(ValueError, match="must give the features with sha256 eb77"):
        prepare(builder, tmp_path)


def prepare(builder, manual_dir):
    import tensorflow_datasets

    config = tensorflow_datasets.download.DownloadConfig(manual_dir=manual_dir)
    builder.download_and_prepare(download_config=config)


def write_idx(path, values):
    header = struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape)
    path.write_bytes(gzip.compress(header + values.astype(np.uint8).tobytes()))


def test_a_source_file_with_another_checksum_is_refused(tmp_path):
    for name in embedded_sets.FashionMnist10k.CHECKSUMS:
        write_idx(tmp_path / name, np.zeros((10, 28, 28)))
    builder = embedded_sets.FashionMnist10k(data_dir=tmp_path / "data")
    with pytest.raises(ValueError, match="must have the MD5 checksum 8d4fb7e6"):
        prepare(builder, tmp_path)


def test_fashion_mnist_10k_is_prepared_from_the_published_files(tmp_path, monkeypatch):
    monkeypatch.setattr(embedded_sets.FashionMnist10k, "CHECKSUMS", {})
    random = np.random.default_rng(3)
    source = {}
    for prefix, per_class in (("train", 1010), ("t10k", 205)):
        y = random.permutation(np.arange(10 * per_class) % 10)
        x = random.integers(0, 256, (len(y), 28, 28), np.uint8)
        write_idx(tmp_path / f"{prefix}-images-idx3-ubyte.gz", x)
        write_idx(tmp_path / f"{prefix}-labels-idx1-ubyte.gz", y)
        source[prefix] = x, y
    builder = embedded_sets.FashionMnist10k(data_dir=tmp_path / "data")
    prepare(builder, tmp_path)
    made = data.tfds.load_prepared("made", pathlib.Path(builder.data_path))
    assert made.train.x.shape == (10000, 28, 28, 1)
    x, y = source["t10k"]
    keep = embedded_sets.balanced_rows("test", y, 200)
    np.testing.assert_array_equal(made.test.x[..., 0], x[keep] / np.float32(255))
    np.testing.assert_array_equal(made.test.y, y[keep])
    assert len(set(keep.tolist())) == 2000
    np.testing.assert_array_equal(y[keep], np.arange(2000) % 10)


def test_an_idx_file_of_another_type_is_refused(tmp_path):
    path = tmp_path / "floats.gz"
    path.write_bytes(gzip.compress(b"\x00\x00\x0d\x01" + bytes(8)))
    with pytest.raises(ValueError, match="must be an IDX file of unsigned bytes"):
        embedded_sets.read_idx(path)
