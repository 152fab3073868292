"""Progress of long computations: a bar on a terminal, lines in the log of a job."""

import logging
import sys
import time
from collections.abc import Mapping
from typing import Any

from tqdm.auto import tqdm

from sam_jax.training.chunk_training import Progress

LINE_SECONDS = 60
"""Seconds between lines where standard error is no terminal."""

_logger = logging.getLogger(__name__)


class ProgressLines:
    """What a bar does, as a line on standard error every now and then."""

    def __init__(self, total: int, compiles: bool):
        self.total, self.n, self.text = total, 0, ""
        self.start, self.last = time.monotonic(), -float("inf")
        # Number and moment from which the pace counts.
        self.first = None if compiles else (0, self.start)

    def set_description_str(self, text: str, refresh: bool = True) -> None:
        """Says what is done now, in the next line."""
        del refresh
        self.text = text

    def refresh(self) -> None:
        """Nothing: a line that is written stays."""

    def update(self, n: int = 1) -> None:
        """Counts work as done; writes a line if it is time for one, or all is done."""
        if n <= 0:  # a chunk that ends where its last epoch did
            return
        self.n += n
        now = time.monotonic()
        if self.first is None:
            # The line after the first work has no time left; the next one has.
            self.first = (self.n, now)
        elif now - self.last < LINE_SECONDS and self.n < self.total:
            return
        else:
            self.last = now
        shown = f"{100 * self.n / max(self.total, 1):3.0f} % {self.text}".rstrip()
        times = f"{tqdm.format_interval(now - self.start)} passed"
        number, moment = self.first
        if self.n > number or self.n == self.total:
            pace = (now - moment) / max(self.n - number, 1e-9)
            times += f", {tqdm.format_interval(pace * (self.total - self.n))} left"
        sys.stderr.write(f"{shown}, {times}\n")
        sys.stderr.flush()

    def close(self) -> None:
        """Nothing: the last line is that of the last work."""


class _Bar(tqdm):
    """A bar whose pace leaves out the first work, which waits for a compilation."""

    def update(self, n: Any = 1) -> bool | None:
        """Counts work as done."""
        if self.disable or self.n or not n:
            return super().update(n)
        self.n = self.initial = self.last_print_n = n
        self.unpause()
        self.refresh()
        return True


def make_bar(total: int, shown: bool = True, compiles: bool = True) -> Any:
    """Returns a bar of tqdm; ``ProgressLines`` where standard error is no terminal.

    Args:
        total: Work to do, in any unit.
        shown: Whether to show anything.
        compiles: Whether the first work waits for a compilation, and so is no pace.
    """
    if shown and not (sys.stderr.isatty() or _is_notebook()):
        return ProgressLines(total, compiles)
    make = _Bar if compiles else tqdm
    return make(
        total=total,
        disable=not shown,
        smoothing=0.05,
        bar_format="{percentage:3.0f}% |{bar:24}| {desc}, {remaining} left",
    )


def _is_notebook() -> bool:
    """Whether a Jupyter kernel runs this; that its package is loaded is not enough."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


class ProgressBar:
    """Models times epochs, with the time left; counts an early stop as done."""

    def __init__(self, shown: bool, per_optimizer: int, optimizers: Mapping[str, Any]):
        self.bar = make_bar(per_optimizer * len(optimizers), shown)
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
        """Logs a line on what is trained."""
        _logger.info(line)

    def finish(self, epochs: int) -> None:
        """Counts a chunk as done, whether or not it stopped early."""
        self.finished += epochs
        self.bar.update(self.finished - self.bar.n)
