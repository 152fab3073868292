"""Arrays, .npz files, the registry and the embedded sets."""

import hashlib
import socket
import subprocess
import sys

import numpy as np
import pytest

from sam_jax import data

EMBEDDED = {
    "fashion_mnist_10k": ((10000, 28, 28, 1), (2000, 28, 28, 1), 10),
    "retinamnist": ((1200, 28, 28, 3), (400, 28, 28, 3), 5),
    "hospital100": ((48078, 782), (12019, 782), 100),
}


@pytest.fixture
def arrays():
    x = np.arange(24, dtype=np.float64).reshape(6, 4)
    return {
        "name": "mine",
        "x": x,
        "y": np.array([0, 1, 2, 0, 1, 2]),
        "x_test": x[:2],
        "y_test": np.array([2, 0]),
    }


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*_args, **_kwargs):
        raise OSError("a socket was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.parametrize("name", EMBEDDED)
def test_an_embedded_set_loads_without_network(name, no_network):
    train_shape, test_shape, num_classes = EMBEDDED[name]
    dataset = data.load(name)
    assert dataset.name == name and dataset.num_classes == num_classes
    assert dataset.train.x.shape == train_shape
    assert dataset.test.x.shape == test_shape
    for part in (dataset.train, dataset.test):
        assert part.x.dtype == np.float32 and part.y.dtype == np.int32
        assert part.x.min() == 0 and part.x.max() == 1
        assert set(part.y) == set(range(num_classes))
    assert "CC BY 4.0" in dataset.source or "MIT" in dataset.source
    assert len(dataset.class_names) in (0, num_classes)


def test_every_prefix_of_fashion_mnist_10k_is_class_balanced():
    dataset = data.load("fashion_mnist_10k")
    for part in (dataset.train, dataset.test):
        np.testing.assert_array_equal(part.y, np.arange(len(part.y)) % 10)


def test_hospital100_holds_the_published_bits_in_their_order():
    dataset = data.load("hospital100")
    train, test = data.split_rows(60097)
    bits = np.empty((60097, 782), np.bool_)
    bits[train], bits[test] = dataset.train.x, dataset.test.x
    assert hashlib.sha256(bits).hexdigest() == (
        "eb77b1cef9b53aed01645802b309f169fe29c75ab60c93c81aaee3709e1f1c38"
    )


def test_retinamnist_has_the_published_counts_by_grade():
    dataset = data.load("retinamnist")
    train = np.array([486, 128, 206, 194, 66]) + np.array([54, 12, 28, 20, 6])
    np.testing.assert_array_equal(np.bincount(dataset.train.y), train)
    np.testing.assert_array_equal(np.bincount(dataset.test.y), [174, 46, 92, 68, 20])


def test_embedded_sets_take_at_most_12_megabytes():
    files = [p for p in data.tfds.EMBEDDED_DIR.rglob("*") if p.is_file()]
    assert 1e6 < sum(p.stat().st_size for p in files) <= 12e6


def test_loading_imports_no_tensorflow_and_importing_no_tfds():
    code = """
import sys
import sam_jax.data
assert "tensorflow_datasets" not in sys.modules, "sam_jax.data imports tfds"
sam_jax.data.load("retinamnist")
assert "tensorflow_datasets" in sys.modules
assert "tensorflow" not in sys.modules, "load imports tensorflow"
"""
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout == "" and result.stderr == ""


def test_an_unknown_name_lists_the_choices_and_mentions_tfds_and_npz(tmp_path):
    with pytest.raises(ValueError) as error:
        data.load("cifr10", data_dir=tmp_path)
    for text in ("cifar10", "hospital100", "TFDS", ".npz", "'cifr10'"):
        assert text in str(error.value)


@pytest.mark.parametrize("size", [0, -3])
def test_load_rejects_an_image_size_that_is_no_positive_whole_number(size):
    with pytest.raises(ValueError, match="image_size must be a whole number >= 1"):
        data.load("retinamnist", image_size=size)


def test_raw_images_are_resized():
    dataset = data.load("retinamnist", image_size=14)
    assert dataset.train.x.shape == (1200, 14, 14, 3)
    full = data.load("retinamnist").train.x
    np.testing.assert_allclose(dataset.train.x.mean(), full.mean(), atol=0.01)


def test_a_table_cannot_be_resized():
    with pytest.raises(ValueError, match="image_size must be None for data that"):
        data.load("hospital100", image_size=8)


def test_arrays_become_float32_and_int32_as_they_are(arrays):
    dataset = data.dataset_from_arrays(**arrays)
    assert dataset.num_classes == 3
    np.testing.assert_array_equal(dataset.train.x, arrays["x"].astype(np.float32))
    np.testing.assert_array_equal(dataset.test.y, [2, 0])
    assert dataset.train.x.dtype == np.float32 and dataset.train.y.dtype == np.int32


def test_uint8_images_are_scaled_and_uint8_tables_are_not(arrays):
    images = np.full((6, 2, 2), 51, np.uint8)
    scaled = data.dataset_from_arrays(**arrays | {"x": images, "x_test": images[:2]})
    np.testing.assert_allclose(scaled.train.x, 0.2, rtol=1e-6)
    table = images.reshape(6, 4)
    as_is = data.dataset_from_arrays(**arrays | {"x": table, "x_test": table[:2]})
    np.testing.assert_array_equal(as_is.train.x, 51)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": np.full((6, 4), np.nan)}, r"x must be finite in float32, got nan at"),
        ({"x_test": np.full((2, 4), 1e300)}, "x_test must be finite .* got 1e\\+300"),
        ({"x": np.zeros((6, 4), complex)}, "x must hold real numbers"),
        ({"x": np.array([["a"] * 4] * 6)}, "x must hold real numbers"),
        ({"x": np.zeros(6)}, "x must be .* got shape \\(6,\\)"),
        ({"x": np.zeros((0, 4)), "y": np.zeros(0, int)}, "x must be .* not empty"),
        ({"x_test": np.zeros((2, 5))}, r"x_test must have the feature shape of x"),
        ({"x_test": np.zeros((2, 4), np.uint8)}, "x_test must have the dtype of x"),
        ({"y": np.arange(5)}, r"y must have one label .* got shape \(5,\)"),
        ({"y": np.zeros((6, 1), int)}, r"got shape \(6, 1\). Save y.ravel\(\)"),
        ({"y": np.eye(6)}, r"y must have one label .* Save y.argmax\(axis=1\)"),
        ({"y": np.full(6, 0.5)}, "y must hold whole numbers, got 0.5"),
        ({"y": np.full(6, np.nan)}, "y must hold whole numbers, got nan"),
        ({"y": np.full(6, 2.0**60)}, "y must hold whole numbers, got 1.15"),
        ({"num_classes": 10**9}, "num_classes must be at most 100,000, got 1,0"),
        ({"y": np.array(["a"] * 6)}, "y must hold whole numbers, got dtype"),
        ({"y": np.array([0, 1, 2, 0, 1, -1])}, r"y must lie in \[0, 3\) .* got -1"),
        ({"num_classes": 2}, r"y must lie in \[0, 2\) .* got 2"),
        ({"y_test": np.array([0, 7]), "num_classes": 3}, "y_test must lie .* got 7"),
        ({"y": np.zeros(6), "y_test": np.zeros(2)}, "num_classes must be .* >= 2"),
        ({"class_names": ("a",)}, r"class_names must have one name a class \(3\)"),
    ],
)
def test_bad_arrays_are_refused_by_name_rule_and_value(arrays, change, message):
    with pytest.raises(ValueError, match=message):
        data.dataset_from_arrays(**arrays | change)


