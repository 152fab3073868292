"""Problems of the claims: simulations, and the closed forms of the same sets."""

import dataclasses
import itertools
from collections.abc import Callable
from typing import TypeAlias

import jax
import numpy as np

from sam_jax import theory
from sam_jax.theory import sampling, simulation
from sam_jax.theory.agreement import GridCell, paired_cell

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
ROUNDING = 1e-8
"""Standard error of exact statements."""

GridProblem: TypeAlias = tuple[str, str, tuple[int, int]]
"""Names of spectrum and labels, and (n, d)."""


@dataclasses.dataclass(frozen=True)
class SimulatedProblem:
    """One problem: the simulation, and the closed forms of the same sets.

    Attributes:
        spectrum: Name in ``SPECTRA``.
        labels: Name of the labels.
        n: Training examples.
        d: Dimensions.
        population: The inputs.
        beta: Teacher.
        noise: Label noise.
        outcome: Simulated; axes sets, etas, groups.
        mu: Closed-form mean margin of non-members, [s, e, 1], where computed.
        sigma: Closed-form standard deviation of them, [s, e, k], where computed.
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


def claim_problems() -> tuple[list[GridProblem], list[GridProblem]]:
    """Returns the problems of the claims: small ones, and those of high dimension."""
    sizes = [(10, 100), (25, 100), (50, 100), (90, 100)]
    small = list(itertools.product(SPECTRA, ("random labels", "two classes"), sizes))
    labels = ("random labels", "teacher", "noisy teacher")
    large = list(itertools.product(SPECTRA, labels, [(100, 400)]))
    large += [(spectrum, "random labels", (200, 400)) for spectrum in SPECTRA]
    return small, large


def simulate_problem(
    key: jax.Array, sets: int, exact: bool, grid_problem: GridProblem
) -> SimulatedProblem:
    """Simulates one problem; ``exact`` adds the closed forms of the same sets."""
    spectrum, labels, (n, d) = grid_problem
    population = SPECTRA[spectrum](d)
    ones = np.full(d, 1 / np.sqrt(d))
    beta, mean, noise = {
        "random labels": (0 * ones, 0 * ones, 1.0),
        "two classes": (0 * ones, 2 * ones, 1.0),
        "teacher": (ones, 0 * ones, 0.0),
        "noisy teacher": (ones, 0 * ones, 0.5),
    }[labels]
    problem = sampling.make_problem(population, beta, mean, noise)
    counts = sampling.group_counts(population, n)
    keys = jax.random.split(key, sets)
    simulated = simulation.simulate(
        keys,
        problem,
        counts,
        ETAS,
        thresholds=THRESHOLDS,
        tau=TAU,
        num_non_members=NUM_NON_MEMBERS,
    )
    outcome = jax.tree.map(np.asarray, simulated)
    mu = sigma = np.empty(0)
    if exact:
        # The same keys draw the training sets of the simulation again.
        X, y = sampling.training_sets(keys, problem, counts)
        metrics = [theory.sharpness_metric(population.pooled, eta) for eta in ETAS]
        models = np.stack([theory.min_norm_interpolator(X, y, G) for G in metrics], 1)
        mu = (models @ mean)[..., None]
        variances = [theory.output_variance(models, k) for k in population.eigenvalues]
        sigma = np.sqrt(np.stack(variances, axis=-1))
    return SimulatedProblem(
        spectrum, labels, n, d, population, beta, noise, outcome, mu, sigma
    )


def rate_errors(
    run: SimulatedProblem, hits: np.ndarray, false_alarms: np.ndarray
) -> np.ndarray:
    """Returns standard errors [e, k] of sampled rates, binomial with the theory's rate.

    Floors of the measured ones, which are too small by chance where events are rare.
    """
    num_sets = run.outcome.residual.shape[0]
    variance = np.mean(hits * (1 - hits), axis=0) / run.n
    variance = variance + np.mean(false_alarms * (1 - false_alarms), axis=0) / (
        NUM_NON_MEMBERS
    )
    return np.maximum(np.sqrt(np.maximum(variance, 0) / num_sets), run.least_rate)


def problem_cells(
    run: SimulatedProblem,
    quantity: str,
    samples: jax.Array | np.ndarray,
    expected: np.ndarray,
    least: float | np.ndarray,
) -> list[GridCell]:
    """Returns one cell for each eta and group of a problem."""
    samples = np.asarray(samples)
    least = np.broadcast_to(least, samples.shape[1:])
    num_groups = samples.shape[2]
    cells = []
    for e, eta in enumerate(ETAS):
        for k in range(num_groups):
            group = f", group {k + 1}" if num_groups > 1 else ""
            label = f"{quantity}: {run.label}, eta = {eta:g}{group}"
            floor = float(least[e, k])
            cells.append(paired_cell(label, samples[:, e, k], expected[:, e, k], floor))
    return cells
