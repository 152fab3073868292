"""The audit: train shadow models under several optimizers, attack all, compare."""

import dataclasses
import pathlib
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Int

from sam_jax import _checks
from sam_jax.attacks import ATTACKS, score_targets
from sam_jax.auditing import assessment
from sam_jax.auditing.result import Accuracy, AuditResult
from sam_jax.data import canaries, dataset_from_arrays
from sam_jax.metrics import attack_metrics, validity
from sam_jax.metrics.accuracy import accuracies
from sam_jax.metrics.estimate import mean_over_models
from sam_jax.metrics.roc import varying_columns
from sam_jax.signals import compute
from sam_jax.training import membership, shadow_models
from sam_jax.training.checkpoint import ChunkCache
from sam_jax.training.progress import ProgressBar
from sam_jax.training.trainer import check_train_config, num_steps_per_epoch
from sam_jax.types import (
    AttackFn,
    AugmentFn,
    Dataset,
    Examples,
    Key,
    Model,
    Signals,
    TrainConfig,
    TrainLog,
)

DEFAULT_ATTACKS = ("lira_online", "lira_offline", "loss", "modified_entropy")


def audit(
    init: Callable[..., Any],
    apply: Callable[..., Any],
    optimizers: Mapping[str, optax.GradientTransformation],
    dataset: Dataset | tuple[Any, Any, Any, Any],
    *,
    num_models: int = 16,
    config: TrainConfig = TrainConfig(),  # noqa: B008, frozen
    attacks: Mapping[str, AttackFn] | None = None,
    baseline: str | None = None,
    augment: AugmentFn | None = None,
    num_queries: int = 1,
    num_canaries: int = 0,
    fprs: tuple[float, ...] = (0.01, 0.001),
    level: float = 0.95,
    seed: int = 0,
    cache_dir: str | pathlib.Path | None = None,
    progress: bool = True,
) -> AuditResult:
    """Trains shadow models under each optimizer, attacks every model, compares.

    Model m of every optimizer has the same training set, initial weights and batches,
    so that differences are paired.

    Args:
        init: ``init(key, x [1, *features]) -> (params, state)``; see ``types.Model``.
        apply: ``apply(params, state, x, train, key) -> (logits [B, C], state)``.
        optimizers: Any optax transformations by name; ``sam_jax.sam`` and its
            relatives get the gradients that they ask for.
        dataset: A ``Dataset``, or arrays ``(x, y, x_test, y_test)``: pool and test.
        num_models: Models for each optimizer; even, at least 4.
        config: How each model is trained.
        attacks: By name, the main one first; LiRA online and offline, loss and
            modified entropy by default.
        baseline: The optimizer to compare with; the first by default.
        augment: Applied to training batches, and to make further views of an example
            where ``num_queries`` is above 1.
        num_queries: Views of each example that the attacks see.
        num_canaries: Pool examples to mislabel and give coins of their own, for bounds
            on epsilon from single runs (``canaries``); they do not count as examples.
        fprs: False-positive rates at which to report the true-positive rate.
        level: Confidence level of all intervals.
        seed: Seed of everything random.
        cache_dir: Keeps each chunk of models here once it is trained; a call with the
            same arguments goes on from there. It is the caller's to see that ``init``,
            ``apply`` and the optimizers are the same.
        progress: Whether to show a progress bar.

    Returns:
        The result; ``audit_report.save_audit`` writes it to a folder.

    Raises:
        ValueError: Before anything is trained, for an argument that makes no sense.
        FloatingPointError: If a model's loss is no longer finite.

    Example:
        >>> import numpy as np, optax
        >>> import sam_jax
        >>> from sam_jax.models import mlp
        >>> x = np.random.default_rng(0).normal(size=(80, 4)).astype(np.float32)
        >>> y = (x[:, 0] > 0).astype(np.int32)
        >>> model, sgd = mlp(2, hidden=(8,)), optax.sgd(0.1)
        >>> result = sam_jax.audit(
        ...     model.init,
        ...     model.apply,
        ...     {"sgd": sgd, "sam": sam_jax.sam(sgd, rho=0.05)},
        ...     (x[:64], y[:64], x[64:], y[64:]),
        ...     num_models=4,
        ...     config=sam_jax.TrainConfig(num_epochs=2, batch_size=8),
        ...     progress=False,
        ... )
        >>> sorted(result.metrics["sam"]["lira_online"].pooled)
        ['auc', 'balanced_accuracy', 'tpr_at_fpr_0.001', 'tpr_at_fpr_0.01']
    """
    if not isinstance(dataset, Dataset):
        dataset = dataset_from_arrays("arrays", *dataset)
    if attacks is None:
        attacks = {name: ATTACKS[name] for name in DEFAULT_ATTACKS}
    config = check_audit(
        optimizers,
        dataset,
        num_models=num_models,
        config=config,
        attacks=attacks,
        seed=seed,
        model=Model(init, apply),
    )
    _checks.at_least(0, num_canaries=num_canaries)
    if num_queries > 1 and augment is None:
        raise ValueError(f"num_queries above 1 needs augment, got {num_queries=}.")
    baseline = baseline or next(iter(optimizers))
    _checks.one_of(optimizers, baseline=baseline)
    keep_key, train_key, view_key = audit_keys(seed)
    keep = membership.balanced_keep(keep_key, num_models, len(dataset.train.y))
    untrained = np.zeros((num_models, len(dataset.test.y)), np.bool_)
    keep = np.concatenate([keep, untrained], axis=1)
    planted = np.zeros(0, np.int64)
    if num_canaries:
        plant_key, coin_key = jax.random.split(jax.random.fold_in(keep_key, 1))
        dataset, planted = canaries.plant(plant_key, dataset, num_canaries)
        keep = canaries.flip_coins(coin_key, keep, planted)
    cache = ChunkCache(cache_dir, dataset, keep, config, (seed, num_queries))
    views = _Views(augment, num_queries, view_key)
    signals, logs, seconds = {}, {}, {}
    with ProgressBar(progress, num_models * config.num_epochs, optimizers) as bar:
        for name, optimizer in optimizers.items():
            start = time.perf_counter()
            signals[name], logs[name] = _train_and_ask(
                name,
                Model(init, apply),
                optimizer,
                dataset,
                keep,
                config,
                train_key,
                views,
                cache,
                bar,
            )
            seconds[f"train {name}"] = time.perf_counter() - start
    start = time.perf_counter()
    result = compare(
        signals,
        attacks,
        dataset,
        baseline=baseline,
        logs=logs,
        canary_columns=planted,
        fprs=fprs,
        level=level,
    )
    seconds["attack"] = time.perf_counter() - start
    return dataclasses.replace(result, seconds=seconds)


