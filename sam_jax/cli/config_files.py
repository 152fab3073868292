"""Settings of an earlier run as options of a command: `--config FILE`."""

import dataclasses
import difflib
import json
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from sam_jax._checks import ArgumentError

PROCESS_SETTINGS = {
    "shard",
    "distributed",
    "coordinator",
    "num_processes",
    "process_id",
}
"""Which process of a job a run was: a repeated run is not that process."""

_OPTION = re.compile(r"--((?:[\w-]+\.)*)config(?:=(.*))?")


def with_config_files(arguments: Sequence[str], settings: type) -> list[str]:
    """Returns the options in each ``--config FILE``, then all other arguments.

    A later option overrides an earlier one, so that those of the command line win.

    Args:
        arguments: Of the command line. ``--audit.config FILE`` has the settings of the
            group ``audit``.
        settings: Dataclass of the command's options.

    Raises:
        ArgumentError: If a file is no ``config.json``, nor a folder with one, or has a
            setting that the command has not; it names a near one that it has.
    """
    if "config" not in {field.name for field in dataclasses.fields(settings)}:
        return list(arguments)
    expanded: list[str] = []
    others: list[str] = []
    remaining = iter(arguments)
    for argument in remaining:
        match = _OPTION.fullmatch(argument)
        if match is None:
            others.append(argument)
            continue
        prefix, file = match.groups()
        file = next(remaining, None) if file is None else file
        if not file:
            raise ArgumentError("config", "must be followed by a file.")
        group = settings
        for name in prefix.split(".")[:-1]:
            group = _group(group, name.replace("-", "_"))
        expanded += _options(
            _read(pathlib.Path(file).expanduser()), group, prefix, file
        )
    return [*expanded, *others]


def _read(path: pathlib.Path) -> Mapping[str, Any]:
    """The settings in a ``config.json``, or in a file with nothing else."""
    path = path / "config.json" if path.is_dir() else path
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ArgumentError(
            "config", f"must be a readable file, got {path}: {error.strerror}."
        ) from error
    except (ValueError, RecursionError) as error:
        raise ArgumentError("config", f"must be a JSON file, got {path}.") from error
    if isinstance(config, dict):
        config = config.get("settings", config)
    if not isinstance(config, dict):
        raise ArgumentError("config", f"must be a JSON object of settings, got {path}.")
    return config


def _group(settings: type, name: str) -> type:
    """The dataclass of a group of options, or the options themselves without one."""
    types = {field.name: field.type for field in dataclasses.fields(settings)}
    group = types.get(name)
    return group if isinstance(group, type) else settings


def _options(
    values: Mapping[str, Any], settings: type, prefix: str, file: str
) -> list[str]:
    """Settings as options of the command line."""
    names = [field.name for field in dataclasses.fields(settings)]
    options: list[str] = []
    for name, value in values.items():
        if name in PROCESS_SETTINGS:
            continue
        if name not in names:
            near = difflib.get_close_matches(name, names, 1)
            hint = f"; the nearest is {prefix}{near[0]}" if near else ""
            for group in names:
                if name in getattr(_group(settings, group), "__annotations__", ()):
                    hint = f"; --{group}.config takes a file of those"
            raise ArgumentError(
                "config",
                f"must have settings of this command, but {file} has {prefix}{name}"
                f"{hint}.",
            )
        group = _group(settings, name)
        option = f"--{prefix}{name.replace('_', '-')}"
        if isinstance(value, dict) and dataclasses.is_dataclass(group):
            options += _options(value, group, f"{prefix}{name}.", file)
        elif isinstance(value, bool):
            no = f"--{prefix}no-{name.replace('_', '-')}"
            options.append(option if value else no)
        elif isinstance(value, list):
            options += [option, *map(str, value)]
        else:
            options.append(f"{option}={value}")
    return options
