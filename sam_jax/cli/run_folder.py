"""The folder of a run: opened, resumed, finished, replaced."""

import dataclasses
import datetime
import importlib.metadata
import json
import os
import pathlib
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import jax

from sam_jax._checks import ArgumentError
from sam_jax.auditing.run_result import RunResult
from sam_jax.cli.config_files import PROCESS_SETTINGS
from sam_jax.cli.run_lock import check_run_name
from sam_jax.data import buckets, mirrors
from sam_jax.data.atomic_files import DRAFT_SUFFIX, make_folder, remove_drafts
from sam_jax.data.result_files import plain, write_json

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "tensorflow-datasets")
_CONFIG, _METRICS = "config.json", "metrics.json"
_REPLACEMENT = ".replacement"
_SCHEDULING = {"models_per_chunk", "models_per_vmap", "time_vmap", "max_diverged"}
_SCHEDULING |= {"retrain_changed", "save_models"} | PROCESS_SETTINGS
"""Options that say how a run comes about, not what comes out; they may change."""


def open_run(
    experiment: str,
    config: Any,
    *,
    root: str = "runs",
    facts: Mapping[str, Any] | None = None,
) -> pathlib.Path:
    """Makes ``root/experiment/config.name``, or resumes the run that began there.

    With ``overwrite`` a finished run stays until the new one is finished: the new one
    is made beside it, in a hidden folder that ``finish_run`` puts in its place.

    Args:
        experiment: Name of the experiment.
        config: Frozen dataclass with ``name`` and ``overwrite``.
        root: Folder of all runs; a bucket's is worked on in its mirror.
        facts: What else ``config.json`` says, such as the hash of the data; a run that
            began with other facts is not resumed.

    Returns:
        The folder to write to, with ``config.json`` (settings, facts, commit, versions,
        device) in it.

    Raises:
        ArgumentError: If a finished run is there, or one begun with other settings, and
            ``overwrite`` is not set; or the folder holds something else.
    """
    name = config.name
    check_run_name(name)
    settings = plain(dataclasses.asdict(config))
    settings.pop("overwrite")
    settings.pop("runs_dir", None)
    settings.pop("config", None)  # its settings are here
    begun = {"settings": settings} | plain(dict(facts or {}))
    folder = buckets.local_path(root, "runs_dir") / experiment / name
    if url := buckets.url_of(folder):
        print(f"{url} is worked on in {folder}.")
    _complete_replacement(folder)
    _refuse_other_files(folder)
    # A finished run stays until the new one, begun beside it, is finished too.
    if (folder / _METRICS).exists():
        if not config.overwrite:
            raise ArgumentError(
                "name",
                f"must be that of a new run: {folder} holds a finished one. Pass "
                "--overwrite to replace it, or another --name.",
            )
        folder = _replacement(folder)
    if _resumes(folder, begun, config.overwrite):
        print(f"Going on with the unfinished run in {folder}.")
        return folder
    if (folder / _CONFIG).exists():
        mirrors.remove(folder)
    make_folder(folder)
    write_json(folder / _CONFIG, begun | environment())
    return folder


def read_config(folder: pathlib.Path) -> dict[str, Any]:
    """Returns what ``open_run`` wrote: settings, command, commit, versions, device.

    Raises:
        ArgumentError: If the file is damaged.
    """
    path = folder / _CONFIG
    try:
        config = json.loads(path.read_text())
    except (ValueError, RecursionError):
        config = None
    if not isinstance(config, dict) or not isinstance(config.get("settings"), dict):
        raise ArgumentError(
            "name",
            f"must be that of a run whose settings can be read: {path} is damaged. "
            "Pass --overwrite to start again, or another --name.",
        )
    return config


def save_result(folder: pathlib.Path, result: RunResult, **more: Any) -> pathlib.Path:
    """Writes all files of a run, ``metrics.json`` the last.

    Args:
        folder: From ``open_run``.
        result: Of the run.
        more: Further numbers.

    Returns:
        As ``finish_run``.
    """
    result.write_files(folder, read_config(folder))
    return finish_run(folder, result.numbers() | more)


