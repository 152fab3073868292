"""The audit: train shadow models under several optimizers, attack all, compare."""

import dataclasses
import pathlib
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import optax

from sam_jax.auditing.checks import check_audit
from sam_jax.auditing.config import AttackConfig
from sam_jax.auditing.evaluate import attack_signals
from sam_jax.auditing.plan import AuditPlan, make_plan
from sam_jax.auditing.result import AuditResult
from sam_jax.data import dataset_from_arrays
from sam_jax.signals import compute
from sam_jax.training import shadow_models
from sam_jax.training.checkpoint import ChunkCache
from sam_jax.training.progress import ProgressBar
from sam_jax.types import AugmentFn, Dataset, Model, Signals, TrainConfig, TrainLog


def audit(
    model: Model | tuple[Callable[..., Any], Callable[..., Any]],
    optimizers: Mapping[str, optax.GradientTransformation],
    dataset: Dataset | tuple[Any, Any, Any, Any],
    train_config: TrainConfig = TrainConfig(),  # noqa: B008, frozen
    attack_config: AttackConfig = AttackConfig(),  # noqa: B008, frozen
    *,
    augment: AugmentFn | None = None,
    cache_dir: str | pathlib.Path | None = None,
    progress: bool = True,
) -> AuditResult:
    """Trains shadow models under each optimizer, attacks every model, compares.

    Model m of every optimizer has the same training set, initial weights and batches,
    so that differences are paired.

    Args:
        model: A ``Model``, or its functions ``(init, apply)``.
        optimizers: Any optax transformations by name; ``sam_jax.sam`` and its
            relatives get the gradients that they ask for.
        dataset: A ``Dataset``, or arrays ``(x, y, x_test, y_test)``: pool and test.
        train_config: How each model is trained.
        attack_config: How many models, which attacks, and how they are evaluated.
        augment: Applied to training batches, and to make the further queries of an
            example where ``num_queries`` is above 1.
        cache_dir: Keeps each chunk of models here once it is trained; a call with the
            same arguments goes on from there. It is the caller's to see that the
            model and the optimizers are the same.
        progress: Whether to show a progress bar.

    Returns:
        The result; ``reporting.audit_report.save_audit`` writes it to a folder.

    Raises:
        ArgumentError: Before anything is trained, for an argument that makes no sense.
        FloatingPointError: If a model's loss is no longer finite.

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
        ...     sam_jax.TrainConfig(num_epochs=2, batch_size=8),
        ...     sam_jax.AttackConfig(num_models=4),
        ...     progress=False,
        ... )
        >>> sorted(result["sam"].attacks["lira_offline"].metrics.pooled)
        ['auc', 'balanced_accuracy', 'tpr_at_fpr_0.001', 'tpr_at_fpr_0.01']
    """
    if not isinstance(dataset, Dataset):
        dataset = dataset_from_arrays("arrays", *dataset)
    model, train_config, attack_config = check_audit(
        model, optimizers, dataset, train_config, attack_config, augment
    )
    plan = make_plan(
        dataset,
        attack_config.num_models,
        attack_config.num_canaries,
        attack_config.seed,
    )
    run_settings = (attack_config.seed, attack_config.num_queries)
    cache = ChunkCache(cache_dir, plan.dataset, plan.keep, train_config, run_settings)
    training = _Training(model, train_config, augment, attack_config.num_queries)
    signals, logs, seconds = {}, {}, {}
    num_epochs = attack_config.num_models * train_config.num_epochs
    with ProgressBar(progress, num_epochs, optimizers) as bar:
        for name, optimizer in optimizers.items():
            start = time.perf_counter()
            signals[name], logs[name] = _train(
                training, name, optimizer, plan, cache, bar
            )
            seconds[f"train {name}"] = time.perf_counter() - start
    start = time.perf_counter()
    result = attack_signals(
        signals, plan.dataset, attack_config, logs=logs, canaries=plan.canaries
    )
    seconds["attack"] = time.perf_counter() - start
    return dataclasses.replace(result, seconds=seconds)


@dataclasses.dataclass(frozen=True)
class _Training:
    """What all models of an audit share."""

    model: Model
    config: TrainConfig
    augment: AugmentFn | None
    num_queries: int


def _train(
    training: _Training,
    name: str,
    optimizer: optax.GradientTransformation,
    plan: AuditPlan,
    cache: ChunkCache,
    bar: ProgressBar,
) -> tuple[Signals, TrainLog]:
    """Trains all models under one optimizer; keeps their signals, not their weights."""
    config, examples = training.config, plan.examples()
    parts = cache.load(name)
    done = sorted({m for part in parts for m in part["models"].tolist()})
    bar.skip(len(done) * config.num_epochs)
    missing = sorted(set(range(len(plan.keep))) - set(done))
    chunks = shadow_models.train_chunks(
        plan.train_key,
        training.model,
        lambda _: optimizer,
        {},
        plan.keep,
        examples,
        config,
        augment=training.augment,
        models=missing,
        on_plan=lambda chunk_plan: bar.say(f"{name}: {chunk_plan}."),
        on_epoch=lambda now: bar.show(name, now),
    )
    for chunk in chunks if missing else ():
        outputs = compute.chunk_signals(
            training.model,
            chunk.trained,
            examples,
            models_per_vmap=config.models_per_vmap,
            num_queries=training.num_queries,
            augment=training.augment,
            key=plan.query_key,
        )
        part = {"models": chunk.models} | outputs._asdict() | chunk.log._asdict()
        cache.save(name, part)
        parts.append(part)
        bar.finish(len(chunk.models) * config.num_epochs)
    # Chunks come in the order in which they were trained, models in that of the mask.
    order = np.argsort(np.concatenate([part["models"] for part in parts]))
    joined = {k: np.concatenate([part[k] for part in parts])[order] for k in parts[0]}
    outputs = {field: joined[field] for field in compute.ModelSignals._fields}
    signals = Signals(**outputs, keep=plan.keep, labels=np.asarray(examples.y))
    return signals, TrainLog(joined["loss"], joined["accuracy"])
