"""Why does one optimizer leak more than another, or why not?

    sam-jax explain --run runs/audit/NAME

takes the answers of an audit's models, and trains a few of them again for what needs
weights. Without --run it audits a small pool first, in runs/audit/explain.
runs/explain/NAME/ then holds report.html, metrics.json, claims.csv and a CSV beside
every figure; the terminal ends with what the paper says, what was measured and whether
they agree. What each part means: docs/analysis.md.
"""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

import sam_jax
from sam_jax import _checks, analysis
from sam_jax.analysis import memorization
from sam_jax.attacks import ATTACKS, score_targets
from sam_jax.auditing.result import EQUAL_ACCURACY
from sam_jax.cli import audit as audit_experiment
from sam_jax.cli import explain_source, run_folder
from sam_jax.metrics import attack_metrics
from sam_jax.reporting import (
    explain_claims,
    memorization_figures,
    page,
    tables,
    variance_figures,
)
from sam_jax.reporting.drawings import NUMBERS, Drawing, numbers, save_drawing
from sam_jax.signals import load_audit_signals


@dataclasses.dataclass(frozen=True)
class Config:
    """Explains a difference in leakage by memorization, influence and sharpness."""

    run: pathlib.Path | None = None
    """Folder of a finished audit; without it one is made, with the settings below."""
    name: str = "default"
    """Folder of the results: runs/explain/NAME."""
    compared: str | None = None
    """The optimizer to compare with the audit's first; by default its second."""
    outcome: str = "correct"
    """What memorization is of: correct, or probability (less noise)."""
    picked_by: str = "both"
    """Whose models make the bins of memorization and the buckets of influence entropy:
    both, baseline or compared."""
    threshold: float = 0.0
    """Influences count for the entropy above so many of their standard errors."""
    attack: str = "lira_online"
    """A registered attack whose score above 0 calls a member."""
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
    audit: audit_experiment.Config = audit_experiment.Config(
        name="explain", pool_size=2000, num_models=64, attacks=("lira_online",)
    )
    """Settings of the audit that is made without --run."""
    overwrite: bool = False
    """Replace the results of an earlier run of the same name."""

    def __post_init__(self) -> None:
        """Refuses settings before anything is trained."""
        _checks.one_of(memorization.OUTCOMES, outcome=self.outcome)
        _checks.one_of(analysis.PICKERS, picked_by=self.picked_by)
        _checks.one_of(ATTACKS, attack=self.attack)
        _checks.non_negative(threshold=self.threshold)
        for rho in self.rho:
            _checks.non_negative(rho=rho)
        _checks.at_least(0, sweep_models=self.sweep_models, num_images=self.num_images)
        if 0 < self.sweep_models < 4:
            raise ValueError(
                f"sweep_models must be 0 or at least 4, got {self.sweep_models}."
            )
        _checks.at_least(1, sharpness_examples=self.sharpness_examples)


