"""Why one recipe leaks more than another, from the answers of the audited models.

Everything compares two recipes whose models are paired: model m has the same training
set, initial weights and batches under both. What picks examples never measures them:
bins and buckets come from one half of the models and means from the other, both ways
round (``memorization.mean_by_bin``). NumPy but for the attack.
"""

from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from sam_jax import _checks, crossed, influence, memorization, variance
from sam_jax.attacks import score_targets
from sam_jax.intervals import Estimate
from sam_jax.memorization import Estimates, Halves
from sam_jax.types import AttackFn, Signals

PICKERS = {
    "both": lambda first, second: (first + second) / 2,
    "baseline": lambda first, second: first,
    "compared": lambda first, second: second,
}
"""Whose models say in which bin or bucket an example is; "both" favours neither."""

BIN_EDGES = (0.1, 0.25, 0.4, 0.6, 0.85)
"""Inner edges of the bins of memorization; 0.6 to 0.85 is the paper's range."""

NUM_BUCKETS = 5


class Comparison(NamedTuple):
    """Two recipes on the same models and examples.

    Attributes:
        names: The baseline and what is compared with it.
        signals: Of both, in that order, with one ``keep``.
        pool: True for examples that some models kept and others did not.
        test: True for examples that no model kept.
        first: True for the models of the first half.
    """

    names: tuple[str, str]
    signals: tuple[Signals, Signals]
    pool: Bool[np.ndarray, " n"]
    test: Bool[np.ndarray, " n"]
    first: Bool[np.ndarray, " m"]

    @property
    def keep(self) -> Bool[np.ndarray, "m n"]:
        """The mask of the pool."""
        return np.asarray(self.signals[0].keep)[:, self.pool]


class Memorized(NamedTuple):
    """Memorization of the pool under both recipes.

    Attributes:
        estimates: Of the baseline and of the compared recipe.
        difference: Compared less baseline, paired.
        pearson: Correlation of the two over examples.
        spearman: The same of ranks.
        reliability: Pearson's correlation of the two halves' estimates: of the
            baseline with itself, of the compared with itself, and of one with the
            other (mean of both ways). 1 would be no noise; the last against the first
            two tells how far the recipes differ beyond noise.
        bins: Bin of each example as each half sees it.
        gain: The difference as each half sees it.
        counts: Examples in each bin, mean of both halves.
        by_bin: Mean memorization by bin, of baseline, compared, and their difference.
    """

    estimates: tuple[Estimates, Estimates]
    difference: Estimates
    pearson: Estimate
    spearman: Estimate
    reliability: tuple[float, float, float]
    bins: Int[np.ndarray, "2 n"]
    gain: Halves
    counts: list[float]
    by_bin: tuple[list[Estimate], list[Estimate], list[Estimate]]


class Typicality(NamedTuple):
    """Test examples by how many training examples they lean on.

    Attributes:
        entropy: Influence entropy of each test example, in nats, by all models.
        num_positive: Training examples whose influence counts.
        bucket: By all models: 1 (atypical) to 5, 0 without positive influence.
        same_bucket: Share of test examples that both halves put in one bucket.
        counts: Examples in buckets 0 to 5, mean of both halves.
        accuracy: By bucket 0 to 5, of baseline, compared, and their difference.
        first_less_last: Difference of the gains in bucket 1 and bucket 5.
        pairs: High-influence pairs of baseline and compared.
    """

    entropy: Float[np.ndarray, " t"]
    num_positive: Int[np.ndarray, " t"]
    bucket: Int[np.ndarray, " t"]
    same_bucket: float
    counts: list[float]
    accuracy: tuple[list[Estimate], list[Estimate], list[Estimate]]
    first_less_last: Estimate
    pairs: tuple[influence.Pairs, influence.Pairs]


class Success(NamedTuple):
    """Attack success by memorization.

    Attributes:
        gap: Mean score in less mean score out, by bin, of each recipe, in nats.
        advantage: P(called a member given in) - P(called given out), by bin.
        pearson: Of memorization by one half and score gap by the other, per recipe.
        spearman: The same of ranks.
        values: Score gap of each example, mean of both halves, per recipe.
    """

    gap: tuple[list[Estimate], list[Estimate]]
    advantage: tuple[list[Estimate], list[Estimate]]
    pearson: tuple[Estimate, Estimate]
    spearman: tuple[Estimate, Estimate]
    values: tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]


