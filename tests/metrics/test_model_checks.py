"""Each fault is planted in sound models, and must be found and named."""

import numpy as np
import pytest
from scipy import special

from sam_jax.metrics import model_checks, single_checks
from tests.attacks.examples import balanced_keep, make_signals

NUM_MODELS, NUM_EXAMPLES = 12, 200


def sound(num_population=20):
    rng = np.random.default_rng(0)
    keep = balanced_keep(NUM_MODELS, NUM_EXAMPLES, rng)
    keep = np.pad(keep, ((0, 0), (0, num_population)))
    phi = rng.normal(1, 1, size=(*keep.shape, 1)) + 2 * keep[..., None]
    return make_signals(phi, keep)


def found(signals):
    return {check.name: check for check in model_checks.check_models(signals)}


def with_phi(signals, change):
    phi = signals.phi.copy()
    change(phi)
    return make_signals(phi, signals.keep)


def test_sound_models_raise_no_word():
    checks = found(sound())
    assert {check.severity for check in checks.values()} == {"ok"}
    assert "12 models" in checks["models"].text


def test_facts_are_those_of_a_loop_over_models():
    signals = sound()
    facts = single_checks.model_facts(signals)
    pool = signals.keep.any(axis=0)
    for m in range(NUM_MODELS):
        phi, kept = signals.phi[m, pool, 0].astype(float), signals.keep[m, pool]
        above = phi[kept][:, None] > phi[~kept]
        np.testing.assert_allclose(facts.auc[m], above.mean())
        np.testing.assert_allclose(facts.loss[m], np.log1p(np.exp(-phi[kept])).mean())
        np.testing.assert_allclose(facts.accuracy[m], (phi[kept] > 0).mean())
        assert facts.num_members[m] == kept.sum()


def test_a_copy_of_a_model_is_invalid():
    signals = with_phi(sound(), lambda phi: phi.__setitem__(7, phi[2]))
    check = found(signals)["models"]
    assert check.severity == "invalid" and "models 2 and 7" in check.text


@pytest.mark.parametrize("change", [np.float16, lambda phi: phi + 1e-4])
def test_a_copy_of_a_model_but_for_rounding_is_invalid(change):
    copied = with_phi(sound(), lambda phi: phi.__setitem__(7, change(phi[2])))
    check = found(copied)["models"]
    assert check.severity == "invalid" and "models 2 and 7" in check.text


def test_models_unsure_of_everything_that_tell_their_members_have_learned():
    """As at a high temperature, where p > 1/2 for no label."""
    signals = with_phi(sound(), lambda phi: np.copyto(phi, phi / 100 - 2.2))
    labels = np.arange(signals.keep.shape[1]) % 10
    assert found(signals._replace(labels=labels))["learning"].severity == "warning"
    noise = np.random.default_rng(1).normal(-2.2, 0.01, signals.phi.shape)
    chance = make_signals(noise, signals.keep)._replace(labels=labels)
    assert found(chance)["learning"].severity == "invalid"


def test_an_inverted_mask_is_invalid():
    signals = sound(num_population=0)
    check = found(signals._replace(keep=~signals.keep))["mask"]
    assert check.severity == "invalid" and "inverted" in check.text


def test_the_row_of_another_model_is_named():
    signals = sound()
    keep = signals.keep.copy()
    keep[4] = np.roll(keep[4], 7) & signals.keep.any(axis=0)
    check = found(signals._replace(keep=keep))["mask"]
    assert check.severity == "warning" and "model 4" in check.text


@pytest.mark.parametrize(("drop", "severity"), [(2.0, "warning"), (9.0, "invalid")])
def test_a_model_that_fits_worse_is_named(drop, severity):
    signals = with_phi(sound(), lambda phi: phi.__setitem__(5, phi[5] - drop))
    checks = found(signals)
    assert checks["training accuracy"].severity == severity
    assert "model 5" in checks["training accuracy"].text
    assert checks["loss on members"].severity == "warning"


def test_a_model_trained_longer_shows_in_its_losses_alone():
    signals = with_phi(sound(), lambda phi: phi.__setitem__(3, 5 * abs(phi[3]) + 5))
    checks = found(signals)
    assert checks["training accuracy"].severity == "ok"
    assert "model 3" in checks["loss on members"].text


def test_training_sets_of_other_sizes_few_models_and_infinite_phi_are_warnings():
    signals = sound(num_population=0)
    keep = signals.keep.copy()
    keep[6, :80] = False
    checks = found(signals._replace(keep=keep))
    assert (
        checks["balance"].severity == "warning" and "model 6" in checks["balance"].text
    )
    assert checks["population"].severity == "warning"
    few = make_signals(signals.phi[:4], signals.keep[:4] | np.eye(4, 200, dtype=bool))
    assert "fewer than 2" in found(few)["models"].text
    infinite = with_phi(signals, lambda phi: phi.__setitem__((0, 0), np.inf))
    assert found(infinite)["phi"].severity == "warning"


def test_algorithms_on_different_masks_cannot_be_paired_and_settings_are_compared():
    ours = sound()
    keep = ours.keep.copy()
    keep[0, 0] = ~keep[0, 0]
    (check,) = model_checks.check_comparison({"a": ours, "b": ours._replace(keep=keep)})
    assert check.severity == "invalid" and "b and a" in check.text
    settings = {"a": {"epochs": 3, "rho": 0.0}, "b": {"epochs": 3, "rho": 0.1}}
    (check,) = model_checks.check_comparison({"a": ours, "b": ours}, settings)
    assert check.severity == "warning" and "rho differs: a 0.0, b 0.1" in check.text
    (check,) = model_checks.check_comparison({"a": ours, "b": ours})
    assert check.severity == "ok"


