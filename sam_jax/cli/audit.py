"""Audit of optimizers: how much each reveals about its training set.

    sam-jax audit

trains shadow models under each optimizer on the same random halves of a data set and
attacks every model. runs/audit/NAME/ then holds report.html, metrics.json,
results.csv, roc.csv, roc.svg, risk.csv, signals.npz and config.json; the terminal ends
with a table and the verdict.
"""

import pathlib
import shutil
from collections.abc import Sequence
from typing import Any

import sam_jax
from sam_jax.auditing.audit import train_shard
from sam_jax.cli import audit_arguments, run_folder
from sam_jax.cli.audit_options import Config
from sam_jax.cli.errors import as_option
from sam_jax.cli.run_lock import locked_run
from sam_jax.reporting import audit_tables, trust_sections
from sam_jax.training import processes
from sam_jax.training.checkpoint import ChunkStore


def main(config: Config) -> sam_jax.AuditResult:
    """Runs the audit and writes its folder; returns the result."""
    arguments, augment = audit_arguments.make_arguments(config)
    with as_option("cache_dir", "name"), locked_run("audit", config.name):
        folder, chunks = _open_folder(config, arguments[2])
        _print_start(config, arguments)
        store = _make_store(config, folder, chunks)
        result = sam_jax.audit(*arguments, augment=augment, cache_dir=store)
        folder = run_folder.save_result(folder, result)
        if config.cache_dir is None:  # Only now is nothing lost without them.
            shutil.rmtree(folder / "chunks")
        print_result(result, folder)
    return result


def train_share(config: Config, shard: tuple[int, int]) -> None:
    """Trains a share of the audit's models into the folder of chunks."""
    arguments, augment = audit_arguments.make_arguments(config)
    with as_option("cache_dir", "name"), locked_run("audit", config.name, shard):
        folder, chunks = _open_folder(config, arguments[2])
        _print_start(config, arguments)
        store = _make_store(config, folder, chunks, shard)
        train_shard(*arguments, store=store, augment=augment)
    print(f"Share {shard[0]} of {shard[1]} is trained; its chunks are in {chunks}.")


def _open_folder(
    config: Config, dataset: sam_jax.Dataset
) -> tuple[pathlib.Path, pathlib.Path]:
    """The folder of the run, and that of its chunks."""
    facts = {"data_sha256": audit_arguments.data_hash(dataset)}
    folder = run_folder.open_run("audit", config, facts=facts)
    if config.cache_dir is not None:
        return folder, pathlib.Path(config.cache_dir).expanduser()
    return folder, folder / "chunks"


def _make_store(
    config: Config,
    folder: pathlib.Path,
    chunks: pathlib.Path,
    shard: tuple[int, int] | None = None,
) -> ChunkStore:
    """Where chunks go, and weights where they are wanted."""
    return ChunkStore(
        chunks,
        shard=shard,
        retrain_changed=config.retrain_changed,
        save_models=folder / "models" if config.save_models else None,
    )


def _print_start(config: Config, arguments: tuple[Any, ...]) -> None:
    _, optimizers, dataset, _, _ = arguments
    print(
        f"{dataset.name}: {config.num_models} models for each of "
        f"{', '.join(optimizers)}, on halves of {len(dataset.train.y):,} examples."
    )


def print_result(result: sam_jax.AuditResult, folder: pathlib.Path) -> None:
    """Ends the run: the table, failed checks, the verdict, where the rest is."""
    train_seconds = sum(s for k, s in result.seconds.items() if k.startswith("train"))
    print(audit_tables.terminal_table(result))
    for line in trust_sections.failed_checks(result):
        print(f"\nWarning: {line}")
    print(f"\n{sam_jax.verdict(result)}")
    print(
        f"\nTrained in {train_seconds:.0f} s, attacked in "
        f"{result.seconds['attack']:.0f} s. Report: {folder / 'report.html'}"
    )


def command(arguments: Sequence[str]) -> int:
    """Runs ``sam-jax audit`` with its options; returns the exit status."""
    sam_jax.use_all_cores()
    config = run_folder.parse_options(
        "audit", Config, __doc__ + audit_arguments.CHOICES, arguments
    )
    if config.distributed or config.coordinator is not None:
        shard = processes.join_processes(
            config.coordinator, config.num_processes, config.process_id
        )
        train_share(config, shard)
        processes.wait_for_processes(f"trained {config.name}")
        if shard[0]:
            return 0
    elif config.shard is not None:
        train_share(config, processes.parse_shard(config.shard))
        return 0
    main(config)
    return 0
