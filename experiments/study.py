"""The study: the sweep, every page that is made from it, and the other questions.

    python -m experiments.study --scale laptop

trains what is missing of ``experiments.where_it_begins``, writes its tables to
runs/where_it_begins/NAME/where_it_begins (or ``--results``), and a page for each
question beside that folder; then the same for ``sam_variants``, ``mitigations`` and
``theory``. ``--plan`` prints models, steps, memory and hours of each at each scale, and
stops.
"""

import dataclasses
import pathlib

import sam_jax
from experiments import (
    architectures,
    claims,
    direct_attacks,
    influence_buckets,
    memorization,
    mitigations,
    rho_sweep,
    sam_variants,
    shadow_attacks,
    sweep_summary,
    theory,
    variance,
    where_it_begins,
)
from experiments.common.pages import read_sweep
from experiments.common.presets import MITIGATIONS, VARIANTS
from experiments.common.runs import Config, chosen_cells
from sam_jax.cli.errors import command_line
from sam_jax.cli.option_parsing import parse_options

PAGES = {
    "architectures": architectures.page,
    "claims": claims.page,
    "direct_attacks": direct_attacks.page,
    "influence_buckets": influence_buckets.page,
    "memorization": memorization.page,
    "rho_sweep": rho_sweep.page,
    "shadow_attacks": shadow_attacks.page,
    "sweep_summary": sweep_summary.page,
    "variance": variance.page,
}
"""Pages made from the tables of ``where_it_begins``."""

QUESTIONS = {
    "sam_variants": (VARIANTS, sam_variants),
    "mitigations": (MITIGATIONS, mitigations),
}
"""Questions that train further cells: presets and module, whose page is theirs."""


def write_pages(results: pathlib.Path, output: pathlib.Path) -> None:
    """Writes all pages from the tables in ``results``."""
    sweep = read_sweep(results)
    for name, page in PAGES.items():
        (output / f"{name}.md").write_text(page(sweep), encoding="utf-8")


def main(config: Config) -> None:
    """Runs what is missing and writes all tables and pages, or prints the plan."""
    results = where_it_begins.main(config)
    if results is not None:
        write_pages(results, results.parent)
    for name, (presets, module) in QUESTIONS.items():
        if not chosen_cells(presets[config.scale], config):
            print(f"{name}: no cell matches.")
            continue
        place = None if results is None else results.parent / name
        module.main(dataclasses.replace(config, results=place))
    if results is None:
        print("theory: no models of these; about 120 s of processor time.")
        return
    place = results.parent / "theory"
    if not (place / "metadata.json").exists():
        theory.main(theory.Config(results=place))


if __name__ == "__main__":
    sam_jax.use_all_cores()
    with command_line():
        main(parse_options(Config, __doc__))
