"""Figures of variance and sharpness, with their numbers."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sam_jax import analysis
from sam_jax.analysis import output_variance
from sam_jax.analysis.rho_sweep import RhoSweep
from sam_jax.metrics.estimate import Estimate
from sam_jax.reporting import canvas
from sam_jax.reporting.drawings import NUMBERS, Drawing, interval_panels, numbers

SCORE_LABELS = {
    "probability": "probability",
    "phi": "phi",
    "calibrated_phi": "calibrated phi",
}
FACTOR_LABELS = {
    "shift": "means",
    "contraction": "non-members'\nstd",
    "member_std": "members'\nstd",
    "interaction": "inter-\naction",
}
MEASURE_LABELS = {
    "top_eigenvalue": "top eigenvalue",
    "trace": "trace",
    "worst_case_increase": "worst-case increase",
    "average_case_increase": "average-case increase",
    "adaptive_worst_case_increase": "adaptive worst-case increase",
    "adaptive_average_case_increase": "adaptive average-case increase",
    "train_accuracy": "train accuracy",
    "test_accuracy": "test accuracy",
    "attack_auc": "attack AUC",
}
"""Identifier of the data -> label in figures and reports."""


def confidence(
    names: Sequence[str],
    comparison: analysis.Comparison,
    unseen: Sequence[Mapping[str, Estimate]],
) -> Drawing:
    """Confidence of unseen examples, and its deviation over models by example."""
    figure, panels = canvas.blank_panels("Confidence of unseen examples", 2, 4.4, 3.2)
    keep = np.asarray(comparison.signals[0].keep)
    rows = []
    for name, signals, color in zip(
        names, comparison.signals, canvas.PALETTE, strict=False
    ):
        p = output_variance.probability(signals)
        over_models = np.std(p, axis=0, ddof=1, where=~keep)
        for axes, what, values, edges in (
            (panels[0], "probability", p[~keep], np.linspace(0, 1, 41)),
            (panels[1], "deviation", over_models, np.linspace(0, 0.6, 31)),
        ):
            share = np.histogram(values, edges)[0] / values.size
            axes.stairs(share, edges, color=color, lw=1.6, label=name)
            rows += [
                [name, what, *row]
                for row in zip(edges[:-1], edges[1:], share, strict=True)
            ]
    panels[0].set(
        xlabel="probability of the label", ylabel="share of outputs", yscale="log"
    )
    panels[1].set(
        xlabel="deviation over models, by example", ylabel="share of examples"
    )
    canvas.legend(figure)
    total = [u["total"].value for u in unseen]
    caption = (
        f"Variance over examples {total[0]:.4f} ({names[0]}) and {total[1]:.4f} "
        f"({names[1]}); per example over models {unseen[0]['models'].value:.4f} and "
        f"{unseen[1]['models'].value:.4f}."
    )
    return Drawing(figure, caption, ("of", "what", "from", "to", "share"), rows)


def variances(
    names: Sequence[str], unseen: Sequence[Mapping[str, Estimate]]
) -> Drawing:
    """The numbers of variance alone."""
    rows = [
        [name, variance, *numbers(estimate)]
        for name, estimates in zip((*names, "difference"), unseen, strict=True)
        for variance, estimate in estimates.items()
    ]
    return Drawing(None, "", ("of", "variance", *NUMBERS), rows)


def decomposition(
    names: Sequence[str], variance: analysis.VarianceComparison
) -> Drawing:
    """Change of the Gaussian attack's advantage by factor and score."""
    panels, rows = {}, []
    for score, factors in variance.decomposition.items():
        change = [factors[factor] for factor in FACTOR_LABELS]
        panels[SCORE_LABELS[score]] = {f"{names[1]} - {names[0]}": change}
        rows += [[score, f, *numbers(estimate)] for f, estimate in factors.items()]
    figure = interval_panels(
        "Change of the Gaussian attack's advantage, one factor at a time",
        panels,
        list(FACTOR_LABELS.values()),
        "factor that takes its new value",
        width=3.6,
    )
    caption = (
        "The likelihood-ratio attack on two Gaussians fitted to the score of members "
        f"and of non-members under {names[0]}, with one factor at its value under "
        f"{names[1]}. 'Calibrated phi' is phi minus the mean of the other models that "
        "did not see the example, the difficulty that LiRA takes out."
    )
    return Drawing(figure, caption, ("score", "factor", *NUMBERS), rows)