def audit_keys(seed: int) -> Key:
    """Returns the keys of an audit: of the mask, of training, of views.

    ``train_chunks`` with the second, the audit's mask and settings, and its pool
    followed by its test examples trains the audit's models again.
    """
    return jax.random.split(jax.random.key(seed), 3)


class _Views(NamedTuple):
    augment: AugmentFn | None
    num_queries: int
    key: Any


def _train_and_ask(
    name: str,
    model: Model,
    optimizer: optax.GradientTransformation,
    dataset: Dataset,
    keep: np.ndarray,
    config: TrainConfig,
    key: Any,
    views: _Views,
    cache: ChunkCache,
    bar: ProgressBar,
) -> tuple[Signals, TrainLog]:
    """Trains all models under one optimizer; keeps their answers, not their weights."""
    examples = Examples(
        *(
            jnp.asarray(np.concatenate([pool, test]))
            for pool, test in zip(dataset.train, dataset.test, strict=True)
        )
    )
    parts = cache.load(name)
    done = sorted({m for part in parts for m in part["models"].tolist()})
    bar.skip(len(done) * config.num_epochs)
    missing = sorted(set(range(len(keep))) - set(done))
    chunks = shadow_models.train_chunks(
        key,
        model,
        lambda _: optimizer,
        {},
        keep,
        examples,
        config,
        augment=views.augment,
        models=missing,
        on_plan=lambda plan: bar.say(f"{name}: {plan}."),
        on_epoch=lambda now: bar.show(name, now),
    )
    for chunk in chunks if missing else ():
        answers = compute.chunk_signals(
            model,
            chunk.trained,
            examples,
            models_per_vmap=config.models_per_vmap,
            num_queries=views.num_queries,
            augment=views.augment,
            key=views.key,
        )
        part = {"models": chunk.models} | answers._asdict() | chunk.log._asdict()
        cache.save(name, part)
        parts.append(part)
        bar.finish(len(chunk.models) * config.num_epochs)
    order = np.argsort(np.concatenate([part["models"] for part in parts]))
    joined = {k: np.concatenate([part[k] for part in parts])[order] for k in parts[0]}
    answers = {field: joined[field] for field in compute.ModelSignals._fields}
    signals = Signals(**answers, keep=keep, labels=np.asarray(examples.y))
    return signals, TrainLog(joined["loss"], joined["accuracy"])


