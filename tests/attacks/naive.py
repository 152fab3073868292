"""Loops that the attacks are compared with share these: finite phi, and references."""

import jax
import numpy as np

from sam_jax.attacks import equal_counts


def finite_phi(signals):
    """Infinite values become the median model's largest, or the example's if higher."""
    phi = np.float64(signals.phi)
    top, bottom = (
        sign * np.median([max(sign * row[np.isfinite(row)]) for row in phi])
        for sign in (1, -1)
    )
    for i, q in np.ndindex(phi.shape[1:]):
        column = phi[:, i, q]
        known = column[np.isfinite(column)]
        column[column == np.inf] = max(top, known.max())
        column[column == -np.inf] = min(bottom, known.min())
    return phi


def log_p(signals):
    return -np.logaddexp(0, -finite_phi(signals))


def references(signals, target, matched=True):
    """The 'in' and 'out' models [M, N] that a target is compared with."""
    groups = signals.keep.copy(), ~signals.keep
    for group in groups:
        group[target] = False
    if matched:
        probability = equal_counts.fit_matching(signals.keep)
        left_out = jax.jit(equal_counts.left_out)(probability, signals, target)
        for group, models in zip(groups, left_out, strict=True):
            group[np.asarray(models), np.arange(group.shape[1])] = False
    return groups
