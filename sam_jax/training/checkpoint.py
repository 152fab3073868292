"""What long work needs: chunks kept on disk for a second start, and the time left."""

import dataclasses
import hashlib
import json
import pathlib
from typing import Any

import numpy as np

from sam_jax.types import Dataset, TrainConfig


class ChunkCache:
    """ModelSignals of trained chunks on disk, so that a killed audit goes on."""

    def __init__(
        self,
        folder: str | pathlib.Path | None,
        dataset: Dataset,
        keep: np.ndarray,
        config: TrainConfig,
        rest: Any,
    ):
        self.folder = None if folder is None else pathlib.Path(folder)
        if self.folder is None:
            return
        digest = hashlib.sha256(repr((dataclasses.astuple(config), rest)).encode())
        for array in (*dataset.train, *dataset.test, keep):
            digest.update(np.ascontiguousarray(array).tobytes())
        self.folder.mkdir(parents=True, exist_ok=True)
        described = self.folder / "fingerprint.json"
        fingerprint = {"sha256": digest.hexdigest()}
        if not described.exists():
            described.write_text(json.dumps(fingerprint))
        elif json.loads(described.read_text()) != fingerprint:
            raise ValueError(
                "cache_dir must hold models of this audit or nothing: those in "
                f"{self.folder} have other data, settings or seed."
            )

    def load(self, optimizer: str) -> list[dict[str, np.ndarray]]:
        """The chunks of one optimizer that are there."""
        if self.folder is None:
            return []
        parts = []
        for path in sorted(self.folder.glob(f"{_file_name(optimizer)}-*.npz")):
            with np.load(path, allow_pickle=False) as arrays:
                parts.append(dict(arrays))
        return parts

    def save(self, optimizer: str, part: dict[str, np.ndarray]) -> None:
        """Writes a chunk, whole or not at all."""
        if self.folder is None:
            return
        path = self.folder / f"{_file_name(optimizer)}-{part['models'][0]:05d}.npz"
        draft = path.with_suffix(".tmp")
        with open(draft, "wb") as file:
            np.savez(file, allow_pickle=False, **part)
        draft.replace(path)


def _file_name(optimizer: str) -> str:
    return hashlib.sha256(optimizer.encode()).hexdigest()[:16]
