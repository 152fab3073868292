"""How much do the conventions of an attack change its figures?

    python -m experiments.conventions

attacks one set of signals (by default 32 models of docs/example_signals.npz) with each
choice that the literature and its tools make, ours first in each group, and prints a
Markdown table; then how the attacks do with fewer models, and what a balanced mask does
to LiRA where there is nothing to find. docs/choosing.md holds the result. About two
minutes on 2 cores; writes nothing.
"""

import dataclasses
from collections.abc import Callable, Iterator

import jax
import numpy as np
import tyro

from sam_jax import _checks, metrics
from sam_jax.attacks import ATTACKS, lira, rmia, score_targets
from sam_jax.cli.errors import usage_errors
from sam_jax.metrics import num_models, shadow_thresholds
from sam_jax.signals import load_signals
from sam_jax.training import membership
from sam_jax.types import AttackFn, Signals


@dataclasses.dataclass(frozen=True)
class Config:
    """Measures conventions on given signals."""

    signals: str = "docs/example_signals.npz"
    """Any file that experiments.attack reads."""
    recipe: str | None = None
    """Which of its recipes; the first by default."""
    null_models: tuple[int, ...] = (8, 16, 32, 64)
    """Numbers of models at which to attack pure noise."""
    null_examples: int = 10_000
    """Examples of pure noise."""


FPRS = (0.01, 0.001)


def main(config: Config) -> list[list[str]]:
    """Prints both tables; returns the rows of the first."""
    recipes = load_signals([config.signals]).signals
    recipe = config.recipe or next(iter(recipes))
    answers = _checks.one_of(recipes, recipe=recipe)
    signals = answers._replace(phi=np.asarray(answers.phi)[..., :1])
    num_models, num_examples, num_views = answers.phi.shape
    print(f"{recipe}: {num_models} models, {num_examples:,} columns.\n")
    rows = []
    columns = [
        "choice",
        "AUC",
        "TPR at 1 % FPR",
        "TPR at 0.1 % FPR",
        "AUC against ours",
    ]
    print(markdown_row(columns), markdown_row(["---"] * 5), sep="\n")
    groups = [f(signals) for f in (lira_online, lira_offline, rmia_forms, counting)]
    if num_views > 1:
        groups.append(views(answers))
    for group in groups:
        ours = None
        for choice, curve in group:
            area = metrics.auc(curve)
            ours = area if ours is None else ours
            rates = [metrics.tpr_at_fpr(curve, fpr) for fpr in FPRS]
            change = "" if area == ours else f"{area - ours:+.3f}"
            rows.append([choice, *(f"{v:.3f}" for v in (area, *rates)), change])
            print(markdown_row(rows[-1]), flush=True)
    carried, oracle = thresholds(signals)
    print(
        "\nBalanced accuracy of the confidence, mean over targets: threshold from the "
        f"shadow models {carried:.3f}, the target's own best (oracle) {oracle:.3f}.\n"
    )
    print_numbers(signals)
    print_null(config)
    return rows