def at_chance(noise=0.05, learned=0.0):
    """Models of three classes that say little more than the shares of classes."""
    rng = np.random.default_rng(1)
    signals = sound(num_population=0)
    labels = rng.integers(0, 3, NUM_EXAMPLES)
    log_odds = np.log(0.5) + learned + noise * rng.normal(size=signals.phi.shape)
    correct = rng.random(signals.keep.shape) < 1 / 3 + 0.25 * learned
    return make_signals(log_odds, signals.keep, labels)._replace(correct=correct)


def test_models_at_chance_level_have_no_figures():
    check = found(at_chance())["learning"]
    assert check.severity == "invalid" and "learned nothing" in check.text
    assert found(at_chance(learned=0.1))["learning"].severity != "ok"


def test_right_predictions_of_little_confidence_are_learning():
    """``correct`` derived from phi misses them; the loss does not."""
    signals = at_chance(learned=0.6)
    derived = signals._replace(correct=signals.phi[..., 0] > 0)
    assert derived.correct.mean() < 0.4
    assert found(derived)["learning"].severity == "ok"


def test_one_class_or_nearly_one_says_nothing_about_chance():
    signals = sound()
    assert "not known" in found(signals)["learning"].text
    labels = np.zeros(signals.phi.shape[1], np.int32)
    labels[:4] = 1
    phi = np.where(labels == 0, 4.0, -4.0)[None, :, None]
    constant = make_signals(phi + 0.01 * signals.phi, signals.keep, labels)
    assert found(constant)["learning"].severity == "warning"


def test_rows_of_the_mask_in_another_order_are_invalid():
    signals = sound()
    order = np.roll(np.arange(NUM_MODELS), 1)
    check = found(signals._replace(keep=signals.keep[order]))["mask"]
    assert check.severity == "invalid" and "different orders" in check.text
    assert f"model 0 that of row {np.argmax(order == 0)}" in check.text


def test_noise_fits_no_row_of_the_mask():
    rng = np.random.default_rng(0)
    for num_models in (2, 4, 16):
        keep = balanced_keep(num_models, 100, rng)
        phi = rng.normal(size=(*keep.shape, 1))
        assert found(make_signals(phi, keep))["mask"].severity == "ok"


def test_the_same_example_twice_is_a_warning():
    signals = with_phi(
        sound(), lambda phi: phi.__setitem__((slice(None), 9), phi[:, 4])
    )
    check = found(signals)["examples"]
    assert check.severity == "warning" and "columns 4 and 9" in check.text


def test_losses_are_named_as_such_and_not_as_an_inverted_mask():
    signals = sound(num_population=0)
    losses = np.logaddexp(0, -signals.phi)
    for keep in (signals.keep, ~signals.keep):
        check = found(make_signals(losses, keep))["mask"]
        assert check.severity == "invalid" and "losses" in check.text
        assert "inverted" not in check.text


def test_infinite_phi_are_counted_and_large_ones_remarked():
    signals = sound()
    infinite = with_phi(signals, lambda phi: phi.__setitem__((0, slice(20)), np.inf))
    assert "20 of 2,640 phi are infinite" in found(infinite)["phi"].text
    everywhere = with_phi(signals, lambda phi: phi.fill(np.inf))
    assert "all phi are infinite" in found(everywhere)["phi"].text
    large = with_phi(signals, lambda phi: phi.__imul__(1000))
    assert found(large)["phi"].severity == "warning"
    facts = single_checks.model_facts(infinite)
    assert np.isfinite(facts.loss).all()


@pytest.mark.parametrize("models", [[3], [0, 3, 6, 9], range(6)])
@pytest.mark.parametrize("change", [special.expit, lambda phi: 10 * phi])
def test_models_whose_phi_have_another_unit_are_a_warning(models, change):
    models = list(models)
    changed = with_phi(
        sound(), lambda phi: phi.__setitem__(models, change(phi[models]))
    )
    check = found(changed)["phi"]
    assert check.severity == "warning" and "in another unit" in check.text
    assert f"({min(len(models), 12 - len(models))} such models)" in check.text


def test_a_population_with_other_labels_is_a_warning():
    signals = with_phi(sound(40), lambda phi: phi.__setitem__(np.s_[:, 200:], -3.0))
    check = found(signals)["population"]
    assert check.severity == "warning" and "Accuracy is 0.000 there" in check.text


def test_phi_of_models_that_are_always_right_are_no_losses_where_the_entropy_fits():
    """A separable problem: every phi is positive, and most are near 0."""
    rng = np.random.default_rng(2)
    keep = balanced_keep(NUM_MODELS, NUM_EXAMPLES, rng)
    phi = rng.exponential(size=(*keep.shape, 1)) * (1 + keep[..., None])
    signals = make_signals(phi, keep)
    p = special.expit(phi[..., 0])
    fitting = -2 * (1 - p) * np.log(p)  # of two classes
    checks = found(signals._replace(modified_entropy=fitting.astype(np.float32)))
    assert checks["mask"].severity == "ok"
    # The same values as losses, whose modified entropy is another.
    p = np.exp(-phi[..., 0])
    of_losses = (-2 * (1 - p) * np.log(p)).astype(np.float32)
    for given in (of_losses, np.full(keep.shape, np.nan, np.float32)):
        check = found(signals._replace(modified_entropy=given))["mask"]
        assert check.severity == "invalid" and "losses" in check.text
