"""Reads prepared TFDS data into arrays, in bulk and without TensorFlow or network.

``tfds`` finds, describes and prepares a set. Its records are decoded here: one by one
through ``tfds``, 60,000 of them take ten seconds, in bulk half a second.
"""

import dataclasses
import io
import os
import pathlib
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from sam_jax._checks import ArgumentError
from sam_jax.data import record_files
from sam_jax.data.arrays import dataset_from_arrays, split_dataset
from sam_jax.types import Dataset, Origin

EMBEDDED_DIR = pathlib.Path(__file__).parent / "embedded"
"""Prepared TFDS sets that come with the package."""


def data_dir_or_default(data_dir: str | os.PathLike[str] | None) -> pathlib.Path:
    """``data_dir``, else ``TFDS_DATA_DIR``, else ``~/tensorflow_datasets``."""
    if data_dir is None:
        data_dir = os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")
    return pathlib.Path(data_dir).expanduser()


def find_prepared(tfds_name: str, data_dir: pathlib.Path) -> pathlib.Path | None:
    """Returns the folder of a prepared set, or None.

    Args:
        tfds_name: ``name``, ``name/config``, either with ``:version``. Without a
            version the newest one is taken; without a config, the only one.
        data_dir: Where TFDS keeps its sets, ``<name>/[<config>/]<version>/``.

    Raises:
        ValueError: If the name has no config and several are prepared.
    """
    name, _, version = tfds_name.partition(":")
    folder = data_dir.joinpath(*name.split("/"))
    versions = _versions(folder, version)
    if not versions and "/" not in name and folder.is_dir():
        configs = [c for c in sorted(folder.iterdir()) if _versions(c, version)]
        if len(configs) > 1:
            listed = ", ".join(f"{name}/{config.name}" for config in configs)
            rule = f"must choose one of {listed}; got {tfds_name!r}."
            raise ArgumentError("name", rule)
        versions = _versions(configs[0], version) if configs else []
    return versions[-1] if versions else None


def _versions(folder: pathlib.Path, version: str) -> list[pathlib.Path]:
    """Prepared versions in ``folder``, oldest first."""
    folders = [info.parent for info in folder.glob("*/dataset_info.json")]
    folders = [p for p in folders if p.name.replace(".", "").isdigit()]
    if version:
        folders = [p for p in folders if p.name == version]
    return sorted(folders, key=lambda p: [int(part) for part in p.name.split(".")])


def load_prepared(
    name: str,
    folder: pathlib.Path,
    train_split: str | None = None,
    test_split: str | None = None,
    features: tuple[str, str] | None = None,
    image_size: int | None = None,
    source: str = "",
) -> Dataset:
    """Loads a prepared set from its folder.

    Args:
        name: Name of the result.
        folder: Holds ``dataset_info.json`` and the records.
        train_split: TFDS split to train on, such as ``"train+validation"``; by default
            ``"train"``.
        test_split: TFDS split to test on; by default ``"test"``, else
            ``"validation"``, else a fifth of the train split (``split_rows``).
        features: Names of the input and of the label; by default the set's supervised
            keys.
        image_size: Height and width to which images are resized (bilinear).
        source: Where the data comes from; by default the set's home page.

    Raises:
        ValueError: If the set is not a classification set, lacks the split, or holds
            images of unequal sizes and no ``image_size`` is given.
    """
    import tensorflow_datasets as tfds

    info = tfds.builder_from_directory(folder).info
    x_key, y_key = features or _supervised_keys(name, info)
    label = info.features[y_key]
    if not isinstance(label, tfds.features.ClassLabel):
        rule = "must be a classification set;"
        hint = f"the label {y_key!r} of {name!r} is {label!r}."
        raise ArgumentError("name", f"{rule} {hint}")
    splits = list(info.splits)
    train_split = train_split or "train"
    if test_split is None:
        test_split = next((s for s in ("test", "validation") if s in splits), None)
    x, y = _read_split(info, train_split, x_key, y_key, image_size)
    origin = Origin(train_split, np.arange(len(y)))
    # TFDS calls classes without names "0", "1", ...
    numbers = [str(i) for i in range(len(label.names))]
    options: Any = {
        "num_classes": label.num_classes,
        "class_names": [] if label.names == numbers else label.names,
        "source": source or info.homepage,
    }
    if test_split is None:
        return split_dataset(name, x, y, origin, **options)
    x_test, y_test = _read_split(info, test_split, x_key, y_key, image_size)
    dataset = dataset_from_arrays(name, x, y, x_test, y_test, **options)
    test_origin = Origin(test_split, np.arange(len(y_test)))
    return dataclasses.replace(dataset, train_origin=origin, test_origin=test_origin)


