"""The `sam-jax` command: one module for each subcommand, imported when it is run."""

import importlib
import sys
from collections.abc import Sequence

COMMANDS = {
    "audit": "trains shadow models, attacks every one of them, compares optimizers",
    "attack": "attacks models that were trained elsewhere, from a file of signals",
    "explain": "memorization, influence, variance and sharpness of an audit's models",
    "theory": "checks the claims about linear interpolation against simulation",
    "report": "several finished runs on one page, or one report again",
    "plan": "what an audit costs on a TPU or GPU that is not here",
    "prepare": "downloads and prepares a data set",
}
"""Subcommand -> what it does; each is ``command`` of the module of its name."""

MIN_ADDRESS_SPACE = 3 * 2**30
"""The smallest audit reserves 2.3 GiB on two cores, most of it for threads."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a subcommand and returns its exit status.

    Args:
        arguments: The subcommand and its options; those of the process by default.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments[:1] in ([], ["-h"], ["--help"]):
        print(_usage())
        return 0
    name, *options = arguments
    if name not in COMMANDS:
        choices = ", ".join(COMMANDS)
        print(f"error: command must be one of {choices}; got {name!r}", file=sys.stderr)
        return 2
    limit = _address_space_limit()
    if limit is not None and limit < MIN_ADDRESS_SPACE:
        print(
            "error: the limit on address space (ulimit -v) must be at least "
            f"{MIN_ADDRESS_SPACE // 2**20:,} MiB, got {limit // 2**20:,} MiB: JAX "
            "reserves that much, and waits for ever where it gets less.",
            file=sys.stderr,
        )
        return 1
    module = importlib.import_module(f"sam_jax.cli.{name}")
    # Imported after the subcommand, which may set what JAX reads at its start.
    from sam_jax.cli.compilation_cache import use_compilation_cache
    from sam_jax.cli.errors import command_line
    from sam_jax.cli.logs import show_logs

    use_compilation_cache()

    show_logs()
    with command_line(module.Config):
        return module.command(options)


def _address_space_limit() -> int | None:
    """Bytes of ``ulimit -v``; None without such a limit."""
    try:
        import resource
    except ImportError:  # Windows has none.
        return None
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if limit == resource.RLIM_INFINITY else limit


def _usage() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {text}" for name, text in COMMANDS.items()]
    return "\n".join(
        [
            "usage: sam-jax COMMAND [OPTIONS]",
            "",
            *lines,
            "",
            "sam-jax COMMAND --help lists the options of a command.",
            "Compiled programs are kept in SAM_JAX_CACHE (~/.cache/sam_jax/xla by",
            "default); SAM_JAX_CACHE=off keeps none.",
        ]
    )
