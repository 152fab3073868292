"""Does one optimizer reveal more about its training set than another?

    sam-jax audit

trains shadow models under each optimizer on the same random halves of a data set and
attacks every model. runs/audit/NAME/ then holds report.html, metrics.json, roc.csv,
roc.svg, risk.csv, signals.npz and config.json; the terminal ends with a table and one
sentence.
"""

import dataclasses
import pathlib
import shutil
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
import optax

import sam_jax
from sam_jax import _checks
from sam_jax._checks import ArgumentError
from sam_jax.attacks import ATTACKS
from sam_jax.auditing.audit import train_shard
from sam_jax.cli import run_folder
from sam_jax.cli.errors import as_option
from sam_jax.cli.run_lock import locked_run
from sam_jax.data import DATASETS
from sam_jax.data.augment import AUGMENTATIONS, chain
from sam_jax.data.noise import corrupt_labels
from sam_jax.models import MODELS, compute_dtype
from sam_jax.optimizers.registry import OPTIMIZERS, default_rho
from sam_jax.reporting import audit_tables, trust_sections
from sam_jax.reporting.audit_numbers import metrics_json
from sam_jax.training import processes
from sam_jax.training.checkpoint import ChunkStore
from sam_jax.training.identity import hash_arrays
from sam_jax.training.trainer import check_train_config, num_steps_per_epoch
from sam_jax.types import AugmentFn


@dataclasses.dataclass(frozen=True)
class Config:
    """Audits optimizers on a data set: who leaks more about its training examples?"""

    name: str = "default"
    """Folder of the results: runs/audit/NAME."""
    dataset: str = "fashion_mnist_10k"
    """A registered set, any TFDS set, or a path to an .npz file (see docs/data.md)."""
    data_dir: str | None = None
    """Where prepared TFDS sets lie; TFDS's default otherwise."""
    manual_dir: str | None = None
    """Where archives lie that have to be downloaded by hand."""
    image_size: int | None = None
    """Resize images to this many pixels a side."""
    pool_size: int = 4000
    """Draw training sets from so many random examples of the set; 0 takes all."""
    label_noise: float = 0.0
    """Share of the pool's labels to replace by wrong ones."""
    model: str = "mlp"
    """A registered network."""
    augment: tuple[str, ...] = ()
    """Registered augmentations of training images, in this order: flip, crop, ..."""
    num_queries: int = 1
    """Augmented queries of each example that the attacks see, the first unchanged."""
    precision: str = "auto"
    """Of the networks: float32, bfloat16, or auto (bfloat16 on a GPU or TPU). Weights,
    normalisation and losses are float32 in any case."""
    optimizers: tuple[str, ...] = ("sgd", "sam")
    """Registered optimizers; the first is what the others are compared with."""
    rho: tuple[float, ...] = ()
    """SAM radii; every optimizer but sgd is trained at each. Without: the default of
    each, as published (docs/optimizers.md)."""
    learning_rate: float = 0.05
    """Peak learning rate."""
    momentum: float = 0.9
    """Momentum of the base optimizer (heavy ball)."""
    weight_decay: float = 0.0
    """Decay added to the gradient after SAM's ascent, which does not see it."""
    schedule: str = "constant"
    """Learning rate over time: cosine (to zero) or constant."""
    num_models: int = 16
    """Shadow models for each optimizer; even, at least 4. Each is a target in turn."""
    num_canaries: int = 0
    """Pool examples to mislabel and give a coin in each model, for bounds on epsilon
    from single training runs; they do not count as examples."""
    num_epochs: int = 100
    """Passes of each model over its half of the pool, at most."""
    batch_size: int = 64
    """Examples in a step."""
    stop_accuracy: float | None = 0.995
    """Freeze a model once its running training accuracy reaches this: optimizers are
    then compared at equal fit. None trains all epochs."""
    attacks: tuple[str, ...] = sam_jax.DEFAULT_ATTACKS
    """Registered attacks, the main one first."""
    models_per_chunk: int | None = None
    """Models that train at once; chosen for the machine by default."""
    models_per_vmap: int | None = None
    """Of these, models under one vmap on a device; the others follow. By default one
    where there are convolutions, else all on a GPU or TPU and four on a CPU core."""
    max_diverged: int = 0
    """Models of an optimizer that may diverge; they are left out, with their pairs."""
    seed: int = 0
    """Seed of everything random."""
    cache_dir: str | None = None
    """Keep the trained chunks of models here, also after the run: a later one of more
    models, optimizers or other attacks trains what is missing. By default a folder of
    the run, removed when it is finished."""
    retrain_changed: bool = False
    """Train models again that are there but depend on something else than now (data,
    code, versions), instead of stopping; the old ones stay as *.bad."""
    shard: str | None = None
    """Train share i of n only, as "i/n", i from 0 (job arrays); the same command
    without it trains what is missing and attacks."""
    distributed: bool = False
    """One of the processes of a job, detected by JAX (SLURM, Open MPI, Kubernetes, TPU
    pods); each trains its share, then process 0 attacks."""
    coordinator: str | None = None
    """Address host:port of process 0, where JAX cannot find it; with num_processes."""
    num_processes: int | None = None
    """Processes in all."""
    process_id: int | None = None
    """Number of this one, from 0."""
    overwrite: bool = False
    """Replace the results of an earlier run of the same name."""


