"""Audit of optimizers: how much each reveals about its training set.

    sam-jax audit

trains shadow models under each optimizer on the same random halves of a data set and
attacks every model. runs/audit/NAME/ then holds report.html, metrics.json,
results.csv, roc.csv, roc.svg, risk.csv, signals.npz and config.json; the terminal ends
with a table and the verdict.
"""

import contextlib
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import sam_jax
from sam_jax.auditing.audit import train_shard
from sam_jax.cli import audit_arguments, run_folder
from sam_jax.cli.audit_options import Config
from sam_jax.cli.errors import as_option
from sam_jax.cli.option_parsing import parse_options
from sam_jax.cli.run_lock import locked_run
from sam_jax.data import mirrors
from sam_jax.reporting import audit_tables, trust_sections
from sam_jax.training import processes
from sam_jax.training.checkpoint import ChunkStore
from sam_jax.training.orbax_files import export_models
from sam_jax.training.saved_models import WEIGHTS_LIMIT
from sam_jax.types import AugmentFn


@contextlib.contextmanager
def _open_audit(
    config: Config, shard: tuple[int, int] | None = None
) -> Iterator[tuple[tuple[Any, ...], AugmentFn | None, pathlib.Path, ChunkStore]]:
    """The arguments, augmentation, folder and chunks of a run, locked."""
    arguments, augment = audit_arguments.make_arguments(config)
    _, optimizers, dataset, _, _ = arguments
    with (
        as_option("cache_dir", "name" if config.cache_dir is None else "cache_dir"),
        locked_run("audit", config.name, shard, root=config.runs_dir),
    ):
        facts = {"data_sha256": audit_arguments.data_hash(dataset)}
        folder = run_folder.open_run("audit", config, root=config.runs_dir, facts=facts)
        print(
            f"{dataset.name}: {config.num_models} models for each of "
            f"{', '.join(optimizers)}, on halves of {len(dataset.train.y):,} examples."
        )
        store = ChunkStore(
            folder / "chunks" if config.cache_dir is None else config.cache_dir,
            shard=shard,
            retrain_changed=config.retrain_changed,
            save_models=config.save_models,
            weights_limit=0 if config.cache_dir is None else WEIGHTS_LIMIT,
        )
        yield arguments, augment, folder, store


def main(config: Config) -> sam_jax.AuditResult:
    """Runs the audit and writes its folder; returns the result."""
    with _open_audit(config) as (arguments, augment, folder, store):
        result = sam_jax.audit(*arguments, augment=augment, cache_dir=store)
        if config.save_models:  # Before the run is marked as finished.
            assert store.folder is not None
            names, models = result.optimizers, folder / "models"
            export_models(store.folder, names, config.num_models, models)
        folder = run_folder.save_result(folder, result)
        if config.cache_dir is None:  # Only now is nothing lost without them.
            mirrors.remove(folder / "chunks")
        print_result(result, folder)
    return result


def train_share(config: Config, shard: tuple[int, int]) -> None:
    """Trains a share of the audit's models into the folder of chunks."""
    with _open_audit(config, shard) as (arguments, augment, _, store):
        train_shard(*arguments, store=store, augment=augment)
    print(
        f"Share {shard[0]} of {shard[1]} is trained; its chunks are in {store.folder}."
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
    config = parse_options(
        Config, __doc__, arguments, prog="sam-jax audit", known=audit_arguments.KNOWN
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