def main(config: Config) -> list[explain_claims.Claim]:
    """Runs the explanation and writes its folder; returns the claims."""
    if config.run is None:
        _checks.at_least(8, num_models=config.audit.num_models)
        explain_source.check_canaries(config.audit)
        folder = run_folder.open_run("explain", config)
        source = explain_source.make_audit(config.audit)
        settings, comparison = _open_audit(source, config)
    else:
        source = config.run
        settings, comparison = _open_audit(source, config)
        folder = run_folder.open_run("explain", config)
    baseline, compared = comparison.names
    print(
        f"{settings.dataset}: why {compared} and {baseline} differ, from "
        f"{len(comparison.keep)} models each in {source}."
    )
    dataset = audit_experiment.make_dataset(settings)
    options = {"outcome": config.outcome, "picked_by": config.picked_by}
    found = analysis.memorized(comparison, **options)
    typical = analysis.compare_typicality(
        comparison, found, picked_by=config.picked_by, threshold=config.threshold
    )
    success = analysis.success(comparison, ATTACKS[config.attack], **options)
    spreads = analysis.spreads(comparison)
    attacked = {
        name: _attack_difference(comparison, name)
        for name in dict.fromkeys((config.attack, THRESHOLD_ATTACK))
    }
    sweep = rho = None
    if config.sweep_models and compared != "sgd":
        rho = explain_source.radius(settings, compared)
        radii = config.rho or tuple(rho * factor for factor in (0, 0.5, 1, 2, 4))
        sweep = explain_source.train_again(
            settings,
            compared,
            dataset,
            radii,
            ATTACKS[config.attack],
            num_models=config.sweep_models,
            num_examples=config.sharpness_examples,
        )
    checked = explain_claims.claims(
        comparison,
        attacked[config.attack],
        attacked[THRESHOLD_ATTACK],
        found,
        typical,
        success,
        spreads,
        sweep,
        rho,
    )
    drawings = _draw(config, dataset, comparison, found, typical, success, spreads)
    if sweep is not None:
        drawings["sharpness"] = variance_figures.sharpness(compared, sweep)
        drawings["accuracy_and_leakage"] = variance_figures.outcomes(compared, sweep)
    _write(folder, source, comparison, checked, drawings)
    reproduced = explain_source.reproduced(sweep, rho, comparison)
    numbers = [found, typical, success, spreads]
    folder = run_folder.finish_run(
        folder, _metrics(checked, numbers, attacked, sweep, reproduced)
    )
    rows = [[*claim.row[:-1], claim.agrees] for claim in checked]
    print(tables.text_table(explain_claims.COLUMNS, rows, width=160))
    print(f"\n{explain_claims.verdict(checked)}")
    if reproduced is not None:
        print(
            f"The models trained again answer like those of the audit on "
            f"{100 * reproduced:.2f} % of the examples."
        )
    print(f"Report: {folder / 'report.html'}")
    return checked


def _open_audit(
    source: pathlib.Path, config: Config
) -> tuple[audit_experiment.Config, analysis.Comparison]:
    """Settings of a finished audit, and the two optimizers that are compared."""
    settings = explain_source.audit_settings(source)
    signals = load_audit_signals(source)
    baseline, *others = signals
    if not others:
        raise ValueError(f"run must compare two optimizers, {source} has {baseline}.")
    compared = config.compared or others[0]
    return settings, analysis.compare(signals, baseline, compared, config.seed)


def _attack_difference(
    comparison: analysis.Comparison, attack: str
) -> attack_metrics.Differences:
    """The attack's metrics, compared less baseline."""
    base, other = (score_targets(ATTACKS[attack], s) for s in comparison.signals)
    keep = np.asarray(comparison.signals[0].keep)
    return attack_metrics.paired_difference(other, base, keep, mask=comparison.pool)


def _draw(
    config: Config,
    dataset: sam_jax.Dataset,
    comparison: analysis.Comparison,
    found: analysis.Memorized,
    typical: analysis.Typicality,
    success: analysis.Success,
    spreads: analysis.Spreads,
) -> dict[str, Drawing]:
    """Every figure and table by the name of its file."""
    memory, spread, names = memorization_figures, variance_figures, comparison.names
    index = np.flatnonzero(comparison.pool)
    labels = np.asarray(comparison.signals[0].labels)[comparison.pool]
    count = config.num_images
    drawings = {
        "memorization": memory.distributions(names, found),
        "memorization_scatter": memory.scatter(names, found, index, labels),
        "memorization_by_bin": memory.by_bin(names, found),
        "largest_differences": memory.largest_differences(
            names, found, dataset, index, count
        ),
        "accuracy_by_bucket": memory.buckets(names, typical),
        "influence_entropy": memory.entropies(names, comparison, typical),
    }
    for which, kind in enumerate(("baseline", "compared")):
        drawings[f"influence_pairs_{kind}"] = memory.pairs(
            names[which], found, which, typical, dataset, index, count
        )
    return drawings | {
        "attack_by_memorization": memory.success(names, success),
        "confidence": spread.confidence(names, comparison, spreads.unseen),
        "confidence_variances": spread.variances(names, spreads.unseen),
        "decomposition": spread.decomposition(names, spreads),
        "side": spread.side(names, spreads),
    }


