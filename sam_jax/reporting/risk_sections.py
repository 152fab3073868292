"""Sections of an audit's report on single examples: who is exposed, and how surely."""

import math

import numpy as np
from markupsafe import Markup

from sam_jax.auditing.result import AuditResult
from sam_jax.reporting import example_plots, page
from sam_jax.reporting.tables import Cell, Table
from sam_jax.types import Dataset

NUM_SHOWN = 16
"""Most exposed examples in table and figure."""


def sections(result: AuditResult) -> list[Markup]:
    """Returns the section: figures, how reliable they are, the most exposed records."""
    baseline, main = result.baseline, result.main_attack
    columns, rows = risk_table(result)
    errors = "Score and exposure with their standard errors over targets"
    if result.given is not None:
        errors = "Score and exposure for this model, luck of the ranking included"
    caption = (
        f"The {len(rows)} most exposed records under {baseline} ({main}); all are in "
        f"risk.csv. {errors}; "
        "detected: targets with the record that call it a member at "
        f"{100 * result.risk_fpr:g} % FPR; rank with the range that the error leaves; "
        "rank over targets: P(a model with the record exposes it more than one "
        "without)."
    )
    return [
        page.heading("Exposed examples"),
        page.side_by_side(*_figures(result)),
        *(page.text(line) for line in risk_notes(result)),
        page.table(columns, rows, caption),
        *_pictures(result),
    ]


def _figures(result: AuditResult) -> list[Markup]:
    risks = {name: o.risk for name, o in result.optimizers.items()}
    drawing = example_plots.exposure_figure(
        {name: risk.exposure for name, risk in risks.items()},
        {name: risk.error for name, risk in risks.items()},
    )
    caption = (
        "Examples by exposure, the most exposed first: minus log10 of the false-"
        "positive rate at which the targets that trained on them call them members. "
        "The area is one standard error."
    )
    figures = [page.figure(drawing, caption)]
    baseline = result.baseline
    for name in result.compared:
        drawing = example_plots.pair_figure(
            risks[baseline].exposure,
            risks[name].exposure,
            f"{baseline}: exposure",
            f"{name}: exposure",
        )
        caption = (
            f"Each example's exposure under {baseline} and {name}; on the diagonal "
            "nothing changed."
        )
        figures.append(page.figure(drawing, caption))
    return figures


def risk_table(result: AuditResult) -> Table:
    """Returns the most exposed records under the baseline, and under the others."""
    risk = result[result.baseline].risk
    columns = ["record", "label", "score", "exposure", "rank", "detected"]
    columns += ["rank over targets"]
    columns += [f"{name} - {result.baseline}" for name in result.compared]
    rows: list[list[Cell]] = []
    for row in np.argsort(risk.rank)[:NUM_SHOWN]:
        column = int(result.columns[row])
        cells: list[Cell] = [
            record_name(result.dataset, column),
            label_name(result.dataset, column),
            _with_error(risk.score[row], risk.score_error[row], 1),
            _with_error(risk.exposure[row], risk.error[row], 2),
            f"{risk.rank[row]} ({risk.rank_low[row]} to {risk.rank_high[row]})",
            f"{risk.caught[row]} of {risk.num_in[row]}",
            float(risk.auc[row]),
        ]
        for optimizer in result.compared.values():
            change = optimizer.risk_change
            assert change is not None
            cells.append(_with_error(change.value[row], change.error[row], 2, "+"))
        rows.append(cells)
    return columns, rows


def _with_error(value: float, error: float, digits: int, sign: str = "") -> str:
    """``value ± error``; without an error that one given model does not have."""
    text = f"{value:{sign}.{digits}f}"
    return text if math.isnan(error) else f"{text} ± {error:.{digits}f}"


def risk_notes(result: AuditResult) -> list[str]:
    """Returns how reliable the ranking is, and how optimizers change it."""
    lines = []
    for name, optimizer in result.optimizers.items():
        again = optimizer.reliability
        if math.isnan(again.top_again):
            continue
        correlation = ""
        if not math.isnan(again.correlation):
            correlation = (
                f" (rank correlation {again.correlation:.2f} between halves of the "
                "targets)"
            )
        lines.append(
            f"{name}: the most exposed by one half of the targets have exposure "
            f"{again.top_seen:.2f} there and {again.top_again:.2f} in the other half, "
            f"all examples {again.everyone:.2f}{correlation}. A gap between the first "
            "two is luck of the ranking."
        )
    for name, optimizer in result.compared.items() if result.given is None else ():
        change = optimizer.risk_change
        assert change is not None
        # Beyond 1.96 errors lie 2.5 % of a Gaussian on each side.
        clear = np.abs(change.value) > 1.96 * change.error
        more = int((clear & (change.value > 0)).sum())
        less = int((clear & (change.value < 0)).sum())
        total = int((~np.isnan(change.value)).sum())
        lines.append(
            f"{name} against {result.baseline}, by example: {more:,} clearly more "
            f"exposed and {less:,} clearly less, of {total:,}; chance alone would give "
            f"about {0.025 * total:,.0f} each."
        )
    return lines


def record_name(dataset: Dataset, column: int) -> str:
    """Returns how the user's data call a pool example: its split and row, and its id.

    Args:
        dataset: The data behind the columns.
        column: Of the signals.
    """
    if dataset.train_origin is None:
        return str(column)
    split, row, *ids = dataset.train_origin.describe(column)
    return f"{split} {row}" + (f" ({ids[0]})" if ids else "")


def label_name(dataset: Dataset, column: int) -> str:
    """Returns the class of a pool example, by name where names are known."""
    label = int(dataset.train.y[column])
    names = dataset.class_names
    return names[label] if label < len(names) else str(label)


def _pictures(result: AuditResult) -> list[Markup]:
    x = result.dataset.train.x
    if x.ndim != 4 or x.shape[-1] not in (1, 3):
        return []
    risk = result[result.baseline].risk
    shown = np.argsort(risk.rank)[:NUM_SHOWN]
    columns = result.columns[shown]
    captions = []
    for row, column in zip(shown, columns, strict=True):
        label = label_name(result.dataset, int(column))
        captions.append(f"{label}\n{risk.exposure[row]:.2f}")
    drawing = example_plots.image_strip(
        np.asarray(x)[columns], captions, f"Most exposed under {result.baseline}"
    )
    caption = "The same records with their label and exposure."
    return [page.figure(drawing, caption)]
