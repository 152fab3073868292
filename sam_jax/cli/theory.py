"""Checks of the claims on linear interpolation, and of what SAM does to networks.

    sam-jax theory

Checks the six claims of docs/theory.md against simulation over a grid, maps where the
likelihood-ratio claim holds, and measures what SAM does to small networks that
interpolate. Leaves runs/theory/<name>/ with report.html, metrics.json, and a CSV beside
every figure. Exit status 1 if a claim fails. Expected: all six hold; SAM leaves random
features alone and lowers the variance of the ReLU networks. These lie beyond the
turning point: their likelihood-ratio advantage falls at the least rho, and rises at
the largest. Needs 120 s of processor time; made for a CPU with 2 cores.
"""

import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Sequence

from sam_jax.reporting import theory_figures

# Thousands of small factorisations: threads of BLAS would only wait for each other.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import jax

from sam_jax import _checks, theory
from sam_jax.analysis import theory_on_networks as nets
from sam_jax.cli import run_folder
from sam_jax.cli.run_lock import locked_run
from sam_jax.reporting import drawings, page, tables
from sam_jax.theory import claims, high_dimension, simulated_problems
from sam_jax.training.progress import make_bar

NETWORKS = ("random features", "two-layer ReLU")
COLUMNS = ("claim", "statement", "grid", "cells", "worst (s.e.)", "limit", "verdict")


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of the run; the grid is fixed by the claims."""

    name: str = "default"
    """Folder under runs/theory."""
    config: pathlib.Path | None = None
    """config.json of a run, for settings that no option gives."""
    overwrite: bool = False
    """Replace a finished run of this name."""
    seed: int = 0
    """Seed of everything."""
    num_sets: int = 128
    """Training sets for each problem of the grid."""
    num_averages: int = 2000
    """Training inputs at each size for the order of the error of claim 5."""
    num_network_seeds: int = 12
    """Networks for each radius."""
    num_network_steps: int = 2000
    """Full-batch steps of each network, two thirds of them SAM."""

    def __post_init__(self) -> None:
        """Refuses settings that leave nothing to estimate."""
        _checks.at_least(8, num_sets=self.num_sets, num_averages=self.num_averages)
        _checks.at_least(2, num_network_seeds=self.num_network_seeds)
        _checks.at_least(3, num_network_steps=self.num_network_steps)


@dataclasses.dataclass(frozen=True)
class Result:
    """Everything that the report shows."""

    claims: list[claims.TheoryClaim]
    linear: dict[str, float]
    networks: dict[str, nets.Measured]
    drawings: dict[str, drawings.Drawing]


def run(config: Config) -> Result:
    """Simulates the grid, checks the claims and draws the figures."""
    small, large = simulated_problems.claim_problems()
    keys = iter(jax.random.split(jax.random.key(config.seed), 128))
    num_tasks = (
        len(small) + len(large) + len(simulated_problems.SPECTRA) + 1 + len(NETWORKS)
    )
    with contextlib.closing(make_bar(num_tasks)) as bar:
        bar.set_description_str("of the problems", refresh=False)

        def simulate(problems, exact):
            runs = []
            for spectrum, labels, (n, d) in problems:
                sets = config.num_sets
                key = next(keys)
                runs.append(
                    simulated_problems.simulate_problem(
                        key, spectrum, labels, n, d, sets, exact
                    )
                )
                bar.update()
            return runs

        trained = simulate(small, True)
        at_size = simulate(large, False)
        averages = []
        for spectrum in simulated_problems.SPECTRA:
            averages += high_dimension.label_averages(
                next(keys), spectrum, config.num_averages
            )
            bar.update()
        last, linear = nets.linear_models(next(keys))
        bar.update()
        networks = {}
        for network in NETWORKS:
            networks[network] = nets.networks(
                next(keys), network, config.num_network_seeds, config.num_network_steps
            )
            bar.update()
    checked = [
        claims.variance_contraction(trained, next(keys)),
        claims.confidence_attack(trained),
        claims.likelihood_ratio_attack(trained, next(keys)),
        claims.side_of_the_claim(trained, next(keys)),
        high_dimension.high_dimensional_values(at_size, averages),
        last,
    ]
    return Result(
        checked, linear, networks, _draw(checked, trained, averages, networks)
    )


def _draw(checked, trained, averages, networks) -> dict[str, drawings.Drawing]:
    figures = theory_figures
    over_eta = lambda *arguments: figures.against_eta(trained, *arguments)
    drawings = {
        "claim_1": over_eta("variance", None, "Claim 1: variance of non-members"),
        "claim_2": over_eta("confidence", -1, "Claim 2: advantage of m >= 0.9"),
        "claim_3": over_eta(
            "likelihood_ratio", None, "Claim 3: likelihood-ratio advantage, tau = 0.1"
        ),
        "claim_4_map_mu_sigma": figures.map_of_mu_and_sigma(),
        "claim_4_map_ratio_eta": figures.map_of_ratio_and_eta(),
        "claim_5": figures.convergence(averages),
        "claim_6": figures.networks(networks),
    }
    cells = {f"cells_claim_{c.name[0]}": figures.deviations(c) for c in checked}
    return drawings | cells


def claim_rows(result: Result) -> list[list[tables.Cell]]:
    """One row per claim; the verdict of one that fails says where."""
    return [
        [
            f"claim {claim.name}",
            claim.statement,
            claim.grid,
            len(claim.cells),
            round(claim.worst.deviation, 2),
            round(claim.limit, 2),
            "holds" if claim.holds else f"FAILS at {claim.worst.label}",
        ]
        for claim in result.claims
    ]


def network_rows(result: Result) -> list[list[tables.Cell]]:
    """One row per network and radius: SAM minus SGD with 95 % intervals."""
    rows: list[list[tables.Cell]] = []
    for network, measured in result.networks.items():
        for r, rho in enumerate(nets.RHOS[1:], start=1):
            gaps = nets.differences(measured, r)
            interpolates = measured.residual[[0, r]].max() < nets.RESIDUAL
            deviation = measured.variance[r].mean() ** 0.5
            near = theory.contraction_raises_advantage(
                measured.mean[r].mean(), deviation, simulated_problems.TAU
            )
            rows.append(
                [
                    network,
                    rho,
                    "yes" if interpolates else "no",
                    str(gaps["variance"]),
                    str(gaps["confidence"]),
                    str(gaps["likelihood_ratio"]),
                    "raises" if near else "lowers",
                ]
            )
    return rows


NETWORK_COLUMNS = (
    "network",
    "rho",
    "interpolates",
    "variance",
    "confidence advantage",
    "likelihood ratio",
    "less variance",
)


def verdict(result: Result) -> str:
    """The verdict in one sentence."""
    failed = [claim.name for claim in result.claims if not claim.holds]
    if failed:
        return (
            f"{len(failed)} of {len(result.claims)} claims fail: {'; '.join(failed)}."
        )
    cells = sum(len(claim.cells) for claim in result.claims)
    return f"All {len(result.claims)} claims agree with simulation on {cells} cells."


def network_verdict(result: Result) -> str:
    """What SAM does to each network, in one sentence each."""
    shown = {
        "variance": "the variance of non-members",
        "confidence": "the confidence advantage",
        "likelihood_ratio": "the likelihood-ratio advantage",
    }
    sentences = []
    for network, measured in result.networks.items():
        changes = []
        for field, label in shown.items():
            at: dict[str, list[str]] = {"falls": [], "rises": []}
            for r, rho in enumerate(nets.RHOS[1:], start=1):
                sign = nets.differences(measured, r)[field].sign
                at.get(sign, []).append(f"{rho:g}")
            said = [f"{sign} at rho {', '.join(a)}" for sign, a in at.items() if a]
            if said:
                changes.append(f"{label} {' and '.join(said)}")
        text = "; ".join(changes) if changes else "no difference from SGD seen"
        sentences.append(f"SAM on {network}: {text}.")
    return " ".join(sentences)


def write_report(folder: pathlib.Path, config: Config, result: Result) -> None:
    """Writes the figures, their CSVs and report.html."""
    body = [
        page.heading("Claims"),
        page.table(COLUMNS, claim_rows(result)),
        page.heading("Actual SAM on networks that interpolate"),
        page.table(
            NETWORK_COLUMNS,
            network_rows(result),
            "Differences from the same networks under SGD with 95 % intervals. The "
            "last column: what less variance does to the likelihood-ratio advantage by "
            "claim 4, at the mean and variance of the networks.",
        ),
        page.heading("Actual SAM on linear least squares"),
        page.table(("quantity", "value"), [list(i) for i in result.linear.items()]),
    ]
    body.append(page.heading("Figures"))
    for name, drawing in result.drawings.items():
        drawings.save_drawing(folder, name, drawing)
        body.append(page.figure(drawing.figure, drawing.caption))
    body.append(page.heading("Details"))
    body.append(page.json_block(dataclasses.asdict(config), "Settings"))
    body.append(page.json_block(run_folder.environment(), "Versions and device"))
    written = page.page(
        "Theory of the linear interpolating regime",
        "Do the closed forms agree with simulation, and where does less variance help "
        "the attacker?",
        f"{verdict(result)} {network_verdict(result)}",
        body,
        subtitle=f"{config.num_sets} training sets for each problem of the grid; "
        f"{config.num_network_seeds} networks for each radius",
    )
    (folder / "report.html").write_text(written)


def main(config: Config) -> int:
    """Runs, reports and returns the exit status."""
    with locked_run("theory", config.name):
        return _write_run(config, run_folder.open_run("theory", config))


def _write_run(config: Config, folder: pathlib.Path) -> int:
    result = run(config)
    write_report(folder, config, result)
    table = [dict(zip(COLUMNS, row, strict=True)) for row in claim_rows(result)]
    metrics = {
        "verdict": f"{verdict(result)} {network_verdict(result)}",
        "claims": table,
        "linear": result.linear,
        "networks": result.networks,
    }
    folder = run_folder.finish_run(folder, metrics)
    short = [row[:1] + row[3:] for row in claim_rows(result)]
    print(tables.text_table(COLUMNS[:1] + COLUMNS[3:], short))
    print("\nSAM minus SGD on networks that interpolate, with 95 % intervals")
    print(tables.text_table(NETWORK_COLUMNS, network_rows(result), width=120))
    print(network_verdict(result))
    print(f"{verdict(result)} Report: {folder / 'report.html'}")
    return 0 if all(claim.holds for claim in result.claims) else 1


def command(arguments: Sequence[str]) -> int:
    """Runs ``sam-jax theory``; exit status 1 where a claim fails."""
    return main(run_folder.parse_options("theory", Config, __doc__, arguments))
