"""Downloads and prepares TFDS sets, so that they can be read without TensorFlow.

Tables need nothing more than this package. Image sets of TFDS need TensorFlow, here
and nowhere else: ``pip install -e ".[prepare]"``.
"""

import importlib
import importlib.util
import os
import pathlib

from sam_jax._checks import ArgumentError
from sam_jax.data import tfds

BUILDERS = {
    "location30": ("privacytrust", "Location30"),
    "purchase100": ("privacytrust", "Purchase100"),
    "texas100": ("privacytrust", "Texas100"),
}
"""Builders of this package: name -> module of ``sam_jax.data.builders`` and class."""


def download_and_prepare(
    name: str,
    data_dir: str | os.PathLike[str] | None = None,
    manual_dir: str | os.PathLike[str] | None = None,
) -> pathlib.Path:
    """Downloads and prepares a TFDS set; does nothing where it is prepared.

    Args:
        name: A key of ``BUILDERS`` or a TFDS name, with ``/config`` if it has several.
        data_dir: Where the prepared set goes; by default ``TFDS_DATA_DIR``, else
            ``~/tensorflow_datasets``.
        manual_dir: Holds source files that were downloaded by hand.

    Returns:
        The folder of the prepared set.

    Raises:
        ValueError: If the set cannot be had here: the message says where it was looked
            for, what to run, and what went wrong.
    """
    target = tfds.data_dir_or_default(data_dir)
    if name not in BUILDERS and importlib.util.find_spec("tensorflow") is None:
        rule = _how_to_prepare(name, target, "no TensorFlow here")
        raise ArgumentError("name", rule)
    import tensorflow_datasets

    if manual_dir is not None:
        manual_dir = pathlib.Path(manual_dir).expanduser()
    config = tensorflow_datasets.download.DownloadConfig(
        manual_dir=manual_dir, try_download_gcs=False
    )
    # ImportError: an optional package of the builder; OSError: network or files;
    # AssertionError: how TFDS says that manual_dir is needed.
    try:
        builder = _builder(name, target)
        builder.download_and_prepare(
            download_dir=target / "downloads",
            download_config=config,
            file_format="array_record",
        )
    except (
        ImportError,
        OSError,
        AssertionError,
        RuntimeError,
        tensorflow_datasets.download.DownloadError,
    ) as error:
        cause = f"{type(error).__name__}: {error}"
        rule = _how_to_prepare(name, target, cause)
        raise ArgumentError("name", rule) from error
    return pathlib.Path(builder.data_path)


def _builder(name: str, data_dir: pathlib.Path):
    import tensorflow_datasets

    if name in BUILDERS:
        module_name, class_name = BUILDERS[name]
        module = importlib.import_module(f"sam_jax.data.builders.{module_name}")
        return getattr(module, class_name)(data_dir=data_dir)
    return tensorflow_datasets.builder(name, data_dir=data_dir)


def _how_to_prepare(name: str, data_dir: pathlib.Path, cause: str) -> str:
    """What to run, and where the data is looked for."""
    install = "" if name in BUILDERS else 'pip install -e ".[prepare]" && '
    return (
        f"must be a data set that is prepared or can be prepared here; {name!r} "
        f"is neither ({cause}). It was looked for in {data_dir / name}. On a machine "
        f"with network run: {install}sam-jax prepare {name} "
        f"--data-dir={data_dir} (with --manual-dir=DIR if you have its source files); "
        "then copy that folder here, if it is another machine."
    )
