"""The audit that is explained: its folder, its settings, its models trained again."""

import dataclasses
import pathlib
from typing import Any

import jax
import numpy as np

from sam_jax import _checks, analysis
from sam_jax.analysis import rho_sweep
from sam_jax.attacks import score_targets
from sam_jax.auditing.plan import make_plan
from sam_jax.cli import audit, audit_arguments, audit_options, run_folder
from sam_jax.cli.errors import as_option
from sam_jax.cli.named_code import named_attack, named_model
from sam_jax.data import buckets, mirrors
from sam_jax.metrics import attack_metrics, bootstrap_attack
from sam_jax.optimizers.registry import OPTIMIZERS, default_rho
from sam_jax.training.checkpoint import ChunkStore
from sam_jax.training.saved_models import load_models
from sam_jax.training.trainer import TrainingTask
from sam_jax.types import AttackFn, Dataset


def make_audit(made: audit_options.Config) -> pathlib.Path:
    """Returns the folder of an audit of these settings, run unless it is finished."""
    folder = buckets.local_path(made.runs_dir, "runs_dir") / "audit" / made.name
    mirrors.download(folder, "runs_dir")
    before = None
    if (folder / "metrics.json").is_file() and not made.overwrite:
        before = dataclasses.replace(audit_settings(folder), runs_dir=made.runs_dir)
    if made == before:
        print(f"Explaining the finished audit in {folder}.")
    else:
        audit.main(made)
    return folder


def audit_settings(folder: pathlib.Path) -> audit_options.Config:
    """Returns the settings that an audit was run with.

    Raises:
        ValueError: If it is no finished audit, has canaries, or was run with a setting
            that this version does not know.
    """
    if not (folder / "metrics.json").is_file():
        raise _checks.ArgumentError(
            "run", f"must be the folder of a finished audit, got {folder}."
        )
    with as_option("name", "run"):
        settings = run_folder.read_config(folder)["settings"]
    if "signals" in settings:
        raise _checks.ArgumentError(
            "run", f"must be the folder of sam-jax audit, got {folder} of another."
        )
    unknown = settings.keys() - {
        f.name for f in dataclasses.fields(audit_options.Config)
    }
    if unknown:
        raise _checks.ArgumentError(
            "run",
            f"must be of this version's audit: {folder} has the unknown settings "
            f"{', '.join(sorted(unknown))}.",
        )
    frozen: dict[str, Any] = {
        k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()
    }
    made = audit_options.Config(**frozen)
    check_canaries(made)
    return made


def load_data(folder: pathlib.Path, settings: audit_options.Config) -> Dataset:
    """Returns the data of an audit, which must be those that it was run on.

    Args:
        folder: Of the audit.
        settings: Of the audit.

    Raises:
        ArgumentError: If the file or the set holds something else now.
    """
    dataset = audit_arguments.make_dataset(settings)
    audited = run_folder.read_config(folder).get("data_sha256")
    if audited != audit_arguments.data_hash(dataset):
        raise _checks.ArgumentError(
            "run",
            f"must be of data that are as they were: {settings.dataset} is not what "
            f"the audit in {folder} was run on. Run the audit again.",
        )
    return dataset


def check_canaries(settings: audit_options.Config) -> None:
    """Raises ``ValueError`` for an audit with canaries, whose labels are wrong."""
    if settings.num_canaries:
        raise _checks.ArgumentError(
            "num_canaries",
            f"must be 0 for an audit to be explained, got {settings.num_canaries}.",
        )


def radius(settings: audit_options.Config, name: str) -> float:
    """Returns the radius of one of the audit's optimizers, from its label."""
    method, _, labelled = name.partition(" rho=")
    if labelled:
        return float(labelled)
    return settings.rho[0] if settings.rho else default_rho(method)


def train_again(
    source: pathlib.Path,
    name: str,
    dataset: Dataset,
    rho: tuple[float, ...],
    attack: AttackFn,
    *,
    num_models: int,
    num_examples: int,
    store: ChunkStore,
) -> rho_sweep.RhoSweep:
    """Trains the audit's first models again, under one optimizer at each radius.

    At the audit's radius the models of ``--save-models`` are taken, where they are.
    """
    settings = audit_settings(source)
    factory = _checks.one_of(OPTIMIZERS, optimizer=name.partition(" rho=")[0])
    pool_size = len(dataset.train.y)
    config = audit_arguments.make_train_config(settings)
    base = audit_arguments.make_base(settings, config, pool_size)
    # As in the audit: half of the pool, though the columns hold test examples too.
    config = dataclasses.replace(
        config, examples_per_epoch=pool_size // 2, models_per_chunk=num_models
    )
    plan = make_plan(dataset, settings.num_models, seed=settings.seed)
    task = TrainingTask(
        named_model(settings.model, dataset.num_classes, settings.precision),
        lambda hyperparams: factory(base, rho=hyperparams["rho"]),
        config,
        augment=audit_arguments.make_augment(settings, dataset.train.x.shape),
    )
    saved = None
    if (source / "models").is_dir():
        x = np.asarray(dataset.train.x[:2])
        like = jax.eval_shape(task.model.init, jax.random.key(0), x)
        models = load_models(source / "models", like, optimizers=(name,))
        saved = radius(settings, name), models[name]
    training = (plan.train_key, task, plan.keep, plan.examples(), saved)
    return rho_sweep.sweep_rho(
        rho_sweep.SweptTraining(*training),
        rho,
        attack,
        num_models=min(num_models, len(plan.keep)),
        num_examples=num_examples,
        store=store,
        on_radius=lambda r: print(f"Training {num_models} models at rho {r:g}."),
    )


def attack_difference(
    comparison: analysis.Comparison, attack: str
) -> attack_metrics.Differences:
    """Returns the attack's metrics, compared minus baseline."""
    base, other = (
        score_targets(named_attack(attack, "attack"), s) for s in comparison.signals
    )
    keep = np.asarray(comparison.signals[0].keep)
    return attack_metrics.paired_difference(
        *(bootstrap_attack(s, keep, mask=comparison.pool) for s in (other, base))
    )


def reproduced(
    sweep: rho_sweep.RhoSweep | None, rho: float | None, comparison: analysis.Comparison
) -> float | None:
    """Returns the share of predictions, right or wrong, that are those of the audit.

    1 for the same models. Rounding may part them where the audit trained with other
    numbers of devices or models at once: training amplifies it.
    """
    if sweep is None or rho not in sweep.rho:
        return None
    again = np.asarray(sweep.signals[int(np.argmax(sweep.rho == rho))].correct)
    audited = np.asarray(comparison.signals[1].correct)[: len(again)]
    return float(np.mean(again == audited))
