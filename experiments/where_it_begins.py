"""Where SAM begins to leak more than SGD: a designed sweep, and the map of it.

    python -m experiments.where_it_begins --scale laptop

trains every cell of the preset under SGD and the SAM family on the same masks, seeds
and order of data. runs/where_it_begins/NAME/where_it_begins then holds cells.csv (each
attack and metric, SAM minus SGD with its interval), settings.csv, equal_loss.csv,
effects.csv, mechanism.csv and map.svg. A killed run goes on where it stopped;
``--plan`` prints the cost alone.
"""

import pathlib

import sam_jax
from experiments.common.presets import SCALES
from experiments.common.runs import Config, run_design
from experiments.common.sweep_results import write_results
from sam_jax.cli.errors import command_line
from sam_jax.cli.option_parsing import parse_options


def main(config: Config) -> pathlib.Path | None:
    """Runs what is missing and writes all tables; returns their folder, if not a plan.

    Raises:
        ValueError: If no cell is left to run, or data are missing.
    """
    return run_design("where_it_begins", SCALES, config, write_results)


if __name__ == "__main__":
    sam_jax.use_all_cores()
    with command_line():
        main(parse_options(Config, __doc__))