SCHEDULES = {
    "cosine": optax.cosine_decay_schedule,
    "constant": lambda peak, _: optax.constant_schedule(peak),
}
CHOICES = run_folder.list_choices(
    dataset=DATASETS,
    model=MODELS,
    optimizers=OPTIMIZERS,
    schedule=SCHEDULES,
    augment=AUGMENTATIONS,
    attacks=ATTACKS,
)


def main(config: Config) -> sam_jax.AuditResult:
    """Runs the audit and writes its folder; returns the result."""
    arguments, augment = make_arguments(config)
    with as_option("cache_dir", "name"), locked_run("audit", config.name):
        folder, chunks = _open_folder(config, arguments[2])
        _print_start(config, arguments)
        store = ChunkStore(chunks, retrain_changed=config.retrain_changed)
        result = sam_jax.audit(*arguments, augment=augment, cache_dir=store)
        sam_jax.save_audit(result, folder, run_folder.read_config(folder))
        folder = run_folder.finish_run(folder, metrics_json(result))
        if config.cache_dir is None:  # Only now is nothing lost without them.
            shutil.rmtree(folder / "chunks")
        print_result(result, folder)
    return result


def train_share(config: Config, shard: tuple[int, int]) -> None:
    """Trains a share of the audit's models into the folder of chunks."""
    arguments, augment = make_arguments(config)
    with as_option("cache_dir", "name"), locked_run("audit", config.name, shard):
        _, chunks = _open_folder(config, arguments[2])
        _print_start(config, arguments)
        store = ChunkStore(chunks, shard=shard, retrain_changed=config.retrain_changed)
        train_shard(*arguments, store=store, augment=augment)
    print(f"Share {shard[0]} of {shard[1]} is trained; its chunks are in {chunks}.")


def make_arguments(config: Config) -> tuple[tuple[Any, ...], AugmentFn | None]:
    """Makes the arguments of ``sam_jax.audit``, checked, and the augmentation."""
    attacks = {name: _checks.one_of(ATTACKS, attacks=name) for name in config.attacks}
    dataset = make_dataset(config)
    train_config = make_train_config(config)
    optimizers = make_optimizers(config, train_config, len(dataset.train.y))
    model = make_model(config, dataset.num_classes)
    augment = make_augment(config, dataset.train.x.shape)
    attack_config = sam_jax.AttackConfig(
        attacks=attacks,
        num_models=config.num_models,
        num_queries=config.num_queries,
        num_canaries=config.num_canaries,
        seed=config.seed,
    )
    arguments = (model, optimizers, dataset, train_config, attack_config)
    sam_jax.check_audit(*arguments, augment)
    return arguments, augment


def _open_folder(
    config: Config, dataset: sam_jax.Dataset
) -> tuple[pathlib.Path, pathlib.Path]:
    """The folder of the run, and that of its chunks."""
    facts = {"data_sha256": data_hash(dataset)}
    folder = run_folder.open_run("audit", config, facts=facts)
    if config.cache_dir is not None:
        return folder, pathlib.Path(config.cache_dir).expanduser()
    return folder, folder / "chunks"


