"""Signals: the per-example model outputs that attacks see."""

from sam_jax.signals.arrays import signals_from_arrays
from sam_jax.signals.checks import check_signals
from sam_jax.signals.compute import signals_from_logits
from sam_jax.signals.files import (
    LoadedSignals,
    load_audit_signals,
    load_signals,
    save_signals,
)
from sam_jax.signals.statistics import (
    entropy,
    logit_scaled_confidence,
    modified_entropy,
)

__all__ = [
    "LoadedSignals",
    "check_signals",
    "entropy",
    "load_audit_signals",
    "load_signals",
    "logit_scaled_confidence",
    "modified_entropy",
    "save_signals",
    "signals_from_arrays",
    "signals_from_logits",
]