def finish_run(folder: pathlib.Path, metrics: Any) -> pathlib.Path:
    """Writes ``metrics.json``, which marks the run as finished.

    Args:
        folder: From ``open_run``.
        metrics: All numbers of the run.

    Returns:
        The run's folder; that of the run which it replaces, where it replaces one.
    """
    remove_drafts(folder)  # Of the same run, killed before.
    write_json(folder / _METRICS, metrics)
    if not folder.name.endswith(_REPLACEMENT):
        return folder
    final = folder.with_name(folder.name.removesuffix(_REPLACEMENT).removeprefix("."))
    if mirrors.replace_folder(final, folder, _METRICS):
        return final
    # The old folder aside, the new one in its place, then the old one deleted: after
    # a kill at any point `_complete_replacement` has a whole one to choose.
    old = final.with_name(f".{final.name}.old")
    if old.exists():
        shutil.rmtree(old)
    final.rename(old)
    folder.rename(final)
    shutil.rmtree(old)
    return final


def _replacement(folder: pathlib.Path) -> pathlib.Path:
    return folder.with_name(f".{folder.name}{_REPLACEMENT}")


def _complete_replacement(folder: pathlib.Path) -> None:
    """Ends what a kill in the middle of ``finish_run`` has left undone."""
    new = _replacement(folder)
    for path in (folder, new):
        mirrors.download(path, "name")
    if (new / _METRICS).exists() and mirrors.replace_folder(folder, new, _METRICS):
        return
    old = folder.with_name(f".{folder.name}.old")
    if not folder.exists() and old.exists():
        (new if (new / _METRICS).exists() else old).rename(folder)
    if old.exists():
        shutil.rmtree(old)


def _refuse_other_files(folder: pathlib.Path) -> None:
    """Refuses a folder whose files are not those of a run."""
    if not folder.exists():
        return
    # A run that was killed before its first file was whole has left drafts at most.
    others = folder.is_dir() and any(
        path.suffix not in (DRAFT_SUFFIX, ".tmp") for path in folder.iterdir()
    )
    if not folder.is_dir() or (others and not (folder / _CONFIG).exists()):
        raise ArgumentError(
            "name",
            f"must not lead to a folder that is no run: {folder} holds other files. "
            "Pass another --name.",
        )


def _resumes(folder: pathlib.Path, begun: Mapping[str, Any], overwrite: bool) -> bool:
    """Whether the folder holds an unfinished run of the same settings and facts."""
    if not (folder / _CONFIG).exists():
        return False
    try:
        before = read_config(folder)
    except ArgumentError:
        if overwrite:
            return False
        raise
    changed = []
    # Options of either run: some may be new, or gone, since the first began.
    for field in begun["settings"] | before["settings"]:
        if field in _SCHEDULING:
            continue
        if before["settings"].get(field) != begun["settings"].get(field):
            changed.append(field)
    for fact in begun:
        if fact != "settings" and before.get(fact) != begun[fact]:
            changed.append(fact)
    if not changed:
        return True
    if overwrite:
        return False
    raise ArgumentError(
        "name",
        f"must be that of a new run: {folder} was begun with other settings "
        f"({', '.join(sorted(changed))}). Pass --overwrite to start again, or another "
        "--name.",
    )


def environment() -> dict[str, Any]:
    """What a reader needs to repeat the run: command, commit, versions, device."""
    versions = {name: importlib.metadata.version(name) for name in _PACKAGES}
    return {
        "command": _command(),
        "commit": _commit(),
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": {"python": platform.python_version()} | versions,
        "device": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
        "cores": os.cpu_count(),
    }


def _command() -> str:
    """What was typed, without the folders of program and interpreter."""
    module = sys.modules["__main__"].__spec__
    if module is None:
        return " ".join([pathlib.Path(sys.argv[0]).name, *sys.argv[1:]])
    name = module.name.removesuffix(".__main__")
    return " ".join(["python", "-m", name, *sys.argv[1:]])


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
