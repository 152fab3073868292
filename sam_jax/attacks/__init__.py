"""Membership attacks by name; each sees only ``Signals``. Higher means member."""

from sam_jax.attacks import loss
from sam_jax.attacks.base import NEEDS, Attack, score_targets, unmet_needs
from sam_jax.attacks.fitted import combined, shadow_classifier
from sam_jax.attacks.label_only import augmentation_robustness
from sam_jax.attacks.lira import lira_offline, lira_offline_two_sided, lira_online
from sam_jax.attacks.population import population_attack, quantile_regression
from sam_jax.attacks.reference import calibrated_loss, reference_attack
from sam_jax.attacks.rmia import rmia_offline, rmia_online

ATTACKS: dict[str, Attack] = {
    "correctness": loss.correctness(),
    "confidence": loss.confidence(),
    "confidence_min": loss.confidence(queries="min"),
    "loss": loss.loss(),
    "entropy": loss.entropy(),
    "modified_entropy": loss.modified_entropy(),
    "lira_online": lira_online(),
    "lira_online_global": lira_online(variance="global"),
    "lira_online_median": lira_online(location="median"),
    "lira_online_median_global": lira_online(variance="global", location="median"),
    "lira_online_plain": lira_online(matched=False),
    "lira_online_joint": lira_online(queries="joint"),
    "lira_offline": lira_offline(),
    "lira_offline_global": lira_offline(variance="global"),
    "lira_offline_median": lira_offline(location="median"),
    "lira_offline_median_global": lira_offline(variance="global", location="median"),
    "lira_offline_joint": lira_offline(queries="joint"),
    "lira_offline_two_sided": lira_offline_two_sided(),
    "lira_offline_two_sided_global": lira_offline_two_sided(variance="global"),
    "rmia_online": rmia_online(),
    "rmia_offline": rmia_offline(),
    "attack_p": population_attack(),
    "attack_r": reference_attack(),
    "calibrated_loss": calibrated_loss(),
    "quantile_regression": quantile_regression(),
    "shadow_classifier": shadow_classifier(),
    "label_only": augmentation_robustness(),
    "combined": combined(),
}
"""Attack by name. More settings: the functions that these were made with."""

__all__ = ["ATTACKS", "NEEDS", "Attack", "score_targets", "unmet_needs"]