class Spreads(NamedTuple):
    """What variance does to the attack, by score; keys of ``variance.SCORES``.

    Attributes:
        laws: Gaussians of baseline and compared.
        decomposition: Fields of ``variance.Decomposition`` with intervals.
        unseen: Fields of ``variance.Variances`` of the probability of the label on
            unseen examples: baseline, compared, difference.
    """

    laws: dict[str, tuple[variance.Laws, variance.Laws]]
    decomposition: dict[str, dict[str, Estimate]]
    unseen: tuple[dict[str, Estimate], dict[str, Estimate], dict[str, Estimate]]


def compare(
    signals: dict[str, Signals], baseline: str, compared: str, seed: int = 0
) -> Comparison:
    """Returns the comparison of two recipes of an audit.

    Args:
        signals: By recipe, as in ``AuditResult.signals``.
        baseline: The one to compare with.
        compared: The other.
        seed: Seed of the halves of the models.

    Raises:
        ValueError: If a name is not there, both are the same, their masks differ,
            there are fewer than 8 models, or no test or no pool example.
    """
    first, second = (
        _checks.one_of(signals, baseline=baseline),
        _checks.one_of(signals, compared=compared),
    )
    if baseline == compared:
        raise ValueError(f"compared must not be the baseline, got {compared!r}.")
    keep = np.asarray(first.keep)
    if not np.array_equal(keep, second.keep):
        raise ValueError(
            f"signals must share one keep mask; {baseline} and {compared} do not."
        )
    _checks.at_least(8, num_models=len(keep))
    pool, test = keep.any(axis=0) & ~keep.all(axis=0), ~keep.any(axis=0)
    for name, mask in (("pool", pool), ("test", test)):
        if not mask.any():
            raise ValueError(f"signals must hold {name} examples, got none.")
    halves = memorization.split_models(len(keep), seed)
    return Comparison((baseline, compared), (first, second), pool, test, halves)


def memorized(
    comparison: Comparison,
    *,
    outcome: str = "correct",
    picked_by: str = "both",
    level: float = 0.95,
) -> Memorized:
    """Returns memorization under both recipes, its difference by bin and correlation.

    Args:
        comparison: From ``compare``.
        outcome: ``"correct"`` or ``"probability"``; see ``memorization.outcomes``.
        picked_by: Key of ``PICKERS``: whose memorization makes the bins.
        level: Confidence level of the intervals, in (0, 1).

    Raises:
        ValueError: If an option is not one of those above.
    """
    keep, first = comparison.keep, comparison.first
    base, other = _pool_outcomes(comparison, outcome)
    halves = [
        memorization.memorization_halves(o, keep, first)
        for o in (base, other, other - base)
    ]
    bins = memorization_bins(halves[0], halves[1], picked_by)
    num_bins = len(BIN_EDGES) + 1

    def correlations(used):
        pair = [_partial_memorization(o, keep, used) for o in (base, other)]
        return [crossed.pearson(*pair), crossed.spearman(*pair)]

    pearson, spearman = crossed.crossed_jackknife(
        correlations, *keep.shape, level=level
    )
    first_values, second_values = halves[0].values, halves[1].values
    across = [crossed.pearson(first_values[h], second_values[1 - h]) for h in (0, 1)]
    counts = [(bins == number).sum() / 2 for number in range(num_bins)]
    return Memorized(
        (memorization.memorization(base, keep), memorization.memorization(other, keep)),
        memorization.memorization(other - base, keep),
        pearson,
        spearman,
        (
            crossed.pearson(*first_values),
            crossed.pearson(*second_values),
            float(np.mean(across)),
        ),
        bins,
        halves[2],
        [float(count) for count in counts],
        tuple(memorization.mean_by_bin(bins, h, num_bins, level) for h in halves),
    )


def memorization_bins(
    first: Halves, second: Halves, picked_by: str = "both"
) -> Int[np.ndarray, "2 n"]:
    """Returns the bin of ``BIN_EDGES`` of each example, as each half sees it."""
    picker = _checks.one_of(PICKERS, picked_by=picked_by)
    value = picker(first.values, second.values)
    return np.where(np.isfinite(value), np.digitize(value, BIN_EDGES), -1)


