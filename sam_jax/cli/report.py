"""What do several runs show together?

    sam-jax report runs/audit/a runs/audit/b

puts finished audits and attacks on one page: verdicts, one table of attacks by metrics
with intervals, differences to the first run, ROC curves, and the settings that differ.
Differences are paired where runs have the same data and training sets. Of one run it
writes the report again, from its files, with pictures if its data are there.
"""

import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np
from tyro.conf import Positional

from sam_jax import _checks
from sam_jax._checks import ArgumentError
from sam_jax.auditing.result import AuditResult
from sam_jax.cli import explain_source
from sam_jax.cli.errors import as_option
from sam_jax.cli.option_parsing import parse_options
from sam_jax.data.atomic_files import make_folder
from sam_jax.data.buckets import local_path, url_of
from sam_jax.data.result_files import write_text
from sam_jax.reporting import audit_report, run_files, runs_report
from sam_jax.reporting.saved_audits import load_audit
from sam_jax.signals import files
from sam_jax.types import Examples


@dataclasses.dataclass(frozen=True)
class Config:
    """Puts finished runs on one page."""

    runs: Positional[tuple[pathlib.Path, ...]]
    """Folders of finished audits or attacks, in buckets too."""
    output: pathlib.Path | None = None
    """File to write; by default report.html of the one run, or runs/report.html."""


def main(config: Config) -> pathlib.Path:
    """Writes the page; returns its file."""
    if not config.runs:
        raise ArgumentError("runs", "must name at least one folder, got none.")
    if len({folder.resolve() for folder in config.runs}) < len(config.runs):
        raise ArgumentError("runs", "must be different folders.")
    runs = [run_files.read_run(folder, "runs") for folder in config.runs]
    if len(runs) == 1:
        with as_option("folder", "runs"):
            result = _with_inputs(load_audit(runs[0].folder), runs[0])
        written = audit_report.report(result, runs[0].about)
        output = runs[0].folder / "report.html"
    else:
        written = runs_report.report(runs)
        output = pathlib.Path("runs/report.html")
    output = local_path(config.output or output, "output")
    make_folder(output.parent)
    write_text(output, written)
    print(f"Report: {url_of(output) or output}")
    return output


def _with_inputs(result: AuditResult, run: run_files.Run) -> AuditResult:
    """The result with the inputs that it was run on, for pictures, if they are there.

    A run keeps no inputs; of data that are gone or changed the report has no pictures.
    """
    settings = run.about.get("settings", {})
    try:
        if settings.get("images"):
            x = files.read_array(settings["images"], "x")
        elif "dataset" in settings:
            made = explain_source.audit_settings(run.folder)
            x = explain_source.load_data(run.folder, made).train.x
        else:
            return result
    except (ValueError, OSError) as error:
        print(f"Pictures are left out: {_checks.first_line(error)}")
        return result
    dataset = result.dataset
    train = Examples(np.asarray(x), dataset.train.y)
    return dataclasses.replace(
        result, dataset=dataclasses.replace(dataset, train=train)
    )


def command(arguments: Sequence[str]) -> int:
    """Runs ``sam-jax report`` with its options; returns the exit status."""
    main(parse_options(Config, __doc__, arguments, prog="sam-jax report"))
    return 0