def turning_points(
    names: Sequence[str], variance: analysis.VarianceComparison
) -> Drawing:
    """Advantage against the non-members' standard deviation, with its lowest point."""
    figure, panels = canvas.blank_panels(
        "On which side of s = |1 - mu|", len(variance.fits), 3.6, 3.2
    )
    rows = []
    for axes, (score, fits) in zip(panels, variance.fits.items(), strict=True):
        _draw_advantage(axes, fits[0])
        for name, fit, color in zip(names, fits, canvas.PALETTE, strict=False):
            point = output_variance.turning_point(fit)
            ratio = fit.std / point.gap
            advantage = output_variance.gaussian_advantage(fit)
            axes.plot(ratio, advantage, "o", color=color, ms=6, label=name)
            side = "near" if point.contraction_helps else "far"
            numbers_of_point = [*point[:3], fit.member_std, ratio, advantage]
            rows.append([score, name, *numbers_of_point, side])
        canvas.panel_title(axes, SCORE_LABELS[score])
    panels[0].set_ylabel("Gaussian advantage")
    canvas.legend(figure)
    caption = (
        "Line: advantage over the standard deviation of the non-members, at the means "
        f"and the members' standard deviation of {names[0]}; dashed: its lowest point. "
        "Left of it less variance helps the attack, right of it less variance hinders "
        "it."
    )
    columns = ("score", "of", "gap", "std", "turning", "member_std", "ratio")
    return Drawing(figure, caption, (*columns, "gaussian_advantage", "side"), rows)


def _draw_advantage(axes: Any, base: output_variance.GaussianFit) -> None:
    """The advantage over the ratio s / |1 - mu|, with its turning point."""
    ratios = np.geomspace(0.25, 4, 81)
    gap = abs(base.gap)
    advantages = [
        output_variance.gaussian_advantage(base._replace(std=gap * float(ratio)))
        for ratio in ratios
    ]
    axes.plot(ratios, advantages, color=canvas.MUTED, lw=1.3)
    turning = output_variance.turning_point(base).turning / gap
    axes.axvline(turning, color=canvas.MUTED, lw=1, ls=(0, (4, 3)))
    axes.set(xscale="log", xlabel="s / |1 - mu|", ylim=(0, 1))
    axes.set_xticks([0.25, 0.5, 1, 2, 4], ["1/4", "1/2", "1", "2", "4"])
    axes.set_xticks([], minor=True)


SHARPNESS = (
    "top_eigenvalue",
    "trace",
    "worst_case_increase",
    "average_case_increase",
    "adaptive_worst_case_increase",
)
"""Measures in the figure of sharpness; the CSV has the others too."""

OUTCOMES = ("train_accuracy", "test_accuracy", "attack_auc")


def sharpness(name: str, sweep: RhoSweep) -> Drawing:
    """Sharpness against the radius."""
    title = f"{name}: sharpness against rho"
    caption = (
        "Means over models with 95 % intervals, on training examples of each model. "
        "Loss increases are in nats, in a ball of fixed radius or in ASAM's, which "
        "does not depend on the scale of the weights."
    )
    measures = [measure for measure in sweep.measures if measure not in OUTCOMES]
    return _against_rho(title, caption, SHARPNESS, measures, sweep)


def accuracy_and_leakage(name: str, sweep: RhoSweep) -> Drawing:
    """Accuracy and leakage against the radius."""
    title = f"{name}: accuracy and leakage against rho"
    num_models = sweep.by_model["test_accuracy"].shape[1]
    caption = (
        "Means over models with 95 % intervals; the attack's AUC is pooled over the "
        f"{num_models} models, each attacked with the others, and so below that of the "
        "audit with more."
    )
    return _against_rho(title, caption, OUTCOMES, OUTCOMES, sweep)


def _against_rho(
    title: str, caption: str, shown: Sequence[str], kept: Sequence[str], sweep: RhoSweep
) -> Drawing:
    """Panels of the measures shown; the table has those kept."""
    name = title.partition(":")[0]
    figure = interval_panels(
        title,
        {MEASURE_LABELS[m]: {name: sweep.measures[m]} for m in shown},
        [f"{rho:g}" for rho in sweep.rho],
        "rho",
        width=2.9,
    )
    rows = []
    for measure in kept:
        pairs = zip(sweep.measures[measure], sweep.differences[measure], strict=True)
        for rho, (value, difference) in zip(sweep.rho, pairs, strict=True):
            rows.append([rho, measure, *numbers(value), *numbers(difference)])
    differences = [f"difference_{column}" for column in NUMBERS]
    return Drawing(figure, caption, ("rho", "measure", *NUMBERS, *differences), rows)
