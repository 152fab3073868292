"""The figures of an audit before the library was split into rooms stay what they were.

The figures are of attacks whose definition did not change. They come from 120 examples
and 4 models: 240 members and 240 non-members in one ROC curve. Sums in another order
(other CPUs, other sizes of vectors) move weights by rounding, training grows that, and
near ties swap: one swapped pair moves the AUC by 1 / 240**2, one moved score the
balanced accuracy by 1 / 480, the TPR by 1 / 240, and one changed prediction an
accuracy by 1 / 240 (train) or 1 / 160 (test). The tolerances allow two moved scores,
and for the AUC as many swaps as two scores that move past a fifth of the others.
"""

import json

import optax
import pytest

import sam_jax
from sam_jax import models
from sam_jax.attacks import ATTACKS
from tests.auditing import pinned_audit as pinned

FIGURES = json.loads(pinned.PINNED.read_text())["figures"]
TOLERANCES = {"auc": 2e-3, "balanced_accuracy": 2 / 480, "tpr_at_fpr_0.05": 2 / 240}


@pytest.fixture(scope="module")
def result():
    sgd = optax.sgd(pinned.LEARNING_RATE)
    return sam_jax.audit(
        models.mlp(pinned.NUM_CLASSES, hidden=pinned.HIDDEN),
        {"sgd": sgd, "sam": sam_jax.sam(sgd, rho=pinned.RHO)},
        pinned.make_arrays(),
        sam_jax.TrainConfig(
            num_epochs=pinned.NUM_EPOCHS, batch_size=pinned.BATCH_SIZE, progress=False
        ),
        sam_jax.AttackConfig(
            attacks={name: ATTACKS[name] for name in pinned.ATTACKS},
            num_models=pinned.NUM_MODELS,
            fprs=(0.05,),
            seed=pinned.SEED,
        ),
    )


@pytest.mark.parametrize("optimizer", ["sgd", "sam"])
def test_accuracies_are_those_of_before(result, optimizer):
    train, test = FIGURES[optimizer]["accuracy"]
    accuracy = result[optimizer].accuracy
    assert accuracy.train.value == pytest.approx(train, abs=2 / 240)
    assert accuracy.test.value == pytest.approx(test, abs=2 / 160)


@pytest.mark.parametrize("attack", pinned.ATTACKS)
@pytest.mark.parametrize("optimizer", ["sgd", "sam"])
def test_metrics_are_those_of_before(result, optimizer, attack):
    pooled = result[optimizer].attacks[attack].metrics.pooled
    for metric, value in FIGURES[optimizer][attack].items():
        expected = pytest.approx(value, abs=TOLERANCES[metric])
        assert pooled[metric].value == expected, metric
