"""Checks of models, masks and phi, made before any score.

An attack fits its statistics to shadow models and applies them to the target, so a
model trained otherwise, a copy of another model or a mask that belongs to other models
makes its figures meaningless without any visible sign; and models that learned nothing
leak nothing, whatever the training algorithm. Each model is compared with the others,
as each is a target in turn; nothing but ``Signals`` is looked at.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from sam_jax.metrics import single_checks
from sam_jax.metrics.model_identity import near_copies
from sam_jax.metrics.roc import varying_columns
from sam_jax.metrics.single_checks import Check, ModelFacts, graded, model_facts
from sam_jax.types import Signals

LARGE_PHI = 1000.0
"""Networks seldom reach such log odds; other units do."""


def check_models(signals: Signals) -> list[Check]:
    """Returns the checks of the models of one algorithm.

    | check | invalid where | warning where |
    | --- | --- | --- |
    | models | two have the same outputs | an example has fewer than 2 other 'in' or \
'out' models |
    | balance | | a training set is unusually small or large |
    | training accuracy | a model is 0.25 off the median | it is an outlier |
    | learning | models are at chance level on their training sets | they are little \
above it, and no better on them than on other examples |
    | loss | | of members or non-members is an outlier |
    | mask | it is inverted, transposed or in another order, or phi is something else \
(``phi_meaning``) | one model tells its members much worse than the others |
    | examples | | some have identical outputs: duplicates |
    | population | | no example is in no model, or accuracy there is far off |
    | phi | | infinite values, values beyond 1,000, two units, or all positive |

    Args:
        signals: Checked signals (``signals.check_signals``).
    """
    facts = model_facts(signals)
    return [
        _check_count(signals),
        single_checks.check_balance(signals, facts),
        single_checks.check_accuracy(facts),
        single_checks.check_learning(signals, facts),
        single_checks.check_loss("loss on members", facts.loss),
        single_checks.check_loss("loss on non-members", facts.unseen_loss),
        single_checks.check_mask(signals, facts),
        _check_duplicates(signals),
        _check_population(signals, facts),
        _check_phi(signals),
    ]


def check_all(
    signals: Mapping[str, Signals],
    settings: Mapping[str, Mapping[str, Any]] | None = None,
) -> tuple[dict[str, list[Check]], list[Check]]:
    """Returns the checks of each algorithm's models, and those of their comparison."""
    checks = {
        name: check_models(of_algorithm) for name, of_algorithm in signals.items()
    }
    return checks, check_comparison(signals, settings) if len(signals) > 1 else []


def check_comparison(
    signals: Mapping[str, Signals],
    settings: Mapping[str, Mapping[str, Any]] | None = None,
) -> list[Check]:
    """Returns the checks of a comparison of algorithms with each other.

    Args:
        signals: By training algorithm.
        settings: By training algorithm, hyper-parameters where they are known.
    """
    (first_name, first), *others = signals.items()
    checks = []
    for name, other in others:
        is_paired = np.array_equal(other.keep, first.keep) and np.array_equal(
            other.labels, first.labels
        )
        if not is_paired:
            text = (
                f"{name} and {first_name} have different keep masks or labels: their "
                "differences cannot be paired. Attack them in separate runs."
            )
            checks.append(Check("pairing", "invalid", text))
    # Settings that differ are what is compared, or a mistake: only the user knows.
    known = {name: dict(each) for name, each in (settings or {}).items() if each}
    for field in sorted({field for each in known.values() for field in each}):
        values = {name: each.get(field) for name, each in known.items()}
        if len({repr(value) for value in values.values()}) > 1:
            listed = ", ".join(f"{name} {value}" for name, value in values.items())
            text = f"{field} differs: {listed}. Make sure that this is compared."
            checks.append(Check("settings", "warning", text))
    if not checks:
        known_text = "known settings agree" if known else "settings are not known"
        text = f"one mask and one set of labels for all; {known_text}."
        checks.append(Check("pairing", "ok", text))
    return checks


def _check_count(signals: Signals) -> Check:
    phi, keep = np.asarray(signals.phi), np.asarray(signals.keep)
    # Above the diagonal: each pair once, and no model with itself.
    is_copy = np.triu(near_copies(phi, phi), k=1)
    copies = np.flatnonzero(is_copy.any(axis=0))
    if copies.size:
        twin = np.flatnonzero(is_copy[:, copies[0]])[0]
        text = (
            f"models {twin} and {copies[0]} have identical outputs, but for rounding "
            f"({len(copies)} copies in all): a target's copy is among its shadow "
            "models. Drop them."
        )
        return Check("models", "invalid", text)
    pool = keep[:, varying_columns(keep)]
    num_in, num_out = pool.sum(axis=0), (~pool).sum(axis=0)
    text = (
        f"{len(keep)} models; each example is in at least {int(num_in.min())} and "
        f"out of at least {int(num_out.min())} of them"
    )
    num_short = int((np.minimum(num_in, num_out) < 3).sum())
    doubt = (
        f". Without the target that leaves fewer than 2 on one side of {num_short} "
        "examples, whose variance is then the pooled one alone: train more models."
    )
    return graded("models", text, (num_short, "warning", doubt))


