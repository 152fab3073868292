"""Pixels of any dtype and layout: scaled by one rule, or refused with the remedy."""

import numpy as np
import pytest

from sam_jax import data
from sam_jax._checks import ArgumentError

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (20, 8, 8, 1)).astype(np.uint8)
PIXELS[0, 0, 0, 0] = 255
Y = np.arange(20) % 2


def load(x, y=Y):
    return data.dataset_from_arrays("mine", x[:15], y[:15], x[15:], y[15:])


@pytest.mark.parametrize("dtype", [np.int64, np.float32, np.float64, np.uint16, ">f8"])
def test_bytes_of_any_dtype_become_the_same_images(dtype):
    expected = load(PIXELS)
    assert expected.train.x.max() == 1
    dataset = load(PIXELS.astype(dtype))
    np.testing.assert_array_equal(dataset.train.x, expected.train.x)
    np.testing.assert_array_equal(dataset.test.x, expected.test.x)


def test_sixteen_bit_pixels_become_the_same_images():
    np.testing.assert_allclose(
        load(PIXELS.astype(np.uint16) * 257).train.x, load(PIXELS).train.x, rtol=1e-6
    )


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_pixels_of_any_number_of_bits_fill_the_range(bits):
    pixels = np.round(PIXELS / 255 * (2**bits - 1)).astype(np.uint16)
    assert load(pixels).train.x.max() == 1


