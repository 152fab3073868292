"""Claim 5 of docs/theory.md: high-dimensional equivalents and their error."""

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np

from sam_jax import theory
from sam_jax.theory import sampling
from sam_jax.theory.agreement import GridCell, limit_cell, paired_cell
from sam_jax.theory.claims import TheoryClaim
from sam_jax.theory.simulated_problems import (
    ETAS,
    SPECTRA,
    TAU,
    THRESHOLDS,
    SimulatedProblem,
)

SIZES = (20, 40, 80)
"""Examples n at which the order of the error is measured, with d = 4 n."""
AVERAGED_ETAS = (0.0, 1.0)


@dataclasses.dataclass(frozen=True)
class Averaged:
    """Variance over its equivalent at each of ``SIZES``; ``ratios`` [size, set]."""

    spectrum: str
    eta: float
    ratios: np.ndarray


def high_dimensional_values(
    at_size: Sequence[SimulatedProblem], averages: Sequence[Averaged]
) -> TheoryClaim:
    """Claim 5: equivalents within 3 % at n = 100, d = 400, and exact in the limit."""
    cells = []
    for run in at_size:
        for e, eta in enumerate(ETAS):
            cells += _equivalent_cells(run, e, float(eta))
    for average in averages:
        where = f"{average.spectrum}, eta = {average.eta:g}"
        cells.append(limit_cell(f"limit: {where}", SIZES, average.ratios, 1.0))
        cells.append(_order_cell(f"order: {where}", average.ratios - 1))
    return TheoryClaim(
        "5 exact high-dimensional values",
        "Variance, risk and both advantages follow from the spectrum, with an error of "
        "order 1/n.",
        "spectrum x labels x eta at n = 100, d = 400, within 3 %; n/d = 0.5 likewise; "
        "limit (no allowance) and order of the error for n = 20 to 80 at n/d = 0.25",
        cells,
    )


def label_averages(key: jax.Array, sets: int, spectrum: str) -> list[Averaged]:
    """Averages the variance of ``w_G`` over all random labels at each size.

    The model is linear in its labels, so the average over labels ±1 is the sum over
    models of one label 1 and the others 0. Only the inputs are left to chance, and the
    error of order 1/n stands out. One result for each of ``AVERAGED_ETAS``.
    """
    rng = np.random.default_rng(int(jax.random.bits(key)))
    ratios = np.empty((len(AVERAGED_ETAS), len(SIZES), sets))
    for i, n in enumerate(SIZES):
        population = SPECTRA[spectrum](4 * n)
        counts = sampling.group_counts(population, n)
        scales = np.repeat(np.sqrt(population.eigenvalues), counts, axis=0)
        for e, eta in enumerate(AVERAGED_ETAS):
            equivalent = theory.deterministic_equivalent(population, n, eta, noise=1.0)
            # The denominator of the ratios; each set below multiplies its variance.
            ratios[e, i] = 1 / equivalent.variance
        for s in range(sets):
            X = rng.standard_normal(scales.shape) * scales
            for e, eta in enumerate(AVERAGED_ETAS):
                ratios[e, i, s] *= _average_over_labels(X, population.pooled, eta)
    return [Averaged(spectrum, eta, ratios[e]) for e, eta in enumerate(AVERAGED_ETAS)]


def _average_over_labels(X: np.ndarray, spectrum: np.ndarray, eta: float) -> float:
    """Sum over training examples i of ``w_i^T Sigma w_i``, where ``X w_i = e_i``."""
    half = X / np.sqrt(1 + eta * spectrum)
    models = half.T @ np.linalg.inv(half @ half.T)
    return float(np.sum(spectrum / (1 + eta * spectrum) @ models**2))


def _order_cell(label: str, errors: np.ndarray) -> GridCell:
    """Whether the error falls like 1/n from the first size to the last.

    Terms of order 1/n^2 are allowed for: a quarter of the error at the last size.
    """
    share = SIZES[0] / SIZES[-1]
    mean = errors.mean(1)
    error = errors.std(1, ddof=1) / np.sqrt(errors.shape[1])
    expected = float(share * mean[0])
    both = float(np.hypot(error[-1], share * error[0]))
    return GridCell(label, float(mean[-1]), expected, both, abs(expected) / 4)


def _equivalent_cells(run: SimulatedProblem, e: int, eta: float) -> list[GridCell]:
    """Variance, risk and, for random labels, both advantages at one eta."""
    equivalent = theory.deterministic_equivalent(
        run.population, run.n, eta, run.beta, run.noise
    )
    shares = run.population.weights
    where = f"{run.label}, eta = {eta:g}"
    outcome = jax.tree.map(np.asarray, run.outcome)
    values = {
        "variance": (outcome.expected_variance[:, e] @ shares, equivalent.variance),
        "risk": (outcome.expected_risk[:, e] @ shares, equivalent.risk),
    }
    if run.labels == "random labels":
        advantages = theory.advantage_equivalents(
            equivalent.group_variance, TAU, THRESHOLDS[1]
        )
        values["confidence"] = (
            outcome.confidence[:, e, :, 1] @ shares,
            shares @ advantages.confidence,
        )
        values["likelihood ratio"] = (
            outcome.likelihood_ratio[:, e] @ shares,
            shares @ advantages.likelihood_ratio,
        )
    return [
        paired_cell(f"{what}: {where}", samples, expected, run.least_rate / 100, 0.03)
        for what, (samples, expected) in values.items()
    ]