def typicality(
    comparison: Comparison,
    found: Memorized,
    *,
    picked_by: str = "both",
    threshold: float = 0.0,
    num_pairs: int = 1000,
    level: float = 0.95,
) -> Typicality:
    """Returns influence entropy, accuracy by its buckets, and high-influence pairs.

    Args:
        comparison: From ``compare``.
        found: From ``memorized``, for the pairs.
        picked_by: Key of ``PICKERS``: whose models say which example is typical.
        threshold: As in ``influence.influence_entropy``, in standard errors.
        num_pairs: Pairs to keep, for each recipe.
        level: Confidence level of the intervals, in (0, 1).

    Raises:
        ValueError: If an option is out of range.
    """
    keep, first = comparison.keep, comparison.first
    correct = [np.asarray(s.correct)[:, comparison.test] for s in comparison.signals]
    _checks.one_of(PICKERS, picked_by=picked_by)
    rows = {"both": correct, "baseline": correct[:1], "compared": correct[1:]}
    chosen = rows[picked_by]

    def entropies(half):
        outcome = np.concatenate([c[half] for c in chosen])
        mask = np.concatenate([keep[half]] * len(chosen))
        return influence.influence_entropy(outcome, mask, threshold=threshold)

    whole = entropies(np.ones(len(keep), np.bool_))
    buckets = np.stack(
        [
            influence.entropy_buckets(entropies(half).entropy, NUM_BUCKETS)
            for half in (first, ~first)
        ]
    )
    base, other = (c.astype(np.float64) for c in correct)
    halves = [memorization.mean_halves(o, first) for o in (base, other, other - base)]
    gain = halves[2]
    accuracy = tuple(
        memorization.mean_by_bin(buckets, h, NUM_BUCKETS + 1, level) for h in halves
    )
    return Typicality(
        whole.entropy,
        whole.num_positive,
        influence.entropy_buckets(whole.entropy, NUM_BUCKETS),
        float(np.mean(buckets[0] == buckets[1])),
        [float((buckets == b).sum() / 2) for b in range(NUM_BUCKETS + 1)],
        accuracy,
        contrast_of_bins(buckets, gain, 1, NUM_BUCKETS, level),
        tuple(
            influence.high_influence_pairs(c, keep, e.value, limit=num_pairs)
            for c, e in zip(correct, found.estimates, strict=True)
        ),
    )


def contrast_of_bins(
    bins: Int[np.ndarray, "2 n"],
    halves: Halves,
    one: int,
    other: int,
    level: float = 0.95,
) -> Estimate:
    """Returns the mean in one bin less that in another, with its interval.

    The two bins share their models, so that this is no difference of independent
    means: values and noise of the other bin enter with a minus sign and both with the
    inverse of their numbers as weights.
    """
    counts = {b: int(np.sum(bins == b)) for b in (one, other)}
    if min(counts.values()) < 2:
        return Estimate(*[float("nan")] * 6)
    total = sum(counts.values())
    means = {
        b: memorization.mean_by_bin(bins, halves, max(one, other) + 1, level)[b].value
        for b in (one, other)
    }
    gap = means[one] - means[other]
    # Residual plus the gap: its mean over the two bins together is the gap, and its
    # deviations are those of the contrast.
    measured = bins[::-1]
    factor = np.zeros(measured.shape)
    for b, sign in ((one, 1), (other, -1)):
        factor[measured == b] = sign * total / counts[b]
    centre = np.where(measured == one, means[one], means[other])
    values = gap + factor * (halves.values - centre)
    noise = halves.noise * factor[np.where(halves.first, 0, 1)]
    both = np.where((bins == one) | (bins == other), 0, -1)
    scaled = Halves(values, noise, halves.first)
    return memorization.mean_by_bin(both, scaled, 1, level)[0]


