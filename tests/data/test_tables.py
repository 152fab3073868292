"""Tables with a column of labels, and sets of Hugging Face, as data sets."""

import sys
import types

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from sam_jax.data import load, split_rows
from sam_jax.data.arrays import as_dataset, dataset_from_arrays

ROWS = 20
COLUMNS = {
    "age": np.arange(ROWS),
    "height": np.linspace(1.5, 2.0, ROWS),
    "label": np.array(["no", "yes"])[np.arange(ROWS) % 2],
}


def write_csv(path, columns):
    lines = [
        ",".join(columns),
        *(",".join(map(str, row)) for row in zip(*columns.values(), strict=True)),
    ]
    path.write_text("\n".join(lines) + "\n")
    return str(path)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_table_gives_the_arrays_that_were_written(tmp_path, suffix):
    path = tmp_path / f"people{suffix}"
    if suffix == ".csv":
        write_csv(path, COLUMNS)
    else:
        parquet.write_table(pyarrow.table(COLUMNS), path)
    dataset = load(str(path))
    train, test = split_rows(ROWS)
    x = np.stack([COLUMNS["age"], COLUMNS["height"]], axis=1).astype(np.float32)
    np.testing.assert_array_equal(dataset.train.x, x[train])
    np.testing.assert_array_equal(dataset.test.x, x[test])
    assert dataset.class_names == ("no", "yes")
    np.testing.assert_array_equal(dataset.train.y, train % 2)
    np.testing.assert_array_equal(dataset.test_origin.rows, test)
    assert dataset.name == "people"


def test_a_column_of_ids_names_the_rows_and_is_no_feature(tmp_path):
    names = [f"p{row}" for row in range(ROWS)]
    path = write_csv(tmp_path / "people.csv", {"id": names} | COLUMNS)
    dataset, (train, _) = load(path), split_rows(ROWS)
    assert dataset.train.x.shape[1] == 2
    assert dataset.train_origin.ids.tolist() == [names[row] for row in train]


def test_another_column_may_hold_the_labels_and_late_fractions_are_read(tmp_path):
    # The fraction comes after the first megabyte.
    columns = {"x": [str(n) for n in range(200_000)], "kind": np.arange(200_000) % 3}
    columns["x"][-1] = "0.5"
    dataset = load(write_csv(tmp_path / "long.csv", columns), label_column="kind")
    assert dataset.num_classes == 3
    assert 0.5 in np.concatenate([dataset.train.x, dataset.test.x])


def replaced(**columns):
    return {**COLUMNS, **columns}


EMPTY, TEXT = ["", *["3"] * (ROWS - 1)], ["old"] * ROWS
BAD_TABLES = [
    ({"age": [1, 2], "class": [0, 1]}, "must be one of .* age, class; got 'label'"),
    (replaced(age=TEXT), "numbers, which age are not .*'old'"),
    (replaced(age=TEXT, height=TEXT), "numbers, which age, height are not"),
    (replaced(age=EMPTY), r"no missing values, got some in age \(1\)"),
    (replaced(age=["nan", *EMPTY[1:]]), r"no missing values, got some in age \(1\)"),
    ({"1.5": [1, 2], "0": [0, 1]}, "names of the columns in its first line"),
    ({"label": [0, 1]}, "a column beside the labels"),
    ({"x": [1.0], "label": [0]}, "at least 2 rows"),
    (replaced(label=np.arange(ROWS) + 0.5), "y must hold whole numbers, got "),
    ({"": np.arange(ROWS), **COLUMNS}, "must name each column, got ''.*index=False"),
    ({"Unnamed: 0": [1, 2], "label": [0, 1]}, "must name each column"),
    ({"__index_level_0__": [1, 2], "label": [0, 1]}, "must name each column"),
    (
        {"x": np.arange(80), "label": np.arange(80) * 7},
        r"y must name classes, got 80 .*bad.csv\)$",
    ),
]


