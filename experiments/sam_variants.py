"""Do the relatives of SAM leak as SAM does, and does noise of its radius?

    python -m experiments.sam_variants --scale laptop

trains SGD, SAM and its relatives, each at its published radius, and ``random_sam``
(noise of SAM's radius in place of the gradient) on the same masks, weights and order of
data, in the run folder of ``where_it_begins``, and writes sam_variants.md and, beside
it, a folder of its tables. A killed run goes on where it stopped; about 8 minutes on 2
cores.
"""

import pathlib

import tyro

import sam_jax
from experiments import where_it_begins
from experiments.common.cost import cost_of
from experiments.common.pages import Sweep, read_sweep
from experiments.common.presets import VARIANTS
from experiments.common.tables import write_rows, write_settings
from experiments.rho_sweep import optimizer_table
from sam_jax.cli.errors import usage_errors


def main(config: where_it_begins.Config) -> pathlib.Path | None:
    """Runs what is missing and writes tables and page; returns their folder."""
    preset = VARIANTS[config.scale]
    design = where_it_begins.chosen_cells(preset, config)
    if config.plan:
        where_it_begins.print_plan(config, VARIANTS)
        return None
    print(f"{len(design)} cells: {cost_of(design, preset.device)}.")
    folder = pathlib.Path("runs") / "where_it_begins" / config.name
    rows = where_it_begins.measure_design(design, folder, config.data_dir)
    results = config.results or folder / "sam_variants"
    results.mkdir(parents=True, exist_ok=True)
    write_rows(results / "cells.csv", [r for r in rows if r.optimizer != "sgd"])
    write_settings(results / "settings.csv", [cell for cell, _ in design])
    where_it_begins.write_metadata(results, config.scale, design)
    results.with_suffix(".md").write_text(page(read_sweep(results)), encoding="utf-8")
    print(f"Results: {results}")
    return results


def page(sweep: Sweep) -> str:
    """Returns the page."""
    return (
        "# SAM and its relatives\n\n"
        "Made by `python -m experiments.sam_variants`. SGD → optimizer, each at its "
        "published radius, difference with its 95 % interval; bold where it leaves 0 "
        "out. `random_sam` is the control: noise of SAM's radius in place of the "
        "gradient.\n\n" + optimizer_table(sweep)
    )


if __name__ == "__main__":
    sam_jax.use_all_cores()
    with usage_errors():
        main(tyro.cli(where_it_begins.Config, description=__doc__))
