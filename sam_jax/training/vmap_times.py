"""Times of training by the number of models under one ``vmap``, and their files.

Widths are timed on the device that trains, within a budget that counts everything,
compilation too. What was measured is kept where JAX keeps compiled programs.
"""

import hashlib
import json
import logging
import math
import pathlib
import re
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax

from sam_jax.data.atomic_files import open_atomically
from sam_jax.training.identity import package_versions

_logger = logging.getLogger(__name__)


class VmapTimes(NamedTuple):
    """What was timed.

    Attributes:
        seconds: Models under one ``vmap`` -> seconds of a step of one model, on one
            device.

    Example:
        >>> print(VmapTimes({1: 0.019, 8: 0.010, 16: 0.012}))
        8 models under one vmap: 1.9 times one after the other
        >>> print(VmapTimes({1: 0.010, 2: 0.012}))
        one model after the other: 1.2 times 2 under one vmap
    """

    seconds: dict[int, float]

    @property
    def fastest(self) -> int:
        """The models under one ``vmap`` whose step takes the least time."""
        return min(self.seconds, key=self.seconds.__getitem__)

    def __str__(self) -> str:
        """Returns the choice beside one model after the other, or the next best."""
        best = self.fastest
        others = {w: s for w, s in self.seconds.items() if w != best}
        beside = 1 if 1 in others else min(others, key=others.__getitem__)
        ratio = others[beside] / self.seconds[best]
        chosen = "one model after the other"
        if best > 1:
            chosen = f"{best} models under one vmap"
        rival = "one after the other" if beside == 1 else f"{beside} under one vmap"
        return f"{chosen}: {ratio:.2g} times {rival}"


def candidate_widths(local_models: int, default: int) -> list[int]:
    """Returns the widths to time: 1, 2, 4, ... and all, those near the default first.

    Only divisors: for a remainder XLA would compile a second program.

    Args:
        local_models: Models of a chunk on one device.
        default: The width by rule.

    Example:
        >>> candidate_widths(24, 24), candidate_widths(8, 1)
        ([24, 8, 4, 2, 1], [1, 2, 4, 8])
    """
    powers = {2**k for k in range(local_models.bit_length())} | {local_models, default}
    divisors = [w for w in sorted(powers) if local_models % w == 0]
    return sorted(divisors, key=lambda w: abs(math.log(w / default)))


def time_widths(
    widths: Sequence[int],
    time_width: Callable[[int], float | None],
    *,
    budget: float,
    each: float,
    clock: Callable[[], float] = time.perf_counter,
) -> VmapTimes | None:
    """Times widths of ``vmap`` as long as the budget lasts.

    Args:
        widths: From ``candidate_widths``.
        time_width: Returns the seconds of a step of one model at a width; None where it
            does not fit into the memory, and then no larger width is tried.
        budget: Seconds for everything: compiling and running each candidate, and
            compiling the program of the one that is kept.
        each: Seconds that one candidate is expected to take; a slower one counts.
        clock: Seconds now.

    Returns:
        The times of two or more widths; None if the budget has no room for two.
    """
    begin, too_wide = clock(), math.inf
    seconds: dict[int, float] = {}
    # A single time decides nothing: a budget without room for two is left alone.
    if len(widths) < 2 or 3 * each > budget:
        return None
    for width in widths:
        if width >= too_wide:
            continue
        started = clock()
        # This candidate, and the program of the fastest at its full length.
        if started - begin + 2 * each > budget:
            break
        timed = time_width(width)
        each = max(each, clock() - started)
        if timed is None:
            too_wide = width
        else:
            seconds[width] = timed
    return VmapTimes(seconds) if len(seconds) > 1 else None


def times_key(lowered: jax.stages.Lowered, device: jax.Device) -> str:
    """Returns what the times of a program depend on, as a hash.

    Device, versions and the program: network, optimizer, batch, data and models of a
    chunk, but not the values of constants, such as learning rates.
    """
    program = re.sub(r"dense<[^>]*>", "", lowered.as_text())
    parts = (device.device_kind, package_versions(), program)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def read_times(key: str) -> VmapTimes | None:
    """Returns the times that were kept; None where there are none that can be read."""
    path = _path(key)
    try:
        kept = {} if path is None else json.loads(path.read_text())["seconds"]
        seconds = {int(width): float(value) for width, value in kept.items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None
    except RecursionError:  # brackets without end
        return None
    # A damaged file is measured again, and so replaced.
    sound = all(w > 0 and 0 < s < math.inf for w, s in seconds.items())
    return VmapTimes(seconds) if sound and len(seconds) > 1 else None


def write_times(key: str, times: VmapTimes, device: jax.Device) -> None:
    """Keeps times for the next run, if there is a folder that can be written."""
    path = _path(key)
    if path is None:
        return
    about: dict[str, Any] = {"device": device.device_kind}
    about |= {"versions": package_versions(), "seconds": times.seconds}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open_atomically(path) as file:
            file.write(json.dumps(about, indent=1).encode())
    except OSError as error:
        _logger.info(f"The times are not kept: {error}.")


def _path(key: str) -> pathlib.Path | None:
    """Beside the compiled programs; None where none are kept on a file system."""
    folder = jax.config.values["jax_compilation_cache_dir"]
    if not folder or "://" in folder:
        return None
    return pathlib.Path(folder) / "models_per_vmap" / f"{key}.json"