THRESHOLD_ATTACK = "modified_entropy"
"""The direct attack whose balanced accuracy the paper reports."""

SECTIONS = {
    "memorization": "Memorization",
    "accuracy_by_bucket": "Influence",
    "attack_by_memorization": "Memorization against attack success",
    "confidence": "Variance of confidence",
    "sharpness": "Sharpness",
}


def _write(
    folder: pathlib.Path,
    source: pathlib.Path,
    comparison: analysis.Comparison,
    checked: list[explain_claims.Claim],
    drawings: dict[str, Drawing],
) -> None:
    """Writes figures, CSVs and the report."""
    base, other = comparison.names
    rows = [claim.row for claim in checked]
    body = [
        page.table(
            explain_claims.COLUMNS,
            rows,
            f"Differences are {other} less {base}, paired by model and example.",
        ),
        *_fit_warning(comparison),
    ]
    for name, drawing in drawings.items():
        if name in SECTIONS:
            body.append(page.heading(SECTIONS[name]))
        save_drawing(folder, name, drawing)
        if drawing.figure is not None:
            body.append(page.figure(drawing.figure, drawing.caption, drawing.bitmap))
    columns = ("claim", "paper", *NUMBERS, "agrees", "note")
    claims = [
        [c.name, c.paper, *numbers(c.measured), c.agrees, c.note.strip()]
        for c in checked
    ]
    table = Drawing(None, "", columns, claims)
    save_drawing(folder, "claims", table)
    about = run_folder.read_config(folder)
    body.append(page.json_block(about, "Settings, versions, commit"))
    written = page.page(
        f"Why {other} and {base} leak differently",
        "Are memorization, influence, variance and sharpness what the paper says?",
        explain_claims.verdict(checked),
        body,
        subtitle=f"{len(comparison.keep)} models for each optimizer, from {source}.",
        footer=f"{about['command']} | commit {about['commit']}",
    )
    (folder / "report.html").write_text(written, encoding="utf-8")


def _fit_warning(comparison: analysis.Comparison) -> list[Markup]:
    """What a reader must know where the two do not fit equally well."""
    fits = [
        np.mean(np.asarray(s.correct)[:, comparison.pool], where=comparison.keep)
        for s in comparison.signals
    ]
    if abs(fits[1] - fits[0]) <= EQUAL_ACCURACY:
        return []
    said = " and ".join(
        f"{fit:.3f} ({name})" for fit, name in zip(fits, comparison.names, strict=True)
    )
    return [
        page.warning(
            f"Training accuracies are {said}: what differs may come from the fit alone."
        )
    ]


def _metrics(checked, numbers, attacked, sweep, reproduced) -> dict[str, Any]:
    """Every number of the report but those of single examples."""
    found, typical, success, spreads = numbers
    skipped = {"estimates", "difference", "bins", "gain", "entropy", "num_positive"}
    skipped |= {"bucket", "pairs", "values", "signals"}
    short = lambda part: {k: v for k, v in part._asdict().items() if k not in skipped}
    parts = {
        "memorization": found,
        "influence": typical,
        "success": success,
        "variance": spreads,
    }
    return {
        "verdict": explain_claims.verdict(checked),
        "claims": [dataclasses.asdict(c) | {"agrees": c.agrees} for c in checked],
        "attacks": {name: found.as_dict() for name, found in attacked.items()},
        **{name: short(part) for name, part in parts.items()},
        "sharpness": None if sweep is None else short(sweep),
        "reproduced": reproduced,
    }


def command(arguments: Sequence[str]) -> int:
    """Runs ``sam-jax explain`` with its options; returns the exit status."""
    sam_jax.use_all_cores()
    text = __doc__ + run_folder.list_choices(attack=ATTACKS)
    main(run_folder.parse_options("explain", Config, text, arguments))
    return 0
