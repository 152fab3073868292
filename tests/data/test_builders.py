"""Our own TFDS builders, on archives and files written in the published formats."""

import csv
import gzip
import io
import pathlib
import struct
import tarfile

import numpy as np
import pytest

from sam_jax import data
from sam_jax.data.builders import diabetes130, embedded, privacytrust

BUILDERS = {
    "purchase100": (privacytrust.Purchase100, 600, 100),
    "location30": (privacytrust.Location30, 446, 30),
    "texas100": (privacytrust.Texas100, 6169, 100),
}
NUM_ROWS = 15


@pytest.fixture(autouse=True)
def few_rows(monkeypatch):
    """The published archives have thousands of rows, those of the tests fifteen."""
    for builder, _, _ in BUILDERS.values():
        monkeypatch.setattr(builder, "NUM_ROWS", NUM_ROWS)


def table(name):
    """Bits and labels from 0; every label of the last rows is the largest one."""
    _, num_features, num_classes = BUILDERS[name]
    random = np.random.default_rng(7)
    bits = random.integers(0, 2, (NUM_ROWS, num_features))
    labels = random.integers(0, num_classes, NUM_ROWS)
    labels[-1], labels[0] = num_classes - 1, 0
    return bits, labels


def lines(rows):
    return [",".join(str(value) for value in row) for row in rows]


def members(name, bits, labels):
    """Files of the archive of a set: path in the archive -> lines."""
    if name == "texas100":
        return {
            "texas/100/feats": lines(bits),
            "texas/100/labels": [str(label + 1) for label in labels],
        }
    rows = np.concatenate([labels[:, None] + 1, bits], axis=1)
    return {"dataset_purchase" if name == "purchase100" else "bangkok": lines(rows)}


def write_archive(folder, name, files):
    """Writes ``files`` as the archive of the set ``name`` and returns its path."""
    path = folder / BUILDERS[name][0].ARCHIVE
    with tarfile.open(path, "w:gz") as archive:
        for member, text in files.items():
            content = ("\n".join(text) + "\n").encode()
            info = tarfile.TarInfo(member)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def load(name, tmp_path):
    return data.load(name, data_dir=tmp_path / "data", manual_dir=tmp_path)


@pytest.mark.parametrize("name", BUILDERS)
def test_a_well_formed_archive_gives_its_bits_and_labels(name, tmp_path):
    bits, labels = table(name)
    archive = write_archive(tmp_path, name, members(name, bits, labels))
    dataset = load(name, tmp_path)
    train, test = data.split_rows(NUM_ROWS)
    np.testing.assert_array_equal(dataset.train.x, bits[train])
    np.testing.assert_array_equal(dataset.test.x, bits[test])
    np.testing.assert_array_equal(dataset.train.y, labels[train])
    np.testing.assert_array_equal(dataset.test.y, labels[test])
    assert dataset.num_classes == BUILDERS[name][2]
    assert "privacytrustlab" in dataset.source
    archive.unlink()  # Now it is prepared, and the archive is not needed.
    np.testing.assert_array_equal(load(name, tmp_path).train.x, dataset.train.x)


def test_quoted_labels_and_a_leading_folder_are_read_alike(tmp_path):
    bits, labels = table("location30")
    rows = [
        f'"{label + 1}",{row}' for label, row in zip(labels, lines(bits), strict=True)
    ]
    write_archive(tmp_path, "location30", {"./location/bangkok": rows})
    train, _ = data.split_rows(NUM_ROWS)
    np.testing.assert_array_equal(load("location30", tmp_path).train.y, labels[train])


def change_line(files, member, number, new):
    return files | {
        member: [new if i == number else line for i, line in enumerate(files[member])]
    }


def location_line(label, num_bits, bit="1"):
    return ",".join([str(label), *["0"] * (num_bits - 1), bit])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (location_line(1, 445), "bangkok, line 4: must have 446 bits, got 445"),
        (location_line(1, 447), "bangkok, line 4: must have 446 bits, got 447"),
        (location_line(1, 446, "2"), "line 4: a bit must be 0 or 1, got '2'"),
        (location_line(1, 446, "10"), "line 4: a bit must be 0 or 1, got '10'"),
        (location_line(1, 446, ""), "line 4: a bit must be 0 or 1, got ''"),
        (location_line(0, 446), r"label must lie in \[1, 30\], got '0'"),
        (location_line(31, 446), r"label must lie in \[1, 30\], got '31'"),
        (location_line("x", 446), r"label must lie in \[1, 30\], got 'x'"),
        ("", "line 4: must have 446 bits, got 0"),
    ],
)
def test_a_bad_line_is_refused_with_its_number(tmp_path, line, message):
    files = members("location30", *table("location30"))
    write_archive(tmp_path, "location30", change_line(files, "bangkok", 3, line))
    with pytest.raises(ValueError, match=message):
        load("location30", tmp_path)
    assert not (tmp_path / "data" / "location30" / "1.0.0").exists()


