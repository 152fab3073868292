"""The options of a command: read from its arguments, and laid out for ``--help``."""

import dataclasses
import shutil
import sys
import textwrap
import types
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import docstring_parser
import tyro

from sam_jax.cli.config_files import with_config_files

T = TypeVar("T")


def parse_options(
    config: type[T],
    description: str,
    arguments: Sequence[str] | None = None,
    *,
    prog: str | None = None,
    known: Mapping[str, Iterable[str]] | None = None,
) -> T:
    """Returns the settings that options give; prints ``--help`` and usage errors.

    Args:
        config: Dataclass whose fields, each with a docstring, are the options.
        description: What the command does; paragraphs, and indented examples.
        arguments: Without the name of the command; those of the process by default.
        prog: The command's name; by default ``python -m`` and the module that runs.
        known: Registered names of options that take names, for ``--help``.

    Raises:
        ArgumentError: If a file of ``--config`` cannot be used.
    """
    _set_help(config, known or {})
    if arguments is not None:
        arguments = with_config_files(arguments, config)
    if prog is None and (module := sys.modules["__main__"].__spec__) is not None:
        prog = f"python -m {module.name}"
    description = _laid_out(description)
    return tyro.cli(config, prog=prog, description=description, args=arguments)


def _set_help(config: type[Any], known: Mapping[str, Iterable[str]]) -> None:
    """Gives each field its docstring on one line, for tyro to wrap."""
    texts = {}
    for base in reversed(config.__mro__[:-1]):
        for field in docstring_parser.parse_from_object(base).params:
            texts[field.arg_name] = " ".join((field.description or "").split())
    for field in dataclasses.fields(config):
        text = texts[field.name]
        if field.name in known:
            text += f" Known: {', '.join(sorted(known[field.name]))}."
        field.metadata = types.MappingProxyType({"help": text})
        if isinstance(field.type, type) and dataclasses.is_dataclass(field.type):
            _set_help(field.type, known)


def _laid_out(description: str) -> str:
    """Wraps paragraphs to the terminal: the first flush left, the others indented.

    tyro joins lines that begin with a letter, and wraps none: so only the first does.
    """
    width = max(40, shutil.get_terminal_size().columns)
    lines: list[str] = []
    for paragraph in description.replace("``", "").strip().split("\n\n"):
        if paragraph.startswith(" "):
            lines.extend("  " + line for line in paragraph.splitlines())
        else:
            indent = "  " if lines else ""
            lines += textwrap.wrap(
                paragraph, width, initial_indent=indent, subsequent_indent="  "
            )
    return "\n".join(lines)
