"""The claims of docs/theory.md, each as a grid of cells: simulation against theory."""

import dataclasses
from collections.abc import Callable, Sequence

import jax
import numpy as np
from scipy import special

from sam_jax import theory
from sam_jax.theory import simulation
from sam_jax.theory.agreement import (
    Cell,
    agrees,
    critical_deviation,
    paired_cell,
)

ETAS = np.array([0.0, 0.1, 1.0, 10.0, 100.0])
TAU = 0.1
THRESHOLDS = (0.5, 0.9)
NUM_NON_MEMBERS = 100
SPECTRA: dict[str, Callable[[int], theory.Population]] = {
    "isotropic": theory.isotropic,
    "power law": theory.power_law,
    "spiked": theory.spiked,
    "minority subclass": theory.minority,
}
_ROUNDING = 1e-8


@dataclasses.dataclass(frozen=True)
class Claim:
    """A statement and its grid; ``agreement`` says when it holds."""

    name: str
    statement: str
    grid: str
    cells: list[Cell]

    @property
    def worst(self) -> Cell:
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


@dataclasses.dataclass(frozen=True)
class Trained:
    """One problem: what was simulated, and the closed forms of the same sets.

    Attributes:
        spectrum: Name in ``SPECTRA``.
        labels: Kind of labels.
        n: Training examples.
        d: Dimensions.
        population: The inputs.
        beta: Teacher.
        noise: Label noise.
        outcome: Simulated; axes sets, etas, groups.
        mu: Closed-form mean margin of non-members, [s, e, 1], where computed.
        sigma: Closed-form spread of their margins, [s, e, k], where computed.
    """

    spectrum: str
    labels: str
    n: int
    d: int
    population: theory.Population
    beta: np.ndarray
    noise: float
    outcome: simulation.Outcome
    mu: np.ndarray
    sigma: np.ndarray

    @property
    def label(self) -> str:
        """Where on the grid."""
        return f"{self.spectrum}, n/d = {self.n / self.d:g}, {self.labels}"

    @property
    def least_rate(self) -> float:
        """One over the number of non-members drawn: the finest rate there is."""
        return 1 / (NUM_NON_MEMBERS * self.outcome.residual.shape[0])


def train(
    key: jax.Array, spectrum: str, labels: str, n: int, d: int, sets: int, exact: bool
) -> Trained:
    """Simulates one problem; ``exact`` adds the closed forms of the same sets."""
    population = SPECTRA[spectrum](d)
    ones = np.full(d, 1 / np.sqrt(d))
    beta, mean, noise = {
        "random labels": (0 * ones, 0 * ones, 1.0),
        "two classes": (0 * ones, 2 * ones, 1.0),
        "teacher": (ones, 0 * ones, 0.0),
        "noisy teacher": (ones, 0 * ones, 0.5),
    }[labels]
    problem = simulation.make_problem(population, beta, mean, noise)
    counts = simulation.group_counts(population, n)
    keys = jax.random.split(key, sets)
    outcome = simulation.simulate(
        keys,
        problem,
        counts,
        ETAS,
        thresholds=THRESHOLDS,
        tau=TAU,
        num_non_members=NUM_NON_MEMBERS,
    )
    mu = sigma = np.empty(0)
    if exact:
        X, y = simulation.training_sets(keys, problem, counts)
        metrics = [theory.sharpness_metric(population.pooled, eta) for eta in ETAS]
        models = np.stack([theory.min_norm_interpolator(X, y, G) for G in metrics], 1)
        mu = (models @ mean)[..., None]
        variances = [theory.output_variance(models, k) for k in population.eigenvalues]
        sigma = np.sqrt(np.stack(variances, axis=-1))
    return Trained(spectrum, labels, n, d, population, beta, noise, outcome, mu, sigma)


def _rate_errors(run: Trained, hits, false_alarms) -> np.ndarray:
    """Standard errors [e, k] of sampled rates, by the binomial law of the theory.

    Floors of the measured ones, which are too small by chance where events are rare.
    """
    num_sets = run.outcome.residual.shape[0]
    spread = lambda rate, draws: np.mean(rate * (1 - rate), axis=0) / draws
    variance = spread(hits, run.n) + spread(false_alarms, NUM_NON_MEMBERS)
    return np.maximum(np.sqrt(np.maximum(variance, 0) / num_sets), run.least_rate)


