"""From membership scores to figures with intervals."""

from sam_jax.metrics.attack_metrics import (
    AttackMetrics,
    Differences,
    RocBand,
    metric_names,
    paired_difference,
    pooled_difference,
    pooled_metrics,
    roc_band,
)
from sam_jax.metrics.bootstrap import Bootstrap, bootstrap_attack
from sam_jax.metrics.epsilon import EpsilonBound, audited_epsilon, epsilon_lower_bound
from sam_jax.metrics.estimate import (
    Estimate,
    IntervalConfig,
    mean_over_models,
    p_value,
    targets_to_resolve,
)
from sam_jax.metrics.multiple_tests import Finding, change_test, holm, leak_test
from sam_jax.metrics.refits import leave_models_out
from sam_jax.metrics.roc import (
    Counts,
    RocCurve,
    advantage,
    auc,
    balanced_accuracy,
    binomial_interval,
    check_scores,
    counts_at,
    is_resolvable,
    precision_at_prior,
    roc_curve,
    tpr_at_fpr,
    varying_columns,
)

__all__ = [
    "AttackMetrics",
    "Bootstrap",
    "Counts",
    "Differences",
    "EpsilonBound",
    "Estimate",
    "Finding",
    "IntervalConfig",
    "RocBand",
    "RocCurve",
    "advantage",
    "auc",
    "audited_epsilon",
    "balanced_accuracy",
    "binomial_interval",
    "bootstrap_attack",
    "change_test",
    "check_scores",
    "counts_at",
    "epsilon_lower_bound",
    "holm",
    "is_resolvable",
    "leak_test",
    "leave_models_out",
    "mean_over_models",
    "metric_names",
    "p_value",
    "paired_difference",
    "pooled_difference",
    "pooled_metrics",
    "precision_at_prior",
    "roc_band",
    "roc_curve",
    "targets_to_resolve",
    "tpr_at_fpr",
    "varying_columns",
]