def _supervised_keys(name: str, info: Any) -> tuple[str, str]:
    keys = info.supervised_keys
    if keys is None and {"image", "label"} <= set(info.features):
        keys = ("image", "label")
    if keys is None or len(keys) != 2 or not all(isinstance(k, str) for k in keys):
        rule = "must be a classification set with one input and one label;"
        hint = f"{name!r} has the features {', '.join(sorted(info.features))}."
        raise ArgumentError("name", f"{rule} {hint}")
    return keys


def _read_split(
    info: Any, split: str, x_key: str, y_key: str, image_size: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and labels of a split, in the order in which they are stored."""
    from tensorflow_datasets.proto import tf_example_pb2

    try:
        instructions = info.splits[split].file_instructions
    except (KeyError, ValueError) as error:
        rule = f"must be one of {', '.join(info.splits)}, or a sum of them; got"
        raise ArgumentError("split", f"{rule} {split!r}.") from error
    x, y = [], []
    for record in _records(instructions):
        # Protobuf makes the class at run time, so type checkers cannot see it.
        example = tf_example_pb2.Example  # pyrefly: ignore[missing-attribute]
        feature = example.FromString(record).features.feature
        x.append(_stored_value(feature[x_key]))
        y.append(_stored_value(feature[y_key])[0])
    return _decode(info.features[x_key], x, image_size), np.array(y, np.int64)


def _stored_value(feature: Any) -> Sequence[Any]:
    """The list in a ``tf.train.Feature``, which has one of three kinds."""
    return getattr(feature, feature.WhichOneof("kind")).value


def _decode(feature: Any, values: list[Any], image_size: int | None) -> np.ndarray:
    import tensorflow_datasets as tfds

    shape, dtype = feature.shape, feature.np_dtype
    if isinstance(feature, tfds.features.Image) and dtype == np.uint8:
        return _decode_images([v[0] for v in values], shape[-1], image_size)
    is_tensor = isinstance(feature, tfds.features.Tensor) and None not in shape
    if not is_tensor or np.dtype(dtype).kind not in "biuf":
        rule = "must be a set of uint8 images or of tensors of one shape, got"
        raise ArgumentError("name", f"{rule} {feature!r}.")
    encoding = feature.to_json_content().encoding
    if encoding in ("", "none"):
        x = np.array([np.asarray(v) for v in values], dtype)
    else:
        decode = zlib.decompress if encoding == "zlib" else bytes
        joined = b"".join(decode(v[0]) for v in values)
        x = np.frombuffer(joined, dtype)
    x = x.reshape(len(values), *shape)
    return x if image_size is None else _resize(x, image_size)


def _decode_images(
    encoded: list[bytes], channels: int | None, image_size: int | None
) -> np.ndarray:
    from PIL import Image

    mode = {1: "L", 4: "RGBA"}.get(channels or 3, "RGB")
    images = []
    for data in encoded:
        with Image.open(io.BytesIO(data)) as file:
            images.append(_pixels(file.convert(mode), image_size))
    sizes = {image.shape for image in images}
    if len(sizes) > 1:
        rule = f"must be given for images of {len(sizes)} different sizes,"
        hint = f"such as {min(sizes)} and {max(sizes)}."
        raise ArgumentError("image_size", f"{rule} {hint}")
    return np.stack(images)


def _pixels(image: Any, image_size: int | None) -> np.ndarray:
    """A PIL image as [H, W, channels], resized if there is a size."""
    from PIL import Image

    if image_size is not None:
        image = image.resize((image_size, image_size), Image.Resampling.BILINEAR)
    return np.asarray(image).reshape(image.height, image.width, -1)


def _resize(x: np.ndarray, image_size: int) -> np.ndarray:
    from PIL import Image

    if x.ndim != 4 or x.dtype != np.uint8:
        rule = "must be None for data that are not uint8 images, got"
        got = f"{image_size} for {x.dtype} {x.shape[1:]}."
        raise ArgumentError("image_size", f"{rule} {got}")
    images = [Image.fromarray(a[..., 0] if a.shape[-1] == 1 else a) for a in x]
    return np.stack([_pixels(image, image_size) for image in images])


def _records(instructions: Sequence[Any]) -> Iterator[bytes]:
    for instruction in instructions:
        path = os.fspath(instruction.filename)
        if ".tfrecord" in path:
            records = record_files.read_tfrecords(path)
        elif ".array_record" in path:
            records = record_files.read_array_records(path)
        else:
            rule = "must be prepared in the array_record or tfrecord format, got"
            raise ArgumentError("data", f"{rule} {path}.")
        expected = instruction.examples_in_shard
        if len(records) != expected:
            reason = f"it must hold {expected} records, got {len(records)}"
            raise record_files.damaged(path, reason)
        yield from records[instruction.skip : instruction.skip + instruction.take]
