"""Prepares a set, once: ``python -m sam_jax.data.prepare NAME``; prints its folder."""

import sys

import tyro

from sam_jax.data import DATASETS, download_and_prepare


def main(name: str, data_dir: str | None = None, manual_dir: str | None = None) -> None:
    """Downloads and prepares a TFDS set, so that it loads without TensorFlow.

    Args:
        name: A name of our own list, or any TFDS name, with /config if it has several.
        data_dir: Where it goes; by default TFDS_DATA_DIR, else ~/tensorflow_datasets.
        manual_dir: Holds source files that you downloaded by hand.
    """
    tfds_name = DATASETS[name].tfds_name if name in DATASETS else name
    try:
        print(download_and_prepare(tfds_name, data_dir, manual_dir))
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    tyro.cli(main, config=(tyro.conf.PositionalRequiredArgs,))