def test_a_bad_label_file_of_texas100_is_refused(tmp_path):
    files = members("texas100", *table("texas100"))
    labels = "texas/100/labels"
    write_archive(tmp_path, "texas100", change_line(files, labels, 1, "101"))
    with pytest.raises(ValueError, match=r"labels, line 2: .* \[1, 100\], got '101'"):
        load("texas100", tmp_path)
    write_archive(tmp_path, "texas100", files | {labels: files[labels][:-1]})
    with pytest.raises(ValueError, match="equally many lines.* before line 15"):
        load("texas100", tmp_path)


@pytest.mark.parametrize(
    ("name", "missing"),
    [("purchase100", "dataset_purchase"), ("texas100", "texas/100/labels")],
)
def test_a_missing_member_is_named(name, missing, tmp_path):
    files = members(name, *table(name))
    files["readme.txt"] = files.pop(missing)
    write_archive(tmp_path, name, files)
    with pytest.raises(ValueError, match=f"must hold the file '{missing}', got .*txt"):
        load(name, tmp_path)


def test_too_few_rows_are_refused(tmp_path):
    bits, labels = table("location30")
    write_archive(tmp_path, "location30", members("location30", bits[1:], labels[1:]))
    with pytest.raises(ValueError, match="must hold 15 rows, got 14; download"):
        load("location30", tmp_path)


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.98])
def test_a_truncated_archive_is_refused(keep, tmp_path):
    archive = write_archive(
        tmp_path, "texas100", members("texas100", *table("texas100"))
    )
    content = archive.read_bytes()
    archive.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(ValueError, match="must be a complete .tgz archive; download"):
        load("texas100", tmp_path)


def test_what_is_no_archive_is_refused(tmp_path):
    (tmp_path / "dataset_purchase.tgz").write_text("<html>Not found</html>")
    with pytest.raises(ValueError, match="must be a complete .tgz archive; download"):
        load("purchase100", tmp_path)


@pytest.mark.parametrize("evil", ["../evil", "/evil", "a/../../evil"])
def test_an_archive_that_leads_out_of_itself_is_refused(evil, tmp_path):
    files = members("location30", *table("location30"))
    write_archive(tmp_path, "location30", files | {evil: ["evil"]})
    with pytest.raises(ValueError, match="must hold relative paths only, got"):
        load("location30", tmp_path)
    assert not list(tmp_path.parent.rglob("evil"))


def test_a_link_in_place_of_the_member_is_not_followed(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("\n".join(members("location30", *table("location30"))["bangkok"]))
    with tarfile.open(tmp_path / "dataset_location.tgz", "w:gz") as archive:
        info = tarfile.TarInfo("bangkok")
        info.type, info.linkname = tarfile.SYMTYPE, str(secret)
        archive.addfile(info)
    with pytest.raises(ValueError, match="must hold the file 'bangkok'"):
        load("location30", tmp_path)


def test_the_published_sizes_are_those_of_the_papers(monkeypatch):
    monkeypatch.undo()
    sizes = {name: builder.NUM_ROWS for name, (builder, _, _) in BUILDERS.items()}
    assert sizes == {"purchase100": 197_324, "location30": 5_010, "texas100": 67_330}


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
    builder = embedded.Hospital100(data_dir=tmp_path / "data")
    with pytest.raises(ValueError, match="must give the features with sha256 eb77"):
        prepare(builder, tmp_path)


def prepare(builder, manual_dir):
    import tensorflow_datasets

    config = tensorflow_datasets.download.DownloadConfig(manual_dir=manual_dir)
    builder.download_and_prepare(download_config=config)


def write_idx(path, values):
    header = struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape)
    path.write_bytes(gzip.compress(header + values.astype(np.uint8).tobytes()))


def test_fashion_mnist_10k_is_prepared_from_the_published_files(tmp_path):
    random = np.random.default_rng(3)
    source = {}
    for prefix, per_class in (("train", 1010), ("t10k", 205)):
        y = random.permutation(np.arange(10 * per_class) % 10)
        x = random.integers(0, 256, (len(y), 28, 28), np.uint8)
        write_idx(tmp_path / f"{prefix}-images-idx3-ubyte.gz", x)
        write_idx(tmp_path / f"{prefix}-labels-idx1-ubyte.gz", y)
        source[prefix] = x, y
    builder = embedded.FashionMnist10k(data_dir=tmp_path / "data")
    prepare(builder, tmp_path)
    made = data.tfds.load_prepared("made", pathlib.Path(builder.data_path))
    assert made.train.x.shape == (10000, 28, 28, 1)
    x, y = source["t10k"]
    keep = embedded.balanced_rows("test", y, 200)
    np.testing.assert_array_equal(made.test.x[..., 0], x[keep] / np.float32(255))
    np.testing.assert_array_equal(made.test.y, y[keep])
    assert len(set(keep.tolist())) == 2000
    np.testing.assert_array_equal(y[keep], np.arange(2000) % 10)


def test_an_idx_file_of_another_type_is_refused(tmp_path):
    path = tmp_path / "floats.gz"
    path.write_bytes(gzip.compress(b"\x00\x00\x0d\x01" + bytes(8)))
    with pytest.raises(ValueError, match="must be an IDX file of unsigned bytes"):
        embedded.read_idx(path)
