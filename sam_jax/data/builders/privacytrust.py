"""Builders of the binary tables that the field attacks since Shokri et al.

Purchase-100, Texas-100 and Location-30, from the archives of
https://github.com/privacytrustlab/datasets. Records keep the order of the source, in
one split: ``sam_jax.data.load`` sets a fifth aside (``split_rows``).

References:
    Shokri et al., "Membership Inference Attacks Against Machine Learning Models",
    IEEE S&P, 2017, https://arxiv.org/abs/1610.05820.
"""

import itertools
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from sam_jax.data.builders.archives import open_member, parse_rows
from sam_jax.data.builders.compact import CompactBuilder

_URL = "https://github.com/privacytrustlab/datasets/raw/master/"
_CITATION = """@inproceedings{shokri2017membership,
  title={Membership Inference Attacks Against Machine Learning Models},
  author={Shokri, Reza and Stronati, Marco and Song, Congzheng and Shmatikov, Vitaly},
  booktitle={IEEE Symposium on Security and Privacy},
  year={2017}
}"""


class _PrivacyTrustTable(CompactBuilder, skip_registration=True):
    """A table of bits with a label; subclasses name the archive and its format."""

    VERSION = tfds.core.Version("1.0.0")
    ARCHIVE: str
    MEMBER: str
    NUM_ROWS: int
    NUM_FEATURES: int
    NUM_CLASSES: int

    def _info(self) -> tfds.core.DatasetInfo:
        bits = tfds.features.Tensor(
            shape=(self.NUM_FEATURES,), dtype=np.bool_, encoding="bytes"
        )
        label = tfds.features.ClassLabel(num_classes=self.NUM_CLASSES)
        return tfds.core.DatasetInfo(
            builder=self,
            description=type(self).__doc__ or "",
            features=tfds.features.FeaturesDict({"features": bits, "label": label}),
            supervised_keys=("features", "label"),
            disable_shuffling=True,
            homepage="https://github.com/privacytrustlab/datasets",
            citation=_CITATION,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[Any]]:
        path = self.fetch(dl_manager, self.ARCHIVE, _URL + self.ARCHIVE)
        return {"train": self._generate_examples(path)}

    def _rows(self, path: pathlib.Path) -> Iterator[tuple[np.ndarray, int]]:
        with open_member(path, self.MEMBER) as stream:
            lines = (line.strip().partition(b",")[::2] for line in stream)
            names = self.MEMBER, self.MEMBER
            yield from parse_rows(lines, names, self.NUM_FEATURES, self.NUM_CLASSES)

    def _generate_examples(self, path: pathlib.Path) -> Iterator[Any]:
        num_rows = 0
        for features, label in self._rows(path):
            yield num_rows, {"features": features, "label": label}
            num_rows += 1
        if num_rows != self.NUM_ROWS:
            text = f"{path} must hold {self.NUM_ROWS} rows, got"
            raise ValueError(f"{text} {num_rows}; download it again.")


class Purchase100(_PrivacyTrustTable):
    """Purchase-100: 197,324 shoppers, 600 products, 100 clusters of shoppers."""

    name = "purchase100"
    ARCHIVE = "dataset_purchase.tgz"
    MEMBER = "dataset_purchase"
    NUM_ROWS = 197_324
    NUM_FEATURES = 600
    NUM_CLASSES = 100


class Location30(_PrivacyTrustTable):
    """Location-30: 5,010 people in Bangkok, 446 places, 30 clusters of people."""

    name = "location30"
    ARCHIVE = "dataset_location.tgz"
    MEMBER = "bangkok"
    NUM_ROWS = 5_010
    NUM_FEATURES = 446
    NUM_CLASSES = 30


class Texas100(_PrivacyTrustTable):
    """Texas-100: 67,330 hospital stays, 6,169 attributes, 100 main procedures."""

    name = "texas100"
    ARCHIVE = "dataset_texas.tgz"
    MEMBER = "texas/100/feats"
    NUM_ROWS = 67_330
    NUM_FEATURES = 6_169
    NUM_CLASSES = 100

    def _rows(self, path: pathlib.Path) -> Iterator[tuple[np.ndarray, int]]:
        with (
            open_member(path, self.MEMBER) as features,
            open_member(path, "texas/100/labels") as labels,
        ):
            lines, names = itertools.zip_longest(labels, features), ("labels", "feats")
            yield from parse_rows(lines, names, self.NUM_FEATURES, self.NUM_CLASSES)
