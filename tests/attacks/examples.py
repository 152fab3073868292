"""Signals that the attack tests share: random, degenerate, and planted ones."""

import jax.numpy as jnp
import numpy as np

from sam_jax.attacks import Attack
from sam_jax.types import Signals


def make_signals(phi, keep, labels=None, seed=0):
    """Signals with the given phi; entropies that are plausible and distinct."""
    phi = np.asarray(phi, np.float32)
    rng = np.random.default_rng(seed)
    noise = rng.uniform(0, 0.1, size=phi.shape[:2])
    entropy = 1 / (1 + np.abs(np.clip(phi[..., 0], -50, 50))) + noise
    labels = np.zeros(phi.shape[1], np.int32) if labels is None else labels
    return Signals(
        phi=phi,
        correct=phi[..., 0] > 0,
        entropy=entropy.astype(np.float32),
        modified_entropy=(entropy - np.tanh(phi[..., 0])).astype(np.float32),
        keep=np.asarray(keep, bool),
        labels=np.asarray(labels, np.int32),
    )


def balanced_keep(num_models, num_examples, rng):
    order = rng.random((num_models, num_examples)).argsort(axis=0)
    return order < num_models // 2


def random_signals(num_models=12, num_examples=40, num_queries=2, num_population=20):
    """Gaussian phi of examples that differ in level, spread and member shift."""
    rng = np.random.default_rng(1)
    keep = balanced_keep(num_models, num_examples, rng)
    keep = np.pad(keep, ((0, 0), (0, num_population)))
    total = num_examples + num_population
    level = rng.normal(2, 3, size=(1, total, 1))
    spread = rng.uniform(0.3, 2, size=(1, total, 1))
    shift = rng.uniform(0, 3, size=(1, total, 1))
    noise = rng.normal(size=(num_models, total, num_queries))
    phi = level + spread * noise + shift * keep[..., None]
    return make_signals(phi, keep, labels=rng.integers(0, 3, size=total))


def degenerate_signals():
    """Columns in for 1, 2, all but 1 or no models; constant, tied, large, infinite."""
    signals = random_signals()
    phi, keep = signals.phi.copy(), signals.keep.copy()
    models = np.arange(len(keep))
    for column, members in enumerate([models == 3, models % 7 == 0, models != 5]):
        keep[:, column] = members
    keep[:, 3] = False
    phi[:, 4] = 1.25
    phi[:, 5] = np.round(phi[:, 5])
    phi[:, 6] += 700
    phi[2, 7] = np.inf
    phi[3, 8] = -np.inf
    return make_signals(phi, keep)


def planted_signals(
    shift, spread, num_models=64, num_examples=400, num_queries=1, num_population=300
):
    """Out ~ N(level, 1), in ~ N(level + shift, spread^2), and population points."""
    rng = np.random.default_rng(3)
    keep = balanced_keep(num_models, num_examples, rng)
    keep = np.pad(keep, ((0, 0), (0, num_population)))
    level = rng.normal(0, 2, size=(1, keep.shape[1], 1))
    noise = rng.normal(size=(*keep.shape, num_queries))
    is_in = keep[..., None]
    phi = level + np.where(is_in, shift + spread * noise, noise)
    return make_signals(phi, keep)


CASES = {"random": random_signals(), "degenerate": degenerate_signals()}


def _minus_out_mean(_, signals, target):
    others = jnp.arange(len(signals.keep))[:, None] != target
    outside = (~signals.keep & others).astype(signals.phi.dtype)
    total = jnp.sum(signals.phi[..., 0] * outside, axis=0)
    return signals.phi[target, :, 0] - total / jnp.maximum(jnp.sum(outside, axis=0), 1)


DIFFICULTY = Attack(_minus_out_mean, needs=("out_models",), name="difficulty")
"""Phi minus its mean over 'out' models: shadow models, and next to no compilation."""
