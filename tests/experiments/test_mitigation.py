"""Each mitigation against its formula, and the privacy budget against a closed form."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import integrate, optimize, special, stats

from experiments.common import mitigation, privacy_budget
from experiments.common.cells import Cell, Perturbation, make_task
from experiments.common.mitigation import (
    averaged,
    mixup,
    private,
    released_model,
    released_weights,
    smoothed_cross_entropy,
)
from sam_jax.models import mlp
from sam_jax.optimizers import sam
from sam_jax.signals.statistics import logit_scaled_confidence
from sam_jax.training.membership import epoch_batches
from sam_jax.types import TrainState

CENTRES = jnp.array([[0.5, 0.0], [3.0, 4.0], [0.0, -0.2]])


def gradient_of(weights, index, num_groups=3):
    """Of ``|w - x_i|^2 / 2``."""
    assert num_groups == len(CENTRES)
    return weights - CENTRES[index]


def clipped_mean(weights):
    total = np.zeros(2)
    for centre in np.asarray(CENTRES):
        g = np.asarray(weights) - centre
        total += g / max(1.0, np.linalg.norm(g) / mitigation.CLIP_NORM)
    return total / len(CENTRES)


def test_label_smoothing_gives_a_share_of_the_label_to_all_classes():
    logits = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    labels = np.arange(6, dtype=np.int32) % 4
    log_p = np.log(special.softmax(logits.astype(float), axis=1))
    of_label = log_p[np.arange(6), labels]
    expected = -(0.7 * of_label + 0.3 * log_p.mean(axis=1))
    losses = smoothed_cross_entropy(jnp.asarray(logits), jnp.asarray(labels), 0.3)
    np.testing.assert_allclose(losses, expected, rtol=1e-5)


def test_mixup_with_one_label_has_the_expected_loss_of_mixup():
    alpha = 0.7
    x = np.array([[1.0, 0.0], [-0.5, 2.0]], np.float32)
    matrix = np.array([[1.0, -1.0, 0.3], [0.5, 2.0, -1.0]])

    def losses(mixed, label):
        return -np.log(special.softmax(mixed @ matrix, axis=-1))[..., label]

    def mixed_labels(weight):
        total = 0.0
        for first in (0, 1):
            mixed = weight * x[first] + (1 - weight) * x[1 - first]
            total += weight * losses(mixed, first)
            total += (1 - weight) * losses(mixed, 1 - first)
        return total / 2 * stats.beta.pdf(weight, alpha, alpha)

    # Half of the orders of two examples pair each with itself.
    swapped = integrate.quad(mixed_labels, 0, 1)[0]
    alone = np.mean([losses(x[0], 0), losses(x[1], 1)])
    keys = jax.random.split(jax.random.key(0), 4000)
    drawn = np.asarray(jax.jit(jax.vmap(lambda k: mixup(k, x, alpha)))(keys))
    sampled = (losses(drawn[:, 0], 0) + losses(drawn[:, 1], 1)) / 2
    error = sampled.std() / np.sqrt(len(sampled))
    assert abs(sampled.mean() - (swapped + alone) / 2) < 4 * error


def test_released_weights_are_the_weighted_mean_of_those_of_every_step():
    tx = averaged(optax.sgd(0.1), 0.6)
    weights = jnp.array([1.0, -2.0])
    state, seen = tx.init(weights), []
    for _ in range(5):
        updates, state = tx.update(weights, state, weights)
        weights = optax.apply_updates(weights, updates)
        seen.append(np.asarray(weights))
    factors = 0.6 ** np.arange(4, -1, -1)
    expected = factors @ np.stack(seen) / factors.sum()
    one = TrainState(weights, {}, state, jnp.array(False))
    many = jax.tree.map(lambda a: a[None], one)
    released = released_weights(many, "weight_averaging", 0.6)
    np.testing.assert_allclose(released.params[0], expected, rtol=1e-5)
    assert released_weights(many, "mixup", 0.6) is many


def test_without_noise_private_sgd_and_sam_take_clipped_gradients():
    weights, key = jnp.array([1.0, 1.0]), jax.random.key(0)
    extra = {"group_grad_fn": gradient_of, "key": key}
    tx = private(optax.sgd(1.0), 3, 0.0)
    updates, _ = tx.update(jnp.full(2, jnp.nan), tx.init(weights), weights, **extra)
    np.testing.assert_allclose(updates, -clipped_mean(weights), rtol=1e-5)
    tx = private(sam(optax.sgd(1.0), rho=0.5), 3, 0.0)
    updates, _ = tx.update(jnp.full(2, jnp.nan), tx.init(weights), weights, **extra)
    ascent = clipped_mean(weights)
    perturbed = np.asarray(weights) + 0.5 * ascent / np.linalg.norm(ascent)
    np.testing.assert_allclose(updates, -clipped_mean(perturbed), rtol=1e-5)


def test_both_gradients_of_private_sam_have_their_noise():
    weights = jnp.zeros(5000)

    def nothing(weights, index, num_groups):
        return jnp.zeros_like(weights)

    def update(optimizer):
        tx = private(optimizer, 4, 2.0)
        extra = {"group_grad_fn": nothing, "key": jax.random.key(1)}
        return np.asarray(tx.update(weights, tx.init(weights), weights, **extra)[0])

    sgd, of_sam = update(optax.sgd(1.0)), update(sam(optax.sgd(1.0), rho=0.1))
    for noise in (sgd, of_sam):
        # Standard error of a deviation of 5,000 draws: 1 %.
        assert noise.std() == pytest.approx(2.0 / 4, rel=0.04)
    assert abs(np.corrcoef(sgd, of_sam)[0, 1]) < 4 / np.sqrt(5000)


def test_temperature_divides_phi_of_two_classes_and_no_rank_changes():
    model = mlp(2, hidden=(4,))
    x = jax.random.normal(jax.random.key(0), (20, 3))
    params, state = model.init(jax.random.key(1), x)
    labels = jnp.arange(20, dtype=jnp.int32) % 2
    plain, cold = (
        logit_scaled_confidence(
            m.apply(params, state, x, False, jax.random.key(2))[0], labels
        )
        for m in (model, released_model(model, "temperature", 5.0))
    )
    np.testing.assert_allclose(cold, plain / 5, rtol=1e-5)
    assert released_model(model, "none", 0.0) is model


@pytest.mark.parametrize(("noise", "gradients"), [(1.0, 30), (4.0, 60)])
def test_epsilon_is_that_of_the_composed_gaussian_mechanism(noise, gradients):
    pytest.importorskip("dp_accounting")
    mu = gradients**0.5 / noise  # Dong et al., 2019, corollary 2.13 and section 3.

    def delta(e):
        low, high = -e / mu + mu / 2, -e / mu - mu / 2
        return special.ndtr(low) - np.exp(e + special.log_ndtr(high))

    def excess(e):
        return delta(e) - privacy_budget.DELTA

    expected = optimize.brentq(excess, 0.0, 200.0)
    assert privacy_budget.epsilon(noise, gradients) == pytest.approx(expected, rel=1e-3)


def test_epsilon_without_the_library_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "dp_accounting", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'sam_jax\[privacy\]'"):
        privacy_budget.epsilon(1.0, 10)


def test_private_gradients_are_counted_by_epoch_and_twice_for_sam():
    cell = Cell(pool_size=500, batch_size=200, num_epochs=30, mitigation="dp")
    keep = np.arange(500) < np.array([[210], [290]])
    count = privacy_budget.num_private_gradients
    assert count(cell, Perturbation(), keep) == 30
    assert count(cell, Perturbation("sam", 0.05), keep) == 60
    with pytest.raises(ValueError, match="batch_size must be at most the 190 examples"):
        count(cell, Perturbation(), keep[:, 20:])


@pytest.mark.parametrize(("batch_size", "size"), [(5, 17), (5, 25), (7, 9)])
def test_no_example_enters_more_private_gradients_than_counted(batch_size, size):
    cell = Cell(pool_size=40, batch_size=batch_size, num_epochs=1)
    keep = np.arange(40) < size
    counted = privacy_budget.num_private_gradients(cell, Perturbation(), keep[None])
    batches = np.asarray(
        epoch_batches(jax.random.key(0), jnp.asarray(keep), cell.num_steps, batch_size)
    )
    entered = [np.sum((batches == n).any(axis=1)) for n in range(40)]
    assert max(entered) == counted
    assert all(len(set(batch)) == batch_size for batch in batches)


def test_bad_mitigations_are_refused():
    with pytest.raises(ValueError, match="network must have no batch norm"):
        make_task(Cell(network="mlp_bn", mitigation="dp"), "sgd", 3)
    with pytest.raises(ValueError, match="mitigation must be one of"):
        make_task(Cell(mitigation="drop"), "sgd", 3)
