"""The assessment for readers: sections of a report, and warnings for its top."""

import csv
import math
import pathlib
from typing import Any

import numpy as np

from sam_jax.auditing.assessment import Assessment
from sam_jax.metrics import num_models
from sam_jax.metrics.thresholds import PRIORS
from sam_jax.reporting import html, plots
from sam_jax.reporting.html import Cell
from sam_jax.types import Dataset

NUM_SHOWN = 16
"""Most exposed examples in table and figure."""


def warnings(found: Assessment) -> list[html.Html]:
    """Returns what a reader must know before using a number, the worst first."""
    checks = [(n, check) for n, own in found.validity.items() for check in own]
    said = []
    for severity, lead in (
        ("invalid", "These figures are not valid. "),
        ("warning", ""),
    ):
        said += [
            html.warning(f"{lead}{name}, {check.name}: {check.text}")
            for name, check in checks
            if check.severity == severity and check.name != "population"
        ]
    return said


def sections(
    found: Assessment, main: str, dataset: Dataset, baseline: str
) -> list[html.Html]:
    """Returns the sections on trust, use and risk, in the order of a report.

    Args:
        found: The assessment.
        main: The main attack.
        dataset: The data behind the columns; pictures are shown of images.
        baseline: The optimizer that the others are compared with.
    """
    return [
        html.heading("With thresholds that an attacker could have set"),
        html.table(
            *carried_table(found, main),
            f"{main}: thresholds fixed on the shadow models and carried to the target. "
            "Precision: of those accused, the share that are members, where the given "
            "fraction of all asked about are members.",
        ),
        html.details(
            "All attacks",
            *(
                html.table(*carried_table(found, attack), attack)
                for attack in found.calls[baseline]
                if attack != main
            ),
        ),
        html.heading("What it says about differential privacy"),
        html.table(*epsilon_table(found), _epsilon_caption(found)),
        *_one_run(found),
        html.heading("Were there enough models?"),
        html.side_by_side(
            html.figure(
                plots.shadow_model_figure(
                    [size - 1 for size in found.model_counts[baseline].num_models],
                    {n: list(c.estimates) for n, c in found.model_counts.items()},
                    f"{main} AUC",
                ),
                "The models are dealt into groups; each is a target, and the rest of "
                "its group are its shadow models.",
            ),
            html.Html("".join(html.text(line) for line in enough_models(found))),
        ),
        html.heading("Who is exposed"),
        *_risk(found, main, dataset, baseline),
        html.heading("Are the models of one kind?"),
        html.table(
            ["models", "check", "", "found"],
            [
                [name, check.name, check.severity, check.text]
                for name, own in found.validity.items()
                for check in own
            ],
            "Looked at before any score was made; each model against the others.",
        ),
    ]


def carried_table(found: Assessment, attack: str) -> tuple[list[str], list[list[Cell]]]:
    """Returns columns and rows: optimizers and rules against rates and precision."""
    columns = ["threshold", "TPR", "FPR", "balanced accuracy"]
    columns += [f"precision at {100 * prior:g} %" for prior in PRIORS]
    several = len(found.calls) > 1
    rows: list[list[Cell]] = [
        [
            f"{name}, {own.rule}" if several else own.rule,
            own.tpr,
            own.fpr,
            own.balanced_accuracy,
            *(_or_nobody(own.precision[f"{prior:g}"]) for prior in PRIORS),
        ]
        for name, by_attack in found.calls.items()
        for own in by_attack[attack]
    ]
    return columns, rows


def epsilon_table(found: Assessment) -> tuple[list[str], list[list[Cell]]]:
    """Returns columns and rows of the lower bounds on epsilon."""
    first = next(iter(next(iter(found.epsilon.values())).values()))
    columns = ["", *(f"delta {bound.delta:g}" for bound in first)]
    columns += ["delta 0, independent cells", "threshold"]
    rows: list[list[Cell]] = [
        [
            f"{name} {attack}",
            *(bound.epsilon for bound in bounds),
            bounds[0].epsilon_independent,
            bounds[0].rule if bounds[0].epsilon > 0 else "",
        ]
        for name, own in found.epsilon.items()
        for attack, bounds in own.items()
    ]
    return columns, rows