@pytest.mark.parametrize(("columns", "message"), BAD_TABLES)
def test_tables_that_cannot_be_used_are_refused(columns, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        load(write_csv(tmp_path / "bad.csv", columns))


def test_files_that_are_no_tables_are_refused(tmp_path):
    with pytest.raises(ValueError, match="path must be an existing file"):
        load(str(tmp_path / "none.csv"))
    for name, text in (
        ("ragged.csv", "a,label\n1,0\n1,2,3\n"),
        ("latin.csv", "\u00e9,label\n1,0\n2,1\n"),
        ("x.parquet", "PAR1"),
    ):
        (tmp_path / name).write_text(text, encoding="latin1")
        with pytest.raises(ValueError, match=f"path must be a readable .*{name}"):
            load(str(tmp_path / name))
    (tmp_path / "twice.csv").write_text("a,a,label\n1,2,0\n1,2,1\n")
    with pytest.raises(ValueError, match="each column once, got a twice"):
        load(str(tmp_path / "twice.csv"))
    with pytest.raises(ValueError, match="label_column must be None but for tables"):
        load("retinamnist", label_column="label")


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (np.array(["b", "a", "b"], object), ("a", "b")),
        (np.array(["b", "a", " b"]), ("a", "b")),
        (np.array([1, 2, 3]), ("1", "2", "3")),
        (np.array([0, 2, 3]), ()),
    ],
)
def test_labels_that_do_not_count_from_zero_are_encoded(labels, names):
    x = np.eye(3, dtype=np.float32)
    dataset = dataset_from_arrays("d", x, labels, x, labels)
    assert dataset.class_names == names
    if names:
        decoded = [names[label] for label in dataset.train.y]
        assert decoded == [str(label).strip() for label in labels]


def test_three_arrays_are_no_data_set():
    with pytest.raises(ValueError, match=r"dataset must be .*x, y, x_test.*got tuple"):
        as_dataset((np.eye(3), np.arange(3), np.eye(3)))


def test_a_set_of_hugging_face_is_read_from_a_folder(tmp_path):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {"a": datasets.Value("float32"), "y": datasets.ClassLabel(names=["cat", "dog"])}
    )
    rows = {"a": [0.5, 1.5, 2.5, 3.5], "y": [0, 1, 1, 0]}
    whole = datasets.Dataset.from_dict(rows, features)
    splits = datasets.DatasetDict({"train": whole, "test": whole.select([2, 3])})
    splits.save_to_disk(str(tmp_path / "pets"))
    dataset = load(f"hf:{tmp_path / 'pets'}")
    np.testing.assert_array_equal(dataset.train.x[:, 0], rows["a"])
    np.testing.assert_array_equal(dataset.test.y, [1, 0])
    assert dataset.class_names == ("cat", "dog")
    whole.save_to_disk(str(tmp_path / "whole"))
    alone = load(f"hf:{tmp_path / 'whole'}", label_column="y")
    assert len(alone.train.y) + len(alone.test.y) == 4
    with pytest.raises(ValueError, match="label_column must be one of .* a, y; got"):
        load(f"hf:{tmp_path / 'whole'}", label_column="kind")


class Image:
    """Named as the feature of Hugging Face."""


class Split(dict):
    """The images and labels of a split, as `datasets` gives them."""

    features = {"image": Image(), "label": None}


def test_images_of_the_hub_are_stacked_and_a_missing_package_is_named(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "datasets", None)
        with pytest.raises(ValueError, match=r"pip install .*huggingface"):
            load("hf:org/pictures")
    asked = []
    pixels = np.arange(2 * 4 * 4, dtype=np.uint8).reshape(2, 4, 4)
    split = Split(image=list(pixels), label=[1, 0])
    fake = types.ModuleType("datasets")
    fake.__spec__ = types.SimpleNamespace(loader=None)

    def load_dataset(*arguments):
        asked.append(arguments)
        return {"train": split, "validation": Split(split)}

    fake.load_dataset = load_dataset
    monkeypatch.setitem(sys.modules, "datasets", fake)
    dataset = load("hf:org/pictures:small")
    assert asked == [("org/pictures", "small")]
    np.testing.assert_array_equal(
        dataset.test.x, pixels[..., None].astype(np.float32) / np.float32(255)
    )
    split["image"][0] = np.zeros((5, 4), np.uint8)
    with pytest.raises(ValueError, match="images of one size"):
        load("hf:org/pictures")
    fake.load_dataset = lambda *_: {}["gone"]
    with pytest.raises(ValueError, match="can load, got 'org/none': KeyError"):
        load("hf:org/none")
