"""Explanation of why one optimizer leaks more than another, or does not.

    sam-jax explain --run runs/audit/NAME

takes the signals of an audit's models, and trains a few of them again for what needs
weights. Without --run it audits a small pool first, in runs/audit/explain.
runs/explain/NAME/ then holds report.html, metrics.json, results.csv, claims.csv and a
CSV beside every figure; the terminal ends with what the paper says, what was measured
and whether they agree. Definitions: docs/analysis.md.
"""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import sam_jax
from sam_jax import _checks, analysis
from sam_jax.analysis.memorization import Outcome
from sam_jax.analysis.rho_sweep import RhoSweep
from sam_jax.attacks import ATTACKS
from sam_jax.cli import explain_source, run_folder
from sam_jax.cli.audit_arguments import is_base
from sam_jax.cli.audit_options import Config as AuditConfig
from sam_jax.cli.errors import in_group
from sam_jax.cli.named_code import named_attack
from sam_jax.cli.option_parsing import parse_options
from sam_jax.cli.run_lock import locked_run
from sam_jax.data import mirrors
from sam_jax.reporting import explain_claims, explain_report, tables
from sam_jax.signals import load_audit_signals
from sam_jax.training.checkpoint import ChunkStore

THRESHOLD_ATTACK = "modified_entropy"
"""The direct attack whose balanced accuracy the paper reports."""

MIN_MODELS = 8
"""Of an optimizer: one half of them selects, the other measures."""


@dataclasses.dataclass(frozen=True)
class Config:
    """Explains a difference in leakage by memorization, influence and sharpness."""

    run: pathlib.Path | None = None
    """Folder of a finished audit, in a bucket too; without it one is made, with the
    settings below."""
    name: str = "default"
    """Folder of the results: runs/explain/NAME."""
    runs_dir: str = "runs"
    """Folder of all runs, or s3://... or gs://... (see docs/scale.md)."""
    compared: str | None = None
    """The optimizer to compare with the audit's first; by default its second."""
    outcome: Outcome = "correct"
    """Outcome that is memorized: correct, or probability (less noise)."""
    selected_by: analysis.SelectedBy = "both"
    """Whose models select the bins of memorization and the buckets of influence
    entropy: both, baseline or compared."""
    threshold: float = 0.0
    """Influences count for the entropy above so many of their standard errors."""
    attack: str = "lira_online"
    """A registered attack, or module:attack, whose score above 0 says member."""
    rho: tuple[float, ...] = ()
    """Radii of the sweep; by default 0, 1/2, 1, 2 and 4 times the audit's."""
    sweep_models: int = 8
    """Models to train again at each radius; 0 leaves out sharpness."""
    sharpness_examples: int = 256
    """Training examples of each model behind its sharpness."""
    num_images: int = 16
    """Images in each strip."""
    seed: int = 0
    """Seed of the halves of the models."""
    audit: AuditConfig = AuditConfig(
        name="explain", num_models=64, attacks=("lira_online",)
    )
    """Settings of the audit that is made without --run."""
    config: pathlib.Path | None = None
    """config.json of a run, or its folder, for settings that no option gives."""
    overwrite: bool = False
    """Replace the results of an earlier run of the same name."""

    def check(self) -> None:
        """Refuses settings before anything is trained."""
        _checks.literal(Outcome, outcome=self.outcome)
        _checks.literal(analysis.SelectedBy, selected_by=self.selected_by)
        named_attack(self.attack, "attack")
        _checks.non_negative(threshold=self.threshold)
        for rho in self.rho:
            _checks.non_negative(rho=rho)
        _checks.at_least(0, sweep_models=self.sweep_models, num_images=self.num_images)
        if 0 < self.sweep_models < 4:
            raise _checks.ArgumentError(
                "sweep_models", f"must be 0 or at least 4, got {self.sweep_models}."
            )
        _checks.at_least(1, sharpness_examples=self.sharpness_examples)


class Audited(NamedTuple):
    """A finished audit: its folder and settings, two of its optimizers, its data."""

    source: pathlib.Path
    settings: AuditConfig
    comparison: analysis.Comparison
    dataset: sam_jax.Dataset


def main(config: Config) -> explain_report.Explanation:
    """Runs the explanation and writes its folder; returns the result."""
    config.check()
    given = run = None
    if config.run is None:
        with in_group("audit"):
            _checks.at_least(MIN_MODELS, num_models=config.audit.num_models)
            explain_source.check_canaries(config.audit)
    else:  # Read before the folder is made, so that a wrong one leaves none.
        run = mirrors.open_folder(config.run, "run")
        given = _open_audit(run, config)
    with locked_run("explain", config.name, root=config.runs_dir):
        folder = run_folder.open_run("explain", config, root=config.runs_dir)
        with in_group("audit"):
            source = run or explain_source.make_audit(config.audit)
        return _explain(config, source, given or _open_audit(source, config), folder)


