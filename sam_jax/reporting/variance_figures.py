"""Figures of variance and sharpness, with their numbers."""

from collections.abc import Mapping, Sequence

import numpy as np

from sam_jax import analysis
from sam_jax.analysis import output_variance
from sam_jax.analysis.rho_sweep import Sweep
from sam_jax.metrics.estimate import Estimate
from sam_jax.reporting import canvas
from sam_jax.reporting.drawings import NUMBERS, Drawing, interval_panels, numbers

FACTORS = {
    "shift": "means",
    "contraction": "spread of others",
    "member_spread": "spread of members",
    "interaction": "together",
}


def confidence(
    names: Sequence[str],
    comparison: analysis.Comparison,
    unseen: Sequence[Mapping[str, Estimate]],
) -> Drawing:
    """Confidence of unseen examples, and its spread over models by example."""
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
        xlabel="probability of the label", ylabel="share of answers", yscale="log"
    )
    panels[1].set(
        xlabel="deviation over models, by example", ylabel="share of examples"
    )
    for axes in panels:
        axes.legend(frameon=False, labelcolor="linecolor", fontsize=9)
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
        [name, kind, *numbers(estimate)]
        for name, own in zip((*names, "difference"), unseen, strict=True)
        for kind, estimate in own.items()
    ]
    return Drawing(None, "", ("of", "variance", *NUMBERS), rows)


def decomposition(names: Sequence[str], found: analysis.Spreads) -> Drawing:
    """What each factor does to the Gaussian attack, by score."""
    panels = {
        score: {f"{names[1]} - {names[0]}": [parts[f] for f in FACTORS]}
        for score, parts in found.decomposition.items()
    }
    figure = interval_panels(
        "Change of the Gaussian attack's advantage, one factor at a time",
        panels,
        ["means", "others'\nspread", "members'\nspread", "inter-\naction"],
        "what takes its new value",
        width=3.6,
    )
    caption = (
        "The likelihood-ratio attack on two Gaussians fitted to the score of members "
        f"and of others under {names[0]}, with one factor at its value under "
        f"{names[1]}. 'Calibrated phi' is phi less the mean of the other models that "
        "did not see the example: what LiRA sees."
    )
    rows = [
        [score, factor, *numbers(estimate)]
        for score, parts in found.decomposition.items()
        for factor, estimate in parts.items()
    ]
    return Drawing(figure, caption, ("score", "factor", *NUMBERS), rows)


def side(names: Sequence[str], found: analysis.Spreads) -> Drawing:
    """Advantage against the spread of the others, with the turning point."""
    figure, panels = canvas.blank_panels(
        "On which side of s = |1 - mu|", len(found.laws), 3.6, 3.2
    )
    rows = []
    for axes, (score, pair) in zip(panels, found.laws.items(), strict=True):
        base = pair[0]
        ratios = np.geomspace(0.25, 4, 81)
        curve = [
            output_variance.gaussian_advantage(
                base._replace(spread=abs(base.gap) * float(r))
            )
            for r in ratios
        ]
        axes.plot(ratios, curve, color=canvas.MUTED, lw=1.3)
        for name, laws, color in zip(names, pair, canvas.PALETTE, strict=False):
            place = output_variance.side_of_turning(laws)
            ratio, advantage = (
                laws.spread / place.gap,
                output_variance.gaussian_advantage(laws),
            )
            axes.plot(ratio, advantage, "o", color=color, ms=6, label=name)
            rows.append(
                [score, name, *place[:3], laws.member_spread, ratio, advantage]
                + ["near" if place.near else "far"]
            )
        turning = output_variance.side_of_turning(base).turning / abs(base.gap)
        axes.axvline(turning, color=canvas.MUTED, lw=1, ls=(0, (4, 3)))
        axes.set(xscale="log", xlabel="s / |1 - mu|", ylim=(0, 1))
        axes.set_xticks([0.25, 0.5, 1, 2, 4], ["1/4", "1/2", "1", "2", "4"])
        axes.set_xticks([], minor=True)
        axes.set_title(score, fontsize=9.5, color=canvas.INK, loc="left")
    panels[0].set_ylabel("Gaussian advantage")
    panels[-1].legend(frameon=False, labelcolor="linecolor", fontsize=9)
    caption = (
        f"Line: advantage over the spread of the others at the means and the members' "
        f"spread of {names[0]}; dashed: its lowest point. Left of it less spread helps "
        "the attack, right of it less spread hinders it."
    )
    columns = ("score", "of", "gap", "spread", "turning", "member_spread")
    return Drawing(
        figure, caption, (*columns, "ratio", "gaussian_advantage", "side"), rows
    )


SHARPNESS = (
    "top eigenvalue",
    "trace",
    "worst-case rise",
    "average-case rise",
    "adaptive worst-case rise",
)


def sharpness(name: str, found: Sweep) -> Drawing:
    """Sharpness against the radius."""
    title = f"{name}: sharpness against rho"
    caption = (
        "Means over models with 95 % intervals, on training examples of each model. "
        "Rises are in nats, in a ball of fixed radius or in ASAM's, which does not "
        "depend on the scale of the weights."
    )
    rest = [label for label in found.measures if label not in OUTCOMES]
    return _sweep(title, caption, SHARPNESS, rest, name, found)


OUTCOMES = ("train accuracy", "test accuracy", "attack AUC")


def outcomes(name: str, found: Sweep) -> Drawing:
    """Accuracy and leakage against the radius."""
    title = f"{name}: accuracy and leakage against rho"
    caption = (
        "Means over models with 95 % intervals; the attack's AUC is pooled over the "
        f"{found.by_model['test accuracy'].shape[1]} models, each attacked with the "
        "others, and so below that of the audit with more."
    )
    return _sweep(title, caption, OUTCOMES, OUTCOMES, name, found)


def _sweep(title, caption, shown, kept, name: str, found: Sweep) -> Drawing:
    figure = interval_panels(
        title,
        {label: {name: found.measures[label]} for label in shown},
        [f"{rho:g}" for rho in found.rho],
        "rho",
        width=2.9,
    )
    rows = [
        [
            rho,
            label,
            *numbers(found.measures[label][r]),
            *numbers(found.differences[label][r]),
        ]
        for label in kept
        for r, rho in enumerate(found.rho)
    ]
    differences = [f"difference_{column}" for column in NUMBERS]
    return Drawing(figure, caption, ("rho", "measure", *NUMBERS, *differences), rows)
