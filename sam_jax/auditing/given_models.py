"""The audit of given models: one path for any shadow models, or none.

A target becomes one more row of its shadow models' signals and is scored by the attacks
as any model is. Its row of ``keep`` is True for every example in question, so that no
attack sees its members (``attacks.matching``). Intervals are over examples alone: the
target and its shadow models are as they are.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from sam_jax.attacks import score_targets, unmet_needs
from sam_jax.attacks.base import OPTIONAL_NEEDS
from sam_jax.auditing.config import AttackConfig
from sam_jax.auditing.result import (
    Accuracy,
    AttackResult,
    AuditResult,
    ExposureChange,
    OptimizerResult,
)
from sam_jax.auditing.target_matching import (
    Question,
    check_attacks,
    join_target,
    match_models,
    shadows_of,
)
from sam_jax.metrics import (
    Bootstrap,
    IntervalConfig,
    attack_metrics,
    bootstrap_attack,
    example_risk,
    num_models,
    shadow_thresholds,
    thresholds,
    validity,
)
from sam_jax.metrics.accuracy import accuracy_gap_over_examples, accuracy_over_examples
from sam_jax.metrics.roc import varying_columns
from sam_jax.metrics.target_checks import check_target
from sam_jax.types import AttackFn, Dataset, Signals


class Scored(NamedTuple):
    """The scores of one attack on one target.

    Attributes:
        scores: Of all examples; higher is member.
        shadow_scores: Of each shadow model as the target of the others; None without.
        bootstrap: Replicates of the metrics.
    """

    scores: Float[np.ndarray, " n"]
    shadow_scores: Float[np.ndarray, "m n"] | None
    bootstrap: Bootstrap


def attack_given(
    targets: Mapping[str, Signals],
    shadows: Mapping[str, Signals],
    population: Bool[np.ndarray, " n"],
    dataset: Dataset,
    config: AttackConfig,
    *,
    on_attack: Callable[[str, str], Any] = lambda *_: None,
) -> AuditResult:
    """Attacks given models.

    Targets with the same members as the first are compared with it.

    Args:
        targets: Signals [1, N] by name; ``keep`` is the members.
        shadows: Of shadow models by training algorithm, on the same examples: of the
            target's name, or one for all targets. Empty without any.
        population: Examples set aside. Shadow models that trained on some examples say
            it themselves: those that neither they nor a target trained on.
        dataset: The data behind the columns.
        config: Attacks, rates and level.
        on_attack: Called with target and attack before each is run.

    Raises:
        ArgumentError: If examples or labels of targets and shadow models differ, or an
            attack cannot run on them.
    """
    given, question = match_models(targets, shadows, population)
    check_attacks(config.attacks, targets, given, question)
    baseline, scored, optimizers = next(iter(targets)), {}, {}
    for name, target in targets.items():
        models = shadows_of(given, name)
        scored[name] = {}
        for attack, attack_fn in config.attacks.items():
            on_attack(name, attack)
            scored[name][attack] = _score(attack_fn, target, models, question, config)
        base = None
        if name != baseline and np.array_equal(target.keep, targets[baseline].keep):
            base = targets[baseline], scored[baseline]
        result = _evaluate(target, models, scored[name], question, config, base)
        checks = check_given(target, models, question)
        optimizers[name] = dataclasses.replace(result, checks=checks)
    return AuditResult(
        dataset=dataset,
        baseline=baseline,
        optimizers=optimizers,
        comparison=[],
        columns=np.flatnonzero(question.counted),
        canaries=np.zeros(0, np.int64),
        risk_fpr=config.risk_fpr,
        level=config.level,
        seconds={},
        given=given,
    )


def check_given(
    target: Signals, shadows: Signals | None, question: Question
) -> list[validity.Check]:
    """Returns the checks of a target, and of its shadow models among themselves."""
    checks = check_target(target, shadows, *question)
    if shadows is not None and varying_columns(np.asarray(shadows.keep)).any():
        for check in validity.check_models(shadows):
            checks.append(check._replace(name=f"shadow models, {check.name}"))
    return checks


def _score(
    attack: AttackFn,
    target: Signals,
    shadows: Signals | None,
    question: Question,
    config: AttackConfig,
) -> Scored:
    joined = join_target(target, shadows, question)
    scores = score_targets(attack, joined, np.array([len(joined.keep) - 1]))
    shadow_scores = None
    if shadows is not None and varying_columns(np.asarray(shadows.keep)).any():
        unmet = set(unmet_needs(attack, shadows)) - set(OPTIONAL_NEEDS)
        shadow_scores = None if unmet else score_targets(attack, shadows)
    bootstrap = bootstrap_attack(
        scores,
        target.keep,
        mask=question.counted,
        fprs=config.fprs,
        intervals=IntervalConfig(config.level),
    )
    return Scored(scores[0], shadow_scores, bootstrap)


def _evaluate(
    target: Signals,
    shadows: Signals | None,
    scored: Mapping[str, Scored],
    question: Question,
    config: AttackConfig,
    baseline: tuple[Signals, Mapping[str, Scored]] | None,
) -> OptimizerResult:
    """What all attacks reached on one target."""
    main, (counted, _) = config.main_attack, question
    members = np.asarray(target.keep)[:, counted]
    attacks = {}
    for name, of_attack in scored.items():
        difference = None
        if baseline is not None:
            base = baseline[1][name].bootstrap
            difference = attack_metrics.paired_difference(of_attack.bootstrap, base)
        attacks[name] = AttackResult(
            metrics=attack_metrics.attack_metrics(of_attack.bootstrap),
            roc=attack_metrics.roc_band(of_attack.bootstrap),
            decisions=_decisions(of_attack, target, shadows, question, config),
            epsilon=[],
            one_run_epsilon=[],
            difference=difference,
        )
    main_scores = scored[main].scores[None, counted]
    gap, change = None, None
    if baseline is not None:
        gap = _accuracy_gap(target, baseline[0], question, config.level)
        base_scores = baseline[1][main].scores[None, counted]
        value, _ = example_risk.exposure_change(main_scores, base_scores, members)
        change = ExposureChange(value, np.full_like(value, np.nan))
    risk = example_risk.risk(main_scores, members, config.risk_fpr)
    unknown = np.full_like(risk.error, np.nan)  # One model tells nothing of others.
    curve = _shadow_count_curve(
        config.attacks[main], target, shadows, scored[main].scores, question
    )
    return OptimizerResult(
        signals=target,
        log=None,
        accuracy=_accuracy(target, question, config.level),
        accuracy_difference=gap,
        checks=[],
        attacks=attacks,
        model_count=curve,
        risk=risk._replace(error=unknown, score_error=unknown),
        risk_change=change,
        reliability=example_risk.reliability(main_scores, members),
        models_to_resolve={},
    )


def _decisions(
    scored: Scored,
    target: Signals,
    shadows: Signals | None,
    question: Question,
    config: AttackConfig,
) -> list[thresholds.Decisions]:
    """At thresholds of shadow models that have members, else of a population."""
    (counted, population), chosen = question, {}
    members = np.asarray(target.keep)[0, counted]
    if scored.shadow_scores is not None and shadows is not None:
        # As the last of all models, so that its thresholds are those of the others.
        scores = np.concatenate([scored.shadow_scores, scored.scores[None]])
        keep = np.concatenate([np.asarray(shadows.keep), np.asarray(target.keep)])
        rules = shadow_thresholds.choose_thresholds(
            scores[:, counted],
            keep[:, counted],
            np.asarray(target.labels)[counted],
            config.fprs,
        )
        chosen = {rule: choice.thresholds[-1] for rule, choice in rules.items()}
    elif population.any():
        aside = scored.scores[population]
        chosen = shadow_thresholds.population_thresholds(aside, config.fprs)
    return thresholds.given_decisions(
        scored.scores[counted], members, chosen, config.level
    )


def _shadow_count_curve(
    attack: AttackFn,
    target: Signals,
    shadows: Signals | None,
    scores: Float[np.ndarray, " n"],
    question: Question,
) -> num_models.ModelCountCurve | None:
    """The AUC with half of the shadow models, and with all; None without any."""
    if shadows is None:
        return None
    few = shadows.select(models=slice(0, None, 2))
    options: Any = {"mask": question.counted, "fprs": (), "pooled_only": True}
    counts = (len(few.keep) + 1, len(shadows.keep) + 1)
    joined = join_target(target, few, question)
    full = bootstrap_attack(scores[None], target.keep, **options)
    auc = attack_metrics.pooled_metrics(full)["auc"]
    if set(unmet_needs(attack, joined)) - set(OPTIONAL_NEEDS):
        return num_models.ModelCountCurve(counts[1:], (auc,), num_models.MISSING)
    half = bootstrap_attack(
        score_targets(attack, joined, np.array([counts[0] - 1])), target.keep, **options
    )
    return num_models.ModelCountCurve(
        counts,
        (attack_metrics.pooled_metrics(half)["auc"], auc),
        attack_metrics.pooled_difference(full, half)["auc"],
    )


def _accuracy(target: Signals, question: Question, level: float) -> Accuracy:
    """On its members, and on all examples that it did not train on."""
    members, correct = np.asarray(target.keep)[0], np.asarray(target.correct)[0]
    others = ~members & (question.counted | question.population)
    return Accuracy(
        accuracy_over_examples(correct[members], level),
        accuracy_over_examples(correct[others], level),
    )


def _accuracy_gap(
    target: Signals, baseline: Signals, question: Question, level: float
) -> Accuracy:
    members, correct = np.asarray(target.keep)[0], np.asarray(target.correct)[0]
    before = np.asarray(baseline.correct)[0]
    others = ~members & (question.counted | question.population)
    return Accuracy(
        *(
            accuracy_gap_over_examples(correct[side], before[side], level)
            for side in (members, others)
        )
    )
