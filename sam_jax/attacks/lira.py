"""LiRA, the likelihood-ratio attack: Gaussians fitted to phi over shadow models.

Carlini et al., "Membership Inference Attacks From First Principles", 2022,
https://arxiv.org/abs/2112.03570, algorithm 1 (online) and section VI (offline).

For every example, location and spread of phi over the shadow models that trained on it
('in') and that did not ('out'), the target left out. Where no shadow model is 'in' (or
'out') the location is that of the other side moved by the mean shift between the two
over all examples, so that every score is finite.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sam_jax import _checks
from sam_jax.attacks import leave_one_out as loo
from sam_jax.attacks.base import PHI_LIMIT, Attack, default_block_size, take_block
from sam_jax.types import Signals

MIN_VARIANCE = 1e-12
"""Floor of the pooled variance, in nats squared, when all models answer alike."""


class Side(NamedTuple):
    """One side, 'in' or 'out', per example: count [N], location [N, Q], scatter."""

    count: Float[Array, "*m n"]
    location: Float[Array, "*m n q"]
    scatter: Float[Array, "..."]


class Pooled(NamedTuple):
    """What is pooled over examples: a variance per side, and the mean shift."""

    in_variance: Float[Array, "..."]
    out_variance: Float[Array, "..."]
    shift: Float[Array, "*m q"]


def lira_online(
    variance: str = "per_example",
    location: str = "mean",
    views: str = "mean",
    prior_count: float = 4.0,
    count_correction: bool = False,
) -> Attack:
    """Returns online LiRA: ``log N(phi; in) - log N(phi; out)``, in nats.

    Assumes: the target's phi, and shadow models trained with and without each example
    (so the examples are known before the shadow models are trained).

    Args:
        variance: ``"per_example"``, shrunk towards the pooled variance, or
            ``"global"``, one pooled variance for all examples; each from the residuals
            of its own side. Global is better with few shadow models.
        location: Mean, or median as in the authors' script (the spread is about the
            mean either way).
        views: ``"mean"`` of the log-ratio of each view, as in the authors' script, or
            ``"joint"``, one Q-variate Gaussian, as in the paper (in float32: relative
            error about 1e-7 times the condition number of its covariance).
        prior_count: Strength of the shrinkage: the pooled variance weighs as much as
            this many shadow models. A trace of it (1e-6) is the raw variance.
        count_correction: Whether squared distances from a mean over k models are
            divided by ``1 + 1 / k``. Where each example is 'in' for half of the models,
            a member's own side has one shadow model fewer and a less certain mean, so
            that without it few models score members of pure noise *lower*: AUC below
            1/2 (docs/choosing.md). Ours, not the paper's.

    Returns:
        The attack.

    Raises:
        ValueError: If an option is not one of those above or ``prior_count`` <= 0.
    """

    def density(phi, side, pooled, log_density, spread):
        count = jnp.maximum(side.count, 1)
        inflation = 1 + 1 / count if count_correction else jnp.ones_like(count)
        return log_density(phi, side.location, spread(side, pooled), inflation)

    def score(phi, inside, outside, pooled, log_density, spread):
        in_score = density(phi, inside, pooled.in_variance, log_density, spread)
        return in_score - density(
            phi, outside, pooled.out_variance, log_density, spread
        )

    return _make_lira(score, variance, location, views, prior_count, ("in_models",))


def lira_offline(
    variance: str = "per_example",
    location: str = "mean",
    views: str = "mean",
    prior_count: float = 4.0,
) -> Attack:
    """Returns offline LiRA: ``(phi - mean_out) / sigma_out``, one-sided.

    The z-score has the order of the paper's ``P(Z < phi)`` and does not tie where that
    rounds to 1. Joint views give the log-likelihood ratio between the 'out' Gaussian
    and the same one moved by the same amount in every view, in units of its spread:
    ``1' S^-1 (phi - mean_out) / sqrt(1' S^-1 1)``.

    Assumes: the target's phi, and shadow models trained without the examples.

    Args:
        variance: As in ``lira_online``.
        location: As in ``lira_online``.
        views: Mean of each view's z-score, or joint as above.
        prior_count: As in ``lira_online``.

    Returns:
        The attack.

    Raises:
        ValueError: As in ``lira_online``.
    """
    z_score = _joint_z_score if views == "joint" else _z_score

    def score(phi, _, outside, pooled, log_density, spread):
        del log_density
        return z_score(phi, outside.location, spread(outside, pooled.out_variance))

    return _make_lira(score, variance, location, views, prior_count, ("out_models",))


def lira_offline_two_sided(
    variance: str = "per_example",
    location: str = "mean",
    views: str = "mean",
    prior_count: float = 4.0,
) -> Attack:
    """Returns the authors' script's offline form, for comparison: ``-log N(phi; out)``.

    It calls an example that is *less* confident than the 'out' models a member too,
    and so loses to ``lira_offline``. Assumptions and arguments are the same.
    """

    def score(phi, _, outside, pooled, log_density, spread):
        variance = spread(outside, pooled.out_variance)
        return -log_density(
            phi, outside.location, variance, jnp.ones_like(outside.count)
        )

    return _make_lira(score, variance, location, views, prior_count, ("out_models",))


def _make_lira(score_sides, variance, location, views, prior_count, needs) -> Attack:
    """The attack with ``score_sides`` on statistics chosen by the options."""
    _checks.one_of({"mean": 0, "median": 0}, location=location)
    _checks.one_of({"per_example": 0, "global": 0}, variance=variance)
    _checks.one_of({"mean": 0, "joint": 0}, views=views)
    _checks.positive(prior_count=prior_count)
    joint = views == "joint"
    log_density = _joint_log_density if joint else _log_density

    def spread(side: Side, pooled: Any) -> Any:
        pooled = jnp.broadcast_to(pooled, side.scatter.shape)
        if variance == "global":
            return pooled
        freedom = jnp.maximum(side.count - 1, 0)
        freedom = freedom.reshape(freedom.shape + (1,) * (pooled.ndim - freedom.ndim))
        return (prior_count * pooled + side.scatter) / (prior_count + freedom)

    def fit(signals: Signals, target: Any) -> Pooled:
        pooled = _pool(signals, location, joint)
        return jax.tree.map(lambda a: a[target], pooled)

    def score(pooled: Pooled, signals: Signals, target: Any) -> Any:
        phi, inside, outside = jax.tree.map(
            lambda a: a[target], _sides(signals, location, joint)
        )
        shift = jnp.broadcast_to(pooled.shift, phi.shape)
        inside, outside = _fill(inside, outside, shift), _fill(outside, inside, -shift)
        return score_sides(phi, inside, outside, pooled, log_density, spread)

    return Attack(score, fit, needs + ("queries",) * joint)


def _sides(signals, location, joint) -> tuple[Array, Side, Side]:
    """Centred phi and both sides, with a leading axis of models left out."""
    phi = loo.centred(jnp.clip(signals.phi, -PHI_LIMIT, PHI_LIMIT))

    def side(group):
        moments = loo.moments_without_each(phi, group, joint)
        if location == "mean":
            return Side(*moments)
        return Side(moments.count, loo.median_without_each(phi, group), moments.scatter)

    both = jax.vmap(side)(jnp.stack([signals.keep, ~signals.keep]))
    inside, outside = (jax.tree.map(lambda a, i=i: a[i], both) for i in (0, 1))
    return phi, inside, outside


def _fill(side, other, shift):
    """The side, with the other side's location moved by ``shift`` where it is empty."""
    empty = (side.count == 0)[..., None]
    return side._replace(
        location=jnp.where(empty, other.location + shift, side.location)
    )


