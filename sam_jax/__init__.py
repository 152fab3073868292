"""Sharpness-aware minimization in JAX, and audits of what training recipes leak."""

from sam_jax.audit_report import save_audit as save_audit
from sam_jax.audit_report import verdict as verdict
from sam_jax.auditing import DEFAULT_ATTACKS as DEFAULT_ATTACKS
from sam_jax.auditing import AuditResult as AuditResult
from sam_jax.auditing import audit as audit
from sam_jax.auditing import check_audit as check_audit
from sam_jax.data import load as load
from sam_jax.ensembles import use_all_cores as use_all_cores
from sam_jax.membership import balanced_keep as balanced_keep
from sam_jax.sam import asam as asam
from sam_jax.sam import friendly_sam as friendly_sam
from sam_jax.sam import gnp as gnp
from sam_jax.sam import gsam as gsam
from sam_jax.sam import looksam as looksam
from sam_jax.sam import m_sam as m_sam
from sam_jax.sam import random_sam as random_sam
from sam_jax.sam import sam as sam
from sam_jax.sam import sharpness_aware as sharpness_aware
from sam_jax.sam import usam as usam
from sam_jax.shadow_models import train_shadow_models as train_shadow_models
from sam_jax.types import Dataset as Dataset
from sam_jax.types import Examples as Examples
from sam_jax.types import Model as Model
from sam_jax.types import Signals as Signals
from sam_jax.types import TrainConfig as TrainConfig

__version__ = "0.1.0"
