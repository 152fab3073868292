"""Sharpness-aware minimization in JAX, and audits of what training algorithms leak.

Each name is imported where it is first used: a training loop that only wants SAM does
not wait for SciPy, nor `sam-jax --help` for JAX.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sam_jax.auditing.audit import audit as audit
    from sam_jax.auditing.audit_target import audit_target as audit_target
    from sam_jax.auditing.checks import check_audit as check_audit
    from sam_jax.auditing.config import DEFAULT_ATTACKS as DEFAULT_ATTACKS
    from sam_jax.auditing.config import AttackConfig as AttackConfig
    from sam_jax.auditing.result import AuditResult as AuditResult
    from sam_jax.auditing.target import Target as Target
    from sam_jax.data import load as load
    from sam_jax.optimizers import asam as asam
    from sam_jax.optimizers import fill_masked as fill_masked
    from sam_jax.optimizers import friendly_sam as friendly_sam
    from sam_jax.optimizers import gnp as gnp
    from sam_jax.optimizers import gsam as gsam
    from sam_jax.optimizers import looksam as looksam
    from sam_jax.optimizers import m_sam as m_sam
    from sam_jax.optimizers import random_sam as random_sam
    from sam_jax.optimizers import sam as sam
    from sam_jax.optimizers import sharpness_aware as sharpness_aware
    from sam_jax.optimizers import usam as usam
    from sam_jax.reporting.saved_audits import load_audit as load_audit
    from sam_jax.reporting.verdict import verdict as verdict
    from sam_jax.training.membership import balanced_keep as balanced_keep
    from sam_jax.training.saved_models import load_models as load_models
    from sam_jax.training.shadow_models import (
        train_shadow_models as train_shadow_models,
    )
    from sam_jax.training.vmap_models import use_all_cores as use_all_cores
    from sam_jax.types import Dataset as Dataset
    from sam_jax.types import Examples as Examples
    from sam_jax.types import Model as Model
    from sam_jax.types import Signals as Signals
    from sam_jax.types import TrainConfig as TrainConfig

__version__ = "0.1.0"

_NAMES = {
    "auditing.audit": ("audit",),
    "auditing.audit_target": ("audit_target",),
    "auditing.checks": ("check_audit",),
    "auditing.config": ("DEFAULT_ATTACKS", "AttackConfig"),
    "auditing.result": ("AuditResult",),
    "auditing.target": ("Target",),
    "data": ("load",),
    "optimizers": ("asam", "fill_masked", "friendly_sam", "gnp", "gsam", "looksam")
    + ("m_sam", "random_sam", "sam", "sharpness_aware", "usam"),
    "reporting.saved_audits": ("load_audit",),
    "reporting.verdict": ("verdict",),
    "training.membership": ("balanced_keep",),
    "training.saved_models": ("load_models",),
    "training.shadow_models": ("train_shadow_models",),
    "training.vmap_models": ("use_all_cores",),
    "types": ("Dataset", "Examples", "Model", "Signals", "TrainConfig"),
}
_HOMES = {name: f"sam_jax.{home}" for home, names in _NAMES.items() for name in names}
_PACKAGES = (
    "analysis",
    "attacks",
    "auditing",
    "data",
    "metrics",
    "models",
    "optimizers",
    "reporting",
    "signals",
    "theory",
    "training",
    "types",
)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
    elif name in _PACKAGES:
        value = importlib.import_module(f"sam_jax.{name}")
    else:
        raise AttributeError(f"module 'sam_jax' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES, *_PACKAGES})