def _cells(run: Trained, what: str, samples, expected, least) -> list[Cell]:
    """One cell for each eta and group of a run."""
    least = np.broadcast_to(least, samples.shape[1:])
    group = lambda k: f", group {k + 1}" if samples.shape[2] > 1 else ""
    return [
        paired_cell(
            f"{what}: {run.label}, eta = {eta:g}{group(k)}",
            samples[:, e, k],
            expected[:, e, k],
            float(least[e, k]),
        )
        for e, eta in enumerate(ETAS)
        for k in range(samples.shape[2])
    ]


def variance_contraction(runs: Sequence[Trained], key: jax.Array) -> Claim:
    """Claim 1: sampled variance, decrease in every set, and the equality cases."""
    cells = []
    for run in runs:
        cells += _cells(run, "variance", run.outcome.variance, run.sigma**2, _ROUNDING)
        pooled = run.sigma**2 @ run.population.weights
        change = np.diff(pooled, axis=1) / pooled[:, :1]
        if run.spectrum == "isotropic":
            gap = float(np.abs(change).max())
            cells.append(Cell(f"equality: {run.label}", gap, 0.0, _ROUNDING))
        else:
            strict = float(np.mean(change < 0))
            cells.append(Cell(f"strict decrease: {run.label}", strict, 1.0, _ROUNDING))
    cells += [_training_covariance(key, name) for name in SPECTRA]
    return Claim(
        "1 variance contraction",
        "The output variance of non-members falls strictly in eta, unless the "
        "interpolators coincide (isotropic or training covariance).",
        "spectrum x n/d x labels x eta x group, each against the same training sets; "
        "decrease in every set",
        cells,
    )


def _training_covariance(key: jax.Array, spectrum: str) -> Cell:
    """The penalty on the training covariance leaves the interpolator alone."""
    population = SPECTRA[spectrum](60)
    problem = simulation.random_labels(population)
    counts = simulation.group_counts(population, 20)
    X, y = simulation.training_sets(jax.random.split(key, 8), problem, counts)
    plain = theory.min_norm_interpolator(X, y, np.ones(60))
    G = theory.sharpness_metric(np.swapaxes(X, 1, 2) @ X / 20, 10.0)
    gap = np.abs(theory.min_norm_interpolator(X, y, G) - plain).max()
    return Cell(f"training covariance: {spectrum}", float(gap), 0.0, _ROUNDING)


def confidence_attack(runs: Sequence[Trained]) -> Claim:
    """Claim 2: one- and two-sided thresholds on trained models."""
    cells = []
    for run in runs:
        for t, threshold in enumerate(THRESHOLDS):
            expected = theory.confidence_advantage(run.mu, run.sigma, threshold)
            found = run.outcome.confidence[..., t]
            least = _rate_errors(run, 1.0 + 0 * expected, 1 - expected)
            cells += _cells(run, f"m >= {threshold}", found, expected, least)
            if run.labels == "random labels":
                expected = theory.two_sided_confidence_advantage(run.sigma, threshold)
                found = run.outcome.two_sided[..., t]
                what = f"|f| >= {threshold}"
                least = _rate_errors(run, 1.0 + 0 * expected, 1 - expected)
                cells += _cells(run, what, found, expected, least)
    return Claim(
        "2 confidence attack",
        "The advantage of a threshold t on the margin is Phi((t - mu) / sigma), and "
        "2 Phi(t / sigma) - 1 on |f| for mu = 0.",
        "spectrum x n/d x labels x eta x group x threshold x sides",
        cells,
    )


def likelihood_ratio_attack(runs: Sequence[Trained], key: jax.Array) -> Claim:
    """Claim 3: the attack on trained models, and its power on sampled scores."""
    cells = []
    for run in runs:
        expected = theory.likelihood_ratio_advantage(run.mu, run.sigma, TAU)
        found = run.outcome.likelihood_ratio
        lower, upper = theory.likelihood_ratio_region(run.mu, run.sigma, TAU)
        hits = special.ndtr(upper / TAU) - special.ndtr(lower / TAU)
        least = _rate_errors(run, hits, hits - expected)
        cells += _cells(run, "advantage", found, expected, least)
    rng = np.random.default_rng(int(jax.random.bits(key)))
    for mu in (0.0, 0.5, 1.0):
        for sigma in (0.3, 1.0):
            cells += _power_cells(rng, mu, sigma)
    return Claim(
        "3 likelihood-ratio attack",
        "At resolution tau its advantage is the total variation distance of two "
        "Gaussians, and its power at a fixed false-positive rate that of an interval.",
        "spectrum x n/d x labels x eta x group at tau = 0.1; mu x sigma x FPR",
        cells,
    )


