"""The study: the sweep, and every page that is made from it.

    python -m experiments.study --scale laptop

trains what is missing of ``experiments.where_it_begins``, writes its tables to
runs/where_it_begins/NAME/results (or ``--results``), and a page for each question
beside that folder.
"""

import pathlib

import tyro

import sam_jax
from experiments import (
    claims,
    direct_attacks,
    influence_buckets,
    memorization,
    rho_sweep,
    shadow_attacks,
    sweep_summary,
    variance,
    where_it_begins,
)
from experiments.common.pages import read_sweep
from sam_jax.cli.errors import usage_errors

PAGES = {
    "claims": claims.page,
    "direct_attacks": direct_attacks.page,
    "influence_buckets": influence_buckets.page,
    "memorization": memorization.page,
    "rho_sweep": rho_sweep.page,
    "shadow_attacks": shadow_attacks.page,
    "sweep_summary": sweep_summary.page,
    "variance": variance.page,
}
"""Page of each question."""


def write_pages(results: pathlib.Path, output: pathlib.Path) -> None:
    """Writes all pages from the tables in ``results``."""
    sweep = read_sweep(results)
    for name, page in PAGES.items():
        (output / f"{name}.md").write_text(page(sweep), encoding="utf-8")


def main(config: where_it_begins.Config) -> None:
    """Runs what is missing and writes all tables and pages."""
    results = where_it_begins.main(config)
    if results is not None:
        write_pages(results, results.parent)


if __name__ == "__main__":
    sam_jax.use_all_cores()
    with usage_errors():
        main(tyro.cli(where_it_begins.Config, description=__doc__))
