"""One figure per claim, and the maps; each with the numbers it is drawn from."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sam_jax import theory
from sam_jax.analysis.theory_on_networks import RHOS, Measured
from sam_jax.reporting import canvas
from sam_jax.reporting.drawings import Drawing
from sam_jax.theory.claims import TheoryClaim
from sam_jax.theory.high_dimension import AVERAGED_ETAS, SIZES, Averaged
from sam_jax.theory.simulated_problems import (
    ETAS,
    SPECTRA,
    TAU,
    THRESHOLDS,
    SimulatedProblem,
)

_ETA_GRID = np.logspace(-2, 3, 41)
_RATIOS = np.linspace(0.05, 0.98, 48)
_DIMENSION = 200


def against_eta(
    runs: Sequence[SimulatedProblem], field: str, threshold: int | None, title: str
) -> Drawing:
    """Simulation (points, 95 % bars) and theory (lines) over eta, random labels."""
    figure, panels = canvas.blank_panels(title, len(SPECTRA), 3.2, 3.0)
    rows = []
    # A logarithmic axis has no place for 0.
    positions = np.where(ETAS == 0, 0.01, ETAS)
    for axes, spectrum in zip(panels, SPECTRA, strict=True):
        chosen = [
            r for r in runs if r.spectrum == spectrum and r.labels == "random labels"
        ]
        for run, color in zip(chosen, canvas.PALETTE, strict=False):
            samples = getattr(run.outcome, field)
            samples = samples if threshold is None else samples[..., threshold]
            samples = samples @ run.population.weights
            mean = samples.mean(0)
            half = 1.96 * samples.std(0, ddof=1) / np.sqrt(len(samples))
            expected = _expected(run, field) @ run.population.weights
            axes.errorbar(positions, mean, half, fmt="o", ms=3.5, color=color)
            axes.plot(
                positions, expected, color=color, lw=1.3, label=f"n/d {run.n / run.d:g}"
            )
            rows += [
                [spectrum, run.n / run.d, *row]
                for row in zip(ETAS, mean, half, expected, strict=True)
            ]
        axes.set(xscale="log", xlabel="eta (0 at 0.01)")
        axes.set_title(spectrum, fontsize=9, color=canvas.INK)
    if field == "variance":
        for axes in panels:
            axes.set_yscale("log")
    canvas.legend(figure)
    caption = f"{title}. Points: simulation with 95 % intervals; lines: closed form."
    columns = ["spectrum", "n/d", "eta", "simulation", "half width", "theory"]
    return Drawing(figure, caption, columns, rows)


def _expected(run: SimulatedProblem, field: str) -> np.ndarray:
    """Mean closed form over the training sets, [e, k]."""
    closed = {
        "variance": lambda: run.sigma**2,
        "confidence": lambda: theory.confidence_advantage(
            run.mu, run.sigma, THRESHOLDS[-1]
        ),
        "likelihood_ratio": lambda: theory.likelihood_ratio_advantage(
            run.mu, run.sigma, TAU
        ),
    }
    return closed[field]().mean(0)


def map_of_mu_and_sigma() -> Drawing:
    """Where contraction raises (blue) or lowers (red) the advantage."""
    mu, sigma = np.linspace(-0.5, 1.5, 121), np.linspace(0.02, 2, 100)
    slope = theory.likelihood_ratio_slope(mu[:, None], sigma[None, :], TAU)
    title = f"Change of the likelihood-ratio advantage as sigma falls, tau = {TAU}"
    figure, axes = canvas.one_panel(title, 5.6, 4.0)
    image = _sign_map(axes, mu, sigma, -slope.T)
    axes.plot(mu, np.abs(1 - mu), color=canvas.ON_IMAGE, lw=1, ls="--")
    turn = theory.turning_sigma(mu, TAU)
    axes.plot(mu, turn, color=canvas.ON_IMAGE, lw=1.3)
    axes.set(xlabel="mu", ylabel="sigma", ylim=(0, 2))
    figure.colorbar(image, ax=axes, label="- d advantage / d sigma")
    rows = [[m, s, slope[i, j]] for i, m in enumerate(mu) for j, s in enumerate(sigma)]
    caption = (
        "Blue: contraction helps the attack; red: it hinders it. Line: turning point; "
        "dashed: |1 - mu|."
    )
    return Drawing(figure, caption, ["mu", "sigma", "slope"], rows)


def map_of_ratio_and_eta() -> Drawing:
    """Where more eta raises the advantage on random labels, by the equivalents."""
    title = "Change of the likelihood-ratio advantage with log eta, random labels"
    figure, panels = canvas.blank_panels(title, len(SPECTRA), 3.2, 3.0)
    rows = []
    for axes, (spectrum, make) in zip(panels, SPECTRA.items(), strict=True):
        population = make(_DIMENSION)
        equivalents = [
            [
                theory.deterministic_equivalent(
                    population, ratio * _DIMENSION, float(eta), noise=1.0
                )
                for eta in _ETA_GRID
            ]
            for ratio in _RATIOS
        ]
        variance = np.array([[e.variance for e in row] for row in equivalents])
        groups = np.array([[e.group_variance for e in row] for row in equivalents])
        advantages = theory.advantage_equivalents(groups, TAU)
        advantage = advantages.likelihood_ratio @ population.weights
        gain = np.gradient(advantage, np.log(_ETA_GRID), axis=1)
        # No colour for rounding errors, where the isotropic spectrum never moves.
        gain = np.where(np.abs(gain) < 1e-9, 0.0, gain)
        image = _sign_map(axes, _ETA_GRID, _RATIOS, gain)
        axes.contour(
            _ETA_GRID, _RATIOS, variance, [1.0], colors=canvas.ON_IMAGE, linewidths=1
        )
        axes.set(xscale="log", xlabel="eta")
        axes.set_title(spectrum, fontsize=9, color=canvas.INK)
        figure.colorbar(image, ax=axes)
        rows += [
            [spectrum, ratio, eta, variance[i, j], advantage[i, j], gain[i, j]]
            for i, ratio in enumerate(_RATIOS)
            for j, eta in enumerate(_ETA_GRID)
        ]
    panels[0].set_ylabel("n/d")
    caption = (
        "Blue: more regularisation helps the attack; red: it hinders it. Line: sigma = "
        "1 = |1 - mu| for the pooled variance. The isotropic spectrum never moves; the "
        "groups of the mixture lie on two sides of the line near it."
    )
    columns = ["spectrum", "n/d", "eta", "variance", "advantage", "gain per log eta"]
    return Drawing(figure, caption, columns, rows)


def _sign_map(axes: Any, x: np.ndarray, y: np.ndarray, values: np.ndarray) -> Any:
    """Draws signed values so that blue is positive and zero is white."""
    from matplotlib.colors import SymLogNorm

    scale = max(float(np.abs(values).max()), 1e-6)
    norm = SymLogNorm(scale / 1e3, vmin=-scale, vmax=scale)
    return axes.pcolormesh(
        x, y, values, cmap="RdBu", norm=norm, shading="nearest", rasterized=True
    )


def convergence(averages: Sequence[Averaged]) -> Drawing:
    """Relative error of the equivalent variance against n, on logarithmic axes."""
    title = "Error of the equivalent variance at n/d = 0.25, random labels"
    figure, panels = canvas.blank_panels(title, len(AVERAGED_ETAS), 4.2, 3.6)
    rows = []
    for axes, eta in zip(panels, AVERAGED_ETAS, strict=True):
        chosen = [average for average in averages if average.eta == eta]
        for average, color in zip(chosen, canvas.PALETTE, strict=False):
            error = average.ratios.mean(1) - 1
            half = 1.96 * average.ratios.std(1, ddof=1)
            half = half / np.sqrt(average.ratios.shape[1])
            axes.errorbar(
                SIZES,
                error,
                half,
                marker="o",
                ms=4,
                color=color,
                label=average.spectrum,
            )
            rows += [
                [average.spectrum, eta, *row]
                for row in zip(SIZES, error, half, strict=True)
            ]
        # For comparison a line that falls like 1/n, above all points.
        largest = max(average.ratios[0].mean() - 1 for average in chosen)
        line = 1.5 * largest * SIZES[0] / np.array(SIZES)
        axes.plot(SIZES, line, color=canvas.MUTED, lw=1, ls="--", label="slope of 1/n")
        axes.set(xscale="log", yscale="log", xlabel="n")
        axes.set_xticks(SIZES, [str(n) for n in SIZES])
        axes.minorticks_off()
        axes.set_title(f"eta = {eta:g}", fontsize=9, color=canvas.INK)
    panels[0].set_ylabel("simulation / theory - 1")
    canvas.legend(figure)
    caption = (
        "Claim 5. The relative error falls like 1/n. Averaged over all labels; bars "
        "are 95 % intervals over the inputs."
    )
    columns = ["spectrum", "eta", "n", "error", "half width"]
    return Drawing(figure, caption, columns, rows)


def networks(results: Mapping[str, Measured]) -> Drawing:
    """Variance and advantages of networks trained with SAM, over rho."""
    shown = {
        "variance": "variance of non-members",
        "confidence": "confidence advantage",
        "likelihood_ratio": "likelihood-ratio advantage",
    }
    figure, panels = canvas.blank_panels(
        "Networks that interpolate, trained with SAM", 3, 3.2, 3.0
    )
    rows = []
    for axes, (field, label) in zip(panels, shown.items(), strict=True):
        for (network, measured), color in zip(
            results.items(), canvas.PALETTE, strict=False
        ):
            values = getattr(measured, field)
            mean = values.mean(1)
            half = 1.96 * values.std(1, ddof=1) / np.sqrt(values.shape[1])
            axes.errorbar(
                RHOS, mean, half, marker="o", ms=4, color=color, label=network
            )
            rows += [
                [network, field, *row] for row in zip(RHOS, mean, half, strict=True)
            ]
        axes.set(xlabel="rho")
        axes.set_title(label, fontsize=9, color=canvas.INK)
    canvas.legend(figure)
    caption = "Means over seeds; bars are 95 % intervals, wider than the paired ones."
    return Drawing(figure, caption, ["network", "value", "rho", "mean", "half"], rows)


def deviations(claim: TheoryClaim) -> Drawing:
    """All cells of a claim in standard errors, and the limit."""
    deviation = np.sort([cell.deviation for cell in claim.cells])[::-1]
    figure, axes = canvas.one_panel(f"Claim {claim.name}: all cells", 5.0, 2.8)
    axes.plot(np.arange(1, len(deviation) + 1), deviation, ".", color=canvas.PALETTE[0])
    axes.axhline(claim.limit, color=canvas.PALETTE[1], lw=1)
    axes.set(xlabel="cell, worst first", ylabel="standard errors")
    rows = [
        [c.label, c.simulation, c.theory, c.standard_error, c.allowance, c.deviation]
        for c in claim.cells
    ]
    columns = ["cell", "simulation", "theory", "standard error", "allowance"]
    caption = "Deviation of every cell; the line is the limit for this many cells."
    return Drawing(figure, caption, [*columns, "deviation"], rows)
