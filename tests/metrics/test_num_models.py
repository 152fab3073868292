import jax.numpy as jnp
import numpy as np
import pytest

from sam_jax.attacks import score_targets
from sam_jax.metrics import bootstrap_attack, num_models, pooled_metrics
from sam_jax.metrics.estimate import Estimate
from tests.attacks.examples import DIFFICULTY, planted_signals

SIGNALS = planted_signals(1.5, 1.0, num_models=16, num_examples=60, num_population=0)
MASK = np.ones(60, bool)


def curve(attack):
    scores = score_targets(attack, SIGNALS)
    return num_models.model_count_curve(attack, SIGNALS, scores, mask=MASK), scores


def test_more_models_strengthen_an_attack_that_learns_from_them():
    found, scores = curve(DIFFICULTY)
    assert found.num_models == (4, 8, 16)
    small, _, large = (estimate.value for estimate in found.estimates)
    assert small < large
    bootstrap = bootstrap_attack(scores, SIGNALS.keep, mask=MASK, fprs=())
    whole = pooled_metrics(bootstrap)["auc"]
    assert large == whole.value
    assert found.last_gain.value == pytest.approx(large - found.estimates[1].value)


def test_a_groups_targets_are_attacked_by_their_group_alone():
    """An attack that scores by the number of models shows which it was given."""
    counts = []

    def attack(signals, target):
        counts.append(signals.phi.shape[0])
        return signals.phi[target, :, 0] + jnp.float32(0)

    found, _ = curve(attack)
    assert set(counts) == {4, 8, 16}
    # This attack does not use shadow models: the deal changes nothing.
    values = [estimate.value for estimate in found.estimates]
    assert values == pytest.approx([values[0]] * 3)
    assert found.last_gain[:3] == (0, 0, 0)
    assert "no clear difference" in num_models.says_enough(found)


def test_what_is_said_follows_the_interval_of_the_last_gain():
    gain = Estimate(0.02, 0.01, 0.03, 0.005, 30.0, 0.0)
    grown = num_models.ModelCountCurve((4, 8, 16), (), gain)
    assert "still getting stronger" in num_models.says_enough(grown)
    assert "from 8 to 16 models" in num_models.says_enough(grown)
    unknown = grown._replace(num_models=(6,), last_gain=gain._replace(value=np.nan))
    assert "nothing is known" in num_models.says_enough(unknown)