def _print_start(config: Config, arguments: tuple[Any, ...]) -> None:
    _, optimizers, dataset, _, _ = arguments
    print(
        f"{dataset.name}: {config.num_models} models for each of "
        f"{', '.join(optimizers)}, on halves of {len(dataset.train.y):,} examples."
    )


def make_dataset(config: Config) -> sam_jax.Dataset:
    """Loads the data set, cut to the pool's size and with label noise."""
    with as_option("name", "dataset"):
        dataset = sam_jax.load(
            config.dataset, config.data_dir, config.manual_dir, config.image_size
        )
    _checks.at_least(0, pool_size=config.pool_size, seed=config.seed)
    _checks.in_unit_interval(label_noise=config.label_noise)
    pool = dataset.train
    if 0 < config.pool_size < len(pool.y):
        order = np.random.default_rng(config.seed).permutation(len(pool.y))
        dataset = dataset.take(pool=np.sort(order[: config.pool_size]))
        pool = dataset.train
    if config.label_noise:
        key = jax.random.key(config.seed)
        pool = corrupt_labels(key, pool, dataset.num_classes, config.label_noise)
    return dataclasses.replace(dataset, train=pool)


def data_hash(dataset: sam_jax.Dataset) -> str:
    """Returns the hash of all inputs and labels that a run uses."""
    return hash_arrays(*dataset.train, *dataset.test)


def make_model(config: Config, num_classes: int) -> sam_jax.Model:
    """Makes the network, computing in the chosen precision."""
    factory = _checks.one_of(MODELS, model=config.model)
    return factory(num_classes, dtype=compute_dtype(config.precision))


def make_augment(config: Config, shape: tuple[int, ...]) -> AugmentFn | None:
    """Makes the augmentation of images [N, H, W, C]; None without any."""
    augments = [_checks.one_of(AUGMENTATIONS, augment=n) for n in config.augment]
    if augments and len(shape) != 4:
        raise ArgumentError(
            "augment", f"must be empty where x is no images [N, H, W, C], got {shape}."
        )
    return chain(*augments) if augments else None


def make_optimizers(
    config: Config, train_config: sam_jax.TrainConfig, pool_size: int
) -> dict[str, optax.GradientTransformationExtraArgs]:
    """Makes each optimizer by name; one a radius for those that have one."""
    for rho in config.rho:
        _checks.non_negative(rho=rho)
    if len(set(config.rho)) < len(config.rho):
        raise ArgumentError("rho", f"must be different radii, got {config.rho}.")
    base = make_base(config, train_config, pool_size)
    if len(set(config.optimizers)) < len(config.optimizers):
        raise ArgumentError("optimizers", f"must differ, got {config.optimizers}.")
    made = {}
    for name in config.optimizers:
        factory = _checks.one_of(OPTIMIZERS, optimizers=name)
        if name == "sgd":
            made[name] = factory(base)
            continue
        for rho in config.rho or (default_rho(name),):
            label = name if len(config.rho) < 2 else f"{name} rho={rho:g}"
            made[label] = factory(base, rho=rho)
    return made


def make_base(
    config: Config, train_config: sam_jax.TrainConfig, pool_size: int
) -> optax.GradientTransformation:
    """Makes the base optimizer: momentum SGD with a schedule and weight decay."""
    _checks.positive(learning_rate=config.learning_rate)
    _checks.in_unit_interval(momentum=config.momentum)
    _checks.non_negative(weight_decay=config.weight_decay)
    num_steps = config.num_epochs * num_steps_per_epoch(train_config, pool_size)
    schedule = _checks.one_of(SCHEDULES, schedule=config.schedule)
    return optax.chain(
        optax.add_decayed_weights(config.weight_decay),
        optax.sgd(schedule(config.learning_rate, num_steps), config.momentum),
    )


def make_train_config(config: Config) -> sam_jax.TrainConfig:
    """Makes the settings of training, checked."""
    train_config = sam_jax.TrainConfig(
        num_epochs=config.num_epochs,
        batch_size=config.batch_size,
        stop_accuracy=config.stop_accuracy,
        models_per_chunk=config.models_per_chunk,
        models_per_vmap=config.models_per_vmap,
        max_diverged=config.max_diverged,
    )
    check_train_config(train_config)
    return train_config


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
    config = run_folder.parse_options("audit", Config, __doc__ + CHOICES, arguments)
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
