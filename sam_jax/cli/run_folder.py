"""The run folder of an experiment, and the edge between its CLI and its errors."""

import contextlib
import dataclasses
import datetime
import importlib.metadata
import json
import math
import os
import pathlib
import platform
import shutil
import subprocess
import sys
import traceback
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

import jax
import numpy as np
import tyro

import sam_jax

T = TypeVar("T")

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "tensorflow-datasets")
_OWN_CODE = [pathlib.Path(sam_jax.__file__).parent]
_CONFIG, _METRICS = "config.json", "metrics.json"


def open_run(experiment: str, config: Any, *, root: str = "runs") -> pathlib.Path:
    """Makes ``root/experiment/config.name``, or resumes the run that began there.

    Args:
        experiment: Name of the experiment.
        config: Frozen dataclass with ``name`` and ``overwrite``.
        root: Folder of all runs.

    Returns:
        The folder, with ``config.json`` (settings, commit, versions, device) in it.

    Raises:
        ValueError: If a finished run is there, or one begun with other settings, and
            ``overwrite`` is not set; or the folder holds something else.
    """
    if config.name in ("", "..") or pathlib.Path(config.name).name != config.name:
        raise ValueError(
            f"name must be that of one folder, without slashes, got {config.name!r}."
        )
    folder = pathlib.Path(root) / experiment / config.name
    settings = _plain(dataclasses.asdict(config))
    settings.pop("overwrite")
    described = folder / _CONFIG
    if folder.exists() and any(folder.iterdir()):
        if not described.exists():
            raise ValueError(
                f"name must not lead to a folder that is no run: {folder} holds other "
                "files. Pass another --name."
            )
        if config.overwrite:
            shutil.rmtree(folder)
        elif (folder / _METRICS).exists():
            raise ValueError(
                f"name must be that of a new run: {folder} holds a finished one. Pass "
                "--overwrite to replace it, or another --name."
            )
        elif (begun := json.loads(described.read_text())["settings"]) != settings:
            changed = sorted(
                k for k in settings | begun if settings.get(k) != begun.get(k)
            )
            raise ValueError(
                f"name must be that of a new run: {folder} was begun with another "
                f"{', '.join(changed)}. Pass --overwrite to start again, or another "
                "--name."
            )
        else:
            print(f"Going on with the unfinished run in {folder}.")
            return folder
    folder.mkdir(parents=True, exist_ok=True)
    write_json(described, {"settings": settings} | environment())
    return folder


def read_config(folder: pathlib.Path) -> dict[str, Any]:
    """Returns what ``open_run`` wrote: settings, command, commit, versions, device."""
    return json.loads((folder / _CONFIG).read_text())


def finish_run(folder: pathlib.Path, metrics: Any) -> None:
    """Writes ``metrics.json``, which marks the run as finished."""
    write_json(folder / _METRICS, metrics)


def environment() -> dict[str, Any]:
    """What a reader needs to repeat the run: command, commit, versions, device."""
    versions = {name: importlib.metadata.version(name) for name in _PACKAGES}
    return {
        "command": " ".join([pathlib.Path(sys.argv[0]).name, *sys.argv[1:]]),
        "commit": _commit(),
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": {"python": platform.python_version()} | versions,
        "device": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
        "cores": os.cpu_count(),
    }


def write_json(path: pathlib.Path, value: Any) -> None:
    """Writes a whole JSON file or none; NaN becomes null."""
    draft = path.with_suffix(".tmp")
    draft.write_text(json.dumps(_plain(value), indent=2, allow_nan=False) + "\n")
    draft.replace(path)


def parse_options(
    command: str, config: type[T], description: str, arguments: Sequence[str]
) -> T:
    """Returns the settings that options give; prints ``--help`` and usage errors."""
    prog = f"sam-jax {command}"
    return tyro.cli(config, prog=prog, description=description, args=arguments)


def list_choices(**registries: Iterable[str]) -> str:
    """Returns the end of a ``--help`` text: what each named option may be."""
    lines = (f"--{o}: {', '.join(sorted(c))}." for o, c in registries.items())
    return "\n" + "\n\n".join(lines)


@contextlib.contextmanager
def renamed(argument: str, option: str) -> Iterator[None]:
    """Makes a ``ValueError`` about a library's argument name the option instead."""
    try:
        yield
    except ValueError as error:
        rule = str(error)
        if not rule.startswith(f"{argument} must "):
            raise
        raise ValueError(option + rule.removeprefix(argument)) from error


@contextlib.contextmanager
def usage_errors() -> Iterator[None]:
    """Turns the project's own ``ValueError`` into a usage error: message, exit 2.

    One raised elsewhere is a bug and keeps its traceback. A run that diverged exits 1.
    """
    try:
        yield
    except ValueError as error:
        raised_in = pathlib.Path(traceback.extract_tb(error.__traceback__)[-1].filename)
        if not any(raised_in.is_relative_to(folder) for folder in _OWN_CODE):
            raise
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except FloatingPointError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None


def _commit() -> str:
    """The commit that ran, with "+" where files differ from it; "" outside git."""
    git = ["git", "-C", str(pathlib.Path(__file__).parent)]
    try:
        commit = subprocess.check_output(
            [*git, "rev-parse", "HEAD"], text=True, stderr=subprocess.DEVNULL
        ).strip()
        changed = subprocess.check_output([*git, "status", "--porcelain", "-uno"])
    except (OSError, subprocess.CalledProcessError):
        return ""
    return commit + ("+" if changed else "")


def _plain(value: Any) -> Any:
    """Value as JSON can hold it."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _plain(dataclasses.asdict(value))
    if hasattr(value, "_asdict"):
        return _plain(value._asdict())
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, pathlib.Path):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
