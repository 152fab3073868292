"""The conventions of attacks, and how much each changes an attack's figures.

    python -m experiments.conventions

attacks one set of signals (by default 32 models of docs/example_signals.npz) with each
choice that the literature and its tools make, ours first in each group, and prints a
Markdown table; then how the attacks do with fewer models, and what the numbers of
reference models do to LiRA where there is nothing to find. docs/choosing.md holds the
result. About two minutes on 2 cores; writes nothing.
"""

import dataclasses
from collections.abc import Iterator, Mapping

import numpy as np

from experiments.null_attacks import attack_noise, markdown_row, noise_draws
from sam_jax import _checks, metrics
from sam_jax.attacks import ATTACKS, direct, lira, rmia, score_targets
from sam_jax.cli.errors import command_line
from sam_jax.cli.option_parsing import parse_options
from sam_jax.metrics import num_models, shadow_thresholds
from sam_jax.signals import load_signals
from sam_jax.types import AttackFn, Signals

FPRS = (0.01, 0.001)
COLUMNS = ("AUC", "TPR at 1 % FPR", "TPR at 0.1 % FPR", "AUC against ours")


@dataclasses.dataclass(frozen=True)
class Config:
    """Measures conventions on given signals."""

    signals: str = "docs/example_signals.npz"
    """Any file that sam-jax attack reads."""
    optimizer: str | None = None
    """Which of its optimizers; the first by default."""
    null_models: tuple[int, ...] = (4, 8, 16, 32, 64)
    """Numbers of models at which to attack pure noise."""
    null_pairs: int = 100_000
    """(Target, example) pairs of one draw of noise."""


Curves = Iterator[tuple[str, metrics.RocCurve]]


def main(config: Config) -> list[list[str]]:
    """Prints all tables; returns the rows of the first."""
    by_optimizer = load_signals([config.signals]).signals
    optimizer = config.optimizer or next(iter(by_optimizer))
    all_queries = _checks.one_of(by_optimizer, optimizer=optimizer)
    signals = first_query(all_queries)
    shape = signals.keep.shape
    print(f"{optimizer}: {shape[0]} models, {shape[1]:,} columns.\n")
    groups = [lira_online, lira_offline, rmia_forms, counting]
    tables = [table(group(signals)) for group in groups]
    if all_queries.phi.shape[-1] > 1:
        tables.append(table(queries(all_queries)))
    rows = [row for group in tables for row in group]
    print_table(("choice", *COLUMNS), rows)
    shadow, oracle = threshold_accuracies(signals)
    print(
        "\nBalanced accuracy of the confidence, mean over targets: threshold from the "
        f"shadow models {shadow:.3f}, the target's own best (oracle) {oracle:.3f}.\n"
    )
    print_numbers(signals)
    print_null(config)
    return rows


def table(curves: Curves) -> list[list[str]]:
    """Returns a row for each choice, compared with the first."""
    rows, first = [], None
    for choice, curve in curves:
        area = metrics.auc(curve)
        first = area if first is None else first
        rates = [metrics.tpr_at_fpr(curve, fpr) for fpr in FPRS]
        change = f"{area - first:+.3f}" if rows else ""
        rows.append([choice, *(f"{value:.3f}" for value in (area, *rates)), change])
    return rows


def print_table(columns: tuple[str, ...], rows: list[list[str]]) -> None:
    """Prints a Markdown table."""
    print(markdown_row(list(columns)), markdown_row(["---"] * len(columns)), sep="\n")
    for row in rows:
        print(markdown_row(row), flush=True)


def first_query(signals: Signals) -> Signals:
    """Returns signals of the example itself, without its augmented queries."""
    return signals._replace(phi=np.asarray(signals.phi)[..., :1])


def pooled(scores: np.ndarray, signals: Signals) -> metrics.RocCurve:
    """Returns one curve over all targets and all examples that some models had."""
    pool = metrics.varying_columns(np.asarray(signals.keep))
    return metrics.roc_curve(
        scores[:, pool].ravel(), np.asarray(signals.keep)[:, pool].ravel()
    )


def curves_of(attacks: Mapping[str, AttackFn], signals: Signals) -> Curves:
    """Yields the curve of each attack."""
    for choice, attack in attacks.items():
        yield choice, pooled(score_targets(attack, signals), signals)


def lira_online(signals: Signals) -> Curves:
    """References, variance, location, shrinkage, and the form of phi."""
    attacks = {
        "**LiRA online: matched references; variance per example, shrunk; mean**": (
            ATTACKS["lira_online"]
        ),
        "all references, means taken as known (plain)": ATTACKS["lira_online_plain"],
        "median": ATTACKS["lira_online_median"],
        "one variance for all": ATTACKS["lira_online_global"],
        "raw variance per example": lira.lira_online(prior_count=1e-6),
    }
    yield from curves_of(attacks, signals)
    script = "one variance for all, both sides' from raw 'in' values (authors' script)"
    yield script, pooled(script_global(signals), signals)
    rounded = {
        "phi from float32 probabilities + 1e-45 (authors' script)": ATTACKS[
            "lira_online"
        ]
    }
    yield from curves_of(rounded, from_probabilities(signals))


