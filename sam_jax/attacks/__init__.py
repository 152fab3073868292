"""Membership attacks by name; each sees only ``Signals``. Higher means member."""

import dataclasses

from sam_jax.attacks import direct
from sam_jax.attacks.base import (
    NEEDS,
    Attack,
    missing_needs,
    score_targets,
    unmet_needs,
)
from sam_jax.attacks.class_quantiles import quantile_by_class
from sam_jax.attacks.fitted import combined, shadow_classifier
from sam_jax.attacks.lira import lira_offline, lira_online
from sam_jax.attacks.population import population_attack, quantile_regression
from sam_jax.attacks.reference import calibrated_loss, reference_attack
from sam_jax.attacks.rmia import rmia_offline, rmia_online

_FORMS = {
    "correctness": direct.correctness(),
    "confidence": direct.confidence(),
    "loss": direct.loss(),
    "entropy": direct.entropy(),
    "modified_entropy": direct.modified_entropy(),
    "lira_online": lira_online(),
    "lira_online_global": lira_online(variance="global"),
    "lira_online_median": lira_online(location="median"),
    "lira_online_plain": lira_online(matched=False),
    "lira_online_joint": lira_online(queries="joint"),
    "lira_offline": lira_offline(),
    "lira_offline_global": lira_offline(variance="global"),
    "lira_offline_median": lira_offline(location="median"),
    "lira_offline_two_sided": lira_offline(two_sided=True),
    "rmia_online": rmia_online(),
    "rmia_offline": rmia_offline(),
    "attack_p": population_attack(),
    "attack_r": reference_attack(),
    "calibrated_loss": calibrated_loss(),
    "quantile_regression": quantile_regression(),
    "quantile_by_class": quantile_by_class(),
    "shadow_classifier": shadow_classifier(),
    "label_only": direct.augmentation_robustness(),
    "combined": combined(),
}

ATTACKS: dict[str, Attack] = {
    name: dataclasses.replace(attack, name=name) for name, attack in _FORMS.items()
}
"""Attack by name: the forms that the literature names, and this library's default.

More settings: the functions that these were made with.
"""

__all__ = [
    "ATTACKS",
    "NEEDS",
    "Attack",
    "missing_needs",
    "score_targets",
    "unmet_needs",
]
