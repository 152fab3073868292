"""Figures of memorization, influence and attack success, with their numbers."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from sam_jax import analysis
from sam_jax.data import Dataset
from sam_jax.metrics.estimate import Estimate
from sam_jax.reporting import canvas, example_plots
from sam_jax.reporting.drawings import NUMBERS, Drawing, interval_panels, numbers

BIN_NAMES = (
    f"< {analysis.BIN_EDGES[0]}",
    *(f"{low}-{high}" for low, high in itertools.pairwise((*analysis.BIN_EDGES, 1))),
)
BUCKET_NAMES = ("none", "1 atypical", "2", "3", "4", "5 typical")


def distributions(
    names: Sequence[str], memorized: analysis.MemorizationComparison
) -> Drawing:
    """Memorization of all examples, side by side."""
    edges = np.linspace(-1, 1, 41)
    lowest = min(np.nanmin(e.value) for e in memorized.estimates) - 0.05
    figure, panels = canvas.blank_panels("Memorization of the pool", 2, 4.4, 3.2)
    rows = []
    for axes, name, estimates, color in zip(
        panels, names, memorized.estimates, canvas.PALETTE, strict=False
    ):
        counts, _ = np.histogram(estimates.value, edges)
        canvas.filled_steps(axes, counts, edges, color)
        axes.set(yscale="log", xlabel="memorization", ylim=(0.7, None))
        axes.set_xlim(lowest, 1.02)
        canvas.panel_title(axes, name)
        rows += [
            [name, *row] for row in zip(edges[:-1], edges[1:], counts, strict=True)
        ]
    panels[0].set_ylabel("Examples")
    errors = [np.nanquantile(e.standard_error, 0.9) for e in memorized.estimates]
    caption = (
        "P(correct given in) - P(correct given out) of every example of the pool. Each "
        "estimate is noisy: nine in ten standard errors are below "
        f"{errors[0]:.2f} ({names[0]}) and {errors[1]:.2f} ({names[1]})."
    )
    columns = ("optimizer", "from", "to", "examples")
    return Drawing(figure, caption, columns, rows)


def scatter(
    names: Sequence[str],
    memorized: analysis.MemorizationComparison,
    index: np.ndarray,
    labels: np.ndarray,
) -> Drawing:
    """One optimizer's memorization against the other's; the CSV has every example."""
    base, other = memorized.estimates
    figure, axes = canvas.one_panel("Memorization, one against the other", 4.6, 4.4)
    axes.plot([-1, 1], [-1, 1], color=canvas.MUTED, lw=1, ls=(0, (4, 3)))
    canvas.dots(axes, base.value, other.value)
    low = min(np.nanmin(base.value), np.nanmin(other.value)) - 0.05
    axes.set(xlim=(low, 1.05), ylim=(low, 1.05), aspect="equal")
    axes.set(xlabel=f"memorization under {names[0]}", ylabel=f"under {names[1]}")
    base_reliability, other_reliability, across = memorized.reliability
    caption = (
        f"{_correlations(memorized.pearson, memorized.spearman)}. Between the halves "
        f"of the models the correlation is {base_reliability:.3f} ({names[0]} with "
        f"itself), {other_reliability:.3f} ({names[1]} with itself) and {across:.3f} "
        "(one with the other)."
    )
    columns = ["example", "label", "models in", "models out"]
    fields = [index, labels, base.num_in, base.num_out]
    for name, estimates in (
        *zip(names, memorized.estimates, strict=True),
        ("difference", memorized.difference),
    ):
        columns += [f"{name} memorization", f"{name} standard_error"]
        fields += [estimates.value, estimates.standard_error]
    return Drawing(figure, caption, columns, list(zip(*fields, strict=True)))


def by_bin(names: Sequence[str], memorized: analysis.MemorizationComparison) -> Drawing:
    """The paired difference by bin of memorization."""
    return _by_group(
        "Memorization by bin: one half of the models selects, the other measures",
        ("memorization", "difference"),
        names,
        memorized.by_bin,
        ("bin", BIN_NAMES, memorized.counts),
        "memorization by the selecting half",
        "Mean memorization of the examples of each bin, and the paired difference. A "
        "bin that is selected and measured by the same models would show the luck of "
        "its examples.",
    )


def largest_differences(
    names: Sequence[str],
    memorized: analysis.MemorizationComparison,
    dataset: Dataset,
    index: np.ndarray,
    count: int,
) -> Drawing:
    """The examples whose memorization differs most, both ways, as images."""
    gap = np.nan_to_num(memorized.difference.value)
    order = np.argsort(gap, kind="stable")
    half = max(count // 2, 1)
    chosen = np.concatenate([order[::-1][:half], order[:half]])
    x, y = (np.asarray(a)[index[chosen]] for a in dataset.train)
    captions = [
        f"{_class_name(dataset, label)}\n{memorized.estimates[0].value[i]:.2f} > "
        f"{memorized.estimates[1].value[i]:.2f}"
        for i, label in zip(chosen, y, strict=True)
    ]
    title = f"Memorization under {names[0]} > under {names[1]}: largest differences"
    figure = _images(x, captions, title, half)
    caption = (
        f"First row: memorized more under {names[1]}; second row: more under "
        f"{names[0]}. These are the largest of {len(gap):,} noisy differences and so "
        "larger than what other models would show."
    )
    rows = [
        [index[i], label, *(e.value[i] for e in memorized.estimates), gap[i], error]
        for i, label, error in zip(
            chosen, y, memorized.difference.standard_error[chosen], strict=True
        )
    ]
    columns = ("example", "label", *names, "difference", "standard_error")
    return Drawing(figure, caption, columns, rows)


def influence_pairs(
    name: str,
    memorized: analysis.MemorizationComparison,
    which: int,
    typical: analysis.Typicality,
    dataset: Dataset,
    index: np.ndarray,
    count: int,
) -> Drawing:
    """High-influence pairs of one optimizer, of distinct test examples."""
    pairs = typical.pairs[which]
    _, first = np.unique(pairs.target, return_index=True)
    chosen = np.sort(first)[: max(count // 2, 1)]
    x = np.empty((2 * len(chosen), *np.shape(dataset.train.x)[1:]), np.float32)
    x[0::2] = np.asarray(dataset.train.x)[index[pairs.source[chosen]]]
    x[1::2] = np.asarray(dataset.test.x)[pairs.target[chosen]]
    captions = []
    for row in chosen:
        source, target = pairs.source[row], pairs.target[row]
        label = np.asarray(dataset.train.y)[index[source]]
        tested = np.asarray(dataset.test.y)[target]
        value = memorized.estimates[which].value[source]
        captions.append(f"train: {_class_name(dataset, label)}\nmem {value:.2f}")
        captions.append(
            f"test: {_class_name(dataset, tested)}\ninfl {pairs.influence[row]:.2f}"
        )
    title = f"{name}: training examples and the test examples that they help"
    figure = _images(x, captions, title, 8)
    caption = (
        f"{pairs.num_pairs:,} pairs have memorization of 0.25 and influence of 0.15 or "
        f"more; {pairs.num_mirrored:,} would with the sign of influence turned, so "
        "about as many are noise."
    )
    if pairs.num_mirrored > pairs.num_pairs / 2:
        caption += " Most of what is listed is noise: more models are needed."
    rows = [
        [index[s], t, memorized.estimates[which].value[s], i, e]
        for s, t, i, e in zip(*pairs[:4], strict=True)
    ]
    columns = ("training example", "test example", "memorization", "influence")
    return Drawing(figure, caption, (*columns, "standard_error"), rows)


def accuracy_by_bucket(names: Sequence[str], typical: analysis.Typicality) -> Drawing:
    """Accuracy by bucket of influence entropy."""
    return _by_group(
        "Test accuracy by bucket of influence entropy",
        ("accuracy", "gain"),
        names,
        typical.accuracy,
        ("bucket", BUCKET_NAMES, typical.counts),
        "bucket by the selecting half",
        "Bucket 1 is supported by the fewest training examples; 'none' has no positive "
        "influence, as all models agree. Both halves agree on the bucket of "
        f"{100 * typical.same_bucket:.0f} % of the test examples.",
    )


def entropies(
    names: Sequence[str], comparison: analysis.Comparison, typical: analysis.Typicality
) -> Drawing:
    """Entropy of each test example; the CSV has every one."""
    known = typical.entropy[np.isfinite(typical.entropy)]
    figure, axes = canvas.one_panel("Influence entropy of test examples", 4.4, 3.2)
    counts, edges = np.histogram(known, 40)
    canvas.filled_steps(axes, counts, edges, canvas.PALETTE[0])
    axes.set(xlabel="entropy, nats", ylabel="Test examples")
    most = np.log(comparison.keep.shape[1])
    caption = (
        f"{len(known):,} of {len(typical.entropy):,} test examples have positive "
        f"influence; the largest entropy there could be is {most:.2f} nats. Influence "
        "that is all noise has high entropy too."
    )
    labels = np.asarray(comparison.signals[0].labels)[comparison.test]
    right = [
        np.asarray(s.correct)[:, comparison.test].mean(0) for s in comparison.signals
    ]
    columns = ("test example", "label", "entropy", "influences", "bucket", *names)
    fields = (typical.entropy, typical.num_positive, typical.bucket, *right)
    rows = list(zip(range(len(labels)), labels, *fields, strict=True))
    return Drawing(figure, caption, columns, rows)


def attack_success(names: Sequence[str], success: analysis.AttackSuccess) -> Drawing:
    """Attack success by bin of memorization."""
    figure = interval_panels(
        "Attack by memorization: one half of the models selects, the other is attacked",
        {
            "score in - score out, nats": dict(zip(names, success.gap, strict=True)),
            "advantage": dict(zip(names, success.advantage, strict=True)),
        },
        BIN_NAMES,
        "memorization by the selecting half",
    )
    correlations = "; ".join(
        f"{name}: {_correlations(pearson, spearman)}"
        for name, pearson, spearman in zip(
            names, success.pearson, success.spearman, strict=True
        )
    )
    caption = (
        "Attacked with models of the measuring half alone; a score above 0 says "
        "member. Correlation of memorization and score gap across halves: "
        f"{correlations}."
    )
    rows = [
        [bucket, name, what, *numbers(estimates[number])]
        for what, pair in (("score gap", success.gap), ("advantage", success.advantage))
        for name, estimates in zip(names, pair, strict=True)
        for number, bucket in enumerate(BIN_NAMES)
    ]
    return Drawing(figure, caption, ("bin", "of", "what", *NUMBERS), rows)


def _correlations(pearson: Estimate, spearman: Estimate) -> str:
    shown = []
    for name, estimate in (("Pearson", pearson), ("Spearman", spearman)):
        interval = f"[{estimate.low:.3f}, {estimate.high:.3f}]"
        shown.append(f"{name} {estimate.value:.3f} {interval}")
    return ", ".join(shown)


def _class_name(dataset: Dataset, label: int | np.integer) -> str:
    return dataset.class_names[label] if dataset.class_names else f"class {label}"


def _images(x: np.ndarray, captions: list[str], title: str, in_row: int) -> Any:
    """A strip of images, or None where the data are none."""
    if len(x) == 0 or x.ndim != 4 or x.shape[-1] not in (1, 3):
        return None
    return example_plots.image_strip(x, captions, title, in_row)


def _by_group(
    title: str,
    panels: tuple[str, str],
    names: Sequence[str],
    estimates: Any,
    groups: tuple[str, Sequence[str], Any],
    xlabel: str,
    caption: str,
) -> Drawing:
    """Estimates of both optimizers and of their difference, by group of examples.

    ``groups`` are what a group is called, the name of each and its number of examples.
    """
    gap = f"{names[1]} - {names[0]}"
    group, group_names, counts = groups
    of_optimizers = dict(zip(names, estimates, strict=False))
    figure = interval_panels(
        title,
        {panels[0]: of_optimizers, panels[1]: {gap: estimates[2]}},
        group_names,
        xlabel,
    )
    rows = [
        [name, count, series, *numbers(of_series[number])]
        for series, of_series in zip((*names, gap), estimates, strict=True)
        for number, (name, count) in enumerate(zip(group_names, counts, strict=True))
    ]
    return Drawing(figure, caption, (group, "examples", "of", *NUMBERS), rows)
