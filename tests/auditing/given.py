"""A target and its shadow models, made: Gaussian phi with and without a leak."""

import numpy as np

from tests.attacks.examples import balanced_keep, make_signals


def make_given(
    seed=0, shift=1.5, num_shadows=16, num_examples=300, num_population=100, level=2.0
):
    """Returns the target [1, N] and its shadow models [M, N], members by coins."""
    rng = np.random.default_rng(seed)
    keep = balanced_keep(num_shadows, num_examples, rng)
    members = rng.permutation(num_examples) < num_examples // 2
    keep = np.pad(np.concatenate([keep, members[None]]), ((0, 0), (0, num_population)))
    difficulty = rng.normal(1.0, level, size=keep.shape[1])
    phi = difficulty + rng.normal(size=keep.shape) + shift * keep
    labels = rng.integers(0, 3, size=keep.shape[1])
    signals = make_signals(phi[..., None], keep, labels, seed)
    signals = signals._replace(modified_entropy=np.abs(signals.modified_entropy))
    return signals.select(models=[num_shadows]), signals.select(
        models=slice(num_shadows)
    )


def no_population(target):
    return np.zeros(target.keep.shape[1], bool)
