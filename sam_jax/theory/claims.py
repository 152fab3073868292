"""The claims of docs/theory.md, each as a grid of cells: simulation against theory."""

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np
from scipy import special

from sam_jax import theory
from sam_jax.theory import sampling
from sam_jax.theory.agreement import GridCell, agrees, critical_deviation, paired_cell
from sam_jax.theory.simulated_problems import (
    ROUNDING,
    SPECTRA,
    TAU,
    THRESHOLDS,
    SimulatedProblem,
    problem_cells,
    rate_errors,
)


@dataclasses.dataclass(frozen=True)
class TheoryClaim:
    """A statement and its grid; ``agreement`` says when it holds."""

    name: str
    statement: str
    grid: str
    cells: list[GridCell]

    @property
    def worst(self) -> GridCell:
        """The cell furthest from the theory."""
        return max(self.cells, key=lambda cell: cell.deviation)

    @property
    def limit(self) -> float:
        """The deviation above which a cell fails the claim."""
        return critical_deviation(len(self.cells))

    @property
    def holds(self) -> bool:
        """Whether no cell fails."""
        return agrees(self.cells)


def variance_contraction(
    runs: Sequence[SimulatedProblem], key: jax.Array
) -> TheoryClaim:
    """Claim 1: sampled variance, decrease in every set, and the equality cases."""
    cells = []
    for run in runs:
        cells += problem_cells(
            run, "variance", run.outcome.variance, run.sigma**2, ROUNDING
        )
        pooled = run.sigma**2 @ run.population.weights
        # From each eta to the next on the same training set.
        change = np.diff(pooled, axis=1) / pooled[:, :1]
        if run.spectrum == "isotropic":
            gap = float(np.abs(change).max())
            cells.append(GridCell(f"equality: {run.label}", gap, 0.0, ROUNDING))
        else:
            strict = float(np.mean(change < 0))
            cells.append(
                GridCell(f"strict decrease: {run.label}", strict, 1.0, ROUNDING)
            )
    cells += [_training_covariance(key, name) for name in SPECTRA]
    return TheoryClaim(
        "1 variance contraction",
        "The output variance of non-members falls strictly in eta, unless the "
        "interpolators coincide (isotropic or training covariance).",
        "spectrum x n/d x labels x eta x group, each against the same training sets; "
        "decrease in every set",
        cells,
    )


def _training_covariance(key: jax.Array, spectrum: str) -> GridCell:
    """The penalty on the training covariance leaves the interpolator alone."""
    population = SPECTRA[spectrum](60)
    problem = sampling.random_labels(population)
    counts = sampling.group_counts(population, 20)
    X, y = sampling.training_sets(jax.random.split(key, 8), problem, counts)
    plain = theory.min_norm_interpolator(X, y, np.ones(60))
    G = theory.sharpness_metric(np.swapaxes(X, 1, 2) @ X / 20, 10.0)
    gap = np.abs(theory.min_norm_interpolator(X, y, G) - plain).max()
    return GridCell(f"training covariance: {spectrum}", float(gap), 0.0, ROUNDING)


def confidence_attack(runs: Sequence[SimulatedProblem]) -> TheoryClaim:
    """Claim 2: one- and two-sided thresholds on trained models."""
    cells = []
    for run in runs:
        for t, threshold in enumerate(THRESHOLDS):
            expected = theory.confidence_advantage(run.mu, run.sigma, threshold)
            attacks = [("m", run.outcome.confidence, expected)]
            if run.labels == "random labels":
                expected = theory.two_sided_confidence_advantage(run.sigma, threshold)
                attacks.append(("|f|", run.outcome.two_sided, expected))
            for score, sampled, expected in attacks:
                # All members pass a threshold below 1, so their rate is 1.
                least = rate_errors(run, 1.0 + 0 * expected, 1 - expected)
                what = f"{score} >= {threshold}"
                cells += problem_cells(run, what, sampled[..., t], expected, least)
    return TheoryClaim(
        "2 confidence attack",
        "The advantage of a threshold t on the margin is Phi((t - mu) / sigma), and "
        "2 Phi(t / sigma) - 1 on |f| for mu = 0.",
        "spectrum x n/d x labels x eta x group x threshold x sides",
        cells,
    )


def likelihood_ratio_attack(
    runs: Sequence[SimulatedProblem], key: jax.Array
) -> TheoryClaim:
    """Claim 3: the attack on trained models, and its power on sampled scores."""
    cells = []
    for run in runs:
        expected = theory.likelihood_ratio_advantage(run.mu, run.sigma, TAU)
        sampled = run.outcome.likelihood_ratio
        lower, upper = theory.likelihood_ratio_region(run.mu, run.sigma, TAU)
        hits = special.ndtr(upper / TAU) - special.ndtr(lower / TAU)
        least = rate_errors(run, hits, hits - expected)
        cells += problem_cells(run, "advantage", sampled, expected, least)
    rng = np.random.default_rng(int(jax.random.bits(key)))
    for mu in (0.0, 0.5, 1.0):
        for sigma in (0.3, 1.0):
            cells += _power_cells(rng, mu, sigma)
    return TheoryClaim(
        "3 likelihood-ratio attack",
        "At resolution tau its advantage is the total variation distance of two "
        "Gaussians, and its power at a fixed false-positive rate that of an interval.",
        "spectrum x n/d x labels x eta x group at tau = 0.1; mu x sigma x FPR",
        cells,
    )


