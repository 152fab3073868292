"""Attacks refitted without some models: what targets share through shadow models.

A model is a target once and a shadow model of all other targets, so a model that
overfits more raises the scores of its members and lowers scores on other targets.
Drawing targets again leaves that out, because the fits stay as they are. Here models
are left out as targets and as shadow models together, and the attack is refitted.

The variance that models bring is the covariance, over the models left out, of a
metric's changes on disjoint groups of examples. All that these groups share is models:
the noise of single (target, example) pairs, which a refit magnifies, does not enter.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from sam_jax import _checks
from sam_jax.attacks import missing_needs, score_targets
from sam_jax.metrics import roc
from sam_jax.metrics.replicates import WITHOUT_RATE, exact_metrics, sort_scores
from sam_jax.types import AttackFn, Signals

MAX_MODEL_GROUPS = 16
"""Models are left out one by one, or in this many random groups if there are more."""

EXAMPLE_GROUPS = 8
"""Groups of examples, each of at least ``MIN_GROUP_EXAMPLES``."""

MIN_GROUP_EXAMPLES = 25

MAX_EXAMPLES = 4096
"""Columns used of those that count, and of the others; the part that models bring does
not depend on how many there are."""

SELF_CONTAINED = {"queries", "entropy"}
"""Needs of attacks that see nothing but the target (``Attack.needs``)."""


class Refit(NamedTuple):
    """An attack without some models.

    Attributes:
        models: True for the models that are still there, as targets and shadow models.
        columns: The examples that were scored.
        scores: Of these examples against these models.
    """

    models: Bool[np.ndarray, " m"]
    columns: Int[np.ndarray, " c"]
    scores: Float[np.ndarray, "t c"]


def leave_models_out(
    attack: AttackFn,
    signals: Signals,
    scores: Float[np.ndarray, "m n"],
    *,
    mask: roc.Mask | None = None,
) -> Iterator[Refit]:
    """Yields the attack refitted without each group of models.

    An attack that sees the target alone is not run again: its scores stay. So they do
    where the models that are left do not meet the attack's needs (one of 4 left out):
    models are then left out as targets alone. Nothing is yielded for fewer than 4.

    Args:
        attack: The attack.
        signals: The outputs of all models.
        scores: The attack's scores with all models.
        mask: Examples to count, as in ``bootstrap_attack``; the others (a population)
            are kept for the attack, up to ``MAX_EXAMPLES`` of them.
    """
    keep = _checks.mask(keep=signals.keep)
    num_models, num_examples = keep.shape
    if num_models < 4:
        return
    counted = np.ones(num_examples) if mask is None else mask
    counted = _checks.mask(mask=counted)
    rng = np.random.default_rng(0)
    used = _some(rng, np.flatnonzero(counted))
    # The counted examples come first, so that a refit's scores are cut to them below.
    columns = np.concatenate([used, _some(rng, np.flatnonzero(~counted))])
    num_groups = min(num_models, MAX_MODEL_GROUPS)
    groups = rng.permutation(np.arange(num_models) % num_groups)
    signals = signals.select(examples=columns)
    subsets = [groups != group for group in range(num_groups)]
    # A plain function does not say what it needs: it may use shadow models.
    needs = set(getattr(attack, "needs", ("shadow models",)))
    again = not needs <= SELF_CONTAINED and not any(
        missing_needs(attack, signals.select(models=models)) for models in subsets
    )
    for models in subsets:
        without = scores[np.ix_(models, used)]
        if again:
            rest = signals.select(models=models)
            without = score_targets(attack, rest)[:, : len(used)]
        yield Refit(models, used, without)


def metrics_without(
    refit: Refit,
    keep: Bool[np.ndarray, "m n"],
    example_groups: Int[np.ndarray, " n"],
    fprs: Sequence[float],
) -> Float[np.ndarray, "x p"]:
    """Returns the pooled metrics of a refit on each group of examples.

    NaN where a group has no member or no non-member, or cannot resolve a rate.
    """
    kept = keep[np.ix_(refit.models, refit.columns)]
    groups = example_groups[refit.columns]
    size = int(example_groups.max()) + 1, len(WITHOUT_RATE) + len(fprs)
    metrics = np.full(size, np.nan)
    for group in range(len(metrics)):
        members = kept[:, groups == group].ravel()
        if members.any() and not members.all():
            scores = refit.scores[:, groups == group].ravel()
            metrics[group] = exact_metrics(sort_scores(scores, members), fprs)
    return metrics


def make_example_groups(num_examples: int, seed: int) -> Int[np.ndarray, " n"]:
    """Returns the random group of each example; one group where there are few."""
    count = min(EXAMPLE_GROUPS, num_examples // MIN_GROUP_EXAMPLES)
    rng = np.random.default_rng((seed, 1))
    return rng.permutation(np.arange(num_examples) % max(count, 1))


def shared_variance(without: Float[np.ndarray, "g x p"]) -> Float[np.ndarray, " p"]:
    """Returns the variance that models bring to P metrics, at least 0.

    Args:
        without: The metrics without each of G groups of models, on each of X groups of
            examples; 0 is returned where they are NaN, or for fewer than 2 groups.
    """
    num_models, num_groups, num_metrics = without.shape
    if num_models < 2 or num_groups < 2:
        return np.zeros(num_metrics)
    changes = without - without.mean(axis=0)
    # Sums over pairs of different groups: the squares of single groups drop out.
    crossed = changes.sum(axis=1) ** 2 - (changes**2).sum(axis=1)
    crossed = crossed.sum(axis=0) / (num_groups * (num_groups - 1))
    jackknife = crossed * (num_models - 1) / num_models
    return np.nan_to_num(np.maximum(jackknife, 0.0), nan=0.0)


def _some(rng: np.random.Generator, columns: np.ndarray) -> np.ndarray:
    if len(columns) <= MAX_EXAMPLES:
        return columns
    return np.sort(rng.choice(columns, MAX_EXAMPLES, replace=False))
