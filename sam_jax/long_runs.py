"""What long work needs: chunks kept on disk for a second start, and the time left."""

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from sam_jax import shadow_models
from sam_jax.types import Dataset, TrainConfig


class ChunkCache:
    """Answers of trained chunks on disk, so that a killed audit goes on."""

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


class ProgressBar:
    """Models times epochs, with the time left; counts an early stop as done."""

    def __init__(self, shown: bool, per_optimizer: int, optimizers: Mapping[str, Any]):
        self.bar = tqdm(
            total=per_optimizer * len(optimizers),
            unit="epoch",
            disable=not shown,
            smoothing=0.05,
            bar_format="{percentage:3.0f}% |{bar:24}| {desc}, {remaining} left",
        )
        self.settled = 0

    def __enter__(self) -> "ProgressBar":
        return self

    def __exit__(self, *_: Any) -> None:
        self.bar.close()

    def skip(self, epochs: int) -> None:
        """Leaves out what an earlier run did, also of the estimate of time left."""
        self.bar.total -= epochs
        self.bar.refresh()

    def show(self, name: str, now: shadow_models.Progress) -> None:
        """Says what is training now and how far it is."""
        last = now.models_done + now.models_now
        self.bar.set_description_str(
            f"{name}: models {now.models_done + 1}-{last} of {now.num_models}, "
            f"epoch {now.epoch + 1}/{now.num_epochs}, accuracy {now.accuracy:.3f}",
            refresh=False,
        )
        self.bar.update(self.settled + now.models_now * (now.epoch + 1) - self.bar.n)

    def say(self, line: str) -> None:
        """Prints a line above the bar, if there is a bar."""
        if not self.bar.disable:
            self.bar.write(line)

    def finish(self, epochs: int) -> None:
        """Counts a chunk as done, whether or not it stopped early."""
        self.settled += epochs
        self.bar.update(self.settled - self.bar.n)
