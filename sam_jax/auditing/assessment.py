"""What stands beside the metrics: may they be trusted, and what follows from them.

Validity of the models, thresholds carried over from shadow models, bounds on epsilon,
the number of models, and the risk of each example; for an audit and for signals that
were made elsewhere alike.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from sam_jax.metrics import (
    attack_metrics,
    example_risk,
    num_models,
    one_run_epsilon,
    thresholds,
    validity,
)
from sam_jax.metrics.estimate import targets_to_settle
from sam_jax.types import AttackFn, Signals

DELTAS = (0.0, 1e-5)
"""Additive slacks at which epsilon is bounded."""


class Change(NamedTuple):
    """Exposure of each example less that under the baseline, and its error."""

    value: Float[np.ndarray, " n"]
    error: Float[np.ndarray, " n"]


@dataclasses.dataclass(frozen=True)
class Assessment:
    """Mappings go by optimizer, then by attack; risk is that of the main attack.

    Attributes:
        validity: Checks of each optimizer's models, and of the ``"comparison"``.
        calls: Thresholds carried from the shadow models to the target.
        epsilon: Bounds from these, one for each of ``DELTAS``.
        one_run: Bounds from canaries, one for each of ``DELTAS``; empty without.
        model_counts: Strength of the main attack by number of models.
        settle: By optimizer and metric, the models that would settle its difference.
        risk: Exposure of the examples in ``columns``.
        risk_change: The same less the baseline's, paired by target.
        reliability: Of the ranking by exposure.
        columns: The examples that count, as columns of the signals.
        fpr: The false-positive rate at which ``risk`` counts accusations.
    """

    validity: dict[str, list[validity.Check]]
    calls: dict[str, dict[str, list[thresholds.Calls]]]
    epsilon: dict[str, dict[str, list[thresholds.EpsilonFinding]]]
    one_run: dict[str, dict[str, list[one_run_epsilon.OneRun]]]
    model_counts: dict[str, num_models.ModelCountCurve]
    settle: dict[str, dict[str, float]]
    risk: dict[str, example_risk.Risk]
    risk_change: dict[str, Change]
    reliability: dict[str, example_risk.Reliability]
    columns: Int[np.ndarray, " n"]
    fpr: float

    def as_dict(self) -> dict[str, Any]:
        """Returns plain values for JSON; of the risk, the most exposed examples."""
        nested = lambda tree: {
            name: {
                attack: [e._asdict() for e in found] for attack, found in own.items()
            }
            for name, own in tree.items()
        }
        return {
            "validity": {
                name: [check._asdict() for check in own]
                for name, own in self.validity.items()
            },
            "carried_thresholds": {
                name: {
                    attack: [thresholds.calls_dict(c) for c in found]
                    for attack, found in own.items()
                }
                for name, own in self.calls.items()
            },
            "epsilon": nested(self.epsilon),
            "one_run_epsilon": nested(self.one_run),
            "number_of_models": {
                name: {
                    "num_models": list(curve.num_models),
                    "auc": [estimate._asdict() for estimate in curve.estimates],
                    "last_gain": curve.last_gain._asdict(),
                }
                for name, curve in self.model_counts.items()
            },
            "models_to_settle": self.settle,
            "risk": {name: self._most_exposed(name) for name in self.risk},
            "risk_reliability": {n: r._asdict() for n, r in self.reliability.items()},
        }

    def _most_exposed(self, name: str, count: int = 20) -> list[dict[str, Any]]:
        own = self.risk[name]
        return [
            {"column": int(self.columns[row])}
            | {field: getattr(own, field)[row].item() for field in own._fields}
            for row in np.argsort(own.rank)[:count]
        ]


def assess(
    signals: Mapping[str, Signals],
    scores: Mapping[str, Mapping[str, Float[np.ndarray, "m n"]]],
    attacks: Mapping[str, AttackFn],
    differences: Mapping[str, Mapping[str, attack_metrics.Differences]],
    *,
    baseline: str,
    mask: Bool[np.ndarray, " n"],
    canary_columns: Int[np.ndarray, " c"] | None = None,
    fprs: tuple[float, ...] = (0.01, 0.001),
    level: float = 0.95,
    checks: Mapping[str, list[validity.Check]] | None = None,
) -> Assessment:
    """Returns the assessment of attacks whose scores are known.

    Args:
        signals: By optimizer, on one keep mask.
        scores: By optimizer and attack, of every example against every model.
        attacks: By name, the main one first.
        differences: By optimizer other than the baseline, and attack.
        baseline: The optimizer that the others are compared with.
        mask: Examples to count.
        canary_columns: Columns of the canaries, if there are any.
        fprs: False-positive rates to aim at; the first is that of the risk.
        level: Confidence level of all intervals and bounds.
        checks: From ``check``, where they were made before the scores.
    """
    main = next(iter(attacks))
    keep = np.asarray(signals[baseline].keep)
    kept, labels = keep[:, mask], np.asarray(signals[baseline].labels)[mask]
    found = {
        name: {
            attack: thresholds.carried_calls(
                s[:, mask], kept, labels, fprs, level=level
            )
            for attack, s in own.items()
        }
        for name, own in scores.items()
    }
    by_example = {name: own[main][:, mask] for name, own in scores.items()}
    planted = (
        {}
        if canary_columns is None
        else {name: own for name, own in scores.items() if len(keep) >= 3}
    )
    fpr = fprs[0] if fprs else 0.01
    return Assessment(
        validity=dict(check(signals) if checks is None else checks),
        calls=found,
        epsilon={
            name: {
                attack: [
                    thresholds.epsilon_of_calls(c, delta, level) for delta in DELTAS
                ]
                for attack, c in own.items()
            }
            for name, own in found.items()
        },
        one_run={
            name: {
                attack: [
                    one_run_epsilon.one_run_audit(
                        s[:, canary_columns], keep[:, canary_columns], delta, level
                    )
                    for delta in DELTAS
                ]
                for attack, s in own.items()
            }
            for name, own in planted.items()
        },
        model_counts={
            name: num_models.model_count_curve(
                attacks[main], own, scores[name][main], mask=mask, level=level
            )
            for name, own in signals.items()
        },
        settle={
            name: {
                metric: targets_to_settle(estimate, len(keep), level)
                for metric, estimate in own[main].pooled.items()
            }
            for name, own in differences.items()
        },
        risk={name: example_risk.risk(s, kept, fpr) for name, s in by_example.items()},
        risk_change={
            name: Change(*example_risk.exposure_change(s, by_example[baseline], kept))
            for name, s in by_example.items()
            if name != baseline
        },
        reliability={
            name: example_risk.reliability(s, kept) for name, s in by_example.items()
        },
        columns=np.flatnonzero(mask),
        fpr=fpr,
    )


def check(
    signals: Mapping[str, Signals],
    settings: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, list[validity.Check]]:
    """Returns the checks of each recipe, and of the comparison of several."""
    found = {name: validity.check_models(own) for name, own in signals.items()}
    if len(signals) > 1:
        found["comparison"] = validity.check_recipes(signals, settings)
    return found
