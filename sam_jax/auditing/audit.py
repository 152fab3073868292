"""The audit: train shadow models under several optimizers, attack all, compare."""

import dataclasses
import pathlib
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import optax

from sam_jax._checks import ArgumentError
from sam_jax.auditing.audit_target import check_targets
from sam_jax.auditing.checks import check_audit
from sam_jax.auditing.config import AttackConfig
from sam_jax.auditing.evaluate import attack_signals
from sam_jax.auditing.given_models import attack_given
from sam_jax.auditing.plan import AuditPlan, make_plan
from sam_jax.auditing.result import AuditResult
from sam_jax.auditing.target import Target
from sam_jax.auditing.trained_signals import (
    join_chunks,
    train_optimizer,
    without_diverged,
)
from sam_jax.data.arrays import as_dataset
from sam_jax.data.class_order import other_test_order
from sam_jax.data.duplicates import find_duplicates
from sam_jax.training.checkpoint import ChunkStore
from sam_jax.training.chunk_files import Arrays
from sam_jax.training.processes import shard_models
from sam_jax.training.progress import ProgressBar
from sam_jax.training.trainer import TrainingTask, with_optimizer
from sam_jax.types import AugmentFn, Dataset, Model, TrainConfig


def audit(
    model: Model | tuple[Callable[..., Any], Callable[..., Any]],
    optimizers: Mapping[str, optax.GradientTransformation],
    dataset: Dataset | tuple[Any, Any, Any, Any],
    train_config: TrainConfig = TrainConfig(),  # noqa: B008, frozen
    attack_config: AttackConfig = AttackConfig(),  # noqa: B008, frozen
    *,
    target: Target | Sequence[Target] | None = None,
    augment: AugmentFn | None = None,
    cache_dir: str | pathlib.Path | ChunkStore | None = None,
) -> AuditResult:
    """Trains shadow models under each optimizer, attacks every model, compares.

    Model m of every optimizer has the same training set, initial weights and batches,
    so that differences are paired.

    Args:
        model: A ``Model``, or its functions ``(init, apply)``.
        optimizers: Any optax transformations by name; ``sam_jax.sam`` and its
            relatives get the gradients that they need.
        dataset: A ``Dataset``, or arrays ``(x, y, x_test, y_test)``: pool and test.
        train_config: How each model is trained.
        attack_config: How many models, which attacks, and how they are evaluated.
        target: Given models to attack instead of each model in turn. The optimizer, or
            that of the target's name, should be the one that they were trained with.
        augment: Applied to training batches, and to make the further queries of an
            example where ``num_queries`` is above 1.
        cache_dir: Keeps each chunk of models here once it is trained; a call with the
            same arguments goes on from there, one with others is refused. More models,
            optimizers, attacks or augmented queries leave what is there as it is. A
            ``ChunkStore`` may say otherwise, and to keep weights (``save_models``).

    Returns:
        The result; its ``save`` writes it to a folder.

    Raises:
        ArgumentError: Before anything is trained, for an argument that makes no sense.
        FloatingPointError: If the loss of more models than may is no longer finite.

    Warns:
        UserWarning: If examples are in the data twice, or models that diverged are left
            out.

    Example:
        >>> import numpy as np, optax
        >>> import sam_jax
        >>> from sam_jax.models import mlp
        >>> x = np.random.default_rng(0).normal(size=(80, 4)).astype(np.float32)
        >>> y = (x[:, 0] > 0).astype(np.int32)
        >>> sgd = optax.sgd(0.1)
        >>> result = sam_jax.audit(
        ...     mlp(2, hidden=(8,)),
        ...     {"sgd": sgd, "sam": sam_jax.sam(sgd, rho=0.05)},
        ...     (x[:64], y[:64], x[64:], y[64:]),
        ...     sam_jax.TrainConfig(num_epochs=2, batch_size=8, progress=False),
        ...     sam_jax.AttackConfig(num_models=4),
        ... )
        >>> sorted(result["sam"].attacks["lira_offline"].metrics.pooled)
        ['auc', 'balanced_accuracy', 'tpr_at_fpr_0.001', 'tpr_at_fpr_0.01']
    """
    dataset = as_dataset(dataset)
    tasks, attack_config, plan = _prepared(
        model, optimizers, dataset, train_config, attack_config, augment
    )
    # What the data may have that figures with them would not mean.
    doubts = [*find_duplicates(dataset).texts(dataset), other_test_order(dataset)]
    for text in filter(None, doubts):
        warnings.warn(text, stacklevel=2)
    given = None
    if target is not None:
        given = check_targets(target, optimizers, plan, attack_config, augment)
    if not isinstance(cache_dir, ChunkStore):
        cache_dir = ChunkStore(cache_dir)
    with cache_dir as store:
        chunks, seconds = _train(tasks, plan, attack_config.num_queries, store)
    # From here on nothing is trained: signals of all models, attacked and compared.
    signals, logs = without_diverged(
        {name: join_chunks(c, plan, train_config) for name, c in chunks.items()}
    )
    start, progress = time.perf_counter(), train_config.progress
    if given is None:
        known = dict(logs=logs, canaries=plan.canaries)
        result = attack_signals(
            signals, plan.dataset, attack_config, progress=progress, **known
        )
    else:
        # No population is given: the mask shows that no model had the test examples.
        nothing = np.zeros(plan.keep.shape[1], np.bool_)
        outputs = given, signals, nothing
        result = attack_given(*outputs, plan.dataset, attack_config, progress=progress)
    seconds["attack"] = time.perf_counter() - start
    return dataclasses.replace(result, seconds=seconds)


