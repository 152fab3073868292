"""Signals: the per-example model outputs that attacks see."""

from sam_jax.signals.checks import check_signals
from sam_jax.signals.compute import signals_from_logits
from sam_jax.signals.files import load_signals, save_signals
from sam_jax.signals.statistics import (
    entropy,
    logit_scaled_confidence,
    modified_entropy,
)

__all__ = [
    "check_signals",
    "entropy",
    "load_signals",
    "logit_scaled_confidence",
    "modified_entropy",
    "save_signals",
    "signals_from_logits",
]