def test_an_npz_file_with_four_arrays_is_loaded_as_it_is(arrays, tmp_path):
    path = tmp_path / "mine.npz"
    np.savez(
        path,
        x_train=arrays["x"],
        y_train=arrays["y"],
        x_test=arrays["x_test"],
        y_test=arrays["y_test"],
        num_classes=7,
    )
    dataset = data.load(str(path))
    assert dataset.name == "mine" and dataset.num_classes == 7
    np.testing.assert_array_equal(dataset.train.x, arrays["x"])
    np.testing.assert_array_equal(dataset.test.y, arrays["y_test"])


def test_an_npz_file_with_x_and_y_is_split_the_same_way_each_time(tmp_path):
    path = tmp_path / "mine.npz"
    x = np.arange(50, dtype=np.float32).reshape(25, 2)
    np.savez(path, x=x, y=np.arange(25) % 3)
    first, second = data.load(str(path)), data.load(str(path))
    assert first.train.x.shape == (20, 2) and first.test.x.shape == (5, 2)
    np.testing.assert_array_equal(first.test.x, second.test.x)
    rows = np.concatenate([first.train.x, first.test.x])
    np.testing.assert_array_equal(np.sort(rows[:, 0]), x[:, 0])


@pytest.mark.parametrize("num_rows", [2, 3, 10, 999])
def test_split_rows_covers_every_row_once(num_rows):
    train, test = data.split_rows(num_rows)
    assert train.size and test.size
    assert abs(test.size - num_rows / 5) <= 0.5 or num_rows < 3
    np.testing.assert_array_equal(
        np.sort(np.concatenate([train, test])), range(num_rows)
    )


def test_split_rows_is_the_same_on_every_machine():
    lowest = sorted(range(10), key=lambda i: hashlib.sha256(b"%d" % i).hexdigest())[:2]
    np.testing.assert_array_equal(data.split_rows(10)[1], sorted(lowest))


def test_split_rows_needs_two_rows():
    with pytest.raises(ValueError, match="x must have at least 2 rows"):
        data.split_rows(1)


def test_a_pickle_in_an_npz_file_is_refused(tmp_path):
    path = tmp_path / "bad.npz"
    np.savez(path, x=np.array([{"a": 1}, None]), y=np.zeros(2))
    with pytest.raises(ValueError, match="plain arrays .no pickles."):
        data.load(str(path))


def test_what_is_no_npz_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match="path must name a file that exists"):
        data.load(str(tmp_path / "absent.npz"))
    (tmp_path / "text.npz").write_text("not an archive")
    with pytest.raises(ValueError, match="must be an .npz or .npy file of plain"):
        data.load(str(tmp_path / "text.npz"))
    np.savez(tmp_path / "whole.npz", x=np.zeros((9, 9)), y=np.zeros(9))
    cut = (tmp_path / "whole.npz").read_bytes()[:200]
    (tmp_path / "cut.npz").write_bytes(cut)
    with pytest.raises(ValueError, match="must be an .npz or .npy file of plain"):
        data.load(str(tmp_path / "cut.npz"))


def test_an_npz_file_without_the_arrays_is_refused(tmp_path):
    np.savez(tmp_path / "bad.npz", inputs=np.zeros(3), y=np.zeros(3))
    with pytest.raises(ValueError, match="or x and y; it holds inputs, y"):
        data.load(str(tmp_path / "bad.npz"))
    np.savez(tmp_path / "bad.npz", x=np.zeros((4, 2)), y=np.zeros(3))
    with pytest.raises(ValueError, match="with the same N, got"):
        data.load(str(tmp_path / "bad.npz"))


def test_an_npz_file_cannot_be_resized(tmp_path):
    with pytest.raises(ValueError, match="image_size must be None but for TFDS"):
        data.load(str(tmp_path / "mine.npz"), image_size=8)
