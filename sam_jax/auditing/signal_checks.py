"""Checks of all optimizers' signals before they are attacked."""

import warnings
from collections.abc import Mapping
from typing import Any

from sam_jax import _checks
from sam_jax.metrics import model_checks
from sam_jax.types import Signals


def check_all(
    signals: Mapping[str, Signals],
    settings: Mapping[str, Mapping[str, Any]] | None = None,
) -> tuple[dict[str, list[model_checks.Check]], list[model_checks.Check]]:
    """Returns the checks of each optimizer's models, and those of their comparison."""
    checks = {name: model_checks.check_models(s) for name, s in signals.items()}
    several = len(signals) > 1
    return checks, model_checks.check_comparison(signals, settings) if several else []


def refuse_unpaired(comparison: list[model_checks.Check]) -> None:
    """Raises ``ArgumentError`` if optimizers cannot be compared at all."""
    for check in comparison:
        if check.severity == "invalid":
            raise _checks.ArgumentError("signals", f"must be paired: {check.text}")


def warn_of_invalid(checks: Mapping[str, list[model_checks.Check]]) -> None:
    """Warns where figures will mean nothing."""
    for name, of_optimizer in checks.items():
        for check in of_optimizer:
            if check.severity == "invalid":
                text = f"The figures of {name} are not valid: {check.text}"
                warnings.warn(text, stacklevel=3)