def success(
    comparison: Comparison,
    attack: AttackFn,
    *,
    outcome: str = "correct",
    picked_by: str = "both",
    level: float = 0.95,
) -> Success:
    """Returns the attack's score gap and success by memorization.

    The attack on a target is fitted to models of the target's own half alone, so that
    the half that picks an example has no part in attacking it.

    Args:
        comparison: From ``compare``.
        attack: Such as LiRA; a score above 0 calls a member.
        outcome: What memorization is of; see ``memorized``.
        picked_by: Key of ``PICKERS``.
        level: Confidence level of the intervals, in (0, 1).

    Raises:
        ValueError: If an option is not one of those above.
    """
    keep, first = comparison.keep, comparison.first
    outcomes = _pool_outcomes(comparison, outcome)
    halves = [memorization.memorization_halves(o, keep, first) for o in outcomes]
    bins = memorization_bins(*halves, picked_by)
    num_bins = len(BIN_EDGES) + 1
    gaps, calls, pearson, spearman, values = [], [], [], [], []
    for signals, result in zip(comparison.signals, outcomes, strict=True):
        scores = _score_halves(signals, comparison, attack)
        gap = memorization.memorization_halves(scores, keep, first)
        called = (scores > 0).astype(np.float64)
        call = memorization.memorization_halves(called, keep, first)
        gaps.append(memorization.mean_by_bin(bins, gap, num_bins, level))
        calls.append(memorization.mean_by_bin(bins, call, num_bins, level))
        found = _across_halves(result, scores, keep, first, level)
        pearson.append(found[0])
        spearman.append(found[1])
        values.append(gap.values.mean(axis=0))
    return Success(*(tuple(f) for f in (gaps, calls, pearson, spearman, values)))


def spreads(comparison: Comparison, *, level: float = 0.95) -> Spreads:
    """Returns the variance of unseen confidence and what it does to the attack."""
    keep = comparison.keep
    laws, decomposition = {}, {}
    for name, score in variance.SCORES.items():
        pair = [score(s)[:, comparison.pool] for s in comparison.signals]
        laws[name] = tuple(variance.fit_laws(p, keep) for p in pair)

        def decomposed(used, pair=pair):
            fitted = (variance.fit_laws(p, keep, used) for p in pair)
            return variance.decompose(*fitted)

        found = crossed.crossed_jackknife(decomposed, *keep.shape, level=level)
        fields = variance.Decomposition._fields
        decomposition[name] = dict(zip(fields, found, strict=True))
    confidence = [variance.probability(s) for s in comparison.signals]
    unseen = ~np.asarray(comparison.signals[0].keep)

    def variances(used):
        first, second = (
            np.array(variance.confidence_variances(c, unseen & used))
            for c in confidence
        )
        return np.concatenate([first, second, second - first])

    found = crossed.crossed_jackknife(variances, *unseen.shape, level=level)
    fields = variance.Variances._fields
    parts = [found[:3], found[3:6], found[6:]]
    unseen_variances = tuple(dict(zip(fields, p, strict=True)) for p in parts)
    return Spreads(laws, decomposition, unseen_variances)


def _pool_outcomes(comparison: Comparison, kind: str) -> list[np.ndarray]:
    return [
        memorization.outcomes(signals, kind)[:, comparison.pool]
        for signals in comparison.signals
    ]


def _partial_memorization(outcome, keep, used) -> np.ndarray:
    """Memorization from some of the cells; NaN where a side has none."""
    means = []
    for side in (keep & used, ~keep & used):
        count = side.sum(axis=0)
        total = np.sum(outcome, axis=0, where=side)
        means.append(total / np.where(count > 0, count, np.nan))
    return means[0] - means[1]


def _score_halves(signals: Signals, comparison: Comparison, attack) -> np.ndarray:
    """Scores [M, N] of the pool, each half of the models attacked by itself."""
    scores = np.empty(comparison.keep.shape)
    for half in (comparison.first, ~comparison.first):
        own = jax.tree.map(np.asarray, signals[:-1])
        cut = [field[half][:, comparison.pool] for field in own]
        labels = np.asarray(signals.labels)[comparison.pool]
        scores[half] = score_targets(attack, Signals(*cut, labels=labels))
    return scores


def _across_halves(outcome, scores, keep, first, level) -> list[Estimate]:
    """Correlations of memorization by one half with the score gap by the other."""

    def correlations(used):
        found = []
        for half in (first, ~first):
            memory = _partial_memorization(outcome[half], keep[half], used[half])
            gap = _partial_memorization(scores[~half], keep[~half], used[~half])
            found.append([crossed.pearson(memory, gap), crossed.spearman(memory, gap)])
        return np.mean(found, axis=0)

    return crossed.crossed_jackknife(correlations, *keep.shape, level=level)
