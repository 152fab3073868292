"""The progress bar of a long training run."""

from collections.abc import Mapping
from typing import Any

from tqdm.auto import tqdm

from sam_jax.training.chunk_training import Progress


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
        self.finished = 0

    def __enter__(self) -> "ProgressBar":
        return self

    def __exit__(self, *_: Any) -> None:
        self.bar.close()

    def skip(self, epochs: int) -> None:
        """Leaves out what an earlier run did, also of the estimate of time left."""
        self.bar.total -= epochs
        self.bar.refresh()

    def show(self, name: str, now: Progress) -> None:
        """Says what is training now and how far it is."""
        last = now.models_done + now.models_now
        self.bar.set_description_str(
            f"{name}: models {now.models_done + 1}-{last} of {now.num_models}, "
            f"epoch {now.epoch + 1}/{now.num_epochs}, accuracy {now.accuracy:.3f}",
            refresh=False,
        )
        self.bar.update(self.finished + now.models_now * (now.epoch + 1) - self.bar.n)

    def say(self, line: str) -> None:
        """Prints a line above the bar, if there is a bar."""
        if not self.bar.disable:
            self.bar.write(line)

    def finish(self, epochs: int) -> None:
        """Counts a chunk as done, whether or not it stopped early."""
        self.finished += epochs
        self.bar.update(self.finished - self.bar.n)
