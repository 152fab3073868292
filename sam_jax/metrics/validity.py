"""Whether shadow models and targets are of one kind, asked before any score is made.

An attack fits its statistics to shadow models and applies them to the target, so a
model trained otherwise, a copy of another model or a mask that belongs to other models
makes its figures meaningless without any visible sign. Each model is compared with the
others, as each is a target in turn; nothing but ``Signals`` is looked at.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import stats

from sam_jax.metrics.roc import varying_columns
from sam_jax.types import Signals

MANY_SPREADS = 6.0
"""A model further from the median than so many robust spreads is not of one kind."""

ACCURACY_FLOOR, LOSS_FLOOR, AUC_FLOOR = 0.05, float(np.log(3)), 0.1
"""Gaps never remarked: accuracy, log of the loss, AUC of the confidence; the first and
the last also not within four standard errors of the examples."""

BROKEN_ACCURACY = 0.25
"""A training accuracy this far from the median is another recipe."""


class Check(NamedTuple):
    """One thing that was looked at.

    Attributes:
        name: What was looked at.
        severity: ``"ok"``; ``"warning"``, to be read before the figures are used; or
            ``"invalid"``, the figures mean nothing.
        text: What was found, and what to do about it.
    """

    name: str
    severity: str
    text: str


class ModelFacts(NamedTuple):
    """What is compared, one value a model.

    Attributes:
        num_members: Size of the training set.
        accuracy: Accuracy on its own training set.
        loss: Mean cross-entropy on its own training set, in nats.
        unseen_loss: The same on examples that other models trained on.
        auc: How well its confidence alone tells its members from those.
    """

    num_members: Float[np.ndarray, " m"]
    accuracy: Float[np.ndarray, " m"]
    loss: Float[np.ndarray, " m"]
    unseen_loss: Float[np.ndarray, " m"]
    auc: Float[np.ndarray, " m"]


def model_facts(signals: Signals) -> ModelFacts:
    """Returns what is compared, over examples that some models had and others not."""
    pool = varying_columns(np.asarray(signals.keep))
    keep = np.asarray(signals.keep)[:, pool]
    phi = np.clip(np.asarray(signals.phi)[:, pool, 0], -1e4, 1e4).astype(np.float64)
    num_in, num_out = keep.sum(axis=1), (~keep).sum(axis=1)
    mean = lambda values, group: np.mean(values, axis=1, where=group)
    loss = np.logaddexp(0, -phi)
    ranks = np.stack([stats.rankdata(row) for row in phi])
    above = np.sum(ranks, axis=1, where=keep) - num_in * (num_in + 1) / 2
    return ModelFacts(
        num_members=num_in.astype(np.float64),
        accuracy=mean(np.asarray(signals.correct)[:, pool].astype(np.float64), keep),
        loss=mean(loss, keep),
        unseen_loss=mean(loss, ~keep),
        auc=above / (num_in * num_out),
    )


def check_models(signals: Signals) -> list[Check]:
    """Returns what there is to say about one recipe's models, one entry a check.

    | check | invalid where | warning where |
    | --- | --- | --- |
    | models | two answer identically | an example has fewer than 2 other 'in' or \
'out' models |
    | balance | | a training set is unusually small or large |
    | training accuracy | a model is 0.25 off the median | it is an outlier |
    | loss | | of members or non-members is an outlier |
    | mask | members are less confident than non-members in all models | one model \
