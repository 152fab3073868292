"""Files of finished runs, as they are read back."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from sam_jax._checks import ArgumentError
from sam_jax.data.buckets import url_of
from sam_jax.data.mirrors import open_folder
from sam_jax.data.result_files import read_csv

Rows: TypeAlias = Sequence[Mapping[str, str]]
"""Rows of a CSV file by column."""


@dataclasses.dataclass(frozen=True)
class Run:
    """What a finished audit or attack says of itself.

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


def read_run(folder: str | pathlib.Path, argument: str) -> Run:
    """Reads the files of a finished audit or attack.

    Args:
        folder: Of ``sam-jax audit``, ``sam-jax attack`` or ``AuditResult.save``; in a
            bucket too.
        argument: What names it, for errors.

    Raises:
        ArgumentError: If the folder lacks a file, or a file is damaged or of another
            command; the error names it.
    """
    folder = open_folder(folder, argument)
    numbers = _read(folder, "metrics.json", argument)
    about = _read(folder, "config.json", argument)
    if "claims" in numbers:
        raise ArgumentError(
            argument,
            f"must be that of an audit or attack, got {folder} of another command, "
            "whose values are in results.csv.",
        )
    for key in ("verdict", "metrics", "dataset"):
        if key not in numbers:
            raise ArgumentError(
                argument,
                "must be that of an audit or attack of this version: "
                f"{folder}/metrics.json has no {key}.",
            )
    return Run(folder, numbers, about, read_csv(require(folder, "roc.csv", argument)))


def require(folder: pathlib.Path, name: str, argument: str) -> pathlib.Path:
    """Returns the path of a file of a finished run.

    Raises:
        ArgumentError: If it is not there.
    """
    path = folder / name
    if path.is_file():
        return path
    rule = f"must be that of a finished run: {folder} has no {name}."
    if not folder.is_dir():
        where = url_of(folder) or folder
        rule = f"must be that of a finished run: there is no folder {where}."
    elif name == "metrics.json" and (folder / "config.json").is_file():
        rule = (
            f"must be that of a finished run: {folder} was begun and is not finished; "
            "the command in its config.json goes on with it."
        )
    raise ArgumentError(argument, rule)


def _read(folder: pathlib.Path, name: str, argument: str) -> dict[str, Any]:
    path = require(folder, name, argument)
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise ArgumentError(argument, f"must have whole files: {path} is damaged.")
    return value
