"""The settings of an audit beyond those of training."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from sam_jax.attacks import ATTACKS

DEFAULT_ATTACKS = ("lira_online", "lira_offline", "loss", "modified_entropy")
"""Registered attacks of an audit that names none, the main one first."""

ATTACKS_ALONE = ("attack_p", "quantile_by_class", "loss", "modified_entropy", "entropy")
"""Registered attacks of an audit of given models without shadow models."""

WITHOUT_POPULATION = ATTACKS_ALONE[2:]
"""Of these, those that do not become the confidence where there is no population."""


@dataclasses.dataclass(frozen=True)
class AttackConfig:
    """How models are made to be attacked, and how the attacks are evaluated.

    Attributes:
        attacks: By name, the main one first: the risk of single examples and the
            curve over the number of models are those of the main attack.
        num_models: Models of each optimizer; even, at least 4. Each is a target in
            turn and a shadow model of all others.
        num_queries: Augmented queries of each example that the attacks see, the
            example itself among them.
        num_canaries: Pool examples to mislabel and give independent coins, for bounds
            on epsilon from single training runs (``data.canaries``); they do not count
            as examples.
        baseline: The optimizer that the others are compared with; the first by
            default.
        fprs: False-positive rates at which to report the true-positive rate; single
            examples are counted as detected at the first.
        level: Confidence level of all intervals.
        seed: Seed of everything random.
    """

    attacks: Mapping[Any, Any] = dataclasses.field(
        default_factory=lambda: {name: ATTACKS[name] for name in DEFAULT_ATTACKS}
    )
    num_models: int = 16
    num_queries: int = 1
    num_canaries: int = 0
    baseline: str | None = None
    fprs: tuple[float, ...] = (0.01, 0.001)
    level: float = 0.95
    seed: int = 0

    @property
    def main_attack(self) -> str:
        """Name of the first attack."""
        return next(iter(self.attacks))

    @property
    def risk_fpr(self) -> float:
        """The false-positive rate at which single examples are counted as detected."""
        return self.fprs[0] if self.fprs else 0.01
