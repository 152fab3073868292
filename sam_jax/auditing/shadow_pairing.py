"""The shadow models and the examples that go with given models.

Targets, shadow models and examples must belong together before anything is scored.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool

from sam_jax import _checks
from sam_jax._checks import ArgumentError
from sam_jax.attacks import missing_needs
from sam_jax.auditing.result import GivenModels
from sam_jax.metrics.roc import varying_columns
from sam_jax.types import AttackFn, Signals

SHADOW_NEEDS = {
    "in_models": "shadow models that trained with each example (without: lira_offline)",
    "out_models": "at least 2 shadow models that trained without each example (without "
    "any: attack_p, loss, modified_entropy)",
    "tuning": "at least 3 shadow models that trained on some of the examples",
    "entropy": "all of the target's probabilities, or logits",
}
"""Needs (``attacks.NEEDS``) of an attack on a given model."""


class Question(NamedTuple):
    """The examples of an audit of given models.

    Attributes:
        counted: True for the examples behind all figures.
        population: True for those set aside, in no training set.
    """

    counted: Bool[np.ndarray, " n"]
    population: Bool[np.ndarray, " n"]


def pair_names(targets: Iterable[str], algorithms: Iterable[str]) -> dict[str, str]:
    """Returns the training algorithm of each target's shadow models.

    That of the target's name, or the only one; empty without any.

    Raises:
        ArgumentError: If there are several, and none of a target's name.
    """
    known, pairs = dict.fromkeys(algorithms), {}
    for name in targets:
        if len(known) > 1:
            _checks.one_of(known, target=name)
        if known:
            pairs[name] = name if name in known else next(iter(known))
    return pairs


def match_models(
    targets: Mapping[str, Signals],
    shadows: Mapping[str, Signals],
    population: Bool[np.ndarray, " n"],
) -> tuple[GivenModels, Question]:
    """Returns which shadow models go with which target, and the examples in question.

    Raises:
        ArgumentError: If that is not clear, or examples, queries or labels differ.
    """
    pairs = pair_names(targets, shadows)
    for name, algorithm in pairs.items():
        _check_same_examples(name, targets[name], shadows[algorithm])
    first = next(iter(targets.values()))
    for name, target in targets.items():
        _check_same_examples(name, target, first)
    # Masks of shadow models show which examples count and which are in no training
    # set; without such masks the given population does.
    trained = np.any([np.asarray(t.keep)[0] for t in targets.values()], axis=0)
    varies = [varying_columns(np.asarray(s.keep)) for s in shadows.values()]
    if np.any(varies):
        had = [np.asarray(s.keep).any(axis=0) for s in shadows.values()]
        question = Question(np.all(varies, axis=0), ~np.any([trained, *had], axis=0))
    else:
        question = Question(~population, population)
    for name, target in targets.items():
        members = np.asarray(target.keep)[0, question.counted]
        if not members.any() or members.all():
            raise ArgumentError(
                "target",
                f"must have members and non-members among the {members.size:,} "
                f"examples that count, but {name!r} has {members.sum():,} members: "
                "examples that no shadow model trained on do not count.",
            )
    return GivenModels(dict(shadows), pairs, question.population), question


def check_attacks(
    attacks: Mapping[Any, AttackFn],
    targets: Mapping[str, Signals],
    given: GivenModels,
    question: Question,
) -> None:
    """Refuses attacks that need what the targets and shadow models do not have."""
    for name, target in targets.items():
        joined = join_target(target, shadows_of(given, name), question)
        for attack, attack_fn in attacks.items():
            missing = missing_needs(attack_fn, joined)
            if missing:
                listed = " and ".join(SHADOW_NEEDS[need] for need in missing)
                rule = f"must be able to run, but {attack} needs {listed}."
                raise ArgumentError("attacks", rule)


def join_target(
    target: Signals, shadows: Signals | None, question: Question
) -> Signals:
    """Returns one table of shadow models and, last, the target without its members."""
    # True for members and non-members alike: no attack may see who is which.
    in_question = target._replace(keep=~question.population[None])
    if shadows is None:
        return in_question
    fields = zip(shadows[:-1], in_question[:-1], strict=True)
    return Signals(*map(np.concatenate, fields), labels=target.labels)


def shadows_of(given: GivenModels, target: str) -> Signals | None:
    """Returns the signals of a target's shadow models; None without any."""
    return given.shadows[given.shadows_of[target]] if given.shadows else None


def _check_same_examples(name: str, target: Signals, other: Signals) -> None:
    if target.phi.shape[1:] != other.phi.shape[1:]:
        raise ArgumentError(
            "target",
            "must have the examples and queries of the shadow models and of other "
            f"targets, {other.phi.shape[1:]}, but {name!r} has {target.phi.shape[1:]}.",
        )
    differ = np.flatnonzero(np.asarray(target.labels) != np.asarray(other.labels))
    if differ.size:
        raise ArgumentError(
            "labels",
            "must be those of the shadow models and of other targets, in one order, "
            f"but {differ.size:,} of {name!r} differ, the first at example "
            f"{differ[0]}.",
        )
