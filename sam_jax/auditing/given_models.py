"""The audit of given models: one path for any shadow models, or none.

A target becomes one more row of its shadow models' signals and is scored by the attacks
as any model is. Its row of ``keep`` is True for every example in question, so that no
attack sees its members (``attacks.equal_counts``). Intervals are over examples alone:
the target and its shadow models are as they are.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from sam_jax.attacks import missing_needs, score_targets
from sam_jax.auditing.config import AttackConfig
from sam_jax.auditing.result import (
    Accuracy,
    AttackResult,
    AuditResult,
    ExposureChange,
    OptimizerResult,
)
from sam_jax.auditing.shadow_pairing import (
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
    model_checks,
    shadow_thresholds,
    thresholds,
)
from sam_jax.metrics.accuracy import accuracy_gap_over_examples, accuracy_over_examples
from sam_jax.metrics.roc import varying_columns
from sam_jax.metrics.target_checks import check_target
from sam_jax.training.progress import make_bar
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
    progress: bool = False,
    checks: Mapping[str, list[model_checks.Check]] | None = None,
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
        progress: Whether to show a progress bar.
        checks: By target, what ``check_given`` returned where it was called already.

    Raises:
        ArgumentError: If examples or labels of targets and shadow models differ, or an
            attack cannot run on them.
    """
    given, question = match_models(targets, shadows, population)
    check_attacks(config.attacks, targets, given, question)
    baseline, scored, optimizers = next(iter(targets)), {}, {}
    bar = make_bar(len(targets) * len(config.attacks), progress)
    # Of shadow models, which several targets may share, by algorithm and attack.
    shadow_scores: dict[tuple[str, Any], np.ndarray | None] = {}
    for name, target in targets.items():
        models = shadows_of(given, name)
        joined = join_target(target, models, question)
        scored[name] = {}
        for attack, attack_fn in config.attacks.items():
            bar.set_description_str(f"{name}: {attack}")
            key = given.shadows_of.get(name, ""), attack
            if key not in shadow_scores:
                shadow_scores[key] = _score_shadows(attack_fn, models)
            scored[name][attack] = _score(
                attack_fn, target, joined, shadow_scores[key], question, config
            )
            bar.update()
        # Differences are paired by example, so only where the members are the same.
        base = None
        if name != baseline and np.array_equal(target.keep, targets[baseline].keep):
            base = targets[baseline], scored[baseline]
        result = _evaluate(target, models, scored[name], question, config, base)
        made = check_given(target, models, question) if checks is None else checks[name]
        optimizers[name] = dataclasses.replace(result, checks=made)
    bar.close()
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
) -> list[model_checks.Check]:
    """Returns the checks of a target, and of its shadow models among themselves."""
    checks = check_target(target, shadows, *question)
    if shadows is not None and varying_columns(np.asarray(shadows.keep)).any():
        for check in model_checks.check_models(shadows):
            checks.append(check._replace(name=f"shadow models, {check.name}"))
    return checks


def _score(
    attack: AttackFn,
    target: Signals,
    joined: Signals,
    shadow_scores: np.ndarray | None,
    question: Question,
    config: AttackConfig,
) -> Scored:
    scores = score_targets(attack, joined, np.array([len(joined.keep) - 1]))
    bootstrap = bootstrap_attack(
        scores,
        target.keep,
        mask=question.counted,
        fprs=config.fprs,
        intervals=IntervalConfig(config.level),
    )
    return Scored(scores[0], shadow_scores, bootstrap)


def _score_shadows(attack: AttackFn, shadows: Signals | None) -> np.ndarray | None:
    """Scores of shadow models as targets of each other, behind thresholds.

    None where no shadow model has members, or the attack needs more of them.
    """
    if shadows is None or not varying_columns(np.asarray(shadows.keep)).any():
        return None
    return None if missing_needs(attack, shadows) else score_targets(attack, shadows)


def _evaluate(
    target: Signals,
    shadows: Signals | None,
    scored: Mapping[str, Scored],
    question: Question,
    config: AttackConfig,
    baseline: tuple[Signals, Mapping[str, Scored]] | None,
) -> OptimizerResult:
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
            difference=difference,
        )
    main_scores = scored[main].scores[None, counted]
    base_signals = None if baseline is None else baseline[0]
    accuracy, gap = _accuracies(target, base_signals, question, config.level)
    change = None
    if baseline is not None:
        base_scores = baseline[1][main].scores[None, counted]
        value, _ = example_risk.exposure_change(main_scores, base_scores, members)
        change = ExposureChange(value, np.full_like(value, np.nan))
    risk = example_risk.risk(main_scores, members, config.risk_fpr)
    # How exposure would vary over models, one model does not tell.
    unknown = np.full_like(risk.error, np.nan)
    return OptimizerResult(
        signals=target,
        accuracy=accuracy,
        attacks=attacks,
        risk=risk._replace(error=unknown, score_error=unknown),
        reliability=example_risk.reliability(main_scores, members),
        checks=[],
        accuracy_difference=gap,
        risk_change=change,
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
        # The target is the last row: its thresholds are chosen on all rows before.
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


def _accuracies(
    target: Signals, baseline: Signals | None, question: Question, level: float
) -> tuple[Accuracy, Accuracy | None]:
    """On its members and on all examples that it did not train on, and the gaps."""
    members, correct = np.asarray(target.keep)[0], np.asarray(target.correct)[0]
    sides = members, ~members & (question.counted | question.population)
    accuracy = Accuracy(*(accuracy_over_examples(correct[s], level) for s in sides))
    if baseline is None:
        return accuracy, None
    before, gaps = np.asarray(baseline.correct)[0], []
    for side in sides:
        gaps.append(accuracy_gap_over_examples(correct[side], before[side], level))
    return accuracy, Accuracy(*gaps)
