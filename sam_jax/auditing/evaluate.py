"""From signals to the result of an audit: attacks, metrics, bounds, risk."""

import dataclasses
import functools
import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from sam_jax import _checks
from sam_jax.attacks import score_targets
from sam_jax.auditing.config import AttackConfig
from sam_jax.auditing.parallel_steps import Steps
from sam_jax.auditing.result import (
    Accuracy,
    AttackResult,
    AuditResult,
    ExposureChange,
    OptimizerResult,
)
from sam_jax.metrics import (
    Bootstrap,
    IntervalConfig,
    attack_metrics,
    bootstrap_attack,
    example_risk,
    num_models,
    thresholds,
)
from sam_jax.metrics.accuracy import accuracies
from sam_jax.metrics.estimate import mean_over_models, targets_to_resolve
from sam_jax.metrics.model_checks import Check, check_all
from sam_jax.metrics.one_run_epsilon import one_run_audit
from sam_jax.metrics.refits import leave_models_out
from sam_jax.metrics.roc import varying_columns
from sam_jax.types import AttackFn, Dataset, Signals, TrainLog

_MODEL_COUNT, _RISK, _RELIABILITY = "number of models", "risk", "reliability"
"""Steps of an optimizer's evaluation beside its attacks."""

DELTAS = (0.0, 1e-5)
"""Additive slacks at which epsilon is bounded."""


class Columns(NamedTuple):
    """Columns of the signals.

    Attributes:
        counted: True for the examples behind all figures.
        canaries: Columns of the canaries; empty without.
    """

    counted: Bool[np.ndarray, " n"]
    canaries: Int[np.ndarray, " c"]


class Scored(NamedTuple):
    """The scores of one attack, and the replicates behind its intervals.

    Attributes:
        scores: Of every example against every model; higher is member.
        bootstrap: Replicates of the metrics.
    """

    scores: Float[np.ndarray, "m n"]
    bootstrap: Bootstrap


def attack_signals(
    signals: Mapping[str, Signals],
    dataset: Dataset,
    config: AttackConfig,
    *,
    logs: Mapping[str, TrainLog] | None = None,
    canaries: Int[np.ndarray, " c"] | None = None,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    progress: bool = False,
) -> AuditResult:
    """Attacks every model of every optimizer; the audit after its training.

    Args:
        signals: By optimizer (or whatever made the models differ), on one keep mask
            and one set of labels.
        dataset: The data behind the columns: the pool, then the rest.
        config: Attacks, rates, level and baseline.
        logs: Training curves, where they are known.
        canaries: Columns that are canaries; see ``AttackConfig``.
        settings: By optimizer, hyper-parameters where they are known.
        progress: Whether to show a progress bar.

    Raises:
        ArgumentError: If optimizers do not share mask and labels, or a score is NaN.

    Warns:
        UserWarning: If the models are not alike (``model_checks``), before any score.
    """
    baseline = config.baseline or next(iter(signals))
    _checks.one_of(signals, baseline=baseline)
    checks, comparison = check_all(signals, settings)
    _heed(checks, comparison)
    columns = count_columns(signals[baseline], canaries)
    scored, optimizers = {}, {}
    num_steps = len(signals) * (2 * len(config.attacks) + 3)
    with Steps(num_steps, progress) as steps:
        # All are scored before any is evaluated: the baseline need not be the first.
        for name, of_optimizer in signals.items():
            attacks = {}
            for attack, attack_fn in config.attacks.items():
                attacks[attack] = functools.partial(
                    score_attack, attack_fn, of_optimizer, columns, config
                )
            scored[name] = steps.run(f"{name}, scores and intervals", attacks)
        for name, of_optimizer in signals.items():
            base = None if name == baseline else (signals[baseline], scored[baseline])
            result = evaluate_optimizer(
                of_optimizer, scored[name], checks[name], columns, config, steps, base
            )
            log = (logs or {}).get(name)
            optimizers[name] = dataclasses.replace(result, log=log)
    return AuditResult(
        dataset=dataset,
        baseline=baseline,
        optimizers=optimizers,
        comparison=comparison,
        columns=np.flatnonzero(columns.counted),
        canaries=columns.canaries,
        risk_fpr=config.risk_fpr,
        level=config.level,
        seconds={},
    )


def count_columns(
    signals: Signals, canaries: Int[np.ndarray, " c"] | None = None
) -> Columns:
    """Returns the examples that count: with and without a model, and no canary."""
    counted = varying_columns(np.asarray(signals.keep))
    canaries = np.zeros(0, np.int64) if canaries is None else canaries
    counted[canaries] = False
    return Columns(counted, canaries)


def _heed(checks: Mapping[str, list[Check]], comparison: list[Check]) -> None:
    """Refuses optimizers that cannot be compared; warns where figures mean nothing."""
    for check in comparison:
        if check.severity == "invalid":
            raise _checks.ArgumentError("signals", f"must be paired: {check.text}")
    for name, of_optimizer in checks.items():
        for check in of_optimizer:
            if check.severity == "invalid":
                text = f"The figures of {name} are not valid: {check.text}"
                warnings.warn(text, stacklevel=3)