def test_masks_and_few_grey_values_in_bytes_stay_as_they_are():
    for pixels in (PIXELS > 128, PIXELS // 16):
        pixels = pixels.astype(np.uint8)
        np.testing.assert_array_equal(load(pixels).train.x, pixels[:15])


def test_flattened_pixels_that_are_no_whole_numbers_are_scaled():
    flat = PIXELS.reshape(20, 64) * 0.99
    np.testing.assert_allclose(load(flat).train.x, flat[:15] / 255, rtol=1e-6)


def test_images_that_were_scaled_twice_are_refused():
    with pytest.raises(ArgumentError, match="not all below 1/32, got 0 to 0.0039"):
        load(PIXELS / 255 / 255)


@pytest.mark.parametrize("scaled", [slice(0, 15), slice(15, 20)])
def test_training_and_test_images_in_different_units_are_refused(scaled):
    x = PIXELS.astype(np.float32)
    x[scaled] /= 255
    with pytest.raises(ArgumentError, match="x_test must be in the unit of x"):
        load(x)


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("scaled", [slice(0, 15), slice(15, 20), slice(0, 20, 2)])
def test_images_of_which_some_are_scaled_are_refused(scaled, flat):
    x = PIXELS * np.float32(0.99)  # no whole numbers, which alone mark flat images
    x[scaled] /= 255
    with pytest.raises(ArgumentError, match="x_test must be in the unit of x, all"):
        load(x.reshape(20, -1) if flat else x)


def test_test_images_and_tables_shifted_alone_are_refused():
    x = PIXELS / 255
    x[15:] -= x[15:].mean()
    with pytest.raises(ArgumentError, match="x_test must be in the unit of x, all"):
        load(x)
    table = np.random.default_rng(0).normal(size=(100, 5))
    y = np.arange(100) % 2
    data.dataset_from_arrays("d", table[:80], y[:80], table[80:] + 1, y[80:])
    with pytest.raises(ArgumentError, match="5 of 5 features the median is beyond"):
        data.dataset_from_arrays("d", 50 * table[:80] + 200, y[:80], table[80:], y[80:])


def test_flattened_bytes_become_the_same_numbers():
    flat = load(PIXELS.reshape(20, 64))
    np.testing.assert_array_equal(flat.train.x, load(PIXELS).train.x.reshape(15, 64))


@pytest.mark.parametrize(
    "x",
    [
        PIXELS / 255.0,
        PIXELS / 127.5 - 1,
        (PIXELS - 128.0) / 70,
        np.round(PIXELS / 16),  # Sixteen grey values, as scikit-learn's digits have.
        RNG.normal(size=(20, 5)) * 40,  # A table.
    ],
)
def test_what_is_scaled_already_stays_as_it_is(x):
    np.testing.assert_array_equal(load(x).train.x, x[:15].astype(np.float32))


@pytest.mark.parametrize(
    "x", [PIXELS.astype(np.float32) - 128, PIXELS * 1e4, PIXELS * -1.0]
)
def test_pixels_in_no_known_range_are_refused_with_the_remedy(x):
    with pytest.raises(ArgumentError, match=r"x must hold pixels from 0 to 255.*scale"):
        load(x)


def test_channels_first_is_refused_with_the_remedy():
    x = RNG.uniform(size=(20, 3, 8, 8))
    with pytest.raises(ArgumentError, match=r"np.moveaxis\(x, 1, -1\)"):
        load(x)
    assert load(np.moveaxis(x, 1, -1)).train.x.shape == (15, 8, 8, 3)
    bands = RNG.uniform(size=(20, 10, 32, 32))
    with pytest.raises(ArgumentError, match=r"np.moveaxis\(x, 1, -1\)"):
        load(bands)
    assert load(np.moveaxis(bands, 1, -1)).train.x.shape == (15, 32, 32, 10)


def test_test_images_are_scaled_as_training_images_are():
    """A dark training set beside a bright test set."""
    x = PIXELS.astype(np.float32)
    x[:15] /= 20
    x[19, 0, 0, 0] = 255
    assert load(x).train.x.max() <= 1 / 16


def test_sparse_ids_are_encoded_and_kept():
    ids = RNG.integers(0, 10, 20) * 100_000_000 + 7
    ids[:10] = np.arange(10) * 100_000_000 + 7
    dataset = load(PIXELS, ids)
    assert dataset.num_classes == 10
    names = np.array(dataset.class_names)
    np.testing.assert_array_equal(names[dataset.train.y].astype(int), ids[:15])
    np.testing.assert_array_equal(names[dataset.test.y].astype(int), ids[15:])


@pytest.mark.parametrize("scale", [1, 2**31, 2**40, 2.0**33])
def test_two_classes_by_any_two_ids(scale):
    dataset = load(PIXELS, (Y * scale).astype(type(scale)))
    assert dataset.num_classes == 2
    np.testing.assert_array_equal(dataset.train.y, Y[:15])


def test_signs_are_two_classes_and_a_missing_label_is_none():
    np.testing.assert_array_equal(load(PIXELS, 2 * Y - 1).train.y, Y[:15])
    labels = np.arange(20) % 3
    labels[4] = -1
    with pytest.raises(ArgumentError, match=r"y must lie in \[0, 3\).*got -1"):
        load(PIXELS, labels)


def test_every_example_knows_its_row_and_its_name(tmp_path):
    ids = np.array([f"patient {i}" for i in range(20)])
    np.savez(tmp_path / "one.npz", x=PIXELS, y=Y, id=ids)
    dataset = data.load(str(tmp_path / "one.npz"))
    pool = dataset.take(pool=np.array([1, 4, 5]))
    for part, origin in (
        (pool.train, pool.train_origin),
        (pool.test, pool.test_origin),
    ):
        assert origin.split == "x"
        np.testing.assert_array_equal(part.x, PIXELS[origin.rows] / np.float32(255))
        np.testing.assert_array_equal(part.y, Y[origin.rows])
        np.testing.assert_array_equal(origin.ids, ids[origin.rows])


def test_four_arrays_name_their_own_rows(tmp_path):
    np.savez(
        tmp_path / "four.npz",
        x_train=PIXELS[:15],
        y_train=Y[:15],
        x_test=PIXELS[15:],
        y_test=Y[15:],
        id_train=np.arange(15) + 100,
    )
    dataset = data.load(str(tmp_path / "four.npz"))
    assert dataset.train_origin.split == "x_train"
    np.testing.assert_array_equal(dataset.train_origin.ids, np.arange(15) + 100)
    assert dataset.test_origin.split == "x_test" and dataset.test_origin.ids is None
    np.testing.assert_array_equal(dataset.test_origin.rows, np.arange(5))


@pytest.mark.parametrize(
    "value", [np.inf, np.nan, 2.5, np.array([2, 3]), 1 + 1j, 10**9, "two"]
)
def test_a_number_of_classes_that_is_none_is_refused(tmp_path, value):
    np.savez(tmp_path / "bad.npz", x=PIXELS, y=Y, num_classes=value)
    with pytest.raises(ArgumentError, match="num_classes must be"):
        data.load(str(tmp_path / "bad.npz"))


def test_names_of_another_number_than_rows_are_refused(tmp_path):
    np.savez(tmp_path / "bad.npz", x=PIXELS, y=Y, id=np.arange(19))
    with pytest.raises(ArgumentError, match="id must have one entry for each row of x"):
        data.load(str(tmp_path / "bad.npz"))


def test_embedded_sets_name_their_rows():
    table = data.load("hospital100")
    train, test = data.split_rows(60097)
    np.testing.assert_array_equal(table.train_origin.rows, train)
    np.testing.assert_array_equal(table.test_origin.rows, test)
    images = data.load("retinamnist")
    assert images.train_origin.split == "train+validation"
    assert images.test_origin.split == "test"