def _power_cells(rng: np.random.Generator, mu: float, sigma: float) -> list[Cell]:
    """Power of the sampled log-likelihood ratio at its own empirical quantiles."""
    batches, draws = 50, 4000
    s = np.hypot(sigma, TAU)
    ratio = lambda m: ((m - mu) / s) ** 2 - ((m - 1) / TAU) ** 2
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


def side_of_the_claim(runs: Sequence[Trained], key: jax.Array) -> Claim:
    """Claim 4: where contraction raises and where it lowers the advantage."""
    cells = []
    for run in runs:
        advantage = theory.likelihood_ratio_advantage(run.mu, run.sigma, TAU)
        found = run.outcome.likelihood_ratio
        for k in range(found.shape[2]):
            where = f"eta 0 to 100: {run.label}, group {k + 1}"
            change = lambda values, k=k: values[:, -1, k] - values[:, 0, k]
            expected = change(advantage)
            least = _least_change(expected, 1 / run.least_rate)
            cells.append(paired_cell(where, change(found), expected, least))
    rng = np.random.default_rng(int(jax.random.bits(key)))
    for mu in (0.0, 0.25, 0.5, 0.75):
        for sigma in (0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0):
            cells.append(_sampled_change(rng, mu, sigma))
        cells.append(_turning_cell(mu, tau=0.01))
    return Claim(
        "4 where contraction helps the attack",
        "Less variance means more likelihood-ratio advantage only while s < |1 - mu| "
        "up to O(tau); beyond it means less.",
        "change over eta on trained models; change over sigma x 0.8 to 1.25 on a grid "
        "of mu and sigma; the turning point by quadrature",
        cells,
    )


def _sampled_change(rng: np.random.Generator, mu: float, sigma: float) -> Cell:
    """Change of the sampled advantage from 0.8 sigma to 1.25 sigma, same draws."""
    batches, draws = 50, 4000
    z_in, z_out = rng.standard_normal((2, batches, draws))

    def advantage(spread):
        s = np.hypot(spread, TAU)
        gain = lambda m: ((m - mu) / s) ** 2 / 2 - ((m - 1) / TAU) ** 2 / 2
        looks_in = lambda m: gain(m) + np.log(s / TAU) > 0
        return looks_in(1 + TAU * z_in).mean(1) - looks_in(mu + s * z_out).mean(1)

    exact = lambda spread: theory.likelihood_ratio_advantage(mu, spread, TAU)
    low, high = 0.8 * sigma, 1.25 * sigma
    where = f"sigma x 0.8 to 1.25: mu = {mu}, sigma = {sigma}"
    samples, expected = advantage(high) - advantage(low), exact(high) - exact(low)
    least = _least_change(expected, batches * draws)
    return paired_cell(where, samples, expected, least)


def _least_change(expected, draws: float) -> float:
    """Floor of the standard error of a rate's change: that many draws must differ."""
    return float(np.sqrt(max(np.abs(np.mean(expected)), 1 / draws) / draws))


def _turning_cell(mu: float, tau: float) -> Cell:
    """The least total variation over a fine grid of sigma, by the trapezoid rule."""
    sigmas = abs(1 - mu) * np.linspace(0.8, 1.2, 201)
    m = np.unique(
        np.concatenate([np.linspace(-9, 11, 4001), 1 + tau * np.linspace(-9, 9, 8001)])
    )
    normal = lambda mean, s: np.exp(-(((m - mean) / s) ** 2) / 2) / s
    gaps = [np.abs(normal(1, tau) - normal(mu, np.hypot(s, tau))) for s in sigmas]
    distance = np.trapezoid(gaps, m, axis=1)
    found = float(sigmas[np.argmin(distance)])
    expected = float(theory.turning_sigma(mu, tau))
    step = float(sigmas[1] - sigmas[0])
    return Cell(f"turning point: mu = {mu}, tau = {tau}", found, expected, step)
