"""The edge between errors and a command's exit status."""

import contextlib
import dataclasses
import os
import signal
import sys
import threading
import typing
from collections.abc import Iterator
from typing import Any

from sam_jax._checks import ArgumentError
from sam_jax.data.atomic_files import StorageError

GO_ON = "What is finished is kept: the same command goes on from there."


class Stopped(KeyboardInterrupt):
    """A signal to end the process, as Ctrl-C does.

    Attributes:
        signal: Its number.
    """

    def __init__(self, number: int):
        super().__init__(number)
        self.signal = signal.Signals(number)


def stop_on_signals() -> None:
    """Makes SIGTERM and SIGHUP end a run as Ctrl-C does: with how to go on."""
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        # Another thread than the main one may not set handlers.
        if number is not None and threading.current_thread() is threading.main_thread():
            signal.signal(number, _stop)


def _stop(number: int, _: Any) -> None:
    raise Stopped(number)


@contextlib.contextmanager
def command_line(settings: type | None = None) -> Iterator[None]:
    """The edge of a command: errors in one line, signals with how to go on.

    After a signal the process ends with 128 and the number of the signal.

    Args:
        settings: As in ``usage_errors``.
    """
    stop_on_signals()
    try:
        try:
            with usage_errors(settings):
                yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read the output has ended, as `head` does. Nothing more is written,
        # also not when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(128 + signal.SIGPIPE) from None
    except KeyboardInterrupt as error:
        number = error.signal if isinstance(error, Stopped) else signal.SIGINT
        print(f"\nStopped by {number.name}. {GO_ON}", file=sys.stderr)
        sys.stdout.flush()
        sys.stderr.flush()
        # Interrupted in the middle of a compilation, XLA was seen to crash where the
        # interpreter ends in order; all files are whole at any moment.
        os._exit(128 + number)


@contextlib.contextmanager
def usage_errors(settings: type | None = None) -> Iterator[None]:
    """Turns an ``ArgumentError`` into one line with the option's name, and status 2.

    Any other ``ValueError`` is a bug and keeps its traceback. A run that diverged, a
    full disk and the like exit with status 1.

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
    except (FloatingPointError, StorageError) as error:
        print(f"error: {_text(error)}. {GO_ON}", file=sys.stderr)
        raise SystemExit(1) from None
    except BrokenPipeError:
        raise
    except OSError as error:
        print(f"error: {_text(error)}", file=sys.stderr)
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


@contextlib.contextmanager
def in_group(group: str) -> Iterator[None]:
    """Names the settings and options in an ``ArgumentError`` as those of a group.

    Args:
        group: A setting of the command that holds settings itself.
    """
    try:
        yield
    except ArgumentError as error:
        rule = error.rule.replace("--", f"--{group}.")
        raise ArgumentError(f"{group}.{error.argument}", rule) from error


def _text(error: Exception) -> str:
    """The error in one line, without the number of an ``OSError``."""
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        text = error.strerror
        if error.filename is not None:
            text = f"{error.filename}: {text}"
    return text.rstrip(".")


def _option(argument: str, settings: type) -> str:
    """``--num-models`` for ``num_models``; what follows in brackets stays.

    What is given by its place alone, or is no setting, keeps its name.
    """
    field, bracket, rest = argument.partition("[")
    group = field.partition(".")[0]
    types = {f.name: f.type for f in dataclasses.fields(settings)}
    if group not in types or typing.get_origin(types[group]) is typing.Annotated:
        return argument
    return f"--{field.replace('_', '-')}{bracket}{rest}"
