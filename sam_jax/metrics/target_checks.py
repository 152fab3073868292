"""Checks of a given model, alone and against its shadow models."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool

from sam_jax.metrics import single_checks
from sam_jax.metrics.model_identity import near_copies
from sam_jax.metrics.phi_meaning import likely_meaning
from sam_jax.metrics.roc import varying_columns
from sam_jax.metrics.single_checks import Check, ModelFacts, graded, model_facts
from sam_jax.types import Signals

MIN_SIDE = 100
"""Fewer members or non-members than these show large leaks alone."""

SIZE_FLOOR = float(np.log(1.25))
"""Training sets that differ by less, on the log scale, are of one size."""


def check_target(
    target: Signals,
    shadows: Signals | None,
    counted: Bool[np.ndarray, " n"],
    population: Bool[np.ndarray, " n"],
) -> list[Check]:
    """Returns the checks of one target and its shadow models.

    | check | invalid where | warning where |
    | --- | --- | --- |
    | examples | | few members or non-members; members that no shadow model had |
    | mask | it is inverted, or phi is something else | |
    | copy | a shadow model has its outputs | |
    | shadow counts | | its members are in more (or fewer) shadow models than its \
non-members |
    | likeness | its training accuracy is 0.25 off the shadow models' | accuracy, \
loss or size of the training set is not like theirs |
    | learning | | it is at chance level |

    Args:
        target: Of the target alone, [1, N].
        shadows: Of its shadow models, on the same examples; None without.
        counted: Examples behind all figures.
        population: Examples set aside, in no training set.
    """
    members = np.asarray(target.keep)[0]
    checks = [_check_examples(members, counted, population)]
    alone, facts = target.select(examples=counted), model_facts(target, counted)
    checks.append(_check_mask(alone))
    if shadows is None:
        return [*checks, single_checks.check_learning(alone, facts)]
    # A copy explains all that follows, and masks explain scores: these come first.
    checks.append(_check_copy(target, shadows))
    if varying_columns(np.asarray(shadows.keep)).any():
        checks.append(
            _check_counts(members[counted], np.asarray(shadows.keep)[:, counted])
        )
    return [*checks, *_check_likeness(facts, model_facts(shadows, counted))]


def _check_examples(
    members: np.ndarray, counted: np.ndarray, population: np.ndarray
) -> Check:
    num_members = int((members & counted).sum())
    num_others = int((~members & counted).sum())
    text = (
        f"{num_members:,} members and {num_others:,} non-members count; "
        f"{int(population.sum()):,} more are a population that no model trained on"
    )
    left_out, few = int((members & ~counted).sum()), min(num_members, num_others)
    doubt = (
        f". {left_out:,} members are left out, as no shadow model (or every one) "
        "trained on them: draw the shadow models' training sets from all examples."
    )
    is_few = few < MIN_SIDE, "warning", ": so few show large leaks alone."
    return graded("examples", text, (left_out, "warning", doubt), is_few)


def _check_mask(target: Signals) -> Check:
    values = np.asarray(target.phi)[..., 0], np.asarray(target.keep)
    entropies = np.asarray(target.modified_entropy)
    meaning = likely_meaning(*values, modified_entropy=entropies)
    if meaning is None:
        return Check("mask", "ok", "members are not less confident than others.")
    severity = "invalid" if meaning.is_certain else "warning"
    return Check("mask", severity, meaning.text + ".")


def _check_copy(target: Signals, shadows: Signals) -> Check:
    is_copy = near_copies(np.asarray(target.phi), np.asarray(shadows.phi))
    same = np.flatnonzero(is_copy.any(axis=0))
    if same.size:
        text = (
            f"shadow model {same[0]} has its outputs, but for rounding at most: the "
            "target is among its own shadow models. Drop that model."
        )
        return Check("copy", "invalid", text)
    return Check("copy", "ok", "no shadow model has its outputs.")


def _check_counts(members: np.ndarray, keep: np.ndarray) -> Check:
    """Numbers of shadow models that tell members would pass for a leak."""
    # Balanced masks have one rate and an error of 0, so any gap at all is a design.
    rate = keep.mean(axis=0)
    gap = float(rate[members].mean() - rate[~members].mean())
    sides = (rate[members], rate[~members])
    error = float(np.sqrt(sum(np.var(side) / len(side) for side in sides)))
    text = (
        f"{100 * rate[members].mean():.1f} % of the shadow models trained on a member, "
        f"{100 * rate[~members].mean():.1f} % on a non-member"
    )
    doubt = (
        ": the shadow models' training sets depend on the target's, so that scores "
        "can tell members without any leak. Draw them anew, from all examples."
    )
    is_design = abs(gap) > max(single_checks.STANDARD_ERRORS * error, 1e-9)
    return graded("shadow counts", text, (is_design, "warning", doubt))


def _check_likeness(target: ModelFacts, shadows: ModelFacts) -> Iterator[Check]:
    """Each fact of the target beside those of the shadow models."""
    for name, field in (
        ("training accuracy", "accuracy"),
        ("accuracy on others", "unseen_accuracy"),
        ("loss on members", "loss"),
        ("loss on non-members", "unseen_loss"),
        ("size of the training set", "num_members"),
    ):
        value, others = getattr(target, field)[0], getattr(shadows, field)
        others = others[np.isfinite(others)]
        if np.isnan(value) or not len(others) or not others.any():
            continue  # shadow models that had none of the examples
        gap, allowed = _gap(field, value, others, target.num_members[0])
        text = (
            f"{value:.4g}, shadow models {others.min():.4g} to {others.max():.4g} "
            f"(median {np.median(others):.4g})"
        )
        doubt = (
            ": the target was not trained like its shadow models, and scores measure "
            "this difference too. Train shadow models as the target was trained."
        )
        is_broken = field == "accuracy" and gap > single_checks.BROKEN_ACCURACY
        severity = "invalid" if is_broken else "warning"
        yield graded(name, text, (gap > allowed, severity, doubt))


def _gap(
    field: str, value: float, others: np.ndarray, num_members: float
) -> tuple[float, float]:
    """How far a fact is from the median shadow model's, and how far it may be."""
    if field.endswith("accuracy"):
        floor = single_checks.accuracy_floor(others, num_members)
    else:
        value, others = np.log(max(value, 1e-12)), np.log(np.maximum(others, 1e-12))
        floor = SIZE_FLOOR if field == "num_members" else single_checks.LOSS_FLOOR
    allowed = single_checks.allowed_gap(others, floor)
    return abs(float(value - np.median(others))), float(allowed)
