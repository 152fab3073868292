"""The edge between errors and a command's exit status."""

import contextlib
import dataclasses
import sys
from collections.abc import Iterator

from sam_jax._checks import ArgumentError


@contextlib.contextmanager
def usage_errors(settings: type | None = None) -> Iterator[None]:
    """Turns an ``ArgumentError`` into one line with the option's name, and status 2.

    Any other ``ValueError`` is a bug and keeps its traceback. A run that diverged exits
    with status 1.

    Args:
        settings: Dataclass of the command's options; an argument that is none of its
            fields keeps its name.
    """
    try:
        yield
    except ArgumentError as error:
        name = error.argument
        if settings is not None:
            name = _option(name, settings)
        print(f"error: {name} {error.rule}", file=sys.stderr)
        raise SystemExit(2) from None
    except FloatingPointError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None


@contextlib.contextmanager
def as_option(argument: str, option: str) -> Iterator[None]:
    """Renames the argument of an ``ArgumentError`` to the setting that it came from.

    Args:
        argument: As the library calls it.
        option: As the command's settings call it.
    """
    try:
        yield
    except ArgumentError as error:
        if error.argument != argument:
            raise
        raise ArgumentError(option, error.rule) from error


def _option(argument: str, settings: type) -> str:
    """``--num-models`` for ``num_models``; what follows in brackets stays."""
    field, bracket, rest = argument.partition("[")
    if field not in {f.name for f in dataclasses.fields(settings)}:
        return argument
    return f"--{field.replace('_', '-')}{bracket}{rest}"
