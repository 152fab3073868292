import numpy as np
import pytest

from sam_jax.data import class_ids

LABELS = np.random.default_rng(0).integers(0, 10, (4, 25))


@pytest.mark.parametrize("dtype", ["u1", "i4", ">i2", "<i8", "u8"])
def test_ids_in_order_are_kept_and_labels_point_at_them(dtype):
    ids, (train, test) = class_ids.encode(LABELS.astype(dtype), LABELS[0].astype(dtype))
    np.testing.assert_array_equal(ids, np.arange(10))
    np.testing.assert_array_equal(train, LABELS)
    np.testing.assert_array_equal(test, LABELS[0])
    assert train.dtype == np.int32 and ids.dtype == np.int64


@pytest.mark.parametrize("step", [100_000_000, 2**31, 2**58])
def test_ids_far_apart_are_encoded_and_found_again(step):
    sparse = LABELS * step + 7
    assert class_ids.is_sparse(sparse) and not class_ids.is_sparse(LABELS)
    ids, (encoded,) = class_ids.encode(sparse)
    np.testing.assert_array_equal(ids[encoded], sparse)
    np.testing.assert_array_equal(encoded, LABELS)


def test_ids_beyond_int64_are_kept():
    ids, (encoded, small) = class_ids.encode(
        np.array([2**64 - 1, 3], np.uint64), np.array([3])
    )
    assert ids.tolist() == [3, 2**64 - 1]
    assert encoded.tolist() == [1, 0] and small.tolist() == [0]


def test_minus_one_and_one_are_two_classes():
    ids, (encoded,) = class_ids.encode(np.array([-1, 1, -1]))
    assert ids.tolist() == [-1, 1] and encoded.tolist() == [0, 1, 0]
