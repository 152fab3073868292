"""Why one recipe leaks more than another, from the answers of the audited models.

Everything compares two recipes whose models are paired: model m has the same training
set, initial weights and batches under both. What picks examples never measures them:
bins and buckets come from one half of the models and means from the other, both ways
round (``memorization.mean_by_bin``). NumPy but for the attack.
"""

from sam_jax.analysis.attack_success import Success, success
from sam_jax.analysis.comparison import PICKERS, Comparison, compare
from sam_jax.analysis.memorization_bins import (
    BIN_EDGES,
    Memorized,
    contrast_of_bins,
    memorization_bins,
    memorized,
)
from sam_jax.analysis.typicality import NUM_BUCKETS, Typicality, compare_typicality
from sam_jax.analysis.variance_effect import Spreads, spreads

__all__ = [
    "BIN_EDGES",
    "NUM_BUCKETS",
    "PICKERS",
    "Comparison",
    "Memorized",
    "Spreads",
    "Success",
    "Typicality",
    "compare",
    "contrast_of_bins",
    "memorization_bins",
    "memorized",
    "spreads",
    "success",
    "compare_typicality",
]
