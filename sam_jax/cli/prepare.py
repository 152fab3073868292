"""Preparation of a TFDS set, once, so that it loads without TensorFlow."""

import dataclasses
from collections.abc import Sequence
from typing import Annotated

import tyro
from tyro.conf import Positional

from sam_jax.cli.option_parsing import parse_options
from sam_jax.data import DATASETS, download_and_prepare


@dataclasses.dataclass(frozen=True)
class Config:
    """Downloads and prepares a TFDS set, so that it loads without TensorFlow."""

    name: Positional[Annotated[str, tyro.conf.arg(metavar="NAME")]]
    """A registered set, or any TFDS name, with /config if it has several."""
    data_dir: str | None = None
    """Where it goes; by default TFDS_DATA_DIR, else ~/tensorflow_datasets."""
    manual_dir: str | None = None
    """Holds source files that were downloaded by hand."""


def command(arguments: Sequence[str]) -> int:
    """Runs ``sam-jax prepare NAME``; prints the folder."""
    config = parse_options(
        Config, __doc__, arguments, prog="sam-jax prepare", known={"name": DATASETS}
    )
    name = config.name
    tfds_name = DATASETS[name].tfds_name if name in DATASETS else name
    print(download_and_prepare(tfds_name, config.data_dir, config.manual_dir))
    return 0