def markdown_row(cells: list[str]) -> str:
    """Returns one row of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def pooled(scores: np.ndarray, signals: Signals) -> metrics.RocCurve:
    """Returns one curve over all targets and all examples that some models had."""
    pool = metrics.varying_columns(np.asarray(signals.keep))
    return metrics.roc_curve(
        scores[:, pool].ravel(), np.asarray(signals.keep)[:, pool].ravel()
    )


Curves = Iterator[tuple[str, metrics.RocCurve]]


def lira_online(signals: Signals) -> Curves:
    """Spread, location, shrinkage, and the form of phi."""
    attacks = {
        "**LiRA online: spread per example, shrunk; mean**": ATTACKS["lira_online"],
        "median": ATTACKS["lira_online_median"],
        "one spread for all": ATTACKS["lira_online_global"],
        "all models on either side, means taken as known (plain)": ATTACKS[
            "lira_online_plain"
        ],
        "raw spread per example": lira.lira_online(prior_count=1e-6),
    }
    for choice, attack in attacks.items():
        yield choice, pooled(score_targets(attack, signals), signals)
    yield (
        "one spread for all, both sides' from raw 'in' values (authors' script)",
        pooled(script_global(signals), signals),
    )
    scores = score_targets(ATTACKS["lira_online"], from_probabilities(signals))
    yield (
        "phi from float32 probabilities + 1e-45 (authors' script)",
        pooled(scores, signals),
    )


def lira_offline(signals: Signals) -> Curves:
    """One- or two-sided, spread and location."""
    attacks = {
        "**LiRA offline: one-sided, spread per example, mean**": "lira_offline",
        "two-sided (authors' script)": "lira_offline_two_sided",
        "one spread for all": "lira_offline_global",
        "median": "lira_offline_median",
        "two-sided, one spread for all": "lira_offline_two_sided_global",
    }
    for choice, name in attacks.items():
        yield choice, pooled(score_targets(ATTACKS[name], signals), signals)


def rmia_forms(signals: Signals) -> Curves:
    """Reference models, a, gamma, and ties."""
    attacks = {
        "**RMIA online, ties broken by the ratio**": ATTACKS["rmia_online"],
        "ties left (the paper's fraction)": rmia.rmia_online(tie_break=False),
        "ties left, gamma 2": rmia.rmia_online(gamma=2.0, tie_break=False),
        "offline, a chosen on shadow models": ATTACKS["rmia_offline"],
        "offline, a = 0": rmia.rmia_offline(a=0.0),
        "offline, a = 1": rmia.rmia_offline(a=1.0),
    }
    for choice, attack in attacks.items():
        yield choice, pooled(score_targets(attack, signals), signals)


def counting(signals: Signals) -> Curves:
    """Who counts as a non-member, and how equal scores are ordered."""
    scores = score_targets(ATTACKS["correctness"], signals)
    yield (
        "**Correctness: equal scores are one step of the curve**",
        pooled(scores, signals),
    )
    keep = np.asarray(signals.keep)
    for choice, sign in (("members first", 1), ("non-members first", -1)):
        ordered = scores + sign * 1e-3 * keep
        yield f"equal scores ordered, {choice}", pooled(ordered, signals)
    everyone = metrics.roc_curve(scores.ravel(), keep.ravel())
    yield "examples that no model had count as non-members", everyone


def views(signals: Signals) -> Curves:
    """One view or several, averaged or as one Gaussian; the first is the example."""
    num_views = signals.phi.shape[-1]
    first = signals._replace(phi=signals.phi[..., :1])
    online = ATTACKS["lira_online"]
    attacks = {
        f"**LiRA online: mean over {num_views} views**": (online, signals),
        "the example itself alone": (online, first),
        "one Gaussian over the views": (ATTACKS["lira_online_joint"], signals),
        "RMIA online: mean over the views": (ATTACKS["rmia_online"], signals),
        "confidence: mean over the views": (ATTACKS["confidence"], signals),
        "confidence: least over the views": (ATTACKS["confidence_min"], signals),
        "confidence: the example itself alone": (ATTACKS["confidence"], first),
    }
    for choice, (attack, seen) in attacks.items():
        yield choice, pooled(score_targets(attack, seen), seen)


def script_global(signals: Signals) -> np.ndarray:
    """The authors' fixed variance: one spread of raw 'in' values for both sides."""
    phi, keep = np.asarray(signals.phi, np.float64)[..., 0], np.asarray(signals.keep)
    scores = np.empty(phi.shape)
    for target in range(len(phi)):
        others = np.delete(phi, target, axis=0)
        kept = np.delete(keep, target, axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            inside = np.sum(others, axis=0, where=kept) / kept.sum(axis=0)
            outside = np.sum(others, axis=0, where=~kept) / (~kept).sum(axis=0)
        variance = others[kept].var()
        near = (phi[target] - outside) ** 2 - (phi[target] - inside) ** 2
        scores[target] = np.nan_to_num(near / (2 * variance))
    return scores


def from_probabilities(signals: Signals) -> Signals:
    """Signals whose phi went through rounded probabilities."""
    phi = np.asarray(signals.phi, np.float32)
    p, tiny = 1 / (1 + np.exp(-phi, dtype=np.float32)), np.float32(1e-45)
    return signals._replace(phi=np.log(p + tiny) - np.log(np.float32(1) - p + tiny))


def thresholds(signals: Signals) -> tuple[float, float]:
    """Balanced accuracy of the confidence, carried and oracle, mean over targets."""
    pool = metrics.varying_columns(np.asarray(signals.keep))
    scores = score_targets(ATTACKS["confidence"], signals)[:, pool]
    keep = np.asarray(signals.keep)[:, pool]
    rules: tuple[Callable, ...] = (
        shadow_thresholds.shadow_thresholds,
        shadow_thresholds.oracle_thresholds,
    )
    carried, oracle = (
        float(shadow_thresholds.accuracy_at(scores, keep, rule(scores, keep)).mean())
        for rule in rules
    )
    return carried, oracle


def print_numbers(signals: Signals) -> None:
    """Attacks with fewer models: which attack is best depends on how many there are."""
    mask = metrics.varying_columns(np.asarray(signals.keep))
    sizes = num_models.group_sizes(len(signals.keep))
    print("AUC and TPR at 1 % FPR by number of models, the target included:\n")
    print(markdown_row(["attack", *map(str, sizes)]))
    print(markdown_row(["---"] * (1 + len(sizes))))
    for name in ("lira_online", "lira_offline", "rmia_online", "rmia_offline"):
        scores = score_targets(ATTACKS[name], signals)
        curves = [
            num_models.model_count_curve(
                ATTACKS[name], signals, scores, mask=mask, metric=metric
            ).estimates
            for metric in ("auc", "tpr_at_fpr_0.01")
        ]
        pairs = zip(*curves, strict=True)
        cells = [f"{area.value:.3f}, {rate.value:.3f}" for area, rate in pairs]
        print(markdown_row([f"`{name}`", *cells]), flush=True)
    print()


def print_null(config: Config) -> None:
    """Attacks noise: a member's own side has one model fewer under a balanced mask."""
    names = ("lira_online", "lira_online_plain", "lira_offline", "rmia_online")
    print(
        "AUC on pure noise with a balanced mask (0.5 is right; standard error in "
        "brackets):\n"
    )
    print(markdown_row(["models", *names]))
    print(markdown_row(["---"] * (1 + len(names))))
    for count in config.null_models:
        signals = noise(count, config.null_examples)
        cells = [null_auc(ATTACKS[name], signals) for name in names]
        print(markdown_row([str(count), *cells]), flush=True)


def null_auc(attack: AttackFn, signals: Signals) -> str:
    """Pooled AUC with its standard error over targets and examples."""
    keep = np.asarray(signals.keep)
    mask = metrics.varying_columns(keep)
    scores = score_targets(attack, signals)
    bootstrap = metrics.bootstrap_attack(
        scores, keep, mask=mask, fprs=(), pooled_only=True
    )
    auc = metrics.pooled_metrics(bootstrap)["auc"]
    return f"{auc.value:.3f} ({auc.standard_error:.3f})"


def noise(num_models: int, num_examples: int) -> Signals:
    """Standard normal phi on a balanced mask, and as many population points."""
    keep = membership.balanced_keep(jax.random.key(0), num_models, num_examples)
    keep = np.pad(keep, ((0, 0), (0, 500)))
    rng = np.random.default_rng(0)
    phi = rng.normal(size=(*keep.shape, 1)).astype(np.float32)
    unknown = np.zeros(keep.shape, np.float32)
    labels = np.zeros(keep.shape[1], np.int32)
    return Signals(phi, phi[..., 0] > 0, unknown, unknown, keep, labels)


if __name__ == "__main__":
    with usage_errors():
        main(tyro.cli(Config, description=__doc__))
