"""Prepared TFDS sets of every kind, and sets that cannot be had."""

import importlib.util
import io
import pathlib
import socket

import numpy as np
import pytest
import tensorflow_datasets
from PIL import Image

from sam_jax import data
from sam_jax.cli import main as cli
from sam_jax.data import preparation
from sam_jax.data.builders.compact import CompactBuilder
from tests.data.test_record_files import write_tfrecords

NAMES = ["cat", "dog", "owl"]
LABELS = np.arange(12) % 3


def write_set(folder, x_feature, values, *, splits=("train", "test"), **options):
    """Prepares a small TFDS set in ``folder`` and returns the folder of its version."""
    features = tensorflow_datasets.features
    x_key = options.get("x_key", "input")

    class Tiny(CompactBuilder, skip_registration=True):
        name = options.get("name", "tiny")
        VERSION = tensorflow_datasets.core.Version(options.get("version", "1.0.0"))
        BUILDER_CONFIGS = [
            tensorflow_datasets.core.BuilderConfig(name=config)
            for config in options.get("configs", ())
        ]

        def _info(self):
            label = options.get("label", features.ClassLabel(names=NAMES))
            return tensorflow_datasets.core.DatasetInfo(
                builder=self,
                features=features.FeaturesDict({x_key: x_feature, "label": label}),
                supervised_keys=options.get("keys", ("input", "label")),
                disable_shuffling=True,
            )

        def _split_generators(self, dl_manager):
            return {split: self._generate_examples() for split in splits}

        def _generate_examples(self):
            for i, (value, label) in enumerate(zip(values, LABELS, strict=True)):
                yield i, {x_key: value, "label": int(label)}

    for config in options.get("configs", (None,)):
        builder = Tiny(data_dir=folder, config=config)
        builder.download_and_prepare()
    return pathlib.Path(builder.data_path)


@pytest.fixture
def table():
    return np.random.default_rng(0).normal(size=(12, 5)).astype(np.float32)


def tensor(encoding="none", shape=(5,), dtype=np.float32):
    return tensorflow_datasets.features.Tensor(
        shape=shape, dtype=dtype, encoding=encoding
    )


def as_tfrecord(folder):
    """Turns a prepared set into the TFRecord format, the default of TFDS."""
    from array_record.python import array_record_module

    for path in folder.glob("*.array_record*"):
        records = array_record_module.ArrayRecordReader(str(path)).read_all()
        target = path.with_name(path.name.replace("array_record", "tfrecord"))
        write_tfrecords(target, records)
        path.unlink()
    info = folder / "dataset_info.json"
    info.write_text(info.read_text().replace("array_record", "tfrecord"))


@pytest.mark.parametrize("encoding", ["none", "bytes", "zlib"])
def test_every_encoding_of_a_tensor_gives_the_values_back(tmp_path, table, encoding):
    write_set(tmp_path, tensor(encoding), table)
    dataset = data.load("tiny", data_dir=tmp_path)
    np.testing.assert_array_equal(dataset.train.x, table)
    np.testing.assert_array_equal(dataset.train.y, LABELS)
    assert dataset.class_names == tuple(NAMES) and dataset.num_classes == 3


def test_bulk_decoding_equals_that_of_tfds(tmp_path, table):
    folder = write_set(tmp_path, tensor("zlib"), table)
    builder = tensorflow_datasets.builder_from_directory(folder)
    theirs = list(builder.as_data_source("train"))
    ours = data.load("tiny", data_dir=tmp_path).train
    np.testing.assert_array_equal(ours.x, [row["input"] for row in theirs])
    np.testing.assert_array_equal(ours.y, [row["label"] for row in theirs])


def test_a_tfrecord_set_loads_like_an_array_record_set(tmp_path, table):
    as_tfrecord(write_set(tmp_path, tensor("zlib"), table))
    np.testing.assert_array_equal(data.load("tiny", data_dir=tmp_path).test.x, table)


def test_splits_are_test_else_validation_else_a_fifth_of_train(tmp_path, table):
    for splits, expected in [
        (("train", "validation", "test"), (12, 12)),
        (("train", "validation"), (12, 12)),
        (("train",), (10, 2)),
    ]:
        folder = tmp_path / "-".join(splits)
        write_set(folder, tensor(), table, splits=splits)
        dataset = data.load("tiny", data_dir=folder)
        assert (len(dataset.train.y), len(dataset.test.y)) == expected


def test_splits_can_be_added_and_unknown_ones_are_refused(tmp_path, table):
    folder = write_set(tmp_path, tensor(), table, splits=("train", "validation"))
    both = data.tfds.load_prepared("tiny", folder, "train+validation", "validation")
    np.testing.assert_array_equal(both.train.x, np.concatenate([table, table]))
    part = data.tfds.load_prepared("tiny", folder, "train[2:5]", "validation")
    np.testing.assert_array_equal(part.train.x, table[2:5])
    with pytest.raises(ValueError, match="split must be one of train, validation"):
        data.tfds.load_prepared("tiny", folder, "extra")


def test_the_newest_version_is_loaded_unless_one_is_named(tmp_path, table):
    write_set(tmp_path, tensor(), table, version="2.0.0")
    write_set(tmp_path, tensor(), table + 1, version="10.0.0")
    newest = data.load("tiny", data_dir=tmp_path)
    older = data.load("tiny:2.0.0", data_dir=tmp_path)
    np.testing.assert_array_equal(newest.train.x, table + 1)
    np.testing.assert_array_equal(older.train.x, table)


