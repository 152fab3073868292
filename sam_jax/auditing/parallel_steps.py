"""Independent steps of an analysis, on a few threads and with the time left."""

import concurrent.futures
import contextvars
import os
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from sam_jax.training.progress import make_bar

T = TypeVar("T")

MAX_THREADS = 4
"""Steps at once, at most: each holds several arrays of all (target, example) pairs."""


class Steps:
    """Runs steps and counts them on a bar.

    Sorts, searches and sums of NumPy let other threads run, so that steps fill several
    cores although each uses one most of the time. No step depends on another's result,
    so the figures do not depend on the number of threads.
    """

    def __init__(self, total: int, shown: bool):
        self.bar = make_bar(total, shown, compiles=False)

    def __enter__(self) -> "Steps":
        return self

    def __exit__(self, *_: Any) -> None:
        self.bar.close()

    def run(self, title: str, steps: Mapping[Any, Callable[[], T]]) -> dict[Any, T]:
        """Returns the results of all steps; the first error ends them.

        Args:
            title: What they are of, for the bar.
            steps: By name.
        """
        results: dict[Any, T] = {}
        self.bar.set_description_str(f"{title}: {', '.join(map(_shown, steps))}")
        num_threads = min(os.cpu_count() or 1, MAX_THREADS)
        pool = concurrent.futures.ThreadPoolExecutor(num_threads)
        try:
            running = {}
            for name, step in steps.items():
                context = contextvars.copy_context()
                running[pool.submit(context.run, step)] = name
            for done in concurrent.futures.as_completed(running):
                results[running[done]] = done.result()
                rest = [_shown(name) for name in steps if name not in results]
                self.bar.set_description_str(f"{title}: {', '.join(rest)}".rstrip(": "))
                self.bar.update()
        except BaseException:
            # Ctrl-C must not wait for steps that take minutes.
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        pool.shutdown()
        return {name: results[name] for name in steps}


def _shown(name: Any) -> str:
    return name[-1] if isinstance(name, tuple) else str(name)