def _power_cells(rng: np.random.Generator, mu: float, sigma: float) -> list[GridCell]:
    """Power of the sampled log-likelihood ratio at its empirical quantiles."""
    batches, draws = 50, 4000
    s = np.hypot(sigma, TAU)

    def ratio(m: np.ndarray) -> np.ndarray:
        return ((m - mu) / s) ** 2 - ((m - 1) / TAU) ** 2

    members = ratio(1 + TAU * rng.standard_normal((batches, draws)))
    others = ratio(mu + s * rng.standard_normal((batches, draws)))
    cells = []
    for fpr in (0.01, 0.1):
        threshold = np.quantile(others, 1 - fpr, axis=1, keepdims=True)
        power = np.mean(members > threshold, axis=1)
        expected = float(theory.likelihood_ratio_power(mu, sigma, TAU, fpr))
        where = f"power: mu = {mu}, sigma = {sigma}, FPR = {fpr}"
        # A quantile of few draws is biased by about one draw in fpr * draws.
        least = max(1 / (batches * draws), 0.1 * expected / (fpr * draws))
        cells.append(paired_cell(where, power, expected, least))
    return cells


def side_of_the_claim(runs: Sequence[SimulatedProblem], key: jax.Array) -> TheoryClaim:
    """Claim 4: where contraction raises and where it lowers the advantage."""
    # On trained models, from the least regularisation to the most.
    cells = []
    for run in runs:
        advantage = theory.likelihood_ratio_advantage(run.mu, run.sigma, TAU)
        sampled = np.asarray(run.outcome.likelihood_ratio)
        for k in range(sampled.shape[2]):
            where = f"eta 0 to 100: {run.label}, group {k + 1}"
            expected = advantage[:, -1, k] - advantage[:, 0, k]
            change = sampled[:, -1, k] - sampled[:, 0, k]
            least = _least_change(expected, 1 / run.least_rate)
            cells.append(paired_cell(where, change, expected, least))
    # On sampled scores, whose mean and deviation lie on both sides of the turn.
    rng = np.random.default_rng(int(jax.random.bits(key)))
    for mu in (0.0, 0.25, 0.5, 0.75):
        for sigma in (0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0):
            cells.append(_sampled_change(rng, mu, sigma))
        cells.append(_turning_cell(mu, tau=0.01))
    return TheoryClaim(
        "4 where contraction helps the attack",
        "Less variance means more likelihood-ratio advantage only while s < |1 - mu| "
        "up to O(tau); beyond it means less.",
        "change over eta on trained models; change over sigma x 0.8 to 1.25 on a grid "
        "of mu and sigma; the turning point by quadrature",
        cells,
    )


def _sampled_change(rng: np.random.Generator, mu: float, sigma: float) -> GridCell:
    """Change of the sampled advantage from 0.8 sigma to 1.25 sigma, same draws."""
    batches, draws = 50, 4000
    z_in, z_out = rng.standard_normal((2, batches, draws))

    def advantage(std: float) -> np.ndarray:
        s = np.hypot(std, TAU)

        def decide(m: np.ndarray) -> np.ndarray:
            ratio = ((m - mu) / s) ** 2 / 2 - ((m - 1) / TAU) ** 2 / 2
            return ratio + np.log(s / TAU) > 0

        return decide(1 + TAU * z_in).mean(1) - decide(mu + s * z_out).mean(1)

    def exact(std: float) -> np.ndarray:
        return theory.likelihood_ratio_advantage(mu, std, TAU)

    low, high = 0.8 * sigma, 1.25 * sigma
    where = f"sigma x 0.8 to 1.25: mu = {mu}, sigma = {sigma}"
    samples, expected = advantage(high) - advantage(low), exact(high) - exact(low)
    least = _least_change(expected, batches * draws)
    return paired_cell(where, samples, expected, least)


def _least_change(expected: np.ndarray | float, draws: float | int) -> float:
    """Floor of the standard error of a rate's change: that many draws must differ."""
    return float(np.sqrt(max(np.abs(np.mean(expected)), 1 / draws) / draws))


def _turning_cell(mu: float, tau: float) -> GridCell:
    """The least total variation over a fine grid of sigma, by the trapezoid rule."""
    sigmas = abs(1 - mu) * np.linspace(0.8, 1.2, 201)
    # A coarse grid for the wide density and a fine one around the narrow one.
    m = np.unique(
        np.concatenate([np.linspace(-9, 11, 4001), 1 + tau * np.linspace(-9, 9, 8001)])
    )

    def normal(mean: float, s: float | np.floating) -> np.ndarray:
        return np.exp(-(((m - mean) / s) ** 2) / 2) / s

    gaps = [np.abs(normal(1.0, tau) - normal(mu, np.hypot(s, tau))) for s in sigmas]
    distance = np.trapezoid(gaps, m, axis=1)
    lowest = float(sigmas[np.argmin(distance)])
    expected = float(theory.turning_sigma(mu, tau))
    step = float(sigmas[1] - sigmas[0])
    return GridCell(f"turning point: mu = {mu}, tau = {tau}", lowest, expected, step)
