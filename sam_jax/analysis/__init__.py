"""Analyses of why one optimizer leaks more than another, from the models' signals.

Everything compares two optimizers whose models are paired: model m has the same
training set, initial weights and batches under both. Bins and buckets are selected by
one half of the models and measured by the other, both ways round
(``memorization.mean_by_bin``). NumPy but for the attack.
"""

from sam_jax.analysis.attack_success import AttackSuccess, compare_attack_success
from sam_jax.analysis.comparison import Comparison, SelectedBy, compare_optimizers
from sam_jax.analysis.memorization_comparison import (
    BIN_EDGES,
    MemorizationComparison,
    bin_difference,
    compare_memorization,
    memorization_bins,
)
from sam_jax.analysis.typicality import NUM_BUCKETS, Typicality, compare_typicality
from sam_jax.analysis.variance_comparison import VarianceComparison, compare_variance

__all__ = [
    "BIN_EDGES",
    "NUM_BUCKETS",
    "AttackSuccess",
    "Comparison",
    "MemorizationComparison",
    "SelectedBy",
    "Typicality",
    "VarianceComparison",
    "bin_difference",
    "compare_attack_success",
    "compare_memorization",
    "compare_optimizers",
    "compare_typicality",
    "compare_variance",
    "memorization_bins",
]