def train_shard(
    model: Model | tuple[Callable[..., Any], Callable[..., Any]],
    optimizers: Mapping[str, optax.GradientTransformation],
    dataset: Dataset | tuple[Any, Any, Any, Any],
    train_config: TrainConfig,
    attack_config: AttackConfig,
    store: ChunkStore,
    *,
    augment: AugmentFn | None = None,
) -> None:
    """Trains one process's share of an audit's models, and attacks none.

    Once all shards are done, or before, ``audit`` with the same arguments and the
    store's folder as ``cache_dir`` trains what is missing and attacks all models.

    Args:
        model: As in ``audit``, and so all further arguments.
        optimizers: By name.
        dataset: Pool and test examples.
        train_config: How each model is trained.
        attack_config: How many models, and what is kept of each.
        store: A ``ChunkStore`` with a folder that all processes share, and a shard.
        augment: Of training batches.

    Raises:
        ArgumentError: Before anything is trained, for an argument that makes no sense.
        FloatingPointError: If the loss of more models than may is no longer finite.
    """
    if store.folder is None or store.shard is None:
        raise ArgumentError("store", "must have a folder and a shard.")
    tasks, attack_config, plan = _prepared(
        model, optimizers, as_dataset(dataset), train_config, attack_config, augment
    )
    # Only to refuse a wrong number before anything is trained.
    shard_models(len(plan.keep), train_config, store.shard)
    with store:
        _train(tasks, plan, attack_config.num_queries, store)


def _prepared(
    model: Model | tuple[Callable[..., Any], Callable[..., Any]],
    optimizers: Mapping[str, optax.GradientTransformation],
    dataset: Dataset,
    train_config: TrainConfig,
    attack_config: AttackConfig,
    augment: AugmentFn | None,
) -> tuple[dict[str, TrainingTask], AttackConfig, AuditPlan]:
    """Checks all arguments; what is trained by optimizer, and the audit's plan."""
    model, train_config, config = check_audit(
        model, optimizers, dataset, train_config, attack_config, augment
    )
    tasks = {}
    for name, optimizer in optimizers.items():
        tasks[name] = with_optimizer(model, optimizer, train_config, augment)
    plan = make_plan(dataset, config.num_models, config.num_canaries, config.seed)
    return tasks, config, plan


def _train(
    tasks: Mapping[str, TrainingTask],
    plan: AuditPlan,
    num_queries: int,
    store: ChunkStore,
) -> tuple[dict[str, list[Arrays]], dict[str, float]]:
    """Chunks of the models of each optimizer, and the seconds that they took."""
    chunks, seconds = {}, {}
    config = next(iter(tasks.values())).config
    num_epochs = len(plan.keep) * config.num_epochs
    with ProgressBar(config.progress, num_epochs, tasks) as bar:
        for name, task in tasks.items():
            start = time.perf_counter()
            arguments = name, task, plan, num_queries, store, bar
            chunks[name], work = train_optimizer(*arguments)
            seconds[f"{work} {name}"] = time.perf_counter() - start
    return chunks, seconds