def test_one_of_several_configs_must_be_named(tmp_path, table):
    write_set(tmp_path, tensor(), table, configs=("small", "large"))
    assert data.load("tiny/small", data_dir=tmp_path).train.x.shape == (12, 5)
    with pytest.raises(ValueError, match="choose one of tiny/large, tiny/small"):
        data.load("tiny", data_dir=tmp_path)
    write_set(tmp_path / "one", tensor(), table, configs=("only",))
    assert data.load("tiny", data_dir=tmp_path / "one").num_classes == 3


def encoded(image, file_format):
    """Bytes of an image file; TFDS stores them as they are, without TensorFlow."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, file_format)
    return file.getvalue()


@pytest.mark.parametrize("channels", [1, 3])
def test_png_images_are_decoded_without_loss(tmp_path, channels):
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (12, 6, 7, channels), np.uint8)
    files = [encoded(image.squeeze(), "PNG") for image in images]
    feature = tensorflow_datasets.features.Image(shape=(6, 7, channels))
    write_set(tmp_path, feature, files)
    dataset = data.load("tiny", data_dir=tmp_path)
    np.testing.assert_array_equal(dataset.train.x, images / np.float32(255))


def test_images_of_unequal_sizes_need_an_image_size(tmp_path):
    images = [np.full((6 + i, 9, 3), 20 * i, np.uint8) for i in range(12)]
    files = [encoded(image, "JPEG") for image in images]
    write_set(tmp_path, tensorflow_datasets.features.Image(), files)
    with pytest.raises(ValueError, match="image_size must be given .* 12 different"):
        data.load("tiny", data_dir=tmp_path)
    dataset = data.load("tiny", data_dir=tmp_path, image_size=4)
    assert dataset.train.x.shape == (12, 4, 4, 3)
    np.testing.assert_allclose(
        dataset.train.x[:, 0, 0, 0] * 255, 20 * np.arange(12), atol=2
    )


def test_eyepacs_is_read_from_its_config_and_resized(tmp_path):
    images = [np.full((300 + i, 310, 3), 20 * i, np.uint8) for i in range(12)]
    files = [encoded(image, "JPEG") for image in images]
    write_set(
        tmp_path,
        tensorflow_datasets.features.Image(),
        files,
        splits=("train", "validation", "test"),
        name="diabetic_retinopathy_detection",
        configs=("original", "btgraham-300"),
        x_key="image",
        keys=None,
    )
    dataset = data.load("eyepacs", data_dir=tmp_path)
    assert dataset.train.x.shape == (12, 64, 64, 3)
    assert dataset.test.x.shape == (24, 64, 64, 3)
    smaller = data.load("eyepacs", data_dir=tmp_path, image_size=32)
    assert smaller.train.x.shape == (12, 32, 32, 3)


def test_what_is_no_classification_set_is_refused(tmp_path, table):
    label = tensorflow_datasets.features.Scalar(np.int64)
    write_set(tmp_path / "a", tensor(), table, label=label)
    with pytest.raises(ValueError, match="name must be a classification set"):
        data.load("tiny", data_dir=tmp_path / "a")
    write_set(tmp_path / "b", tensor(), table, keys=None)
    with pytest.raises(ValueError, match="has the features input, label"):
        data.load("tiny", data_dir=tmp_path / "b")
    text = tensorflow_datasets.features.Text()
    write_set(tmp_path / "c", text, ["some text"] * 12)
    with pytest.raises(ValueError, match="uint8 images or of tensors of one shape"):
        data.load("tiny", data_dir=tmp_path / "c")


def test_missing_records_are_noticed(tmp_path, table):
    folder = write_set(tmp_path, tensor(), table)
    info = folder / "dataset_info.json"
    info.write_text(info.read_text().replace('"12"', '"13"'))
    with pytest.raises(ValueError, match="must hold 13 records, got 12"):
        data.load("tiny", data_dir=tmp_path)


def test_an_absent_tfds_set_says_what_to_run_and_where_it_was_looked_for(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError) as error:
        data.load("cifar10", data_dir=tmp_path)
    message = str(error.value)
    assert f"looked for in {tmp_path / 'cifar10'}" in message
    assert "no TensorFlow here" in message
    assert 'pip install -e ".[prepare]"' in message
    assert f"sam-jax prepare cifar10 --data-dir={tmp_path}" in message


def test_a_tfds_name_outside_of_the_registry_is_known(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="'eurosat/rgb' is neither"):
        data.load("eurosat/rgb", data_dir=tmp_path)


def test_a_failed_download_says_what_to_run(tmp_path, monkeypatch):
    def refuse(*_args, **_kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    with pytest.raises(ValueError, match="ConnectionError.*sam-jax prepare"):
        data.load("purchase100", data_dir=tmp_path)


def test_the_data_dir_is_read_from_the_environment(tmp_path, monkeypatch, table):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    write_set(tmp_path, tensor(), table)
    assert data.load("tiny").num_classes == 3


def test_every_registered_set_of_ours_has_a_builder():
    ours = {n for n, row in data.DATASETS.items() if row.source}
    embedded = {path.name for path in data.tfds.EMBEDDED_DIR.iterdir() if path.is_dir()}
    assert ours == set(preparation.BUILDERS) | embedded


def test_the_command_prepares_or_exits_with_a_usage_error(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match="2"):
        cli.main(["prepare", "eyepacs", "--data-dir", str(tmp_path)])
    assert "diabetic_retinopathy_detection/btgraham-300" in capsys.readouterr().err
