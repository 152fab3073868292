"""Our own TFDS builders, on archives and files written in the published formats."""

import gzip
import io
import tarfile

import numpy as np
import pytest

from sam_jax import data
from sam_jax.data.builders import privacytrust
from sam_jax.data.builders.archives import check_gzip

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
    with pytest.raises(ValueError, match="must be a complete .* download"):
        load("texas100", tmp_path)


def test_what_is_no_archive_is_refused(tmp_path):
    (tmp_path / "dataset_purchase.tgz").write_text("<html>Not found</html>")
    with pytest.raises(ValueError, match="must be a complete .* download"):
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


def test_a_flipped_bit_of_an_archive_is_found_or_harmless(tmp_path):
    """All rows come from the first bytes; the checksum is at the end."""
    archive = write_archive(
        tmp_path, "location30", members("location30", *table("location30"))
    )
    content, found = archive.read_bytes(), 0
    unpacked = gzip.decompress(content)
    positions = range(0, len(content), max(len(content) // 60, 1))
    for position in positions:
        data = bytearray(content)
        data[position] ^= 1 << (position % 8)
        archive.write_bytes(data)
        try:
            check_gzip(archive)
        except ValueError as error:
            assert "must be a complete gzip file" in str(error)
            found += 1
        else:  # A bit of the file's name or time in the header.
            assert gzip.decompress(bytes(data)) == unpacked
    assert found > 0.9 * len(positions)


def test_what_unpacks_to_too_much_is_refused(tmp_path):
    path = tmp_path / "zeros.gz"
    path.write_bytes(gzip.compress(bytes(5_000_000)))
    with pytest.raises(ValueError, match="at most 4,000,000 bytes; it holds more"):
        check_gzip(path, 4_000_000)
    check_gzip(path, 5_000_000)