def score_attack(
    attack: AttackFn, signals: Signals, columns: Columns, config: AttackConfig
) -> Scored:
    """Returns the scores of every model as the target, with their bootstrap."""
    scores = score_targets(attack, signals)
    bootstrap = bootstrap_attack(
        scores,
        signals.keep,
        mask=columns.counted,
        fprs=config.fprs,
        intervals=IntervalConfig(config.level),
        refits=leave_models_out(attack, signals, scores, mask=columns.counted),
    )
    return Scored(scores, bootstrap)


def evaluate_optimizer(
    signals: Signals,
    scored: Mapping[str, Scored],
    checks: list[Check],
    columns: Columns,
    config: AttackConfig,
    steps: Steps,
    baseline: tuple[Signals, Mapping[str, Scored]] | None = None,
) -> OptimizerResult:
    """Returns what all attacks reached on the models of one optimizer.

    ``baseline`` holds the baseline's signals and attacks; None for itself.
    """
    main, keep = config.main_attack, np.asarray(signals.keep)
    done = _figures(signals, scored, columns, config, steps, baseline)
    attacks = {name: done["attack", name] for name in scored}
    by_model = accuracies(signals)
    result = OptimizerResult(
        signals=signals,
        accuracy=Accuracy(
            *(mean_over_models(a, config.level, bounds=(0.0, 1.0)) for a in by_model)
        ),
        attacks=attacks,
        risk=done["examples", _RISK],
        reliability=done["examples", _RELIABILITY],
        checks=checks,
        model_count=done["examples", _MODEL_COUNT],
    )
    if baseline is None:
        return result
    base_signals, base_scored = baseline
    gaps = [a - b for a, b in zip(by_model, accuracies(base_signals), strict=True)]
    tables = scored[main].scores, base_scored[main].scores, keep
    change = example_risk.exposure_change(*(t[:, columns.counted] for t in tables))
    return dataclasses.replace(
        result,
        accuracy_difference=Accuracy(
            *(mean_over_models(gap, config.level) for gap in gaps)
        ),
        risk_change=ExposureChange(*change),
        models_to_resolve={
            metric: targets_to_resolve(gap, len(keep), config.level)
            for metric, gap in attacks[main].difference.pooled.items()
        },
    )


def _figures(
    signals: Signals,
    scored: Mapping[str, Scored],
    columns: Columns,
    config: AttackConfig,
    steps: Steps,
    baseline: tuple[Signals, Mapping[str, Scored]] | None,
) -> dict[tuple[str, str], Any]:
    """What takes long of ``evaluate_optimizer``, by ("attack" or "examples", name)."""
    main = config.main_attack
    main_scores = scored[main].scores[:, columns.counted]
    kept = np.asarray(signals.keep)[:, columns.counted]
    work: dict[tuple[str, str], Callable[[], Any]] = {}
    # The steps of the main attack's examples take longest, so they come first.
    work["examples", _MODEL_COUNT] = lambda: num_models.model_count_curve(
        config.attacks[main],
        signals,
        scored[main].scores,
        mask=columns.counted,
        level=config.level,
    )
    risk, reliability = example_risk.risk, example_risk.reliability
    work["examples", _RISK] = lambda: risk(main_scores, kept, config.risk_fpr)
    work["examples", _RELIABILITY] = lambda: reliability(main_scores, kept)
    for name, of_attack in scored.items():
        base = None if baseline is None else baseline[1][name].bootstrap
        work["attack", name] = functools.partial(
            evaluate_attack, of_attack, signals, columns, config, base
        )
    return steps.run("thresholds and risk", work)


def evaluate_attack(
    scored: Scored,
    signals: Signals,
    columns: Columns,
    config: AttackConfig,
    baseline: Bootstrap | None = None,
) -> AttackResult:
    """Returns metrics, curve, decisions and bounds of one attack.

    Args:
        scored: Scores and their bootstrap.
        signals: Whose mask and labels belong to the scores.
        columns: Which examples count, and the canaries.
        config: Rates and level.
        baseline: The attack's bootstrap under the baseline, for the difference.
    """
    keep, level = np.asarray(signals.keep), config.level
    scores, bootstrap = scored
    decisions = thresholds.shadow_threshold_decisions(
        scores[:, columns.counted],
        keep[:, columns.counted],
        np.asarray(signals.labels)[columns.counted],
        config.fprs,
        level=level,
    )
    one_run = []
    if columns.canaries.size and len(keep) >= 3:
        coins = scores[:, columns.canaries], keep[:, columns.canaries]
        for delta in DELTAS:
            one_run.append(one_run_audit(*coins, delta, level))
    difference = None
    if baseline is not None:
        difference = attack_metrics.paired_difference(bootstrap, baseline)
    return AttackResult(
        metrics=attack_metrics.attack_metrics(bootstrap),
        roc=attack_metrics.roc_band(bootstrap),
        decisions=decisions,
        epsilon=[thresholds.epsilon_of_decisions(decisions, d, level) for d in DELTAS],
        one_run_epsilon=one_run,
        difference=difference,
    )
