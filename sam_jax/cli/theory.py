"""Checks of the claims on linear interpolation, and of what SAM does to networks.

    sam-jax theory

Checks the six claims of docs/theory.md against simulation over a grid, maps where the
likelihood-ratio claim holds, and measures what SAM does to small networks that
interpolate. Leaves runs/theory/<name>/ with report.html, metrics.json, results.csv, and
a CSV beside every figure. Exit status 1 if a claim fails. Expected: all six hold; SAM
leaves random features alone and lowers the variance of the ReLU networks. These lie
beyond the turning point: their likelihood-ratio advantage falls at the least rho, and
rises at the largest. Needs 120 s of processor time; made for a CPU with 2 cores.
"""

import contextlib
import dataclasses
import functools
import json
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

# Thousands of small factorisations: threads of BLAS would only wait for each other.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import jax
import numpy as np

from sam_jax import _checks
from sam_jax.analysis import theory_on_networks as nets
from sam_jax.cli import run_folder
from sam_jax.cli.option_parsing import parse_options
from sam_jax.cli.run_lock import locked_run
from sam_jax.data import mirrors
from sam_jax.data.result_files import plain
from sam_jax.reporting import drawings, tables, theory_figures, theory_report
from sam_jax.reporting.saved_audits import decode
from sam_jax.theory import claims, high_dimension, simulated_problems
from sam_jax.theory.simulated_problems import SimulatedProblem
from sam_jax.training.checkpoint import ChunkStore
from sam_jax.training.identity import Identity, package_versions
from sam_jax.training.progress import make_bar

NETWORKS = ("random features", "two-layer ReLU")


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of the run; the grid is fixed by the claims."""

    name: str = "default"
    """Folder under runs/theory."""
    runs_dir: str = "runs"
    """Folder of all runs, or s3://... or gs://... (see docs/scale.md)."""
    config: pathlib.Path | None = None
    """config.json of a run, or its folder, for settings that no option gives."""
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

    def check(self) -> None:
        """Refuses settings that leave nothing to estimate."""
        _checks.at_least(8, num_sets=self.num_sets, num_averages=self.num_averages)
        _checks.at_least(2, num_network_seeds=self.num_network_seeds)
        _checks.at_least(3, num_network_steps=self.num_network_steps)


def run(config: Config, store: ChunkStore) -> theory_report.TheoryResult:
    """Simulates the grid, checks the claims and draws the figures.

    Args:
        config: Settings.
        store: Keeps what was measured on each problem.
    """
    small, large = simulated_problems.claim_problems()
    keys = iter(jax.random.split(jax.random.key(config.seed), 128))
    facts = run_folder.environment() | {"versions": package_versions()}
    shared = {fact: str(facts[fact]) for fact in ("versions", "commit", "device")}
    shared["seed"] = str(config.seed)
    identity = Identity(shared, np.zeros((1, 0), np.bool_), ())
    num_tasks = (
        len(small) + len(large) + len(simulated_problems.SPECTRA) + 1 + len(NETWORKS)
    )
    with contextlib.closing(make_bar(num_tasks)) as bar:
        bar.set_description_str("of the problems", refresh=False)

        kept = functools.partial(_kept, store, identity, bar)
        simulate = simulated_problems.simulate_problem, config.num_sets
        trained = [
            kept(SimulatedProblem, next(keys), *simulate, True, p) for p in small
        ]
        at_size = [
            kept(SimulatedProblem, next(keys), *simulate, False, p) for p in large
        ]
        averages = []
        for spectrum in simulated_problems.SPECTRA:
            measure = high_dimension.label_averages, config.num_averages, spectrum
            averages += kept(list[high_dimension.Averaged], next(keys), *measure)
        last, linear = nets.linear_models(next(keys))
        bar.update()
        networks = {}
        for network in NETWORKS:
            sizes = config.num_network_seeds, config.num_network_steps
            measure = nets.networks, network, *sizes
            networks[network] = kept(nets.Measured, next(keys), *measure)
    checked = [
        claims.variance_contraction(trained, next(keys)),
        claims.confidence_attack(trained),
        claims.likelihood_ratio_attack(trained, next(keys)),
        claims.side_of_the_claim(trained, next(keys)),
        high_dimension.high_dimensional_values(at_size, averages),
        last,
    ]
    figures = _draw(checked, trained, averages, networks)
    return theory_report.TheoryResult(
        checked, linear, networks, figures, config.num_sets
    )


def _kept(
    store: ChunkStore,
    identity: Identity,
    bar: Any,
    annotation: Any,
    key: jax.Array,
    measure: Callable[..., Any],
    *setting: Any,
) -> Any:
    """What was measured before a kill, or is now; of the type ``annotation``."""
    chunks = store.chunks_of(f"{measure.__name__} {setting}", lambda: identity)
    loaded = chunks.load()
    if not loaded:
        text = json.dumps(plain(measure(key, *setting)))
        loaded = [{"models": np.zeros(1, int), "measured": np.asarray(text)}]
        chunks.save(loaded[0])
    bar.update()
    return decode(annotation, json.loads(str(loaded[0]["measured"])))


def _draw(
    checked: Sequence[claims.TheoryClaim],
    trained: Sequence[SimulatedProblem],
    averages: Sequence[high_dimension.Averaged],
    networks: Mapping[str, nets.Measured],
) -> dict[str, drawings.Drawing]:
    figures = theory_figures
    over_eta = functools.partial(figures.against_eta, trained)
    by_claim = {
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
    return by_claim | cells


def main(config: Config) -> theory_report.TheoryResult:
    """Runs the checks and writes their folder; returns the result."""
    config.check()
    with locked_run("theory", config.name, root=config.runs_dir):
        folder = run_folder.open_run("theory", config, root=config.runs_dir)
        with ChunkStore(folder / "chunks", retrain_changed=True) as store:
            result = run(config, store)
        folder = run_folder.save_result(folder, result)
        # Kept until the run is finished, so that a killed one measures nothing twice.
        mirrors.remove(folder / "chunks")
    print(theory_report.short_table(result))
    print("\nSAM minus SGD on networks that interpolate, with 95 % intervals")
    columns, rows = theory_report.NETWORK_COLUMNS, theory_report.network_rows(result)
    print(tables.text_table(columns, rows, width=120))
    print(theory_report.network_verdict(result))
    print(f"{theory_report.verdict(result)} Report: {folder / 'report.html'}")
    return result


def command(arguments: Sequence[str]) -> int:
    """Runs ``sam-jax theory``; exit status 1 where a claim fails."""
    config = parse_options(Config, __doc__, arguments, prog="sam-jax theory")
    return 0 if main(config).holds else 1
