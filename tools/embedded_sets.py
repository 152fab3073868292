"""Builders of the small real sets that come with the package.

    python -m tools.embedded_sets fashion_mnist_10k DIR [--manual-dir=SOURCES]

makes the files of ``sam_jax/data/embedded`` again from their public sources.
"""

import argparse
import hashlib
import inspect
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from sam_jax.data.builders.archives import read_gzip
from sam_jax.data.builders.compact import CompactBuilder
from tools import diabetes130

_FASHION_URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
_FASHION_CLASSES = [
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
]
MAX_UNPACKED = 2**27
"""Bytes of an IDX file; the largest published one has 47 million."""

_RETINA_CLASSES = ["no DR", "mild", "moderate", "severe", "proliferative"]


class FashionMnist10k(CompactBuilder):
    """Class-balanced 10,000 + 2,000 images of Fashion-MNIST.

    Within each split and class, images are ranked by the sha256 digest of
    ``<split>/<row number in the source file>``; the lowest ones are kept and written
    rank by rank, one image of each class in turn. So row ``i`` has class ``i % 10``,
    and every prefix whose length is a multiple of 10 is class-balanced.
    """

    name = "fashion_mnist_10k"
    VERSION = tfds.core.Version("1.0.0")
    CHECKSUMS = {
        "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
        "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
        "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
    }

    def _info(self) -> tfds.core.DatasetInfo:
        return _image_info(
            self,
            (28, 28, 1),
            _FASHION_CLASSES,
            homepage="https://github.com/zalandoresearch/fashion-mnist",
            license="MIT, Copyright (c) 2017 Zalando SE",
            citation="""@article{xiao2017fashion,
  title={Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning
    Algorithms},
  author={Xiao, Han and Rasul, Kashif and Vollgraf, Roland},
  journal={arXiv preprint arXiv:1708.07747},
  year={2017}
}""",
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[Any]]:
        def rows(split: str, prefix: str, per_class: int) -> Iterator[Any]:
            images, labels = (
                f"{prefix}-{kind}-ubyte.gz" for kind in ("images-idx3", "labels-idx1")
            )
            x = read_idx(self.fetch(dl_manager, images, _FASHION_URL + images))
            y = read_idx(self.fetch(dl_manager, labels, _FASHION_URL + labels))
            keep = balanced_rows(split, y, per_class)
            return self._generate_examples(x[keep][..., None], y[keep])

        return {
            "train": rows("train", "train", 1000),
            "test": rows("test", "t10k", 200),
        }

    def _generate_examples(self, x: np.ndarray, y: np.ndarray) -> Iterator[Any]:
        for row, (image, label) in enumerate(zip(x, y, strict=True)):
            yield row, {"image": image, "label": int(label)}


class Retinamnist(CompactBuilder):
    """RetinaMNIST of MedMNIST v2, complete: 1,080 + 120 + 400 fundus images."""

    name = "retinamnist"
    VERSION = tfds.core.Version("1.0.0")
    CHECKSUMS = {"retinamnist.npz": "bd4c0672f1bba3e3a89f0e4e876791e4"}

    def _info(self) -> tfds.core.DatasetInfo:
        return _image_info(
            self,
            (28, 28, 3),
            _RETINA_CLASSES,
            homepage="https://medmnist.com",
            license="CC BY 4.0",
            citation="""@article{medmnistv2,
  title={MedMNIST v2 - A large-scale lightweight benchmark for 2D and 3D biomedical
    image classification},
  author={Yang, Jiancheng and Shi, Rui and Wei, Donglai and Liu, Zequan and Zhao, Lin
    and Ke, Bilian and Pfister, Hanspeter and Ni, Bingbing},
  journal={Scientific Data}, volume={10}, number={1}, pages={41}, year={2023}
}
@article{liu2022deepdrid,
  title={DeepDRiD: Diabetic Retinopathy - Grading and Image Quality Estimation
    Challenge},
  author={Liu, Ruhan and others},
  journal={Patterns}, volume={3}, number={6}, pages={100512}, year={2022}
}""",
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[Any]]:
        url = "https://zenodo.org/records/10519652/files/retinamnist.npz?download=1"
        path = self.fetch(dl_manager, "retinamnist.npz", url)
        with np.load(path, allow_pickle=False) as archive:
            splits = {"train": "train", "val": "validation", "test": "test"}
            return {
                split: self._generate_examples(
                    archive[f"{key}_images"], archive[f"{key}_labels"].ravel()
                )
                for key, split in splits.items()
            }

    def _generate_examples(self, x: np.ndarray, y: np.ndarray) -> Iterator[Any]:
        for row, (image, label) in enumerate(zip(x, y, strict=True)):
            yield row, {"image": image, "label": int(label)}


