"""Results as JSON files."""

import dataclasses
import json
import math
import pathlib
from typing import Any

import numpy as np

from sam_jax.data.atomic_files import open_atomically


def write_json(path: pathlib.Path, value: Any) -> None:
    """Writes a whole JSON file or none; NaN becomes null."""
    text = json.dumps(plain(value), indent=2, allow_nan=False) + "\n"
    with open_atomically(path) as file:
        file.write(text.encode())


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
