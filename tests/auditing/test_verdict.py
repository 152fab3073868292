"""Verdicts over all attacks of a run, on signals with a planted leak or none."""

import numpy as np
import pytest

import sam_jax
from sam_jax.attacks import ATTACKS
from sam_jax.auditing.evaluate import attack_signals
from sam_jax.signals.files import signals_from_arrays

ATTACK_NAMES = ("lira_online", "lira_offline", "loss")


def make_signals(num_models, shift, seed=0, num_examples=400, num_population=100):
    """phi with an effect of each example, noise, and a shift where it was in."""
    rng = np.random.default_rng(seed)
    size = num_models, num_examples + num_population
    keep = rng.random(size[::-1]).argsort(1).argsort(1).T < num_models // 2
    keep[:, num_examples:] = False
    phi = rng.normal(3, 2, size[1]) + shift * keep + rng.normal(0, 1, size)
    labels = rng.integers(0, 4, size[1])
    arrays = {"phi": phi.astype("f4"), "keep": keep, "labels": labels}
    return signals_from_arrays(arrays, "planted")


def evaluate(signals, attacks=None, **options):
    labels = np.asarray(signals.labels)
    x = np.zeros((len(labels), 0), np.float32)
    dataset = sam_jax.Dataset(
        "planted", 4, sam_jax.Examples(x, labels), sam_jax.Examples(x[:0], labels[:0])
    )
    attacks = attacks or {name: ATTACKS[name] for name in ATTACK_NAMES}
    config = sam_jax.AttackConfig(attacks=attacks, **options)
    return attack_signals({"sgd": signals}, dataset, config)


def inverted_loss(signals, target):
    return -signals.phi[target, :, 0]


@pytest.mark.parametrize(
    ("num_models", "shift"),
    [(4, 0.6), pytest.param(6, 0.6, marks=pytest.mark.slow), (8, 0.6)],
)
def test_a_leak_that_any_attack_shows_is_never_called_none(num_models, shift):
    result = evaluate(make_signals(num_models, shift))
    said = sam_jax.verdict(result)
    aucs = [a.metrics.pooled["auc"] for a in result["sgd"].attacks.values()]
    assert any(auc.low > 0.5 for auc in aucs)
    assert said.startswith("sgd leaks: ") and "no leak" not in said
    strongest = max(result["sgd"].attacks, key=lambda a: strength(result, a))
    assert strongest in said
    assert f"the strongest of {len(ATTACK_NAMES)} attacks, " in said
    alone = sam_jax.verdict(
        evaluate(make_signals(num_models, shift), {"l": ATTACKS["loss"]})
    )
    assert alone.endswith(", that of the only attack.")


def strength(result, attack):
    return result["sgd"].attacks[attack].metrics.pooled["auc"].value


def test_a_leak_whose_interval_reaches_chance_says_what_each_is_for():
    # Four models of different strength: what new ones leak is not known.
    signals = make_signals(4, 0.0)
    shift = np.array([0.0, 0.1, 0.2, 1.5])[:, None]
    signals = signals._replace(phi=signals.phi + (shift * signals.keep)[..., None])
    result = evaluate(signals, {"loss": ATTACKS["loss"]})
    auc = result["sgd"].attacks["loss"].metrics.pooled["auc"]
    said = sam_jax.verdict(result)
    assert auc.low < 0.5 and said.startswith("sgd leaks: loss AUC 0.")
    assert said.endswith(" for these models; the interval is for new ones).")
    sure = sam_jax.verdict(evaluate(make_signals(8, 1.5), {"loss": ATTACKS["loss"]}))
    assert sure.startswith("sgd leaks: ") and "new ones" not in sure


def test_noise_is_not_resolved_and_the_smallest_visible_leak_is_said():
    said = sam_jax.verdict(evaluate(make_signals(8, 0.0)))
    assert said.startswith("Leak of sgd not resolved: ")
    assert (
        "The smallest leak that this run would have shown (80 % power): AUC 0." in said
    )
    assert "no leak" not in said


def test_an_attack_below_chance_is_called_biased_or_broken():
    attacks = {"loss": ATTACKS["loss"], "upside down": inverted_loss}
    said = sam_jax.verdict(evaluate(make_signals(8, 1.5), attacks))
    assert said.splitlines()[0].startswith("sgd leaks: loss AUC 0.")
    assert "AUC of upside down on sgd" in said.splitlines()[1]
    assert "a biased or broken attack" in said.splitlines()[1]


def test_two_models_get_no_verdict():
    attacks = {"loss": ATTACKS["loss"]}
    said = sam_jax.verdict(evaluate(make_signals(2, 1.0), attacks))
    assert said.startswith("No verdict on sgd: 2 models do not tell")


def test_a_difference_not_resolved_comes_with_what_its_attack_would_have_shown():
    pair = {"sgd": make_signals(8, 0.6), "sam": make_signals(8, 0.6)}
    noise = np.random.default_rng(1).normal(0, 0.3, pair["sam"].phi.shape)
    phi = (np.asarray(pair["sam"].phi) + noise).astype(np.float32)
    pair["sam"] = pair["sam"]._replace(phi=phi)
    labels = np.asarray(pair["sgd"].labels)
    x = np.zeros((len(labels), 0), np.float32)
    dataset = sam_jax.Dataset(
        "planted", 4, sam_jax.Examples(x, labels), sam_jax.Examples(x[:0], labels[:0])
    )
    attacks = {name: ATTACKS[name] for name in ("lira_offline", "loss")}
    result = attack_signals(pair, dataset, sam_jax.AttackConfig(attacks=attacks))
    sentence = sam_jax.verdict(result).splitlines()[-1]
    assert sentence.startswith("No difference resolved between sam and sgd: ")
    largest = max(result.changes(), key=lambda change: abs(change.auc.value))
    assert f"{largest.attack[1]} AUC" in sentence
    smallest = largest.detectable["auc"]
    assert f"one of {smallest:.3f} would have been resolved" in sentence
    assert smallest > abs(largest.auc.value)