tells its members much worse than the others |
    | population | | no example is in no model |
    | phi | | infinite values |

    Args:
        signals: Checked signals (``signals.check_signals``).
    """
    facts = model_facts(signals)
    return [
        _check_count(signals),
        _check_balance(signals, facts),
        _check_accuracy(facts),
        _check_loss("loss on members", facts.loss),
        _check_loss("loss on non-members", facts.unseen_loss),
        _check_mask(facts),
        _check_population(signals),
        _check_phi(signals),
    ]


def check_recipes(
    signals: Mapping[str, Signals],
    settings: Mapping[str, Mapping[str, Any]] | None = None,
) -> list[Check]:
    """Returns what there is to say about comparing recipes with each other.

    Args:
        signals: By recipe.
        settings: By recipe, hyper-parameters where they are known.
    """
    first, *others = signals.items()
    found = []
    for name, own in others:
        same = np.array_equal(own.keep, first[1].keep) and np.array_equal(
            own.labels, first[1].labels
        )
        if not same:
            text = (
                f"{name} and {first[0]} have different keep masks or labels: their "
                "differences cannot be paired. Attack them in separate runs."
            )
            found.append(Check("pairing", "invalid", text))
    known = {name: dict(own) for name, own in (settings or {}).items() if own}
    for field in sorted({field for own in known.values() for field in own}):
        values = {name: own.get(field) for name, own in known.items()}
        if len({repr(value) for value in values.values()}) > 1:
            listed = ", ".join(f"{name} {value}" for name, value in values.items())
            text = f"{field} differs: {listed}. Is that what is compared?"
            found.append(Check("settings", "warning", text))
    if not found:
        known_text = "known settings agree" if known else "settings are not known"
        text = f"one mask and one set of labels for all recipes; {known_text}."
        found.append(Check("pairing", "ok", text))
    return found


def worst(checks: Mapping[str, list[Check]]) -> str:
    """Returns the worst severity of all."""
    found = {check.severity for own in checks.values() for check in own}
    return next((s for s in ("invalid", "warning") if s in found), "ok")


def _check_count(signals):
    phi, keep = np.asarray(signals.phi), np.asarray(signals.keep)
    rows = {row.tobytes(): m for m, row in reversed(list(enumerate(phi)))}
    copies = [m for m, row in enumerate(phi) if rows[row.tobytes()] != m]
    if copies:
        twin = rows[phi[copies[0]].tobytes()]
        text = (
            f"models {twin} and {copies[0]} answer identically ({len(copies)} copies "
            "in all): a target's copy is among its shadow models. Drop the copies."
        )
        return Check("models", "invalid", text)
    pool = keep[:, varying_columns(keep)]
    fewest = int(np.minimum(pool.sum(axis=0), (~pool).sum(axis=0)).min())
    text = (
        f"{len(keep)} models; each example is in at least {int(pool.sum(0).min())} and "
        f"out of at least {int((~pool).sum(0).min())} of them"
    )
    if fewest < 3:
        short = int((np.minimum(pool.sum(0), (~pool).sum(0)) < 3).sum())
        text += (
            f". Without the target that leaves fewer than 2 on one side of {short} "
            "examples, whose spread is then the pooled one alone: train more models."
        )
        return Check("models", "warning", text)
    return Check("models", "ok", text + ".")


def _check_balance(signals, facts):
    size = facts.num_members
    num_examples = int(varying_columns(np.asarray(signals.keep)).sum())
    middle = float(np.median(size))
    # Independent coins make sizes binomial: sd below sqrt(N) / 2.
    allowed = max(0.1 * middle, 2.5 * np.sqrt(num_examples))
    odd = np.flatnonzero(np.abs(size - middle) > allowed)
    text = (
        f"training sets of {int(size.min()):,} to {int(size.max()):,} of "
        f"{num_examples:,} examples"
    )
    if odd.size:
        text += (
            f"; model {odd[0]} has {int(size[odd[0]]):,} against a median of "
            f"{middle:,.0f}{_more(odd)}: sizes this different are different recipes."
        )
        return Check("balance", "warning", text)
    return Check("balance", "ok", text + ".")


def _check_accuracy(facts):
    size = facts.num_members
    chance = (np.median(facts.accuracy) * size + 2) / (size + 4)
    noise = 4 * np.sqrt(chance * (1 - chance) / size)
    odd, gap = _outliers(facts.accuracy, np.maximum(ACCURACY_FLOOR, noise))
    text = _range("training accuracy", facts.accuracy)
    if not odd.size:
        return Check("training accuracy", "ok", text + ".")
    severity = "invalid" if gap.max() > BROKEN_ACCURACY else "warning"
    text += (
        f"; model {odd[0]} has {facts.accuracy[odd[0]]:.3f} against a median of "
        f"{np.median(facts.accuracy):.3f}{_more(odd)}: not trained like the others, or "
        "its row of keep is another model's. Drop it or mend keep."
    )
    return Check("training accuracy", severity, text)


def _check_loss(name, loss):
    odd, _ = _outliers(np.log(np.maximum(loss, 1e-12)), LOSS_FLOOR)
    text = f"{name} {loss.min():.3g} to {loss.max():.3g} nats"
    if not odd.size:
        return Check(name, "ok", text + ".")
    text += (
        f"; model {odd[0]} has {loss[odd[0]]:.3g} against a median of "
        f"{np.median(loss):.3g}{_more(odd)}: trained longer, shorter or otherwise."
    )
    return Check(name, "warning", text)


def _check_mask(facts):
    auc = facts.auc
    error = float(auc.std(ddof=1) / np.sqrt(len(auc)))
    text = _range("AUC of the confidence alone", auc)
    if auc.mean() < min(0.45, 0.5 - 4 * error):
        text += (
            ": members are less confident than non-members. keep looks inverted; True "
            "must mean that the model trained on the example."
        )
        return Check("mask", "invalid", text)
    noise = 4 / np.sqrt(6 * facts.num_members)  # 4 standard errors without signal
    odd, _ = _outliers(auc, np.maximum(AUC_FLOOR, noise))
    odd = odd[auc[odd] < np.median(auc)]
    if odd.size:
        text += (
            f"; model {odd[0]} reaches {auc[odd[0]]:.3f} against a median of "
            f"{np.median(auc):.3f}{_more(odd)}: its row of keep may be another model's."
        )
        return Check("mask", "warning", text)
    return Check("mask", "ok", text + ".")


def _check_population(signals):
    num_unseen = int((~np.asarray(signals.keep).any(axis=0)).sum())
    if num_unseen:
        text = f"{num_unseen:,} examples are in no model: the population of RMIA."
        return Check("population", "ok", text)
    text = (
        "no example is in no model: RMIA becomes its bare likelihood ratio, Attack-P "
        "and quantile regression become confidence. Add columns of unseen examples."
    )
    return Check("population", "warning", text)


def _check_phi(signals):
    phi = np.asarray(signals.phi)
    share = float(np.isinf(phi).mean())
    if share:
        text = (
            f"{100 * share:.2g} % of phi are infinite, as from rounded probabilities: "
            "they tie at the top of every score. Compute phi from logits."
        )
        return Check("phi", "warning", text)
    return Check("phi", "ok", f"finite, {phi.min():.1f} to {phi.max():.1f} nats.")


def _outliers(values, floor):
    """Models further from the median than the floor and the robust spread allow."""
    gap = np.abs(values - np.median(values))
    allowed = np.maximum(floor, MANY_SPREADS * 1.4826 * np.median(gap))
    odd = np.flatnonzero(gap > allowed)
    return odd[np.argsort(-gap[odd])], gap


def _range(name, values):
    return f"{name} {values.min():.3f} to {values.max():.3f} over models"


def _more(odd):
    return f" (and {len(odd) - 1} more)" if len(odd) > 1 else ""