def enough_models(found: Assessment) -> list[str]:
    """Returns what the number of models and the intervals say about training more."""
    said = [
        f"{name}: {num_models.says_enough(curve)}"
        for name, curve in found.model_counts.items()
    ]
    for name, own in found.settle.items():
        curve = found.model_counts[name]
        said.append(_settled(name, own["auc"], curve.num_models[-1]))
    if found.settle:
        said.append(
            "The estimate assumes that the difference stays where it is, and plans a "
            "new run: adding models until an interval leaves out 0 is no test."
        )
    return said


def write_risk(found: Assessment, labels: Any, path: pathlib.Path) -> None:
    """Writes every example's exposure under each optimizer to a CSV file."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        first = next(iter(found.risk.values()))
        writer.writerow(["optimizer", "column", "label", *first._fields])
        for name, own in found.risk.items():
            for row, column in enumerate(found.columns):
                values = [getattr(own, field)[row] for field in own._fields]
                writer.writerow([name, column, labels[column], *map(_short, values)])


def _settled(name: str, needed: float, have: int) -> str:
    if needed <= have:
        return f"The AUC of {name} against the baseline is settled with {have} models."
    if math.isinf(needed):
        return (
            f"More models alone would not settle the AUC of {name} against the "
            "baseline: the examples leave more uncertainty than there is difference."
        )
    return (
        f"About {needed:,.0f} models (now {have}) would settle the AUC of {name} "
        "against the baseline."
    )


def _epsilon_caption(found: Assessment) -> str:
    level = next(iter(next(iter(found.epsilon.values())).values()))[0].level
    return (
        f"Lower bounds on epsilon, at {100 * level:g} % confidence, over the rules "
        "above with a correction for their number. 0 means that nothing is shown, not "
        "that there is privacy. With independent cells: Clopper-Pearson limits, which "
        "count every score as an independent trial and are too high where targets and "
        "examples share something."
    )


def _one_run(found: Assessment) -> list[html.Html]:
    if not found.one_run:
        return []
    first = next(iter(next(iter(found.one_run.values())).values()))
    columns = ["", *(f"median target, delta {bound.delta:g}" for bound in first)]
    columns += ["best target, corrected", "right guesses (median)"]
    rows: list[list[Cell]] = [
        [
            f"{name} {attack}",
            *(float(np.median(bound.epsilon)) for bound in bounds),
            bounds[0].largest,
            f"{np.median(bounds[0].num_correct):.0f} of "
            f"{np.median(bounds[0].num_guesses):.0f}",
        ]
        for name, own in found.one_run.items()
        for attack, bounds in own.items()
    ]
    caption = (
        "Lower bounds on epsilon from single training runs with mislabelled canaries, "
        "each in by a coin of its own: valid for one run, whatever its examples share."
    )
    return [html.table(columns, rows, caption)]


def _risk(found, main, dataset, baseline) -> list[html.Html]:
    others = [name for name in found.risk if name != baseline]
    drawn = [
        html.figure(
            plots.exposure_figure(
                {name: own.exposure for name, own in found.risk.items()},
                {name: own.error for name, own in found.risk.items()},
            ),
            "Examples by exposure, the most exposed first: minus log10 of the false-"
            "positive rate at which the targets that trained on them accuse them. The "
            "area is one standard error.",
        )
    ]
    for name in others:
        pair = (found.risk[baseline].exposure, found.risk[name].exposure)
        drawn.append(
            html.figure(
                plots.pair_figure(*pair, f"{baseline}: exposure", f"{name}: exposure"),
                f"Each example's exposure under {baseline} and {name}; on the diagonal "
                "nothing changed.",
                bitmap=True,
            )
        )
    columns, rows = risk_table(found, dataset, baseline)
    body = [
        html.side_by_side(*drawn),
        *(html.text(line) for line in risk_notes(found, baseline)),
        html.table(
            columns,
            rows,
            f"The {len(rows)} most exposed records under {baseline} ({main}); all are "
            "in risk.csv. Score and exposure with their standard errors over targets; "
            f"caught: targets with the record that accuse it at {100 * found.fpr:g} % "
            "FPR; rank with the range that the error leaves; rank over targets: P(a "
            "model with the record exposes it more than one without).",
        ),
    ]
    return body + _pictures(found, dataset, baseline)


def risk_table(
    found: Assessment, dataset: Dataset, baseline: str
) -> tuple[list[str], list[list[Cell]]]:
    """Returns the most exposed records under the baseline, and under the others."""
    own = found.risk[baseline]
    columns = ["record", "label", "score", "exposure", "rank", "caught"]
    columns += ["rank over targets"]
    columns += [f"{name} - {baseline}" for name in found.risk_change]
    rows: list[list[Cell]] = []
    for row in np.argsort(own.rank)[:NUM_SHOWN]:
        column = int(found.columns[row])
        changes = [
            f"{change.value[row]:+.2f} ± {change.error[row]:.2f}"
            for change in found.risk_change.values()
        ]
        rows.append(
            [
                str(column),
                label_name(dataset, column),
                f"{own.score[row]:.1f} ± {own.score_error[row]:.1f}",
                f"{own.exposure[row]:.2f} ± {own.error[row]:.2f}",
                f"{own.rank[row]} ({own.rank_low[row]} to {own.rank_high[row]})",
                f"{own.caught[row]} of {own.num_in[row]}",
                float(own.auc[row]),
                *changes,
            ]
        )
    return columns, rows


def risk_notes(found: Assessment, baseline: str) -> list[str]:
    """Returns how reliable the ranking is, and how optimizers change it."""
    said = []
    for name, own in found.reliability.items():
        if math.isnan(own.top_again):
            continue
        correlation = (
            ""
            if math.isnan(own.correlation)
            else f" (rank correlation "
            f"{own.correlation:.2f} between halves of the targets)"
        )
        said.append(
            f"{name}: the most exposed by one half of the targets have exposure "
            f"{own.top_seen:.2f} there and {own.top_again:.2f} in the other half, all "
            f"examples {own.everyone:.2f}{correlation}. A gap between the first two is "
            "luck of the ranking."
        )
    for name, change in found.risk_change.items():
        clear = np.abs(change.value) > 1.96 * change.error
        more = int((clear & (change.value > 0)).sum())
        less = int((clear & (change.value < 0)).sum())
        total = int((~np.isnan(change.value)).sum())
        said.append(
            f"{name} against {baseline}, by example: {more:,} clearly more exposed and "
            f"{less:,} clearly less, of {total:,}; chance alone would give about "
            f"{0.025 * total:,.0f} each."
        )
    return said


def label_name(dataset: Dataset, column: int) -> str:
    """Returns the class of a pool example, by name where names are known."""
    label = int(dataset.train.y[column])
    names = dataset.class_names
    return names[label] if label < len(names) else str(label)


def _pictures(found, dataset, baseline) -> list[html.Html]:
    x = dataset.train.x
    if x.ndim != 4 or x.shape[-1] not in (1, 3):
        return []
    own = found.risk[baseline]
    shown = np.argsort(own.rank)[:NUM_SHOWN]
    columns = found.columns[shown]
    captions = [
        f"{label_name(dataset, int(column))}\n{own.exposure[row]:.2f}"
        for row, column in zip(shown, columns, strict=True)
    ]
    drawing = plots.image_strip(
        np.asarray(x)[columns], captions, f"Most exposed under {baseline}"
    )
    caption = "The same records with their label and exposure."
    return [html.figure(drawing, caption, bitmap=True)]


def _short(value: Any) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def _or_nobody(estimate) -> Cell:
    return "nobody accused" if math.isnan(estimate.value) else estimate