def _pool(signals, location, joint) -> Pooled:
    """Pooled statistics without each model, [M, ...]; sums in blocks of examples."""

    def sums(block):
        _, inside, outside = _sides(block, location, joint)
        both = (inside.count > 0) & (outside.count > 0)
        shift = jnp.where(both[..., None], inside.location - outside.location, 0)
        freedom = lambda side: jnp.maximum(side.count - 1, 0)
        terms = (inside.scatter, freedom(inside), outside.scatter, freedom(outside))
        terms += (shift, both.astype(shift.dtype))
        return jax.tree.map(lambda a: jnp.sum(a, axis=1), terms)

    in_scatter, in_freedom, out_scatter, out_freedom, shift, num_both = _sum_blocks(
        sums, signals
    )

    def ratio(total, count):
        count = count.reshape(count.shape + (1,) * (total.ndim - count.ndim))
        return total / jnp.maximum(count, 1)

    def raise_to_floor(variance):
        if joint:
            return variance + MIN_VARIANCE * jnp.eye(variance.shape[-1])[None]
        return jnp.maximum(variance, MIN_VARIANCE)

    return Pooled(
        raise_to_floor(ratio(in_scatter, in_freedom)),
        raise_to_floor(ratio(out_scatter, out_freedom)),
        ratio(shift, num_both),
    )


