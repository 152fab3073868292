"""What do several runs show together?

    sam-jax report runs/audit/a runs/audit/b

puts finished audits and attacks on one page: verdicts, one table of attacks by metrics
with intervals, ROC curves, and the settings that differ. Of one audit it writes the
report again, from its files.
"""

import dataclasses
import pathlib
from collections.abc import Sequence

from tyro.conf import Positional

from sam_jax._checks import ArgumentError
from sam_jax.cli import run_folder
from sam_jax.cli.errors import as_option
from sam_jax.data.atomic_files import make_folder
from sam_jax.reporting import audit_report, runs_report
from sam_jax.reporting.saved_audits import load_audit


@dataclasses.dataclass(frozen=True)
class Config:
    """Puts finished runs on one page."""

    runs: Positional[tuple[pathlib.Path, ...]]
    """Folders of finished audits or attacks."""
    output: pathlib.Path | None = None
    """File to write; by default report.html of the one run, or runs/report.html."""


def main(config: Config) -> pathlib.Path:
    """Writes the page; returns its file."""
    if not config.runs:
        raise ArgumentError("runs", "must name at least one folder, got none.")
    if len({folder.resolve() for folder in config.runs}) < len(config.runs):
        raise ArgumentError("runs", "must be different folders.")
    runs = [runs_report.read_run(folder) for folder in config.runs]
    if len(runs) == 1:
        with as_option("folder", "runs"):
            written = audit_report.report(load_audit(config.runs[0]), runs[0].about)
        output = config.output or config.runs[0] / "report.html"
    else:
        written = runs_report.report(runs)
        output = config.output or pathlib.Path("runs/report.html")
    make_folder(output.parent)
    output.write_text(written, encoding="utf-8")
    print(f"Report: {output}")
    return output


def command(arguments: Sequence[str]) -> int:
    """Runs ``sam-jax report`` with its options; returns the exit status."""
    main(run_folder.parse_options("report", Config, __doc__, arguments))
    return 0