def compare(
    signals: Mapping[str, Signals],
    attacks: Mapping[str, AttackFn],
    dataset: Dataset,
    *,
    baseline: str,
    logs: Mapping[str, TrainLog] | None = None,
    canary_columns: Int[np.ndarray, " c"] | None = None,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    fprs: tuple[float, ...] = (0.01, 0.001),
    level: float = 0.95,
    on_attack: Callable[[str, str], Any] = lambda *_: None,
) -> AuditResult:
    """Attacks every model of every recipe: metrics, curves, differences, assessment.

    The part of ``audit`` that follows training, for signals from anywhere.

    Args:
        signals: By optimizer (or any recipe), on one keep mask and one set of labels.
        attacks: By name, the main one first.
        dataset: The data behind the columns, for reports: the pool, then the rest.
        baseline: The recipe that the others are compared with.
        logs: Training curves, where they are known.
        canary_columns: Columns that are canaries; see ``audit``.
        settings: By recipe, hyper-parameters where they are known.
        fprs: False-positive rates at which to report the true-positive rate.
        level: Confidence level of all intervals.
        on_attack: Called with recipe and attack before each is run.

    Raises:
        ValueError: If recipes do not share mask and labels, or a score is NaN.

    Warns:
        UserWarning: If the models are not of one kind (``validity``), before any score.
    """
    pairing = validity.check_recipes(signals)[0] if len(signals) > 1 else None
    if pairing is not None and pairing.severity == "invalid":
        raise ValueError(f"signals must be paired: {pairing.text}")
    checks = assessment.check(signals, settings)
    for name, own in checks.items():
        for found in own:
            if found.severity == "invalid":
                text = f"The figures of {name} are not valid: {found.text}"
                warnings.warn(text, stacklevel=2)
    keep = np.asarray(signals[baseline].keep)
    mask = varying_columns(keep)
    planted = np.zeros(0, np.int64) if canary_columns is None else canary_columns
    mask[planted] = False
    scores: dict[str, dict[str, np.ndarray]] = {name: {} for name in signals}
    for name, own in signals.items():
        for attack, fn in attacks.items():
            on_attack(name, attack)
            scores[name][attack] = score_targets(fn, own)
    options: Any = {"mask": mask, "level": level}
    by_model = {name: accuracies(own) for name, own in signals.items()}
    others = [name for name in signals if name != baseline]
    differences = {
        name: {
            attack: attack_metrics.paired_difference(
                scores[name][attack],
                scores[baseline][attack],
                keep,
                fprs=fprs,
                **options,
            )
            for attack in attacks
        }
        for name in others
    }
    return AuditResult(
        dataset=dataset,
        baseline=baseline,
        signals=dict(signals),
        logs=dict(logs or {}),
        accuracy={
            name: Accuracy(*(mean_over_models(a, level) for a in pair))
            for name, pair in by_model.items()
        },
        metrics={
            name: {
                attack: attack_metrics.attack_metrics(score, keep, fprs=fprs, **options)
                for attack, score in own.items()
            }
            for name, own in scores.items()
        },
        roc={
            name: {
                attack: attack_metrics.roc_band(score, keep, **options)
                for attack, score in own.items()
            }
            for name, own in scores.items()
        },
        differences=differences,
        accuracy_differences={
            name: Accuracy(
                *(
                    mean_over_models(ours - theirs, level)
                    for ours, theirs in zip(
                        by_model[name], by_model[baseline], strict=True
                    )
                )
            )
            for name in others
        },
        seconds={},
        assessment=assessment.assess(
            signals,
            scores,
            attacks,
            differences,
            baseline=baseline,
            mask=mask,
            canary_columns=planted if planted.size else None,
            fprs=fprs,
            level=level,
            checks=checks,
        ),
        canaries=planted,
    )


def check_audit(
    optimizers: Mapping[str, Any],
    dataset: Dataset,
    *,
    num_models: int,
    config: TrainConfig,
    attacks: Mapping[str, Any],
    seed: int = 0,
    model: Model | None = None,
) -> TrainConfig:
    """Checks the arguments of ``audit`` before anything is trained.

    Args:
        optimizers: As in ``audit``.
        dataset: Pool and test examples.
        num_models: Shadow models of each optimizer.
        config: Settings of the training.
        attacks: As in ``audit``.
        seed: Of the audit.
        model: Traced on the data but not run, where it is given.

    Returns:
        The settings with ``examples_per_epoch`` filled in.

    Raises:
        ValueError: For an argument that makes no sense.
    """
    if not optimizers:
        raise ValueError("optimizers must name at least one optimizer, got none.")
    for name, optimizer in optimizers.items():
        if not (hasattr(optimizer, "init") and hasattr(optimizer, "update")):
            raise ValueError(
                f"optimizers[{name!r}] must be an optax transformation (init, update), "
                f"got {optimizer!r}."
            )
    if not attacks:
        raise ValueError("attacks must name at least one attack, got none.")
    for name, attack in attacks.items():
        if not callable(attack):
            raise ValueError(f"attacks[{name!r}] must be callable, got {attack!r}.")
    _checks.at_least(0, seed=seed)
    _checks.at_least(4, num_models=num_models)
    if num_models % 2:
        raise ValueError(f"num_models must be even, got {num_models}.")
    check_train_config(config)
    pool_size = len(dataset.train.y)
    num_steps_per_epoch(config, pool_size)
    if model is not None:
        _check_model(model, dataset)
    per_epoch = config.examples_per_epoch or pool_size // 2
    return dataclasses.replace(config, examples_per_epoch=per_epoch)


def _check_model(model: Model, dataset: Dataset) -> None:
    """Raises ``ValueError`` unless ``apply`` gives logits [B, C] for the data."""
    key, num_examples = jax.random.key(0), 2

    def forward(x):
        params, state = model.init(key, x)
        return model.apply(params, state, x, False, key)[0]

    features = dataset.train.x.shape[1:]
    logits = jax.eval_shape(
        forward, jax.ShapeDtypeStruct((num_examples, *features), jnp.float32)
    )
    expected = (num_examples, dataset.num_classes)
    if logits.shape != expected:
        raise ValueError(
            f"apply must return logits [B, C] = {expected} for {num_examples} examples "
            f"of {dataset.num_classes} classes, got shape {logits.shape}."
        )
