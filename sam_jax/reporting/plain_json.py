"""Results as JSON files, and the folder of a run around them."""

import dataclasses
import json
import math
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from sam_jax.data.atomic_files import open_atomically


def write_json(path: pathlib.Path, value: Any) -> None:
    """Writes a whole JSON file or none; NaN becomes null."""
    text = json.dumps(plain(value), indent=2, allow_nan=False) + "\n"
    with open_atomically(path) as file:
        file.write(text.encode())


def save_run(
    folder: str | pathlib.Path,
    about: Mapping[str, Any] | None,
    write_files: Callable[[pathlib.Path, Mapping[str, Any]], None],
    numbers: Mapping[str, Any],
) -> None:
    """Writes all files of a finished run; those of an earlier one are replaced.

    Args:
        folder: Where to; made if it is missing.
        about: Settings, versions and the like, for ``config.json``.
        write_files: Writes the report and what is beside it, given both.
        numbers: For ``metrics.json``.
    """
    folder, about = pathlib.Path(folder), dict(about or {})
    folder.mkdir(parents=True, exist_ok=True)
    # It marks a finished run: the first file to go, and the last to be written.
    (folder / "metrics.json").unlink(missing_ok=True)
    write_files(folder, about)
    write_json(folder / "config.json", about)
    write_json(folder / "metrics.json", numbers)


def plain(value: Any) -> Any:
    """Returns a value as JSON can hold it; what is not finite becomes None."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain(dataclasses.asdict(value))
    if hasattr(value, "_asdict"):
        return plain(value._asdict())
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, pathlib.Path):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