def _sum_blocks(sums, signals):
    """Sum of ``sums(block)`` over blocks of columns, the shorter last one included."""
    size = default_block_size(signals)
    num_blocks, remainder = divmod(signals.phi.shape[1], size)
    parts = jax.lax.map(
        lambda i: sums(take_block(signals, i * size, size)), jnp.arange(num_blocks)
    )
    total = jax.tree.map(lambda a: jnp.sum(a, axis=0), parts)
    if not remainder:
        return total
    rest = sums(take_block(signals, num_blocks * size, remainder))
    return jax.tree.map(jnp.add, total, rest)


def _z_score(phi, location, variance):
    return jnp.mean((phi - location) / jnp.sqrt(variance), axis=-1)


def _log_density(phi, location, variance, inflation):
    z_squared = jnp.square(phi - location) / (variance * inflation[..., None])
    return -0.5 * jnp.mean(z_squared + jnp.log(2 * jnp.pi * variance), axis=-1)


def _cholesky(variance):
    """Rows of L with ``L L' = variance``, written out: there are few views.

    LAPACK's batched routines were seen to hang on a CPU (jax 0.10.2; 32 models, 1,500
    examples, 4 views).
    """
    rows: list[list[Any]] = []
    for i in range(variance.shape[-1]):
        row: list[Any] = []
        for j in range(i + 1):
            other = rows[j] if j < i else row
            rest = variance[..., i, j]
            for left, right in zip(row[:j], other[:j], strict=True):
                rest = rest - left * right
            row.append(jnp.sqrt(rest) if i == j else rest / other[j])
        rows.append(row)
    return rows


def _solve(rows, values):
    """``L^-1 values`` by substitution."""
    solved: list[Any] = []
    for i, row in enumerate(rows):
        rest = values[..., i]
        for factor, known in zip(row[:i], solved, strict=True):
            rest = rest - factor * known
        solved.append(rest / row[i])
    return jnp.stack(solved, axis=-1)


def _joint_log_density(phi, location, variance, inflation):
    rows = _cholesky(variance)
    white = _solve(rows, phi - location)
    log_det = 2 * sum(jnp.log(row[-1]) for row in rows)
    num_views = phi.shape[-1]
    constant = num_views * jnp.log(2 * jnp.pi)
    z_squared = jnp.sum(jnp.square(white), axis=-1) / inflation
    return -0.5 * (z_squared + log_det + constant)


def _joint_z_score(phi, location, variance):
    rows = _cholesky(variance)
    white = _solve(rows, phi - location)
    direction = _solve(rows, jnp.ones_like(phi))
    norm = jnp.sqrt(jnp.sum(jnp.square(direction), axis=-1))
    return jnp.sum(white * direction, axis=-1) / norm