def _explain(
    config: Config, source: pathlib.Path, audited: Audited, folder: pathlib.Path
) -> explain_report.Explanation:
    """Measures, writes the folder and prints the claims."""
    baseline, compared = audited.comparison.names
    print(
        f"{audited.settings.dataset}: why {compared} and {baseline} differ, from "
        f"{len(audited.comparison.keep)} models each in {source}."
    )
    with ChunkStore(folder / "chunks") as store:
        evidence = gather_evidence(config, audited, store)
    result = explain_report.Explanation(
        evidence,
        explain_claims.check_claims(evidence),
        audited.dataset,
        str(source),
        explain_source.reproduced(evidence.sweep, evidence.rho, audited.comparison),
        config.num_images,
    )
    folder = run_folder.save_result(folder, result)
    # Kept until the run is finished, so that a killed one measures no radius twice.
    mirrors.remove(folder / "chunks")
    rows = [[*claim.row[:-1], claim.agrees] for claim in result.claims]
    print(tables.text_table(explain_claims.COLUMNS, rows, width=160))
    print(f"\n{explain_claims.verdict(result.claims)}")
    if result.reproduced is not None:
        print(
            "The models measured here agree with those of the audit on "
            f"{100 * result.reproduced:.2f} % of the examples."
        )
    print(f"Report: {folder / 'report.html'}")
    return result


def gather_evidence(
    config: Config, audited: Audited, store: ChunkStore
) -> explain_claims.Evidence:
    """Measures everything that the claims are about."""
    comparison = audited.comparison
    memorized = analysis.compare_memorization(
        comparison, outcome=config.outcome, selected_by=config.selected_by
    )
    typical = analysis.compare_typicality(
        comparison,
        memorized.estimates,
        selected_by=config.selected_by,
        threshold=config.threshold,
    )
    success = analysis.compare_attack_success(
        comparison,
        named_attack(config.attack, "attack"),
        outcome=config.outcome,
        selected_by=config.selected_by,
    )
    sweep = rho = None
    # The base alone has no radius to sweep.
    if config.sweep_models and not is_base(audited.settings, comparison.names[1]):
        rho = explain_source.radius(audited.settings, comparison.names[1])
        sweep = _sweep(config, audited, rho, store)
    return explain_claims.Evidence(
        comparison=comparison,
        attack_name=config.attack,
        attack=explain_source.attack_difference(comparison, config.attack),
        threshold_attack_name=THRESHOLD_ATTACK,
        threshold_attack=explain_source.attack_difference(comparison, THRESHOLD_ATTACK),
        memorized=memorized,
        typical=typical,
        success=success,
        variance=analysis.compare_variance(comparison),
        sweep=sweep,
        rho=rho,
    )


def _sweep(config: Config, audited: Audited, rho: float, store: ChunkStore) -> RhoSweep:
    """Trains the audit's first models again at several radii."""
    radii = config.rho or tuple(rho * factor for factor in (0, 0.5, 1, 2, 4))
    return explain_source.train_again(
        audited.source,
        audited.comparison.names[1],
        audited.dataset,
        radii,
        named_attack(config.attack, "attack"),
        num_models=config.sweep_models,
        num_examples=config.sharpness_examples,
        store=store,
    )


def _open_audit(source: pathlib.Path, config: Config) -> Audited:
    """Reads a finished audit and the two optimizers that are compared."""
    settings = explain_source.audit_settings(source)
    signals = load_audit_signals(source)
    baseline, *others = signals
    if not others:
        raise _checks.ArgumentError(
            "run", f"must compare two optimizers, {source} has {baseline}."
        )
    if settings.num_models < MIN_MODELS:
        raise _checks.ArgumentError(
            "run",
            f"must have at least {MIN_MODELS} models for each optimizer, {source} has "
            f"{settings.num_models}.",
        )
    compared = config.compared or others[0]
    return Audited(
        source,
        settings,
        analysis.compare_optimizers(signals, baseline, compared, config.seed),
        explain_source.load_data(source, settings),
    )


def command(arguments: Sequence[str]) -> int:
    """Runs ``sam-jax explain`` with its options; returns the exit status."""
    sam_jax.use_all_cores()
    main(
        parse_options(
            Config,
            __doc__,
            arguments,
            prog="sam-jax explain",
            known={"attack": ATTACKS},
        )
    )
    return 0