class Hospital100(CompactBuilder):
    """Hospital stays of diabetics: 782 binary features, the diagnosis as the class.

    One row a patient (the first stay); the class is the primary diagnosis (ICD-9),
    one of the 100 most frequent. ``tools/diabetes130.py`` has the rule.
    """

    name = "hospital100"
    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=inspect.cleandoc(type(self).__doc__ or ""),
            features=tfds.features.FeaturesDict(
                {
                    "features": tfds.features.Tensor(
                        shape=(diabetes130.NUM_FEATURES,),
                        dtype=np.bool_,
                        encoding="bytes",
                    ),
                    "label": tfds.features.ClassLabel(num_classes=100),
                }
            ),
            supervised_keys=("features", "label"),
            disable_shuffling=True,
            homepage="https://doi.org/10.24432/C5230J",
            license="CC BY 4.0",
            metadata=tfds.core.MetadataDict(),
            citation="""@article{strack2014impact,
  title={Impact of HbA1c Measurement on Hospital Readmission Rates: Analysis of 70,000
    Clinical Database Patient Records},
  author={Strack, Beata and DeShazo, Jonathan P. and Gennings, Chris and Olmo, Juan L.
    and Ventura, Sebastian and Cios, Krzysztof J. and Clore, John N.},
  journal={BioMed Research International}, volume={2014}, pages={781670}, year={2014}
}""",
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[Any]]:
        path = self.fetch(dl_manager, "diabetic_data.csv", diabetes130.URL)
        table = diabetes130.hospital_table(diabetes130.read_stays(path))
        digest = hashlib.sha256(table.x.tobytes()).hexdigest()
        if digest != diabetes130.SHA256:
            raise ValueError(
                f"{path} must give the features with sha256 {diabetes130.SHA256}, "
                f"got {digest}."
            )
        self.info.metadata["feature_names"] = list(table.feature_names)
        self.info.metadata["class_icd9"] = list(table.class_names)
        return {"train": self._generate_examples(table.x, table.y)}

    def _generate_examples(self, x: np.ndarray, y: np.ndarray) -> Iterator[Any]:
        for row, (features, label) in enumerate(zip(x, y, strict=True)):
            yield row, {"features": features, "label": int(label)}


def read_idx(path: pathlib.Path) -> np.ndarray:
    """Reads a gzipped IDX file of unsigned bytes (http://yann.lecun.com/exdb/mnist).

    Raises:
        ValueError: If it is not one.
    """
    data = read_gzip(path, MAX_UNPACKED)
    if data[:3] != b"\x00\x00\x08":
        raise ValueError(f"{path} must be an IDX file of unsigned bytes.")
    num_axes = data[3]
    shape = np.frombuffer(data, ">u4", num_axes, offset=4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * num_axes).reshape(shape)


def balanced_rows(split: str, y: np.ndarray, per_class: int) -> np.ndarray:
    """Rows of the ``per_class`` lowest digests of each class, classes in turn."""

    def digest(row: int) -> str:
        return hashlib.sha256(f"{split}/{row}".encode()).hexdigest()

    by_class = [
        sorted(np.flatnonzero(y == label).tolist(), key=digest)[:per_class]
        for label in np.unique(y)
    ]
    return np.array(by_class).T.ravel()


def _image_info(
    builder: tfds.core.DatasetBuilder,
    shape: tuple[int, int, int],
    class_names: list[str],
    **kwargs: Any,
) -> tfds.core.DatasetInfo:
    """Information on a set of raw images; ``Tensor``, as ``Image`` needs TensorFlow."""
    return tfds.core.DatasetInfo(
        builder=builder,
        description=inspect.cleandoc(type(builder).__doc__ or ""),
        features=tfds.features.FeaturesDict(
            {
                "image": tfds.features.Tensor(
                    shape=shape, dtype=np.uint8, encoding="bytes"
                ),
                "label": tfds.features.ClassLabel(names=class_names),
            }
        ),
        supervised_keys=("image", "label"),
        disable_shuffling=True,
        **kwargs,
    )


BUILDERS = {
    builder.name: builder for builder in (FashionMnist10k, Hospital100, Retinamnist)
}


def main() -> None:
    """Prepares a set in a folder of the user's choice."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=sorted(BUILDERS))
    parser.add_argument("data_dir")
    parser.add_argument("--manual-dir", help="holds source files, if they are here")
    options = parser.parse_args()
    config = tfds.download.DownloadConfig(
        manual_dir=options.manual_dir, try_download_gcs=False
    )
    builder = BUILDERS[options.name](data_dir=options.data_dir)
    builder.download_and_prepare(download_config=config, file_format="array_record")
    print(builder.data_path)


if __name__ == "__main__":
    main()