def _check_duplicates(signals: Signals) -> Check:
    """Equal outputs of all models on two examples: the same example twice."""
    phi, keep = np.asarray(signals.phi)[..., 0], np.asarray(signals.keep)
    columns = np.ascontiguousarray(phi.T)
    varying = np.flatnonzero((columns != columns[:, :1]).any(axis=1))
    first: dict[bytes, int] = {}
    pairs = []
    for column in varying:
        twin = first.setdefault(columns[column].tobytes(), int(column))
        if twin != column and not np.array_equal(keep[:, twin], keep[:, column]):
            pairs.append((twin, int(column)))
    if len(pairs) > len(varying) / 2:  # models that give a class, not an example
        return Check("examples", "ok", "most outputs are those of a class.")
    if not pairs:
        return Check("examples", "ok", "all models tell all examples apart.")
    text = (
        f"{len(pairs):,} examples have the outputs of another one in all models, such "
        f"as columns {pairs[0][0]} and {pairs[0][1]}, under another mask: duplicates "
        "are members by their twin. Drop them and train again."
    )
    return Check("examples", "warning", text)


def _check_population(signals: Signals, facts: ModelFacts) -> Check:
    is_unseen = ~np.asarray(signals.keep).any(axis=0)
    num_unseen = int(is_unseen.sum())
    if num_unseen:
        text = f"{num_unseen:,} examples are in no model: the population of RMIA."
        there = float(np.asarray(signals.correct)[:, is_unseen].mean())
        usual = float(facts.unseen_accuracy.mean())
        noise = single_checks.STANDARD_ERRORS * 0.5 / np.sqrt(num_unseen)
        if abs(there - usual) > single_checks.BROKEN_ACCURACY + noise:
            text += f" Accuracy is {there:.3f} there, {usual:.3f} on other non-members."
            return Check("population", "warning", f"{text} Look at its labels.")
        return Check("population", "ok", text)
    text = (
        "no example is in no model: RMIA becomes its bare likelihood ratio, Attack-P "
        "and quantile regression become confidence. Add columns of unseen examples."
    )
    return Check("population", "warning", text)


def _check_phi(signals: Signals) -> Check:
    phi = np.asarray(signals.phi)
    is_infinite = np.isinf(phi)
    num_infinite = int(is_infinite.sum())
    if num_infinite == phi.size:
        return Check("phi", "invalid", "all phi are infinite: compute phi from logits.")
    low, high = float(phi[~is_infinite].min()), float(phi[~is_infinite].max())
    if num_infinite:
        text = (
            f"{num_infinite:,} of {phi.size:,} phi are infinite "
            f"({100 * num_infinite / phi.size:.2g} %), as from rounded probabilities: "
            "those of one sign tie. Compute phi from logits."
        )
        return Check("phi", "warning", text)
    large = (
        f": log odds beyond {LARGE_PHI:,.0f} are other units, or logits that training "
        "drove very far."
    )
    right = (
        ": every model is right about every example, those that it never saw too. "
        "Losses and distances look like this."
    )
    other_scale = _other_scale(phi[..., 0])
    return graded(
        "phi",
        f"finite, {low:.4g} to {high:.4g} nats",
        (max(-low, high) > LARGE_PHI, "warning", large),
        (other_scale, "warning", f"; {other_scale}"),
        (low > 0 and phi.size >= 64, "warning", right),
    )


def _other_scale(phi: np.ndarray) -> str | None:
    """Models, one or many, whose phi are on another scale than those of the rest."""
    low, high = np.quantile(phi, [0.25, 0.75], axis=1)
    width = np.log(np.maximum(high - low, 1e-30))
    gaps = np.diff(np.sort(width))
    at = int(gaps.argmax()) + 1 if gaps.size else 0
    groups = np.split(np.argsort(width), [at])
    # Models that differ gradually are no two groups.
    within = max(np.ptp(width[group]) for group in groups if group.size)
    if not gaps.size or gaps.max() <= max(single_checks.LOSS_FLOOR, within):
        return None
    few, others = sorted(groups, key=len)
    return (
        f"the phi of model {few[0]} ({len(few)} such models) are "
        f"{np.exp(width[few[0]] - width[others[0]]):.3g} times as wide as those of "
        f"model {others[0]}: they may be in another unit, or probabilities."
    )