def lira_offline(signals: Signals) -> Curves:
    """One- or two-sided, variance and location."""
    attacks = {
        "**LiRA offline: one-sided, variance per example, mean**": (
            ATTACKS["lira_offline"]
        ),
        "two-sided (authors' script)": ATTACKS["lira_offline_two_sided"],
        "one variance for all": ATTACKS["lira_offline_global"],
        "median": ATTACKS["lira_offline_median"],
        "two-sided, one variance for all": lira.lira_offline(
            variance="global", two_sided=True
        ),
    }
    yield from curves_of(attacks, signals)


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
    yield from curves_of(attacks, signals)


def counting(signals: Signals) -> Curves:
    """Who counts as a non-member, and how equal scores are ordered."""
    scores = score_targets(ATTACKS["correctness"], signals)
    steps = "**Correctness: equal scores are one step of the curve**"
    yield steps, pooled(scores, signals)
    keep = np.asarray(signals.keep)
    for choice, sign in (("members first", 1), ("non-members first", -1)):
        # Scores are 0 and 1, so a thousandth orders ties alone.
        ordered = scores + sign * 1e-3 * keep
        yield f"equal scores ordered, {choice}", pooled(ordered, signals)
    everyone = metrics.roc_curve(scores.ravel(), keep.ravel())
    yield "examples that no model had count as non-members", everyone


def queries(signals: Signals) -> Curves:
    """One query or several, averaged or as one Gaussian; the first is the example."""
    num_queries = signals.phi.shape[-1]
    online, confidence = ATTACKS["lira_online"], ATTACKS["confidence"]
    default = f"**LiRA online: mean over {num_queries} queries**"
    yield from curves_of({default: online}, signals)
    alone = {"the example itself alone": online}
    yield from curves_of(alone, first_query(signals))
    attacks = {
        "one Gaussian over the queries": ATTACKS["lira_online_joint"],
        "RMIA online: mean over the queries": ATTACKS["rmia_online"],
        "confidence: mean over the queries": confidence,
        "confidence: least over the queries": direct.confidence(queries="min"),
    }
    yield from curves_of(attacks, signals)
    alone = {"confidence: the example itself alone": confidence}
    yield from curves_of(alone, first_query(signals))


def script_global(signals: Signals) -> np.ndarray:
    """The authors' fixed variance: one variance of raw 'in' values for both sides."""
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


def threshold_accuracies(signals: Signals) -> tuple[float, float]:
    """Balanced accuracy of the confidence at shadow-model and oracle thresholds."""
    pool = metrics.varying_columns(np.asarray(signals.keep))
    scores = score_targets(ATTACKS["confidence"], signals)[:, pool]
    keep = np.asarray(signals.keep)[:, pool]
    accuracies = [
        shadow_thresholds.accuracy_at(scores, keep, thresholds).mean()
        for thresholds in (
            shadow_thresholds.shadow_thresholds(scores, keep),
            shadow_thresholds.oracle_thresholds(scores, keep),
        )
    ]
    return float(accuracies[0]), float(accuracies[1])


def print_numbers(signals: Signals) -> None:
    """Attacks with fewer models: which attack is best depends on how many there are."""
    mask = metrics.varying_columns(np.asarray(signals.keep))
    sizes = num_models.group_sizes(len(signals.keep))
    rows = []
    names = ("lira_online", "lira_online_plain", "lira_offline")
    for name in (*names, "rmia_online", "rmia_offline"):
        scores = score_targets(ATTACKS[name], signals)
        curves = [
            num_models.model_count_curve(
                ATTACKS[name], signals, scores, mask=mask, metric=metric
            ).estimates
            for metric in ("auc", "tpr_at_fpr_0.01")
        ]
        pairs = zip(*curves, strict=True)
        cells = [f"{area.value:.3f}, {rate.value:.3f}" for area, rate in pairs]
        rows.append([f"`{name}`", *cells])
    print("AUC and TPR at 1 % FPR by number of models, the target included:\n")
    print_table(("attack", *map(str, sizes)), rows)


def print_null(config: Config) -> None:
    """Attacks noise on balanced masks."""
    names = ("lira_online", "lira_online_plain", "lira_offline", "rmia_online")
    rows = []
    for count in config.null_models:
        num_examples = config.null_pairs // count
        cells = []
        for name in names:
            draws = noise_draws("half", count, num_examples, num_draws=4)
            result = attack_noise(ATTACKS[name], draws)
            assert result is not None  # half of 4 models and more are enough
            cells.append(f"{result.auc:.3f} ({result.auc_error:.3f})")
        rows.append([str(count), *cells])
    print("\nAUC on pure noise with a balanced mask (standard error in brackets):\n")
    print_table(("models", *names), rows)


if __name__ == "__main__":
    with command_line():
        main(parse_options(Config, __doc__))
