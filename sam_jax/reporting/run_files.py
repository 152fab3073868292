"""Files of finished runs, as a page of several runs reads them."""

import csv
import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any

from sam_jax._checks import ArgumentError
from sam_jax.reporting.saved_audits import Rows

FILES = ("metrics.json", "config.json", "roc.csv")


@dataclasses.dataclass(frozen=True)
class Run:
    """What a page says of a finished audit or attack.

    Attributes:
        folder: Where it is.
        numbers: Its ``metrics.json``.
        about: Its ``config.json``.
        curves: Rows of its ``roc.csv``.
    """

    folder: pathlib.Path
    numbers: Mapping[str, Any]
    about: Mapping[str, Any]
    curves: Rows


def read_run(folder: pathlib.Path) -> Run:
    """Reads the files of a finished audit or attack.

    Args:
        folder: Of ``sam-jax audit`` or ``sam-jax attack``.

    Raises:
        ArgumentError: If the folder lacks a file, or a file is damaged or of another
            command; the error names it.
    """
    for name in FILES:
        if not (folder / name).is_file():
            raise ArgumentError(
                "runs", f"must be folders of finished runs: {folder} has no {name}."
            )
    read = []
    for name in FILES[:2]:
        try:
            read.append(json.loads((folder / name).read_text(encoding="utf-8")))
        except ValueError as error:
            raise ArgumentError(
                "runs", f"must have whole files: {folder / name} is damaged."
            ) from error
    numbers, about = read
    for key in ("verdict", "metrics", "dataset"):
        if key not in numbers:
            raise ArgumentError(
                "runs",
                f"must be audits or attacks of this version: {folder}/metrics.json has "
                f"no {key}.",
            )
    with open(folder / "roc.csv", newline="", encoding="utf-8") as file:
        return Run(folder, numbers, about, list(csv.DictReader(file)))
