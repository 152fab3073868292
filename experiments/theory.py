"""Does the paper's theorem hold, and where does less variance help the attacker?

    python -m experiments.theory

runs ``sam-jax theory``: closed forms of the linear interpolating regime beside
simulation, and SAM on small networks that interpolate. Writes theory.md and, beside it,
a folder of tables and figures; about 120 s of processor time.
"""

import csv
import dataclasses
import pathlib
import shutil
import time

import matplotlib

from experiments.common.pages import described, table
from experiments.common.tables import write_table
from sam_jax.cli import run_folder, theory
from sam_jax.cli.errors import command_line
from sam_jax.cli.option_parsing import parse_options
from sam_jax.reporting import theory_report
from sam_jax.reporting.drawings import Drawing
from sam_jax.training.checkpoint import ChunkStore

FIGURES = ("claim_1", "claim_2", "claim_3", "claim_4_map_mu_sigma", "claim_6")


@dataclasses.dataclass(frozen=True)
class Config:
    """Checks the claims on linear interpolation and writes their page."""

    results: pathlib.Path = pathlib.Path("docs/results/theory")
    """Folder of the tables and figures; the page goes beside it."""
    settings: theory.Config = theory.Config()
    """Those of ``sam-jax theory``; its folders of runs are not used."""


def main(config: Config) -> pathlib.Path:
    """Runs the claims and writes tables, figures and page; returns their folder."""
    start = time.perf_counter()
    chunks = config.results.with_suffix(".chunks")
    with ChunkStore(chunks, retrain_changed=True) as store:
        result = theory.run(config.settings, store)
    seconds = time.perf_counter() - start
    results = config.results
    results.mkdir(parents=True, exist_ok=True)
    write_table(
        results / "claims.csv", theory_report.COLUMNS, theory_report.claim_rows(result)
    )
    rows = theory_report.network_rows(result)
    write_table(results / "networks.csv", theory_report.NETWORK_COLUMNS, rows)
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "theory"}):
        for name in FIGURES:
            write_drawing(results, name, result.drawings[name])
    described_run = run_folder.environment() | {
        "seeds": [config.settings.seed],
        "seconds": round(seconds),
        "verdict": theory_report.verdict(result),
        "networks": theory_report.network_verdict(result),
    }
    run_folder.write_json(results / "metadata.json", described_run)
    results.with_suffix(".md").write_text(page(results), encoding="utf-8")
    shutil.rmtree(chunks)  # A killed run goes on with them.
    print(f"{theory_report.verdict(result)} Results: {results}")
    return results


def write_drawing(results: pathlib.Path, name: str, drawing: Drawing) -> None:
    """Writes a figure, and its numbers unless they are a closed form on a fine grid."""
    path = results / f"{name}.svg"
    drawing.figure.savefig(path, facecolor="white", metadata={"Date": None})
    if "_map_" not in name:
        write_table(results / f"{name}.csv", drawing.columns, drawing.rows)


def page(results: pathlib.Path) -> str:
    """Returns the page."""
    claims, networks = (_lines(results / f"{n}.csv") for n in ("claims", "networks"))
    captions = {
        "claim_1": "Claim 1: variance of non-members over eta",
        "claim_2": "Claim 2: advantage of a confidence threshold over eta",
        "claim_3": "Claim 3: advantage of the likelihood-ratio attack over eta",
        "claim_4_map_mu_sigma": "Claim 4: where less variance raises the advantage",
        "claim_6": "Claim 6: SAM minus SGD on networks that interpolate",
    }
    figures = "\n".join(f"![{t}](theory/{n}.svg)\n" for n, t in captions.items())
    return (
        "# The theorem: closed forms beside simulation\n\n"
        + described(results)
        + "The paper's theorem says that, in linear models that interpolate, a "
        "sharpness penalty lowers the output variance of unseen examples, and that "
        "this raises the advantage of an attack on confidence (claims 1 to 3; 4 to 6 "
        "go beyond it). They are written out in [docs/theory.md](../theory.md). Each "
        "is a grid of cells: simulation minus closed form, in standard errors. A claim "
        "fails if a cell lies above the limit, which is as rare for so many cells as 4 "
        "standard errors for one.\n\n## Claims\n\n"
        + table(*claims)
        + "\n## SAM on networks that interpolate\n\n"
        "SAM minus SGD with 95 % intervals over networks. The last column: what less "
        "variance does to the likelihood-ratio advantage by claim 4, at the mean and "
        "variance of these networks.\n\n" + table(*networks) + "\n" + figures
    )


def _lines(path: pathlib.Path) -> tuple[list[str], list[list[str]]]:
    with path.open(newline="", encoding="utf-8") as file:
        heads, *lines = csv.reader(file)
    return heads, lines


if __name__ == "__main__":
    with command_line():
        main(parse_options(Config, __doc__))
