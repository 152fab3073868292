"""Do the relatives of SAM leak as SAM does, and does noise of its radius?

    python -m experiments.sam_variants --scale laptop

trains SGD, SAM and its relatives, each at its published radius, and ``random_sam``
(noise of SAM's radius in place of the gradient) on the same masks, weights and order of
data, in the run folder of ``where_it_begins``, and writes sam_variants.md and, beside
it, a folder of its tables. A killed run goes on where it stopped; about 2 minutes on 2
cores.
"""

import pathlib

import sam_jax
from experiments.common.pages import Sweep
from experiments.common.presets import VARIANTS
from experiments.common.runs import Config, run_design, write_with_page
from experiments.rho_sweep import optimizer_table
from sam_jax.cli.errors import command_line
from sam_jax.cli.option_parsing import parse_options


def main(config: Config) -> pathlib.Path | None:
    """Runs what is missing and writes tables and page; returns their folder."""
    return run_design("sam_variants", VARIANTS, config, write_with_page(page))


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
    with command_line():
        main(parse_options(Config, __doc__))
